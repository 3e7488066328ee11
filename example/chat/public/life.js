/*
 * One connection from its first message to its end, to be watched, and as many more as a user may have. The first is a plain WebSocket,
 * because the client hides the frames that are to be seen.
 */
import { countDown, setClock } from './countdown.js'
import { find, logTo, notify, timeOf } from './dom.js'
import { Link, links, openSocket } from './link.js'
import { freshToken, me } from './session.js'

/** How many connections a user may have: `limits.perUser` of app.ts. */
const LIMIT = 120

const logLife = (text) => logTo(find('#life-log'), text)
let socket = null

function show (state, detail = '') {
  const badge = find('#life-state')
  badge.dataset.state = state
  badge.textContent = detail || state
  for (const id of ['#life-open', '#life-silent']) find(id).disabled = state === 'connecting' || state === 'open'
  find('#life-close').disabled = state === 'closed'
  find('#life-renew').disabled = state !== 'open'
  if (state !== 'open') countDown(find('#life-left'))
  if (detail !== '') logLife(`closed ${detail}`)
}

async function openLife (isSilent) {
  logLife(isSilent ? 'connecting, and nothing is sent' : 'connecting, and {"type":"auth","token":"…"} is sent')
  show('connecting')
  const token = isSilent ? null : await freshToken().catch(() => null)
  if (!isSilent && token === null) return show('closed')
  const opened = socket = openSocket({ path: '/members/first-message' })
  opened.onopen = () => { if (!isSilent) opened.send(JSON.stringify({ type: 'auth', token })) }
  opened.onmessage = ({ data }) => { if (opened === socket) read(JSON.parse(data)) }
  opened.onclose = ({ code, reason }) => { if (opened === socket) show('closed', code === 1006 ? '' : `${code} ${reason}`) }
}

function read ({ type, code, connection, expiresIn, expiresAt = connection?.expiresAt }) {
  if (type === 'auth.ok' && expiresAt !== null) setClock(expiresAt - expiresIn)
  if (type === 'welcome') show('open')
  if (type === 'welcome' || type === 'auth.ok') countDown(find('#life-left'), expiresAt)
  if (type.startsWith('auth.')) logLife(`received ${[type, code, expiresAt && `until ${timeOf(expiresAt)}`].filter(Boolean).join(' ')}`)
  if (type === 'auth.renew' && find('#auto-renew').checked) renew()
}

async function renew () {
  const token = await freshToken().catch(() => null)
  if (token === null) notify('There is no new token: the connection ends with the old one.')
  else if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: 'auth', token }))
}

function close () {
  const closed = socket
  socket = null
  closed?.close(1000)
  show('closed')
}

find('#life-open').onclick = () => openLife(false)
find('#life-silent').onclick = () => openLife(true)
find('#life-renew').onclick = renew
find('#life-close').onclick = close
links.add({ close })
close()

/** Opens as many as the user may have, and one more, some at a time. The server closes the oldest. */
find('#one-more').onclick = async () => {
  const response = await fetch('/connections').catch(() => null)
  if (!response?.ok) return notify('The server cannot be reached.')
  const { connections } = await response.json()
  let missing = LIMIT + 1 - connections.filter(({ name }) => name === me.user.name).length
  for (; missing > 0; missing -= 20) await Promise.allSettled(Array.from({ length: Math.min(missing, 20) }, openOneMore))
}

function openOneMore () {
  const link = new Link({
    path: '/members',
    options: { shouldReconnect: () => false },
    onFrame: () => {},
    onState: (_status, detail) => {
      if (link.isWanted) return
      links.delete(link)
      if (detail) notify(`One more was closed: ${detail}`)
    }
  })
  link.open()
  return link.opened
}
