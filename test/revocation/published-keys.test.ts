/*
 * Which answers of an endpoint count as a whole set of keys, by a real server.
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import { readPublishedKids } from '../../lib/revocation/published-keys'

const RSA = { kty: 'RSA', n: 'AQAB', e: 'AQAB' }
const GOOD = [{ ...RSA, kid: 'a', use: 'sig' }, { kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA', kid: 'b' }, { kty: 'OKP', crv: 'Ed25519', x: 'AA', kid: 'c' }, { kty: 'AKP', kid: 'd' }]

async function startEndpoint (t: Test): Promise<{ url: string, answer: (respond: (response: ServerResponse) => void) => void }> {
  let respond: (response: ServerResponse) => void = () => {}
  const server = createServer((_request, response) => respond(response))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close(); server.closeAllConnections() })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`, answer: (one) => { respond = one } }
}

t.test('the endpoint of published keys', async (t) => {
  const { url, answer } = await startEndpoint(t)
  const read = async (body: unknown, status = 200): Promise<string[]> => {
    answer((response) => response.writeHead(status, { 'content-type': 'application/json' }).end(typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body)))
    return [...await readPublishedKids(url, fetch, AbortSignal.timeout(5000))]
  }

  t.test('a set of keys gives their names', async (t) => {
    t.strictSame(await read({ keys: GOOD, more: 'x' }), ['a', 'b', 'c', 'd'])
    t.strictSame(await read({ keys: [{ ...RSA, kid: '__proto__' }] }), ['__proto__'])
  })

  t.test('an answer that is empty, broken or not whole is an error', async (t) => {
    const wrong: Array<[body: unknown, message: string, status?: number]> = [
      [{ keys: GOOD }, 'the answer has the status 500', 500], [{ keys: GOOD }, 'the answer has the status 404', 404], ['', 'the answer has the status 204', 204], [{ keys: GOOD }, 'the answer has the status 203', 203],
      ['', 'the answer is not JSON'], ['<html>', 'the answer is not JSON'], [JSON.stringify({ keys: GOOD }).slice(0, -3), 'the answer is not JSON'],
      ['null', 'the answer is not a set of keys'], [[], 'the answer is not a set of keys'], [{}, 'the answer is not a set of keys'], [{ keys: {} }, 'the answer is not a set of keys'], [{ keys: null }, 'the answer is not a set of keys'],
      [{ keys: [] }, 'the set is empty'],
      [{ keys: [...GOOD, null] }, 'the set has a key without a kty'], [{ keys: [...GOOD, { kid: 'e' }] }, 'the set has a key without a kty'], [{ keys: [...GOOD, 'e'] }, 'the set has a key without a kty'],
      [{ keys: [...GOOD, RSA] }, 'the set has a key without a kid'], [{ keys: [{ ...RSA, kid: 5 }] }, 'the set has a key without a kid'], [{ keys: [{ ...RSA, kid: '' }] }, 'the set has a key without a kid'],
      [{ keys: [...GOOD, { ...RSA, kid: 'a' }] }, 'the set has two keys with one kid'],
      [{ keys: [...GOOD, { kty: 'RSA', e: 'AQAB', kid: 'e' }] }, 'the set has a key that is not whole'], [{ keys: [{ kty: 'EC', crv: 'P-256', x: 'AA', y: '', kid: 'e' }] }, 'the set has a key that is not whole'],
      [{ keys: Array.from({ length: 1001 }, (_, i) => ({ ...RSA, kid: String(i) })) }, 'the set has more than 1000 keys'],
      [' '.repeat(2 ** 20 + 1), 'the answer has more than 1048576 bytes']
    ]
    for (const [body, message, status] of wrong) await t.rejects(read(body, status), { message }, `${message} ${JSON.stringify(body).slice(0, 60)}`)
    await t.rejects(read(Buffer.from([0x7b, 0xff, 0x7d])), TypeError, 'not UTF-8')
  })

  t.test('an answer that redirects, breaks off, or never ends is an error', async (t) => {
    answer((response) => response.writeHead(302, { location: url }).end())
    await t.rejects(readPublishedKids(url, fetch, AbortSignal.timeout(5000)))
    answer((response) => { response.writeHead(200, { 'content-length': '100' }); response.write('{"keys":[', () => response.destroy()) })
    await t.rejects(readPublishedKids(url, fetch, AbortSignal.timeout(5000)))
    answer((response) => { response.writeHead(200); response.write('{"keys":[') })
    await t.rejects(readPublishedKids(url, fetch, AbortSignal.timeout(100)), { name: 'TimeoutError' })
    answer(() => {})
    await t.rejects(readPublishedKids(url, fetch, AbortSignal.timeout(100)), { name: 'TimeoutError' })
  })
})
