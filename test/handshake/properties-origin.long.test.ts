/*
 * Properties of origins: whatever a page's address is, it may connect to its own host, and no other may, however much alike
 * they are.
 */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { Arbitrary } from 'fast-check'
import t from 'tap'
import { isSameHost } from '../../lib/handshake/origin'
import { sign, start } from '../helpers/app'
import { anyCase, anyText, holds, holdsAsync } from '../helpers/arbitraries'
import { RawClient } from '../helpers/raw-client'

const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?$/)
const international = fc.constantFrom('bücher', '例え', 'пример', 'straße', 'é')
const domain = fc.array(fc.oneof({ weight: 4, arbitrary: label }, international), { minLength: 1, maxLength: 3 }).map((labels) => [...labels, 'example'].join('.'))
const host = fc.oneof({ weight: 3, arbitrary: domain }, fc.ipV4(), fc.ipV6().map((address) => `[${address}]`), fc.constantFrom('localhost', 'a', '[::1]', '127.0.0.1'))
const port = fc.option(fc.oneof(fc.constantFrom(80, 443, 8080), fc.integer({ min: 1, max: 65_535 })), { nil: null })
const scheme = fc.constantFrom('http:', 'https:')

function isUrl (text: string): boolean {
  return URL.canParse(text)
}

/** The address of a page, as the WHATWG writes it. */
const page: Arbitrary<URL> = fc.tuple(scheme, host, port)
  .map(([scheme, host, port]) => `${scheme}//${host}${port === null ? '' : `:${port}`}`)
  .filter(isUrl)
  .map((text) => new URL(text))

function defaultPort ({ protocol }: URL): string {
  return protocol === 'https:' ? '443' : '80'
}

/** The Host of a request to it: the default port may be said, and a host has no case. */
function hostsOf (url: URL): Arbitrary<string> {
  return fc.constantFrom(url.host, url.port === '' ? `${url.hostname}:${defaultPort(url)}` : url.host).chain(anyCase)
}

t.test('a page may connect to the host that it came from', async (t) => {
  holds(fc.property(page.chain((url) => fc.tuple(fc.constant(url), hostsOf(url))), ([url, host]) => {
    assert.ok(isSameHost(url.origin, host, false), `${url.origin} to ${host}`)
  }), 3000)
  t.pass()
})

t.test('a page of another host or port may not connect, whatever the case of its Host', async (t) => {
  // Near ones by chance and by construction.
  const pair = fc.tuple(page, page).chain(([one, other]) => fc.tuple(fc.constant(one), fc.constantFrom(other, one), port, fc.boolean()))
  holds(fc.property(pair.chain(([from, to, port, isMoved]) => {
    const moved = new URL(to)
    if (isMoved) moved.port = String(port ?? '')
    return fc.tuple(fc.constant(from), fc.constant(moved), hostsOf(moved))
  }), ([from, to, host]) => {
    // A Host without a port is any scheme's default.
    const requested = new URL(`${from.protocol}//${host}`)
    assert.equal(isSameHost(from.origin, host, false), requested.host === from.host, `${from.origin} to ${host} of ${to.href}`)
  }), 3000)
  t.pass()
})

/** What is like a host, and is somebody else's. */
function neighbours (url: URL): string[] {
  const { protocol, host, hostname, port } = url
  const name = hostname.replace(/^\[|\]$/g, '')
  return [
    `${protocol}//evil-${host}`, `${protocol}//x.${host}`, `${protocol}//x${host}`, `${protocol}//${host}.evil.example`, `${protocol}//${hostname}.evil.example:${port}`,
    `${protocol}//${hostname}.${port === '' ? '' : `:${port}`}`, `${protocol}//${host}@evil.example`, `${protocol}//evil.example@${host}`, `${protocol}//evil.example#${host}`,
    `${protocol}//evil.example/${host}`, `${protocol}//evil.example?${host}`, `${protocol}//evil.example\\${host}`, `${protocol}//${host}/`, `${protocol}//${host}/x`, `${protocol}//${host}?`, `${protocol}//${host}#`,
    `${protocol}//${host} `, ` ${protocol}//${host}`, `${protocol}//${host}\t`, `${protocol}//${host},${protocol}//evil.example`, `${protocol}//evil.example, ${protocol}//${host}`, `${protocol}//${host} ${protocol}//evil.example`,
    `${protocol}//${hostname}:${port === '81' ? '82' : '81'}`, `${protocol}//${hostname}:0${port || defaultPort(url)}`, `${protocol}//${hostname}:`, `${protocol}//${host}:`, `${protocol}//${host}:80:443`,
    `${protocol}${host}`, `${protocol}/${host}`, `${protocol}///${host}`, `${protocol}\\\\${host}`, host, `//${host}`, 'null', '', protocol, `${protocol}//`,
    `ws${protocol.slice(4)}//${host}`, `ftp://${host}`, `file://${host}`, `blob:${protocol}//${host}`, `${protocol.toUpperCase()}//${host}`, `chrome-extension://${host}`,
    `${protocol}//${hostname.replace('.', '%2e')}:${port}x`, `${protocol}//${host}%00`, `${protocol}//${host}\0`, `${protocol}//[${name}`, `${protocol}//${name}]`, `${protocol}//[${name}]evil.example`
  ].filter((origin) => origin !== url.origin)
}

