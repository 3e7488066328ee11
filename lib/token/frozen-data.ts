/*
 * Freezes and copies claims and users. All hooks and handlers of a connection see them, so they are frozen: no code can give a user more
 * roles by accident. The functions use a list in place of recursion, because a token of 7 KB can have 2,500 levels and would overflow
 * the stack.
 */

type Data = Record<PropertyKey, unknown> | unknown[]

/**
 * Freezes plain objects and arrays in place, to any depth. Other values in them stay as they are. Use it only for values that no other
 * code has, because it does not look into frozen objects.
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
 * Copies plain objects and arrays, to any depth. Other values (dates, maps, instances of classes) cannot be copied safely: the copy has
 * the same objects.
 */
export function copyData<T> (value: T): T {
  return copy(value, leave)
}

/** Copies and freezes in one walk, which takes half the time of {@link copyData} and {@link freezeData}. */
export function frozenCopy<T> (value: T): T {
  return copy(value, Object.freeze)
}

/** Copies each container, then replaces the containers in it by their copies. */
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
      // An own "__proto__" (JSON.parse makes one) is already a property here, so this does not set the prototype.
      (container as Record<string, unknown>)[key] = other
    }
    finish(container)
  }
  return copied as T
}

function leave (): void {}

/** Whether two values have the same data. Objects that are not data are the same only if they are one object. */
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

/** Symbol-keyed properties are dropped. */
function shallowCopy (value: Data): Data {
  const copied = Array.isArray(value) ? Object.setPrototypeOf(Object.assign([], value), Array.prototype) as unknown[] : copyObject(value)
  for (const symbol of Object.getOwnPropertySymbols(copied)) delete (copied as Record<symbol, unknown>)[symbol]
  return copied
}

function copyObject (value: Exclude<Data, unknown[]>): Data {
  return Object.getPrototypeOf(value) === null ? Object.assign(Object.create(null), value) : { ...value }
}
