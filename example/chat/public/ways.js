/*
 * Four places for a token, and the server's view of each connection.
 */
import { countDown, countDownFor } from './countdown.js'
import { cloneOf, find, timeOf } from './dom.js'
import { Link } from './link.js'
import { freshToken } from './session.js'

const WAYS = [{
  title: 'Cookie',
  code: 'connect("/members")',
  about: 'The browser adds it to every handshake, from any page, so the Origin is checked. No script can read it.',
  isRenewable: false
}, {
  title: 'Subprotocol',
  code: 'connect("/members", { token })',
  about: 'A header that a page can set. No other page has the token, and no URL or log shows it.',
  options: { token: freshToken }
}, {
  title: 'Query',
  code: 'connect("/members", { token, via: "query" })',
  about: 'Works everywhere. It is taken out before Fastify logs the URL, but a proxy may log it.',
  options: { token: freshToken, via: 'query' }
}, {
  title: 'Ticket',
  code: 'connect("/members", { ticket: true })',
  about: 'From POST /ws-ticket, by the cookie. Works everywhere and only once: in a log it is worth nothing.',
  options: { ticket: true },
  isRenewable: false
}]

/** One link for each way. */
export const wayLinks = WAYS.map(({ title, code, about, options, isRenewable }) => {
  const card = cloneOf('#way-template')
  const button = find('[data-do=open]', card)
  const renewButton = find('[data-do=renew]', card)
  const badge = find('.badge', card)
  find('h3', card).textContent = title
  find('code', card).textContent = code
  find('p', card).textContent = about
  card.dataset.way = title.toLowerCase()

  const onState = (state, detail, { expiresIn }) => {
    badge.dataset.state = state
    badge.textContent = detail || state
    button.textContent = link.isWanted ? 'Close' : 'Open'
    button.ariaLabel = `${button.textContent}: ${title}`
    renewButton.disabled = state !== 'open'
    if (state !== 'open') fillView(card, {})
    else countDownFor(find('[data-field=expiresAt]', card), expiresIn)
  }
  const link = new Link({
    path: '/members',
    options,
    onState,
    onFrame: (frame, protocol) => {
      if (frame.type === 'welcome') fillView(card, { ...frame.connection, protocol: protocol || 'none' })
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
