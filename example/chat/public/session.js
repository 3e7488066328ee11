/*
 * The login: it begins and ends here, in this tab and in the others.
 */
import { find, notify } from './dom.js'
import { delayOf } from './retry.js'

const post = (path, body) => fetch(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })

/** `{ user: { name, roles } }`, or `null`. No script can read the cookie, so the server is asked. */
export let me = null

let onLogin = () => {}
let onLogout = () => {}

/** Says what the page does when a login begins, and when it ends: the latter is given the reason, or ''. */
export function listen (login, logout) {
  onLogin = login
  onLogout = logout
}

/** Rejects if the server cannot be reached, which says nothing about the login. */
async function fetchMe () {
  const response = await fetch('/me')
  if (response.status === 401) return null
  if (!response.ok) throw new Error(`/me: ${response.status}`)
  return response.json()
}

/** Rejects with what the server says. */
export async function logIn (name, password) {
  const response = await post('/login', { name, password })
  const body = await response.json()
  if (!response.ok) throw new Error(body.message)
  begin(body)
  otherTabs.postMessage('in')
}

/** Tells the other tabs of a login and a logout. */
const otherTabs = new BroadcastChannel('login')
otherTabs.onmessage = ({ data }) => {
  if (data === 'in') start()
  // Else the closed connection has told this tab already, and it says why.
  else if (me !== null) start(0, 'You have been logged out in another window. Please log in again.')
}

/** Asks the server for the login, until it can be reached. `why` is what the page says if there is none. */
export async function start (attempt = 0, why = '') {
  try {
    const found = await fetchMe()
    if (found === null) end(why)
    else begin(found)
  } catch {
    setTimeout(start, delayOf(attempt), attempt + 1, why)
  }
}

function begin (found) {
  me = found
  onLogin()
}

function end (why = '') {
  me = null
  onLogout(why)
}

/** Whether a refused token was all that ended. The login may have: by a logout, its expiry, or another secret of the server. */
export async function isStillLoggedIn (detail) {
  const found = await fetchMe()
  if (found === null) onLoggedOut(detail)
  else me = found
  return found !== null
}

function onLoggedOut (detail) {
  if (me !== null) end(`You have been logged out${detail ? ` (${detail})` : ''}. Please log in again.`)
}

/** Ends the login, or all of the user's. The page says nothing of connections that close meanwhile. */
export async function logOut (path) {
  me = null
  const response = await fetch(path, { method: 'POST' }).catch(() => null)
  // 401: the login had ended already.
  if (response?.ok || response?.status === 401) otherTabs.postMessage('out')
  else notify('That did not work: you may still be logged in.')
  await start()
  return response?.status === 200 ? response.json() : null
}

/** A new token, by the login in the cookie, or `null` if the login has ended. A script can read it, so it lives briefly. */
export async function freshToken () {
  const response = await post('/token', { lifetime: Number(find('#lifetime').value) })
  if (response.status === 401) {
    onLoggedOut()
    return null
  }
  if (!response.ok) throw new Error(`/token: ${response.status}`)
  return (await response.json()).token
}

/** A ticket for one connection within 30 s, by the login in the cookie. */
export async function freshTicket () {
  const response = await fetch('/ws-ticket', { method: 'POST' })
  if (response.status === 401) onLoggedOut()
  if (!response.ok) throw new Error(`/ws-ticket: ${response.status}`)
  return (await response.json()).ticket
}
