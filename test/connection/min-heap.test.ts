/* The heap that knows the next due time, and the slices in which much is done. */
import t from 'tap'
import { popKey, pushKey } from '../../lib/connection/min-heap'
import { inSlices } from '../../lib/base/slices'

/** Takes everything out. */
function drain (heap: number[]): number[] {
  const keys: number[] = []
  for (let key = popKey(heap); key !== undefined; key = popKey(heap)) keys.push(key)
  return keys
}

function ascending (keys: number[]): number[] {
  return [...keys].sort((a, b) => a - b)
}

/** Numbers that look random, and are the same in each run. */
function numbers (count: number, below: number): number[] {
  let state = 12345
  return Array.from({ length: count }, () => {
    state = (state * 1103515245 + 12345) % 2 ** 31
    return state % below
  })
}

t.test('a heap gives the least number first', async (t) => {
  const cases: Record<string, number[]> = {
    nothing: [],
    one: [7],
    two: [2, 1],
    ascending: [1, 2, 3, 4, 5, 6, 7, 8],
    descending: [8, 7, 6, 5, 4, 3, 2, 1],
    'the same many times': [3, 3, 3, 3, 3],
    'negative ones': [0, -1, 5, -5, -0.5],
    'very large ones': [2 ** 45, 2 ** 31, -(2 ** 45), 0],
    many: numbers(5000, 1_000_000),
    'many of few': numbers(5000, 10)
  }
  for (const [what, keys] of Object.entries(cases)) {
    const heap: number[] = []
    for (const key of keys) pushKey(heap, key)
    t.equal(heap[0], keys.length === 0 ? undefined : Math.min(...keys), `${what}: the first is the least`)
    t.strictSame(drain(heap), ascending(keys), what)
    t.equal(heap.length, 0)
  }
})

t.test('a heap sorts every order of seven numbers', async (t) => {
  const orders = (rest: number[]): number[][] => rest.length < 2
    ? [rest]
    : rest.flatMap((key, i) => orders(rest.toSpliced(i, 1)).map((others) => [key, ...others]))
  let wrong = 0
  for (const order of orders([1, 2, 2, 3, 4, 5, 6])) {
    const heap: number[] = []
    for (const key of order) pushKey(heap, key)
    if (String(drain(heap)) !== '1,2,2,3,4,5,6') wrong++
  }
  t.equal(wrong, 0)
})

t.test('a heap gives the least number also if numbers come and go in between', async (t) => {
  const heap: number[] = []
  const model: number[] = []
  let wrong = 0
  for (const [i, key] of numbers(20_000, 500).entries()) {
    if (key % 3 === 0) {
      const least = ascending(model)[0]
      if (popKey(heap) !== least) wrong++
      if (least !== undefined) model.splice(model.indexOf(least), 1)
    } else if (model.length < 40 || i % 2 === 0) {
      pushKey(heap, key)
      model.push(key)
      if (model.length > 60) { model.splice(model.indexOf(Math.min(...model)), 1); popKey(heap) }
    }
  }
  t.equal(wrong, 0)
  t.strictSame(drain(heap), ascending(model))
})

t.test('an array in ascending order is a heap', async (t) => {
  const heap = ascending(numbers(100, 50))
  const all = [...heap]
  pushKey(heap, -1)
  t.strictSame(drain(heap), [-1, ...all])
})

t.test('inSlices calls a function for each item', async (t) => {
  const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

  /** Does all, and counts the turns of the event loop that went by until the last. */
  async function slices (items: Iterable<number>, each: (item: number) => void = () => {}): Promise<{ seen: number[], turns: number, done: number }> {
    const seen: number[] = []
    let turns = 0
    let done = 0
    let isOver = false
    const count = (): void => { if (!isOver) { turns++; setImmediate(count) } }
    setImmediate(count)
    await new Promise<void>((resolve) => {
      inSlices(items[Symbol.iterator](), (item) => { seen.push(item); each(item) }, () => { done++; resolve() })
    })
    isOver = true
    return { seen, turns, done }
  }

  t.test('inSlices handles all items in order, and reports the end once', async (t) => {
    for (const count of [0, 1, 1023, 1024, 1025, 2048, 3000]) {
      const { seen, done } = await slices(range(count))
      t.strictSame(seen, range(count))
      t.equal(done, 1)
    }
  })

  t.test('inSlices gives way to the event loop after each slice', async (t) => {
    t.equal((await slices(range(1023))).turns, 0, 'what fits into one is done at once')
    t.equal((await slices(range(10_239))).turns, 9)
  })

  // One connection that cannot be closed must not keep all others open.
  t.test('inSlices continues after an item that throws', async (t) => {
    const { seen, done } = await new Promise<{ seen: number[], done: number }>((resolve) => {
      const seen: number[] = []
      const each = (item: number): void => {
        seen.push(item)
        if (item === 0 || item === 1030) throw new Error('no')
      }
      const onError = (error: Error): void => { t.equal(error.message, 'no') }
      process.on('uncaughtException', onError)
      setImmediate(() => inSlices(range(1100)[Symbol.iterator](), each, () => {
        process.removeListener('uncaughtException', onError)
        resolve({ seen, done: 1 })
      }))
    })
    t.strictSame(seen, range(1100))
    t.equal(done, 1)
  })

  t.test('inSlices sees items that are added and removed meanwhile', async (t) => {
    const items = new Set(range(600))
    const { seen } = await slices(items, (item) => {
      if (item === 10) { items.add(1000); items.delete(20) }
      if (item === 500) items.delete(599)
    })
    t.strictSame(seen, [...range(599).filter((item) => item !== 20), 1000])
  })
})
