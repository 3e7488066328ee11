/*
 * The clock for what is sent. To read it takes 20 to 90 ns by the machine, and the rest of the gate 3: a loop that sends to 10,000
 * connections would read it 10,000 times. So a loop reads it a few times, and then goes by what was read, until its turn has ended.
 */

/** How many sends in one millisecond are a loop. */
const LOOP = 8
/** How far a deadline must be from what was read, in milliseconds: the loop may stop in its middle, to compute or with the machine. */
const FAR = 60_000

let readAt = 0
let repeated = 0
/** Whether this turn is a loop: one callback, with its microtasks, in which nothing else runs. */
let isLoop = false

/** Whether a deadline is surely in the future, as far as is known without a look at the clock. @param deadline in milliseconds since the epoch */
export function isFar (deadline: number): boolean {
  return isLoop && readAt + FAR < deadline
}

/** Reads the clock for a send. @returns milliseconds since the epoch */
export function readClock (): number {
  const now = Date.now()
  if (now !== readAt) {
    readAt = now
    repeated = 0
  } else if (++repeated === LOOP && !isLoop) {
    isLoop = true
    queueMicrotask(endLoop)
  }
  return now
}

function endLoop (): void {
  isLoop = false
  repeated = 0
}
