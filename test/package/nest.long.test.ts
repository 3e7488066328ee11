/*
 * The recipe for NestJS, compiled as its first comment says, with the newest Nest and with the major version before it.
 */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, rm, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { wsAuthErrors } from '../../lib/index'
import { buildPackage, startFile } from '../helpers/example'
import { runNode } from '../helpers/run-alone'

const run = promisify(execFile)
const ROOT = process.cwd()
const RECIPE = join(ROOT, 'example/recipes/nest')
const NEST_11 = join(ROOT, 'test/package/nest-11')
/** The recipe as built, beside the modules of Nest 11. It is in the package, so that it imports the package by name. */
const WITH_NEST_11 = join(ROOT, '.build/nest-11')

t.before(async () => {
  await buildPackage()
  await run(process.execPath, ['node_modules/typescript-7/bin/tsc', '-p', RECIPE], { cwd: ROOT })
})

async function tokenOf (url: string, body: object): Promise<string> {
  const response = await fetch(`${url}/token`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
  return (await response.json() as { token: string }).token
}

/** The status of a handshake that is refused, as a client sees it. */
async function statusOf (url: string, protocols: string[] = []): Promise<number | undefined> {
  const [, response] = await once(new WebSocket(`${url.replace('http', 'ws')}/chat`, protocols), 'unexpected-response')
  return response.statusCode
}

async function drive (t: Test, file: string): Promise<void> {
  const { url, output, stop } = await startFile(t, file)
  const [ann, eve] = [await tokenOf(url, { name: 'ann', seconds: 8 }), await tokenOf(url, { name: 'eve' })]
  t.equal(await statusOf(url), 401)
  t.equal(await statusOf(url, ['bearer', `${ann}x`]), 401)
  t.equal(await statusOf(url, ['bearer', eve]), 403)

  const socket = new WebSocket(`${url.replace('http', 'ws')}/chat`, ['bearer', ann])
  const expired = once(socket, 'close')
  const [greeting] = await once(socket, 'message')
  t.equal(String(greeting), 'hello ann')
  socket.send('{"event":"say","data":"hi"}')
  const [answer] = await once(socket, 'message')
  t.strictSame(JSON.parse(String(answer)), { event: 'said', data: 'ann: hi' })

  const me = async (headers: Record<string, string>): Promise<unknown[]> => {
    const response = await fetch(`${url}/me`, { headers })
    return [response.status, (await response.json() as { name?: string }).name]
  }
  t.strictSame(await me({ authorization: `Bearer ${eve}` }), [200, 'eve'])
  t.strictSame(await me({}), [401, undefined])
  const [code, reason] = await expired
  t.equal(`${code} ${reason}`, '3000 token_expired')

  const last = new WebSocket(`${url.replace('http', 'ws')}/chat`, ['bearer', await tokenOf(url, { name: 'ann' })])
  await once(last, 'message')
  const closed = once(last, 'close')
  await stop()
  t.equal((await closed)[0], 1001, 'a signal ends the connections in order')
  t.notMatch(output(), /eyJ|ExceptionsHandler|"level":50/, 'no token is in the log, and no refusal is logged as a failure')
}

t.test('NestJS 12: a gateway gets the user, and refusals have their status before the upgrade', async (t) => {
  await drive(t, 'build/nest/main.mjs')
})

t.test('NestJS 11: a gateway gets the user, and refusals have their status before the upgrade', async (t) => {
  const { NODE_OPTIONS, ...env } = process.env
  await run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix', NEST_11], { env, timeout: 240_000 })
  await rm(WITH_NEST_11, { recursive: true, force: true })
  await mkdir(WITH_NEST_11, { recursive: true })
  await cp(join(ROOT, 'example/build/nest'), WITH_NEST_11, { recursive: true })
  await symlink(join(NEST_11, 'node_modules'), join(WITH_NEST_11, 'node_modules'))
  await drive(t, '../.build/nest-11/main.mjs')
})

t.test('NestJS takes the status of every refusal', async (t) => {
  const { output } = await runNode(ROOT, '--input-type=module', '-e', `
    import 'reflect-metadata'
    import { Module } from '@nestjs/common'
    import { NestFactory } from '@nestjs/core'
    import { FastifyAdapter } from '@nestjs/platform-fastify'
    import { fastifyWsAuth, WsAuthError, wsAuthErrors } from 'fastify-ws-auth'
    class AppModule {}
    Module({})(AppModule)
    const app = await NestFactory.create(AppModule, new FastifyAdapter(), { logger: false })
    const fastify = app.getHttpAdapter().getInstance()
    await fastify.register(fastifyWsAuth, { verify: (token) => { throw new WsAuthError(token) } })
    fastify.get('/chat', { websocket: true }, () => {})
    await app.init()
    const answers = []
    for (const code of Object.keys(wsAuthErrors)) {
      const response = await fastify.inject({ url: '/chat', headers: { authorization: 'Bearer ' + code } })
      answers.push([code, response.statusCode, response.json().message])
    }
    console.log(JSON.stringify(answers))
    await app.close()
  `)
  const answers = JSON.parse(output) as unknown[]
  t.strictSame(answers, Object.entries(wsAuthErrors).map(([code, { statusCode, message }]) => [code, statusCode, message]))
})
