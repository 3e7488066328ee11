/*
 * The script that counts slots in Redis. It is a script, because a slot must be taken in one round trip and at one moment: whether it is
 * free depends on which instances live, and a transaction (MULTI) cannot decide. All its keys are given, and have one hash tag.
 *
 * A slot is a member `<name>#<number>` of the sorted set of its user; the score is when it was taken, in microseconds, later for each slot. A
 * slot counts while its name, which is an instance since it joined, has a lease. A lease is renewed by each call; one that was not renewed
 * for LIFETIME is removed by the first call that needs the room.
 *
 * - The only clock is that of Redis. If it jumps, or no instance has called for GAP, because Redis did not answer, all leases begin anew.
 * - An instance passes the number of its last answered call. If Redis has a lower one, it has lost data (a restart, a failover): the instance
 *   joins by a new name and restores its slots, and for SETTLE no slot is given, so that the other instances can do so too.
 */
import { createHash } from 'node:crypto'
import type { RedisConnection } from '../client/connection'

/** How long a lease lasts, in milliseconds: the slots of a killed instance are free after this time. */
export const LIFETIME = 12_000
/** After how long without a call of any instance it counts as an outage of Redis, in milliseconds. */
const GAP = 4000
/** How long no slot is given after a loss of data, in milliseconds. */
export const SETTLE = 5000
/** How long the slots of a user are kept after they were last taken or confirmed, in milliseconds. */
export const KEPT = 86_400_000

