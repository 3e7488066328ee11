/*
 * The page: shows the login or the chat, and does what the user asks for.
 */
import { attacks } from './attacks.js'
import { disconnect } from './connections.js'
import { find, notify } from './dom.js'
import { closeAll } from './link.js'
import { refusals } from './refusals.js'
import { rooms, selected, selectRoom } from './rooms.js'
import { listen, logIn, logOut, me, start } from './session.js'
import { wayLinks } from './ways.js'
import './life.js'

function showLogin (why) {
  closeAll()
  for (const list of [find('#life-log'), find('#events'), find('#stats')]) list.replaceChildren()
  find('#login-error').textContent = why
  show('login', why !== '')
}

function showChat () {
  closeAll()
  const isAdmin = me.user.roles.includes('admin')
  find('#who').textContent = me.user.name
  find('#role').textContent = isAdmin ? 'admin' : 'member'
  find('#connections-scope').textContent = `At ${window.location.host}; another instance has its own. ` +
    (isAdmin ? 'You are an admin: all of them.' : 'You are a member: your own. An admin sees all.')
  find('#disconnect').hidden = !isAdmin
  find('#disconnect-result').textContent = ''
  for (const room of Object.values(rooms)) room.clear()
  for (const { clear } of [...attacks, ...refusals]) clear()
  show('app')
  rooms.members.link.open()
  if (isAdmin) rooms.admins.link.open()
  for (const link of wayLinks) link.open()
  selectRoom('members')
}

/** Shows the login or the chat. A page whose login was ended elsewhere goes dark, so that it is seen from afar. */
function show (id, isDark = false) {
  document.documentElement.classList.toggle('dark', isDark)
  find('#login').hidden = id !== 'login'
  for (const each of ['#app', '#account', '#status', '#sections']) find(each).hidden = id !== 'app'
  if (id === 'login') find('#name').focus()
}

// Connections stay open without a network, because the server may be on this device.
window.addEventListener('offline', showNetwork)
window.addEventListener('online', showNetwork)

function showNetwork () {
  find('#offline').hidden = navigator.onLine
}

for (const button of document.querySelectorAll('[data-room]')) button.onclick = () => selectRoom(button.dataset.room)

find('#try-all').onclick = async () => {
  for (const { run } of refusals) await run()
}

for (const button of document.querySelectorAll('.accounts button')) {
  button.onclick = () => {
    find('#name').value = button.dataset.name
    find('#password').value = button.dataset.password
    find('#login-form button').focus()
  }
}

find('#login-form').onsubmit = async (event) => {
  event.preventDefault()
  find('#login-error').textContent = ''
  try {
    await logIn(find('#name').value.trim(), find('#password').value)
    event.target.reset()
  } catch (error) {
    find('#login-error').textContent = error instanceof TypeError ? 'The server cannot be reached. Please try again.' : error.message
    find('#password').select()
  }
}

find('#logout').onclick = () => logOut('/logout')

find('#logout-everywhere').onclick = async () => {
  const done = await logOut('/logout-everywhere')
  if (done !== null) notify(`Logged out everywhere: ${done.closed} connections were closed, on ${done.instances} ${done.instances === 1 ? 'instance' : 'instances'}.`)
}

find('#disconnect').onsubmit = (event) => {
  event.preventDefault()
  disconnect(find('#disconnect-id').value.trim())
  event.target.reset()
}

find('#take-back').onclick = () => rooms[selected].link.open()

find('#composer').onsubmit = (event) => {
  event.preventDefault()
  const field = find('#text')
  if (field.value.trim() === '') return
  if (rooms[selected].link.send({ type: 'say', text: field.value })) field.value = ''
  else notify('Not connected: the message is still here, send it in a moment.')
}

showNetwork()
listen(showChat, showLogin)
start()
