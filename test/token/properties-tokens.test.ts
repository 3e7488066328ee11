/*
 * Properties of tokens, with a few draws. The long file has the full number.
 */
import t from 'tap'
import { testTokens } from '../helpers/token-properties'

testTokens(t, 0.08)