export const LEASE_SCRIPT = `
local leases, state, evicted = KEYS[1], KEYS[2], KEYS[3]
local command, name, born, acked, op, deadline = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local old, max, replaces, first = ARGV[7], tonumber(ARGV[8]), ARGV[9] == '1', 10
local time = redis.call('TIME')
local now, micros = time[1] * 1000 + math.floor(time[2] / 1000), time[1] * 1000000 + time[2]
local expiry = now + ${LIFETIME}

local function drop (owner)
  if redis.call('ZREM', leases, owner) == 0 then return end
  redis.call('HDEL', state, owner)
  redis.call('HINCRBY', state, 'deaths', 1)
  redis.call('ZREMRANGEBYLEX', evicted, '[' .. owner .. '#', '(' .. owner .. '$')
end

-- Removes the slots of dead instances, unless no instance has died since it was last done. Returns how many are left.
local function prune (slots, pruned)
  for _, owner in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', '(' .. now)) do drop(owner) end
  local deaths, living = redis.call('HGET', state, 'deaths'), {}
  if redis.call('GET', pruned) == deaths then return redis.call('ZCARD', slots) end
  for _, member in ipairs(redis.call('ZRANGE', slots, 0, -1)) do
    local owner = string.match(member, '^(.*)#') or ''
    if living[owner] == nil then living[owner] = redis.call('ZSCORE', leases, owner) ~= false end
    if not living[owner] then redis.call('ZREM', slots, member) end
  end
  redis.call('SET', pruned, deaths, 'PX', 60000)
  return redis.call('ZCARD', slots)
end

local function isFull (slots, pruned)
  return redis.call('ZCARD', slots) >= max and prune(slots, pruned) >= max
end

-- Returns the score of the new slot, or nil if there is no room.
local function add (slots, pruned, member, score)
  if isFull(slots, pruned) and not replaces then return nil end
  if score == '' then
    local newest = tonumber(redis.call('ZRANGE', slots, -1, -1, 'WITHSCORES')[2])
    score = string.format('%.0f', newest and newest >= micros and newest + 1 or micros)
  end
  redis.call('ZADD', slots, score, member)
  return score
end

-- Takes the slots past the limit from the oldest, and adds them to the reply.
local function evict (slots, reply)
  for _ = max + 1, redis.call('ZCARD', slots) do
    local member = redis.call('ZPOPMIN', slots)[1]
    redis.call('ZADD', evicted, 0, member)
    reply[#reply + 1] = member
  end
end

local tick = tonumber(redis.call('HGET', state, 'tick') or '')
if not tick or now - tick > ${KEPT / 3} then
  redis.call('DEL', leases, state, evicted)
  redis.call('HSET', state, 'born', string.format('%.0f', micros), 'deaths', string.format('%.0f', micros))
elseif now < tick or now - tick > ${GAP} then
  for _, owner in ipairs(redis.call('ZRANGE', leases, 0, -1)) do redis.call('ZADD', leases, expiry, owner) end
end
redis.call('HSET', state, 'tick', now)
local isBorn = redis.call('HGET', state, 'born')

if command == 'release' then
  for i = first, #ARGV do
    redis.call('ZREM', KEYS[4 + i - first], ARGV[i])
    redis.call('ZREM', evicted, ARGV[i])
  end
elseif command == 'leave' then
  for i = first, #ARGV do drop(ARGV[i]) end
  return { 'ok', now, isBorn }
end

local known, since = tonumber(redis.call('HGET', state, name) or ''), tonumber(redis.call('HGET', state, 'since') or '')
if (born ~= '' and born ~= isBorn) or (known and known < acked) then
  if not since or now - since > ${SETTLE} or since > now then
    since = now
    redis.call('HSET', state, 'since', now)
  end
  if command ~= 'join' then return { 'lost', now, isBorn } end
end
if command ~= 'join' and not redis.call('ZSCORE', leases, name) then return { 'lost', now, isBorn } end
redis.call('ZADD', leases, expiry, name)
if old ~= '' and redis.call('ZSCORE', leases, old) then redis.call('ZADD', leases, expiry, old) end
if op > (known or -1) then redis.call('HSET', state, name, op) end
if deadline > 0 and now > deadline then return { 'late', now, isBorn } end

local reply = { 'ok', now, isBorn }
if command == 'take' then
  if since and since <= now and now - since < ${SETTLE} then return { 'wait', now, isBorn, since + ${SETTLE} - now } end
  local score = add(KEYS[4], KEYS[5], name .. '#' .. ARGV[first], '')
  if not score then return { 'full', now, isBorn } end
  redis.call('PEXPIRE', KEYS[4], ${KEPT})
  reply[1], reply[4] = 'taken', score
  evict(KEYS[4], reply)
elseif command == 'peek' then
  if not replaces and isFull(KEYS[4], KEYS[5]) then reply[1] = 'full' end
elseif command == 'restore' then
  local at = first
  for i = 4, #KEYS, 2 do
    local slots, pruned, count = KEYS[i], KEYS[i + 1], tonumber(ARGV[at])
    for j = at + 1, at + 2 * count, 2 do
      local number, member = ARGV[j], name .. '#' .. ARGV[j]
      local kept = old ~= '' and redis.call('ZSCORE', slots, old .. '#' .. number)
      if kept then
        redis.call('ZREM', slots, old .. '#' .. number)
        redis.call('ZADD', slots, kept, member)
      elseif not redis.call('ZSCORE', slots, member) and not add(slots, pruned, member, ARGV[j + 1]) then
        reply[#reply + 1] = '#' .. number
      end
    end
    at = at + 1 + 2 * count
    if replaces then evict(slots, reply) end
    redis.call('PEXPIRE', slots, ${KEPT})
  end
elseif command == 'beat' then
  for i = 4, #KEYS do redis.call('PEXPIRE', KEYS[i], ${KEPT}) end
  for _, owner in ipairs({ name, old }) do
    for _, member in ipairs(redis.call('ZRANGEBYLEX', evicted, '[' .. owner .. '#', '(' .. owner .. '$')) do reply[#reply + 1] = member end
  end
end
return reply
`

const SHA = createHash('sha1').update(LEASE_SCRIPT).digest('hex')

/** Runs the script. Redis is given its text only if it does not know it: after its start, or `SCRIPT FLUSH`. */
export async function callLeaseScript ({ send }: RedisConnection, keys: readonly string[], args: readonly string[]): Promise<string[]> {
  const rest = [String(keys.length), ...keys, ...args]
  const reply = await send(['EVALSHA', SHA, ...rest]).catch(async (error: unknown) => {
    if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error
    return await send(['EVAL', LEASE_SCRIPT, ...rest])
  })
  if (!Array.isArray(reply)) throw new Error('the script that counts slots has replied with no array')
  return reply.map(String)
}
