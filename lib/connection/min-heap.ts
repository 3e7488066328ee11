/* A binary heap of numbers, the least first. It is an array in which each parent stands before its children. */

/** Adds a number. */
export function pushKey (heap: number[], key: number): void {
  let i = heap.length
  while (i > 0) {
    const parent = (i - 1) >> 1
    if (heap[parent] as number <= key) break
    heap[i] = heap[parent] as number
    i = parent
  }
  heap[i] = key
}

/** Takes the least number out. */
export function popKey (heap: number[]): number | undefined {
  const least = heap[0]
  const last = heap.pop()
  if (heap.length === 0 || last === undefined) return least
  let i = 0
  for (let child = 1; child < heap.length; child = 2 * i + 1) {
    if (child + 1 < heap.length && (heap[child + 1] as number) < (heap[child] as number)) child++
    if (last <= (heap[child] as number)) break
    heap[i] = heap[child] as number
    i = child
  }
  heap[i] = last
  return least
}
