/*
 * The words of codes, which come from the network.
 */
import t from 'tap'
import { wsAuthErrors } from '../../lib/index'
import { wordOf } from '../../lib/client/verdict'

t.test('the word of each code is that of its close frame, or of the code itself if it has none', async (t) => {
  for (const [code, { close }] of Object.entries(wsAuthErrors)) t.equal(wordOf(code), close?.reason ?? code.slice('WS_AUTH_'.length).toLowerCase(), code)
})

t.test('a code that no server of ours sends has a text as its word', async (t) => {
  for (const name of ['CONSTRUCTOR', '__PROTO__', 'TOSTRING', 'HASOWNPROPERTY']) t.equal(wordOf(`WS_AUTH_${name}`), name.toLowerCase())
  for (const code of [undefined, null, 5, {}, [], 'FST_ERR', 'WS_AUTH_', 'ws_auth_limit', 'WS_AUTH_LIMIT extra']) t.equal(wordOf(code), '', String(code))
})
