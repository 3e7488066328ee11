/*
 * Claims and users outlive the handshake and are seen by every hook and handler of a connection. They are frozen, so
 * that nobody can promote a user by accident, and each connection has its own. Both walks use a list instead of
 * recursion: a token of 7 KB can nest 2,500 levels deep and would overflow the stack.
 */

type Data = Record<PropertyKey, unknown> | unknown[]

/**
 * Freezes plain objects and arrays to any depth, in place, and leaves anything else that they hold as it is.
 * Only for values that nobody else has: what is frozen already is not looked into.
 */
export function freezeData<T> (value: T): T {
  if (!isData(value)) return value
  const open: Data[] = [value]
  for (let container = open.pop(); container !== undefined; container = open.pop()) {
    Object.freeze(container)
    for (const held of Object.values(container)) {
      if (isData(held) && !Object.isFrozen(held)) open.push(held)
    }
  }
  return value
}

/**
 * A copy of plain objects and arrays, to any depth. Whatever else it holds (dates, maps, instances of classes) is not
 * data that could be copied safely: it stays the same object.
 */
export function copyData<T> (value: T): T {
  return copy(value, leave)
}

/** The same, frozen as {@link freezeData} freezes it: half the time of one after the other. */
export function frozenCopy<T> (value: T): T {
  return copy(value, Object.freeze)
}

/** Each container is copied whole, and then what it holds that is data is replaced by its copy. */
function copy<T> (value: T, finish: (container: Data) => void): T {
  if (!isData(value)) return value
  const copied = shallowCopy(value)
  const copies = new Map<Data, Data>([[value, copied]])
  const open = [copied]
  for (let container = open.pop(); container !== undefined; container = open.pop()) {
    for (const key of Object.keys(container)) {
      const held = (container as Record<string, unknown>)[key]
      if (!isData(held)) continue
      let other = copies.get(held)
      if (other === undefined) {
        copies.set(held, other = shallowCopy(held))
        open.push(other)
      }
      // Also an own "__proto__" (JSON.parse makes one): it is there already, and stays a property.
      (container as Record<string, unknown>)[key] = other
    }
    finish(container)
  }
  return copied as T
}

function leave (): void {}

/** Whether two values hold the same data. Objects that are not data are the same if they are one. */
export function isSameData (one: unknown, other: unknown): boolean {
  const open: Array<[unknown, unknown]> = [[one, other]]
  for (let pair = open.pop(); pair !== undefined; pair = open.pop()) {
    const [a, b] = pair
    if (Object.is(a, b)) continue
    if (!isData(a) || !isData(b) || Array.isArray(a) !== Array.isArray(b)) return false
    const entries = Object.entries(a)
    if (entries.length !== Object.keys(b).length) return false
    for (const [key, held] of entries) {
      if (!Object.hasOwn(b, key)) return false
      open.push([held, (b as Record<string, unknown>)[key]])
    }
  }
  return true
}

function isData (value: unknown): value is Data {
  if (typeof value !== 'object' || value === null) return false
  if (Array.isArray(value)) return true
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

/** What has a symbol for its name is no data. */
function shallowCopy (value: Data): Data {
  const copied = Array.isArray(value) ? Object.setPrototypeOf(Object.assign([], value), Array.prototype) as unknown[] : copyObject(value)
  for (const symbol of Object.getOwnPropertySymbols(copied)) delete (copied as Record<symbol, unknown>)[symbol]
  return copied
}

function copyObject (value: Exclude<Data, unknown[]>): Data {
  return Object.getPrototypeOf(value) === null ? Object.assign(Object.create(null), value) : { ...value }
}
