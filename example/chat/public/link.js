/*
 * A connection of the page by the client of fastify-ws-auth, which gets its token, renews it, comes back and stops. What is here is what
 * the page shows of it, and the question whether the login has ended.
 */
import { connect } from './client.mjs'
import { setClock } from './countdown.js'
import { notify } from './dom.js'
import { isStillLoggedIn } from './session.js'

/** Opens a plain WebSocket to a path of this server, for what the client hides. */
export function openSocket ({ path, protocols }) {
  const url = new URL(path, window.location.href)
  url.protocol = url.protocol.replace('http', 'ws')
  return new WebSocket(url, protocols)
}

/** All that are in use. */
export const links = new Set()
/** The ids of the connections that this page has had. */
export const ownIds = new Set()

export class Link {
  #path
  #options
  #onState
  #onFrame
  #socket = null
  /** The reason of its loss, until it is back. */
  #detail = ''

  /** `options` are those of `connect`. `onState` gets the status, the reason in words, and the state. */
  constructor ({ path, options = {}, onState, onFrame }) {
    this.#path = path
    this.#options = { retry: { max: 10_000 }, ...options }
    this.#onState = onState
    this.#onFrame = onFrame
    links.add(this)
  }

  get isWanted () {
    return this.#socket !== null && this.#socket.readyState !== WebSocket.CLOSED
  }

  /** Resolves when it is open. */
  get opened () {
    return this.#socket.opened
  }

  open () {
    if (this.isWanted) return
    if (this.#socket !== null) return this.#socket.reconnect()
    const socket = this.#socket = connect(this.#path, this.#options)
    socket.onmessage = ({ data }) => this.#read(JSON.parse(data), socket)
    socket.subscribe(() => this.#show(socket.state))
    this.#show(socket.state)
  }

  close () {
    this.#socket?.close()
    this.#socket = null
    this.#detail = ''
    this.#onState('closed', '', { status: 'closed' })
  }

  send (frame) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false
    this.#socket.send(JSON.stringify(frame))
    return true
  }

  async renew () {
    try {
      await this.#socket.renew()
    } catch ({ message }) {
      notify(`Not renewed: ${message}`)
    }
  }

  #read (frame, { protocol }) {
    if (frame.type === 'welcome') {
      setClock(frame.connection.openedAt)
      ownIds.add(frame.connection.id)
    }
    this.#onFrame(frame, protocol)
  }

  #show (state) {
    const { status, end } = state
    if (status === 'open') this.#detail = ''
    // An attempt that found no server says nothing new.
    else if (end && (end.code !== 1006 || end.reason !== '')) this.#detail = `${end.code} ${end.reason}`
    if (status === 'closed') return
    this.#onState(status, this.#detail, state)
    if (end?.reason.startsWith('token_') && status !== 'connecting') isStillLoggedIn(this.#detail).catch(() => {})
  }
}

export function closeAll () {
  for (const link of links) link.close()
}
