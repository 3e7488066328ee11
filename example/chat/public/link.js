/*
 * A WebSocket that renews and comes back by itself.
 */
import { setClock } from './countdown.js'
import { find, notify } from './dom.js'
import { delayOf } from './retry.js'
import { freshToken, isStillLoggedIn } from './session.js'

const UNAUTHORIZED = 3000
const FORBIDDEN = 3003

/** Opens a WebSocket to a path of this server. */
export function connect ({ path, protocols }) {
  const url = new URL(path, window.location.href)
  url.protocol = url.protocol.replace('http', 'ws')
  return new WebSocket(url, protocols)
}

/** All that are in use. */
export const links = new Set()
/** The ids of the connections that this page has had. */
export const ownIds = new Set()

/** A connection that renews its token when the server asks for it, and is opened again if it is lost and not refused. */
export class Link {
  #address
  #onState
  #onFrame
  #isLasting
  #isRenewable
  #socket = null
  #timer = 0
  #attempt = 0
  #isWanted = false
  /** The reason of its loss, until it is back. */
  #detail = ''

  /**
   * `address` is called before each attempt, so that each has a new token. With `isLasting: false` a lost link stays closed.
   * A link by the cookie is not `isRenewable`, because it lives as long as the login.
   */
  constructor ({ address, onState, onFrame, isLasting = true, isRenewable = true }) {
    this.#address = address
    this.#onState = onState
    this.#onFrame = onFrame
    this.#isLasting = isLasting
    this.#isRenewable = isRenewable
    links.add(this)
  }

  get isWanted () { return this.#isWanted }

  open () {
    if (this.#isWanted) return
    this.#isWanted = true
    this.#attempt = 0
    this.#detail = ''
    this.#connect()
  }

  close (state = 'closed', detail = '') {
    this.#isWanted = false
    clearTimeout(this.#timer)
    this.#socket?.close(1000)
    this.#socket = null
    this.#onState(state, detail)
  }

  /** Opens it anew, because the network is back: a connection that was lost silently looks open until something is sent. */
  reopen () {
    if (!this.#isWanted || !this.#isLasting) return
    this.#socket?.close(1000)
    this.#socket = null
    this.#attempt = 0
    this.#retry()
  }

  send (frame) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false
    this.#socket.send(JSON.stringify(frame))
    return true
  }

  /** The server answers with `auth.ok` or `auth.error`. After an error the old token counts until it expires. */
  async renew () {
    try {
      this.send({ type: 'auth', token: await freshToken() })
    } catch {
      notify('There is no new token: the connection ends with the old one.')
    }
  }

  async #connect () {
    this.#onState('connecting', this.#detail)
    const address = await this.#address().catch(() => undefined)
    if (!this.#isWanted || this.#socket !== null) return
    if (address === undefined) return this.#isLasting ? this.#retry() : this.close()
    const socket = this.#socket = connect(address)
    if (address.firstMessage !== undefined) socket.onopen = () => socket.send(JSON.stringify(address.firstMessage))
    socket.onmessage = ({ data }) => {
      if (socket === this.#socket) this.#read(JSON.parse(data), socket)
    }
    socket.onclose = ({ code, reason }) => {
      if (socket === this.#socket) this.#lose(code, reason)
    }
  }

  #read (frame, socket) {
    if (frame.type === 'welcome') {
      this.#attempt = 0
      this.#detail = ''
      setClock(frame.connection.openedAt)
      ownIds.add(frame.connection.id)
      this.#onState('open')
    } else if (frame.type === 'auth.renew' && this.#isRenewable && find('#auto-renew').checked) {
      this.renew()
    }
    this.#onFrame(frame, socket)
  }

  async #lose (code, reason) {
    this.#socket = null
    // The browser says 1006 if no close frame has come.
    if (code !== 1006) this.#detail = `${code} ${reason}`
    if (code === FORBIDDEN) return this.close('refused', this.#detail)
    if (!this.#isLasting) return this.close('closed', this.#detail)
    this.#onState('waiting', this.#detail)
    if (code === UNAUTHORIZED && await isStillLoggedIn(this.#detail).catch(() => true) === false) return
    if (this.#isWanted) this.#retry()
  }

  #retry () {
    clearTimeout(this.#timer)
    this.#onState('waiting', this.#detail)
    this.#timer = setTimeout(() => this.#connect(), delayOf(this.#attempt++))
  }
}

export function closeAll () {
  for (const link of links) link.close()
}
