/*
 * The server's view: its open connections, its counts and its decisions.
 */
import { countDown } from './countdown.js'
import { cloneOf, element, find, logTo, notify, timeOf } from './dom.js'
import { ownIds } from './link.js'
import { me } from './session.js'

let refreshTimer = 0
/** Asks once for many changes, because connections open and close together, and not in a tab that is not seen. */
export function refreshConnections () {
  if (refreshTimer !== 0 || document.hidden) return
  refreshTimer = setTimeout(async () => {
    refreshTimer = 0
    const response = await fetch('/connections').catch(() => null)
    if (!response?.ok) return
    const { connections, stats } = await response.json()
    renderConnections(connections)
    if (stats !== null) renderStats(stats)
  }, 200)
}

document.addEventListener('visibilitychange', () => { if (me !== null) refreshConnections() })

/** Shows the counts of the app; those of routes, and how long things took, are for dashboards. */
function renderStats ({ refused, closed, ...rest }) {
  const counts = Object.fromEntries(Object.entries(rest).filter(([, count]) => typeof count === 'number'))
  const badgesOf = (group, counts) => Object.entries(counts).map(([name, count]) => element('li', 'badge', `${group}${name} ${count}`))
  find('#stats').replaceChildren(...badgesOf('', counts), ...badgesOf('refused ', happened(refused)), ...badgesOf('closed ', happened(closed)))
}

/** Leaves out what has not happened: a code or a reason whose count is 0. */
function happened (counts) {
  return Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0))
}

/** Shows a decision of the server: where, about which user, and why. */
export function renderEvent ({ event: { event, dryRun, code, reason, source, route, sub, duration } }) {
  const parts = [event, dryRun && '(dry run)', code, reason, route, source && `by ${source}`, sub && `as ${sub}`, `${Math.round(duration)} ms`]
  logTo(find('#events'), parts.filter(Boolean).join(' '))
}

function renderConnections (connections) {
  const isAdmin = me?.user.roles.includes('admin')
  const focused = document.activeElement?.closest('.connection')?.dataset.id
  find('#connections').replaceChildren(...connections.map(({ id, name, roles, source, openedAt, expiresAt }) => {
    const item = cloneOf('#connection-template')
    const button = find('button', item)
    item.dataset.id = id
    button.ariaLabel = `Disconnect ${name} by ${source}, ${id}`
    button.onclick = () => disconnect(id)
    if (!isAdmin) button.remove()
    find('.face', item).textContent = name.slice(0, 1)
    find('.who', item).append(name, element('span', 'badge', roles.join(', ')), element('span', 'badge accent', source))
    if (ownIds.has(id)) find('.who', item).append(element('span', 'badge good', 'this page'))
    find('.mono', item).textContent = id
    find('.since', item).textContent = `since ${timeOf(openedAt)}`
    countDown(find('.left', item), expiresAt)
    return item
  }))
  // The list is a new one, so the focus goes to the same button again, or to the result of its press.
  if (focused !== undefined) (find(`[data-id="${focused}"] button`) ?? find('#disconnect-result')).focus()
}

/** Shows the answer of each instance. An instance without the connection has closed 0. */
export async function disconnect (id) {
  const response = await fetch(`/connections/${encodeURIComponent(id)}/disconnect`, { method: 'POST' }).catch(() => null)
  if (!response?.ok) return notify('That did not work: the connection may be open still.')
  const { closed, instances } = await response.json()
  const answers = instances.map(({ id, answered, closed }) => `${id} ${answered ? `closed ${closed}` : 'did not answer'}`)
  find('#disconnect-result').textContent = `Disconnected ${closed}: ${answers.join(', ')}`
  refreshConnections()
}
