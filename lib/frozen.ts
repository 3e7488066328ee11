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
  if (!isData(value)) return value
  const copies = new Map<unknown, Data>([[value, emptyLike(value)]])
  const open: Data[] = [value]
  for (let source = open.pop(); source !== undefined; source = open.pop()) {
    for (const [key, held] of Object.entries(source)) {
      if (isData(held) && !copies.has(held)) {
        copies.set(held, emptyLike(held))
        open.push(held)
      }
      setOwn(copies.get(source) as Data, key, copies.get(held) ?? held)
    }
  }
  return copies.get(value) as T
}

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

/** An own "__proto__" (JSON.parse makes one) must stay a property and not become the prototype. */
function setOwn (target: Data, key: string, value: unknown): void {
  if (key !== '__proto__') (target as Record<string, unknown>)[key] = value
  else Object.defineProperty(target, key, { value, writable: true, enumerable: true, configurable: true })
}

function isData (value: unknown): value is Data {
  if (typeof value !== 'object' || value === null) return false
  if (Array.isArray(value)) return true
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

function emptyLike (value: Data): Data {
  return Array.isArray(value) ? [] : Object.create(Object.getPrototypeOf(value))
}
