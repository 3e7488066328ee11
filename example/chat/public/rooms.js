/*
 * The two rooms: what was said in them, who is online, and how the connection is.
 */
import { refreshConnections, renderEvent } from './connections.js'
import { cloneOf, element, find, hourOf, notify } from './dom.js'
import { Link } from './link.js'
import { me, start } from './session.js'

const STATUS = { open: 'online', connecting: 'connecting', waiting: 'reconnecting', paused: 'paused', refused: 'refused', closed: 'offline' }

class Room {
  said = []
  online = []
  state = 'closed'
  detail = ''
  unread = 0

  constructor (name) {
    this.name = name
    this.link = new Link({
      path: `/${name}`,
      onState: (state, detail, { delay }) => this.#change({ state, detail, backAt: delay && Date.now() + delay }),
      onFrame: (frame) => this.#read(frame)
    })
  }

  clear () {
    this.#change({ said: [], online: [], unread: 0 })
  }

  #read (frame) {
    if (frame.type === 'welcome') {
      checkUser(frame)
      this.#change({ said: frame.history })
    } else if (frame.type === 'said') {
      this.#change({ said: [...this.said, frame], unread: selected === this.name ? 0 : this.unread + 1 })
    } else if (frame.type === 'online') {
      this.#change({ online: frame.names })
      refreshConnections()
    } else if (frame.type === 'event') {
      renderEvent(frame)
      refreshConnections()
    } else if (frame.type === 'error') {
      notify(frame.message)
    }
  }

  #change (changes) {
    Object.assign(this, changes)
    renderRoomButton(this)
    if (selected === this.name) renderRoom(this)
  }
}

/** The name of the room that is shown. */
export let selected = 'members'
export const rooms = { members: new Room('members'), admins: new Room('admins') }

export function selectRoom (name) {
  selected = name
  rooms[name].unread = 0
  rooms[name].link.open()
  for (const room of Object.values(rooms)) renderRoomButton(room)
  renderRoom(rooms[name])
}

function renderRoomButton ({ name, unread }) {
  const button = find(`[data-room=${name}]`)
  button.setAttribute('aria-pressed', String(name === selected))
  const count = find('i', button)
  count.hidden = unread === 0
  count.replaceChildren(String(unread), element('span', 'unseen', ' unread'))
}

function renderRoom (room) {
  const status = find('#status')
  status.dataset.state = room.state
  status.replaceChildren(STATUS[room.state], countdown)
  countSeconds()
  renderLost(room)
  const online = room.state === 'open' ? room.online : []
  find('#online-label').textContent = online.length === 0 ? 'Nobody is online' : 'Online'
  find('#online').replaceChildren(...online.map((name) => element('li', 'badge good', name)))
  find('#composer button').disabled = room.state !== 'open'
  renderMessages(room)
}

/** The seconds until the next attempt. They are not read aloud. */
const countdown = element('span', '', '')
countdown.ariaHidden = 'true'
setInterval(countSeconds, 250)

function countSeconds () {
  const { backAt } = rooms[selected]
  countdown.textContent = backAt === undefined ? '' : ` in ${Math.max(0, Math.ceil((backAt - Date.now()) / 1000))} s`
}

/** Another tab may have logged in another user: all tabs share the cookie. */
function checkUser ({ connection }) {
  if (me !== null && connection.name !== me.user.name) start()
}

const WHYS = {
  connection_replaced: 'Connections that were opened later have taken the place of this one.',
  disconnected: 'An admin has closed this connection. You are still logged in.',
  shutdown: 'The server has been stopped. This page comes back by itself.'
}

/** A replaced or disconnected page comes back by hand only, because two pages would replace each other for ever. */
function renderLost ({ detail }) {
  const reason = detail.split(' ')[1]
  find('#lost').hidden = detail === '' || reason === 'forbidden'
  find('#lost .badge').textContent = detail
  find('#lost .why').textContent = WHYS[reason] ?? ''
  find('#take-back').hidden = reason !== 'connection_replaced' && reason !== 'disconnected'
}

function renderMessages (room) {
  const list = find('#messages')
  const view = list.parentElement
  const isAtEnd = view.scrollHeight - view.scrollTop - view.clientHeight < 60
  list.replaceChildren(...(room.said.length === 0 ? [emptyOf(room)] : room.said.map(messageOf)))
  if (isAtEnd) view.scrollTop = view.scrollHeight
}

function messageOf ({ name, text, at }) {
  const item = cloneOf('#message-template')
  const isMine = name === me?.user.name
  item.classList.toggle('mine', isMine)
  find('.by', item).textContent = isMine ? hourOf(at) : `${name}, ${hourOf(at)}`
  find('.text', item).textContent = text
  return item
}

function emptyOf ({ state, detail }) {
  const item = element('li', 'empty', '')
  if (detail.endsWith(' forbidden')) item.append(element('span', 'badge bad mono', detail), 'This room is for admins, and you are a member.')
  else if (state === 'refused') item.append('Nothing is heard here.')
  else item.append(state === 'open' ? 'Nothing has been said yet. Open a second tab, and talk to yourself.' : 'One moment …')
  return item
}
