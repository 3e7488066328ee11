/*
 * Four places for a token, and the server's view of each connection.
 */
import { countDown } from './countdown.js'
import { cloneOf, find, notify, timeOf } from './dom.js'
import { Link } from './link.js'
import { freshTicket, freshToken } from './session.js'

const WAYS = [{
  title: 'Cookie',
  code: 'new WebSocket("/members")',
  about: 'The browser adds it to every handshake, from any page, so the Origin is checked. No script can read it.',
  isRenewable: false,
  address: async () => ({ path: '/members' })
}, {
  title: 'Subprotocol',
  code: 'new WebSocket("/members", ["bearer", token])',
  about: 'A header that a page can set. No other page has the token, and no URL or log shows it.',
  address: async () => ({ path: '/members', protocols: ['bearer', await freshToken()] })
}, {
  title: 'Query',
  code: 'new WebSocket("/members?token=" + token)',
  about: 'Works everywhere. It is taken out before Fastify logs the URL, but a proxy may log it.',
  address: async () => ({ path: `/members?token=${await freshToken()}` })
}, {
  title: 'Ticket',
  code: 'new WebSocket("/members?ticket=" + ticket)',
  about: 'From POST /ws-ticket, by the cookie. Works everywhere and only once: in a log it is worth nothing.',
  isRenewable: false,
  address: async () => ({ path: `/members?ticket=${await freshTicket()}` })
}]

/** One link for each way. */
export const wayLinks = WAYS.map(({ title, code, about, address, isRenewable }) => {
  const card = cloneOf('#way-template')
  const button = find('[data-do=open]', card)
  const renewButton = find('[data-do=renew]', card)
  const badge = find('.badge', card)
  find('h3', card).textContent = title
  find('code', card).textContent = code
  find('p', card).textContent = about
  card.dataset.way = title.toLowerCase()

  const onState = (state, detail = '') => {
    badge.dataset.state = state
    badge.textContent = detail || state
    button.textContent = link.isWanted ? 'Close' : 'Open'
    button.ariaLabel = `${button.textContent}: ${title}`
    renewButton.disabled = state !== 'open'
    if (state !== 'open') fillView(card, {})
  }
  const link = new Link({
    address,
    isRenewable,
    onState,
    onFrame: (frame, { protocol }) => {
      if (frame.type === 'welcome') fillView(card, { ...frame.connection, protocol: protocol || 'none' })
      if (frame.type === 'auth.ok') countDown(find('[data-field=expiresAt]', card), frame.expiresAt)
      if (frame.type === 'auth.error') notify(`Not renewed: ${frame.code}`)
    }
  })
  renewButton.hidden = isRenewable === false
  renewButton.ariaLabel = `Renew: ${title}`
  renewButton.onclick = () => link.renew()
  button.onclick = () => link.isWanted ? link.close() : link.open()
  find('#ways').append(card)
  return link
})

function fillView (card, { id, source, name, roles, openedAt, expiresAt, protocol }) {
  const fields = {
    source,
    user: name && `${name} (${roles.join(', ')})`,
    openedAt: openedAt && timeOf(openedAt),
    protocol,
    id: id?.slice(0, 8)
  }
  for (const [field, text] of Object.entries(fields)) find(`[data-field=${field}]`, card).textContent = text || '–'
  countDown(find('[data-field=expiresAt]', card), expiresAt)
}
