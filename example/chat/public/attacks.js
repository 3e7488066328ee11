/*
 * The same attack on a hand-written websocket and on a guarded one, side by side.
 */
import { cloneOf, element, find, notify } from './dom.js'

const ATTACKS = [
  { name: 'log', title: 'The token in the log', about: 'The page connects with ?token=. An attacker reads the log of the server.' },
  { name: 'expiry', title: 'Talking after expiry', about: 'The token lives for 6 s. The client goes on talking after 8 s.' },
  { name: 'origin', title: 'Another site uses the cookie', about: 'A page of another site connects, and the browser adds the cookie.' }
]

/** One for each row: `clear` forgets the result. */
export const attacks = ATTACKS.map(({ name, title, about }) => {
  const row = cloneOf('#attack-template')
  const button = find('button', row)
  const status = find('.running', row)
  row.dataset.attack = name
  find('h3', row).textContent = title
  find('.about', row).textContent = about
  button.ariaLabel = `Attack: ${title}`
  find('#attacks').append(row)

  const columns = ['handWritten', 'guarded'].map((server) => [server, find(`[data-server=${server}]`, row)])
  const clear = () => {
    status.textContent = ''
    for (const [, column] of columns) find('ul', column).replaceChildren()
  }
  button.onclick = async () => {
    clear()
    button.disabled = true
    status.textContent = 'The attack is running …'
    const response = await fetch(`/attacks/${name}`, { method: 'POST' }).catch(() => null)
    button.disabled = false
    status.textContent = ''
    if (!response?.ok) return notify('The attack could not be run.')
    const outcomes = await response.json()
    for (const [server, column] of columns) find('ul', column).replaceChildren(...stepsOf(outcomes[server]))
    status.textContent = `Hand-written: ${wordOf(outcomes.handWritten)}. fastify-ws-auth: ${wordOf(outcomes.guarded)}.`
    button.focus()
  }
  return { clear }
})

function wordOf ({ isSafe }) {
  return isSafe ? 'the attack fails' : 'the attack succeeds'
}

function stepsOf (outcome) {
  const verdict = element('li', '', '')
  verdict.append(element('span', `badge ${outcome.isSafe ? 'good' : 'bad'}`, wordOf(outcome)))
  return [...outcome.steps.map((step) => element('li', 'small', step)), verdict]
}
