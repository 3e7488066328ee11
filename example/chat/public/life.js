/*
 * One connection from its first message to its end, to be watched, and as many more as a user may have.
 */
import { countDown } from './countdown.js'
import { find, logTo, notify, timeOf } from './dom.js'
import { Link, links } from './link.js'
import { freshToken } from './session.js'

const logLife = (text) => logTo(find('#life-log'), text)
let isSilent = false

const lifeLink = new Link({
  isLasting: false,
  address: async () => {
    if (isSilent) return { path: '/members/first-message' }
    return { path: '/members/first-message', firstMessage: { type: 'auth', token: await freshToken() } }
  },
  onState: (state, detail = '') => {
    const badge = find('#life-state')
    badge.dataset.state = state
    badge.textContent = detail || state
    for (const id of ['#life-open', '#life-silent']) find(id).disabled = lifeLink.isWanted
    find('#life-close').disabled = !lifeLink.isWanted
    find('#life-renew').disabled = state !== 'open'
    if (state !== 'open') countDown(find('#life-left'))
    if (detail !== '') logLife(`closed ${detail}`)
  },
  onFrame: ({ type, code, connection, expiresAt = connection?.expiresAt }) => {
    if (type === 'welcome' || type === 'auth.ok') countDown(find('#life-left'), expiresAt)
    if (type.startsWith('auth.')) logLife(`received ${[type, code, expiresAt && `until ${timeOf(expiresAt)}`].filter(Boolean).join(' ')}`)
  }
})

function openLife (silently) {
  isSilent = silently
  logLife(silently ? 'connecting, and nothing is sent' : 'connecting, and {"type":"auth","token":"…"} is sent')
  lifeLink.open()
}

find('#life-open').onclick = () => openLife(false)
find('#life-silent').onclick = () => openLife(true)
find('#life-renew').onclick = () => lifeLink.renew()
find('#life-close').onclick = () => lifeLink.close()
lifeLink.close()

/** Opens one more. Past the limit the server closes the oldest. */
find('#one-more').onclick = () => {
  const link = new Link({
    address: async () => ({ path: '/members' }),
    isLasting: false,
    isRenewable: false,
    onFrame: () => {},
    onState: (state, detail) => {
      if (link.isWanted) return
      links.delete(link)
      if (detail) notify(`One more was closed: ${detail}`)
    }
  })
  link.open()
}
