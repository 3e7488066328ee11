/*
 * Handshakes that the server refuses, each also as a plain request, because a page cannot see the status of a handshake.
 */
import { cloneOf, element, find, notify } from './dom.js'
import { openSocket } from './link.js'
import { freshTicket, freshToken } from './session.js'

const GARBAGE = 'not.a.token'
const REFUSALS = [{
  name: 'missing',
  title: 'No token',
  about: 'To /members/no-cookie, where the cookie does not count',
  attempt: async () => ({ path: '/members/no-cookie' })
}, {
  name: 'garbage',
  title: 'A garbage token',
  about: 'The good cookie beside it does not help: there is no fall-through',
  attempt: async () => ({ path: '/members', token: GARBAGE })
}, {
  name: 'expired',
  title: 'An expired token',
  about: 'Genuine, but a minute past its time',
  attempt: async () => ({ path: '/members', token: (await (await fetch('/expired-token')).json()).token })
}, {
  name: 'forbidden',
  title: 'Into the admins’ room',
  about: 'With your own token',
  attempt: async () => ({ path: '/admins', token: await freshToken() })
}, {
  name: 'ambiguous',
  title: 'Two tokens',
  about: 'A good one, and another in the query: the server does not guess',
  attempt: async () => ({ path: `/members?token=${GARBAGE}`, token: await freshToken() })
}, {
  name: 'spent',
  title: 'A ticket for the second time',
  about: 'It has opened a connection before, and is good for one',
  attempt: async () => {
    const spent = { path: `/members?ticket=${await freshTicket()}` }
    await handshake(spent)
    return spent
  }
}]

/** The same handshake as a plain request: it gets the status that the handshake would get, or 426 if it would be accepted. */
async function dryRun ({ path, token }) {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
  const response = await fetch(path, { headers, credentials: 'omit' })
  const { code } = await response.json()
  return { isRefused: response.status !== 426, label: 'fetch', text: `${response.status} ${code ?? 'accepted'}` }
}

function handshake ({ path, token }) {
  return new Promise((resolve) => {
    const socket = openSocket({ path, protocols: token === undefined ? [] : ['bearer', token] })
    socket.onclose = ({ code, reason }) => resolve({ isRefused: true, label: 'WebSocket', text: `${code} ${reason}` })
    socket.onmessage = () => {
      resolve({ isRefused: false, label: 'WebSocket', text: 'open' })
      socket.close(1000)
    }
  })
}

/** One for each row: `run` tries it, `clear` forgets the result. */
export const refusals = REFUSALS.map(({ name, title, about, attempt }) => {
  const row = cloneOf('#refusal-template')
  const button = find('button', row)
  row.dataset.refusal = name
  find('h3', row).textContent = title
  find('p', row).textContent = about
  button.ariaLabel = `Try: ${title}`
  find('#refusals').append(row)

  const showResults = (...results) => find('.result', row).replaceChildren(...results.map(resultOf))
  const run = async () => {
    button.disabled = true
    try {
      const made = await attempt()
      showResults(...await Promise.all([dryRun(made), handshake(made)]))
    } catch {
      notify('The server cannot be reached.')
    } finally {
      button.disabled = false
    }
  }
  button.onclick = run
  return { run, clear: () => showResults() }
})

function resultOf ({ isRefused, label, text }) {
  const result = element('span', 'small muted', label)
  result.append(element('span', `badge mono ${isRefused ? 'bad' : 'good'}`, text))
  return result
}
