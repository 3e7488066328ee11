import t from 'tap'
import { errorWithoutToken, textWithoutToken } from '../../lib/base/redaction'

const token = 'canary-canary'

t.test('errorWithoutToken removes the token from all texts of an error', async (t) => {
  const error = Object.assign(new TypeError(`failed for ${token}`), { code: `E_${token}`, config: { headers: { authorization: token } } })
  error.cause = Object.assign(new Error(`inner ${token}`), { cause: token })
  const safe = errorWithoutToken(error, token)
  const text = JSON.stringify([safe, safe.message, safe.name, safe.stack, safe.cause, (safe.cause as Error).message, String((safe.cause as Error).cause)])
  t.notMatch(text, /canary/)
  t.match(safe, { name: 'TypeError', message: 'failed for [token]', code: 'E_[token]' })
  t.match((safe.cause as Error).message, 'inner [token]')
  t.match(safe.stack, 'redaction.test', 'where it came from stays')
  t.notOk('config' in safe, 'what else it carries does not')
})

t.test('errorWithoutToken ends a cycle of causes', async (t) => {
  const error = new Error('a')
  error.cause = error
  let depth = 0
  for (let cause: unknown = errorWithoutToken(error, token); cause instanceof Error; cause = cause.cause) depth++
  t.equal(depth, 6)
})

t.test('errorWithoutToken makes an error without the thrown text if no readable error was thrown', async (t) => {
  t.equal(errorWithoutToken(token, token).message, 'a value of type string was thrown')
  t.equal(errorWithoutToken(undefined, token).message, 'a value of type undefined was thrown')
  t.equal(errorWithoutToken(Object.defineProperty(new Error('a'), 'message', { get () { throw new Error(token) } }), token).message, 'an unreadable error was thrown')
  t.equal(errorWithoutToken(Object.assign(new Error('a'), { code: 7 }), token).message, 'a')
})

t.test('a very short text is not removed as a token', async (t) => {
  t.equal(textWithoutToken('an error about a', 'a'), 'an error about a')
  t.equal(textWithoutToken(`${token} and ${token}`, token), '[token] and [token]')
})
