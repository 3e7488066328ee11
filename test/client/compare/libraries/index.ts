/*
 * The libraries under comparison, in the order of the table.
 */
import type { Library } from '../library'
import { centrifuge } from './centrifuge'
import { fastifyWsAuthClient } from './fastify-ws-auth'
import { graphqlWs } from './graphql-ws'
import { partysocket, reconnectingWebSocket } from './plain'
import { socketIo } from './socket-io'

export const libraries: readonly Library[] = [fastifyWsAuthClient, partysocket, reconnectingWebSocket, graphqlWs, socketIo, centrifuge]
