/*
 * Properties of tokens, with the full number of draws.
 */
import t from 'tap'
import { testTokens } from '../helpers/token-properties'

testTokens(t, 1)
