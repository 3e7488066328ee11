/*
 * Whether an Origin names the host that a request was sent to: character by character, since what is close is somebody else's.
 */
import t from 'tap'
import { isSameHost } from '../../lib/handshake/origin'

const SAME: Array<[origin: string, host: string]> = [
  ['http://example.com', 'example.com'],
  ['https://example.com', 'example.com'],
  ['http://example.com', 'example.com:80'],
  ['https://example.com', 'example.com:443'],
  ['http://example.com:8080', 'example.com:8080'],
  ['https://example.com:8443', 'EXAMPLE.com:8443'],
  ['https://example.com', 'Example.Com'],
  ['https://[2001:db8::1]', '[2001:DB8::1]'],
  ['https://[2001:db8::1]', '[2001:db8::1]:443'],
  ['http://[::1]:3000', '[::1]:3000'],
  ['http://localhost:12', 'localhost:12']
]

const OTHER: Array<[origin: string, host: string]> = [
  ['http://example.com', 'example.com:443'],
  ['https://example.com', 'example.com:80'],
  ['http://example.com:8080', 'example.com'],
  ['http://example.com', 'example.com:8080'],
  ['http://example.com:8080', 'example.com:808'],
  ['http://example.com:12', 'example.com:1'],
  ['https://example.com.', 'example.com'],
  ['https://example.com', 'example.com.'],
  ['https://sub.example.com', 'example.com'],
  ['https://example.com.evil.test', 'example.com'],
  ['https://evil.test', 'example.com'],
  ['https://example.com/', 'example.com'],
  ['https://example.com/path', 'example.com'],
  ['https://user@example.com', 'example.com'],
  ['HTTPS://example.com', 'example.com'],
  ['https://EXAMPLE.com', 'example.com'],
  ['ws://example.com', 'example.com'],
  ['ftp://example.com', 'example.com'],
  ['https:/example.com', 'example.com'],
  ['https:example.com', 'example.com'],
  ['https:/', ''],
  ['https:/x', ''],
  ['https://', ''],
  ['http://', ''],
  ['https:///example.com', 'example.com'],
  ['https:/xexample.com', 'example.com'],
  ['//example.com', 'example.com'],
  ['example.com', 'example.com'],
  ['https', ''],
  ['null', 'null'],
  ['null', ''],
  ['', ''],
  ['', 'example.com'],
  ['https://example.com, https://example.com', 'example.com'],
  ['https://example.com:443x', 'example.com'],
  ['https://example.com:x443', 'example.com'],
  ['https://[2001:db8::1]', '[2001:db8::2]']
]

t.test('an Origin matches the host if scheme, host and port match, and a Host without a port has the default port of the scheme', async (t) => {
  for (const [origin, host] of SAME) t.equal(isSameHost(origin, host, false), true, `${origin} to ${host}`)
})

t.test('an Origin that resembles the host does not match it', async (t) => {
  for (const [origin, host] of OTHER) {
    t.equal(isSameHost(origin, host, false), false, `${origin} to ${host}`)
    t.equal(isSameHost(origin, host, true), false, `${origin} to https ${host}`)
  }
})

t.test('an http Origin does not match the host of an https request', async (t) => {
  for (const [origin, host] of SAME) t.equal(isSameHost(origin, host, true), origin.startsWith('https:'), `${origin} to https ${host}`)
})
