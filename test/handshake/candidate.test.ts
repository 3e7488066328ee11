/*
 * Requests without a mark of this package: they came past its listeners.
 */
import { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { PassThrough } from 'node:stream'
import t from 'tap'
import { awaitsMessage, candidateOf, takeAuthenticated } from '../../lib/handshake/candidate'
import { PendingUpgrades } from '../../lib/handshake/pending-upgrades'
import { Pending } from '../../lib/connection/limits'

t.test('a request without a mark has no user, waits for no message and is no candidate', async (t) => {
  const request = {} as IncomingMessage
  t.equal(takeAuthenticated(request), null)
  t.equal(awaitsMessage(request), false)
  t.equal(candidateOf(request), undefined)
})

t.test('the plugin leaves an upgrade without a mark alone', async (t) => {
  const relay = new EventEmitter()
  const socket = new PassThrough()
  new PendingUpgrades(new Pending(), () => {}).listenLast(relay)
  relay.emit('upgrade', {}, socket)
  t.equal(socket.listenerCount('close'), new PassThrough().listenerCount('close'))
  t.equal(socket.destroyed, false)
})