t.test('a page whose Origin resembles the host may not connect', async (t) => {
  holds(fc.property(page.chain((url) => fc.tuple(fc.constant(url), fc.constantFrom(...neighbours(url)), hostsOf(url))), ([, origin, host]) => {
    assert.ok(!isSameHost(origin, host, false), `${JSON.stringify(origin)} to ${host}`)
  }), 6000)
  t.pass()
})

t.test('an Origin and a Host match only if they name the same host and port', async (t) => {
  const text = fc.oneof(anyText, fc.string({ unit: fc.constantFrom(...'ab.:/@[]80 443htps'), maxLength: 10 }))
  const origin = fc.tuple(fc.constantFrom('http://', 'https://', 'http:/', 'null', '', 'HTTP://', 'ws://'), text).map((parts) => parts.join(''))
  holds(fc.property(origin, text, fc.boolean(), (origin, host, isSame) => {
    const to = isSame ? origin.slice(origin.indexOf('//') + 2) : host
    if (!isSameHost(origin, to, false)) return
    const [, scheme = '', name = ''] = /^(https?):\/\/(.+)$/s.exec(origin) ?? []
    assert.notEqual(name, '', 'it has a host')
    const byDefault = scheme === 'https' ? ':443' : ':80'
    assert.ok([name, `${name}${byDefault}`].includes(to.toLowerCase()) || name === `${to.toLowerCase()}${byDefault}`, `${JSON.stringify(origin)} to ${JSON.stringify(to)}`)
    // And where both are what they should be, the WHATWG says so too.
    if (isUrl(origin) && new URL(origin).origin === origin) assert.equal(new URL(`${scheme}://${to}`).host, new URL(origin).host)
  }), 6000)
  t.pass()
})

/** What a client can send as a header that arrives as it was. */
function isSendable (text: string): boolean {
  return /^[\t\x20-\x7E]*$/.test(text) && text.trim() === text
}

t.test('a handshake with a cookie is accepted from its own host and from no other, a list is exact, and a header needs neither', async (t) => {
  const list = ['https://chat.example', 'http://chat.example:8080', 'https://xn--bcher-kva.example', 'http://[::1]:3000', 'capacitor://localhost']
  const { port } = await start(t, {
    server: { logger: false },
    routes: (app) => {
      app.get('/same', { websocket: true }, () => {})
      app.get('/list', { websocket: true, wsAuth: { origin: list } }, () => {})
    }
  })
  const token = sign()
  const listed = fc.constantFrom(...list)
  const near = listed.filter(isUrl).chain((origin) => fc.constantFrom(...neighbours(new URL(origin)), origin.toUpperCase(), origin.replace('chat', 'Chat')))
  const anyOrigin = fc.oneof(listed, near, page.map(({ origin }) => origin), fc.string({ unit: 'grapheme-ascii', maxLength: 20 }))
  const origin = anyOrigin.filter(isSendable)
  const pair = fc.oneof(
    page.chain((url) => fc.tuple(fc.oneof(fc.constant(url.origin), origin), hostsOf(url))),
    listed.filter(isUrl).chain((own) => fc.tuple(fc.oneof(fc.constant(own), fc.constantFrom(...neighbours(new URL(own)))).filter(isSendable), fc.constant(own.replace(/^\w+:\/\//, ''))))
  )
  await holdsAsync(fc.asyncProperty(fc.constantFrom('/same', '/list'), fc.boolean(), pair, async (path, isCookie, [origin, host]) => {
    const client = await RawClient.open(t, port)
    const credential = isCookie ? { cookie: `token=${token}` } : { authorization: `Bearer ${token}` }
    const { status } = await client.upgrade({ path, headers: { ...credential, origin, host } }).response()
    client.socket.destroy()
    const isReal = isUrl(origin) && new URL(origin).origin === origin && /^https?:/.test(origin)
    const isSame = isReal && new URL(`${new URL(origin).protocol}//${host}`).host === new URL(origin).host
    const isAllowed = path === '/list' ? list.includes(origin) : isSame || !isCookie
    assert.equal(status, isAllowed ? 101 : 403, JSON.stringify(origin))
  }), 500)
  t.pass()
})
