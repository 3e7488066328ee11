/*
 * NestJS on Fastify. A gateway gets connections that are authenticated already: a client without a token is refused with 401, a user
 * without the role with 403, both before the upgrade. A guard protects a plain route with the same tokens.
 *
 *   node node_modules/typescript-7/bin/tsc -p example/recipes/nest && JWT_SECRET=<32 bytes> node example/build/nest/main.mjs
 */
import 'reflect-metadata'
import { randomBytes } from 'node:crypto'
import { Body, Controller, Get, HttpException, Injectable, Module, Post, Req, UseGuards } from '@nestjs/common'
import type { CanActivate, ExecutionContext } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { FastifyAdapter } from '@nestjs/platform-fastify'
import type { NestFastifyApplication } from '@nestjs/platform-fastify'
import { ConnectedSocket, MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fastifyWsAuth, { connectionOf } from 'fastify-ws-auth'
import type { WebSocket } from 'fastify-ws-auth'
import { GuardedWsAdapter } from './guarded-ws-adapter.mjs'
import type { GatewayOptions } from './guarded-ws-adapter.mjs'

declare module 'fastify-ws-auth' {
  interface WsAuthTypes { user: { sub: string, roles?: string[] } }
}

@WebSocketGateway<GatewayOptions>({ path: '/chat', wsAuth: { roles: ['member'] } })
class ChatGateway {
  handleConnection (socket: WebSocket, request: FastifyRequest): void {
    socket.send(`hello ${request.user.sub}`)
  }

  @SubscribeMessage('say')
  say (@ConnectedSocket() socket: WebSocket, @MessageBody() text: string): object {
    return { event: 'said', data: `${connectionOf(socket).user?.sub}: ${text}` }
  }
}

@Injectable()
class TokenGuard implements CanActivate {
  async canActivate (context: ExecutionContext): Promise<boolean> {
    const http = context.switchToHttp()
    const request = http.getRequest<FastifyRequest>()
    // Nest logs any other error than its own as a failure of the server.
    await request.server.wsAuth.authenticate(request, http.getResponse()).catch((error) => {
      throw new HttpException(error.message, error.statusCode, { cause: error })
    })
    return true
  }
}

@Controller()
class AppController {
  @Get('me')
  @UseGuards(TokenGuard)
  me (@Req() request: FastifyRequest): object {
    return { name: request.user.sub }
  }

  @Post('token')
  token (@Req() { server }: FastifyRequest, @Body() { name, seconds = 600 }: { name: string, seconds?: number }): object { // check a password here
    return { token: server.jwt.sign({ sub: name, roles: name === 'eve' ? [] : ['member'] }, { expiresIn: seconds }) }
  }
}

@Module({ controllers: [AppController], providers: [ChatGateway] })
class AppModule {}

const app = await NestFactory.create<NestFastifyApplication>(AppModule, new FastifyAdapter({ logger: true }))
// Nest may bring a Fastify of its own, whose types are not those of the app.
const fastify = app.getHttpAdapter().getInstance() as unknown as FastifyInstance
await fastify.register(fastifyWsAuth, { jwt: { secret: process.env.JWT_SECRET || randomBytes(32).toString('hex') } })
app.useWebSocketAdapter(new GuardedWsAdapter(app))
app.enableShutdownHooks()
await app.listen(Number(process.env.PORT ?? 3000))
