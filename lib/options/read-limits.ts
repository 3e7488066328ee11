/*
 * Reads the `limits` option of the plugin and of a route: how many connections there may be, and how much their clients may send.
 */
import { checkKeys, invalid, optional, readBoolean, readCount, readInteger, readObject, readOptionalObject } from '../base/checks'
import type { PluginLimits, RateLimit, RouteLimits } from './complete-options'
import { readPerUser } from './read-per-user'

const PLUGIN_KEYS = ['perUser', 'onLimit', 'pending', 'connections', 'messages', 'bytes', 'idle']
const ROUTE_KEYS = ['messages', 'bytes', 'idle']
/** The limits that are not of one route. */
const OF_PLUGIN: ReadonlyMap<string, string> = new Map(['perUser', 'onLimit', 'pending', 'connections'].map((name) => [name, 'the "limits" option of the plugin']))

/** So that a thousand times as much is a safe integer; see `connection/token-bucket.ts`. */
const MAX_RATE = 2 ** 40

export function readPluginLimits (value: unknown): PluginLimits {
  const limits = readOptionalObject('limits', value)
  checkKeys(limits, 'limits.', PLUGIN_KEYS)
  const { onLimit = 'reject' } = limits
  if (onLimit !== 'reject' && onLimit !== 'close-oldest') invalid('limits.onLimit', '\'reject\' or \'close-oldest\'')
  return {
    perUser: readPerUser(limits.perUser),
    onLimit,
    pending: readCount('limits.pending', limits.pending, 1000),
    connections: readCount('limits.connections', limits.connections, Infinity),
    ...readTraffic('limits', limits, { messages: null, bytes: null, idle: Infinity })
  }
}

/** @param base the limits of the plugin */
export function readRouteLimits (option: string, value: unknown, base: RouteLimits): RouteLimits {
  const limits = readObject(option, value, '{ messages, bytes, idle }')
  checkKeys(limits, `${option}.`, ROUTE_KEYS, OF_PLUGIN)
  return readTraffic(option, limits, base)
}

function readTraffic (option: string, { messages, bytes, idle }: Record<string, unknown>, base: RouteLimits): RouteLimits {
  return {
    messages: messages === undefined ? base.messages : readRate(`${option}.messages`, messages),
    bytes: bytes === undefined ? base.bytes : readRate(`${option}.bytes`, bytes),
    idle: readCount(`${option}.idle`, idle, base.idle)
  }
}

function readRate (option: string, value: unknown): RateLimit | null {
  if (value === false) return null
  const rate = readObject(option, value, 'false or { perSecond, burst, perUser, onLimit }')
  checkKeys(rate, `${option}.`, ['perSecond', 'burst', 'perUser', 'onLimit'])
  const { onLimit = 'close' } = rate
  if (onLimit !== 'close' && onLimit !== 'pause') invalid(`${option}.onLimit`, '\'close\' or \'pause\'')
  const perSecond = readInteger(`${option}.perSecond`, rate.perSecond, 1, MAX_RATE)
  return {
    perSecond,
    burst: readInteger(`${option}.burst`, rate.burst, 1, MAX_RATE, perSecond),
    perUser: optional(rate.perUser, (given) => readBoolean(`${option}.perUser`, given)) ?? false,
    onLimit
  }
}
