/*
 * Which timers are still to come, by who has set them. To be loaded before what is watched: unref'd timers are in no
 * list of Node's.
 */
type Timer = NodeJS.Timeout | NodeJS.Immediate | string | number | undefined
type Call = (...args: unknown[]) => void

const live = new Map<Timer, Error>()

function watch<Setter extends (call: Call, ...rest: never[]) => Timer> (set: Setter, isRepeated: boolean): Setter {
  const watched = (call: Call, ...rest: never[]): Timer => {
    const timer: Timer = set((...args: unknown[]) => {
      if (!isRepeated) live.delete(timer)
      call(...args)
    }, ...rest)
    live.set(timer, new Error())
    return timer
  }
  // What `util.promisify` looks for.
  for (const symbol of Object.getOwnPropertySymbols(set)) Object.defineProperty(watched, symbol, Object.getOwnPropertyDescriptor(set, symbol) ?? {})
  return watched as Setter
}

function watchClear<Clear extends (timer: Timer) => void> (clear: Clear): Clear {
  return ((timer: Timer) => {
    live.delete(timer)
    clear(timer)
  }) as Clear
}

/** From now on all are watched. */
export function watchTimers (): void {
  globalThis.setTimeout = watch(globalThis.setTimeout as never, false)
  globalThis.setInterval = watch(globalThis.setInterval as never, true)
  globalThis.clearTimeout = watchClear(globalThis.clearTimeout as never)
  globalThis.clearInterval = watchClear(globalThis.clearInterval as never)
}

/** Those of this library and of ws that are still to come: how many by the file, or the package, in which they were set. */
export function timersOfOurs (): Record<string, number> {
  const found: Record<string, number> = {}
  for (const { stack = '' } of live.values()) {
    const setter = stack.split('\n').slice(1).find((line) => !line.includes('chaos/timers')) ?? ''
    const [, file] = /[\\/](lib[\\/][\w-]+(?:[\\/][\w-]+)?)\.[jt]s:/.exec(setter) ?? []
    const name = /node_modules[\\/]ws[\\/]/.test(setter) ? 'ws' : file
    if (name !== undefined && (name === 'ws' || !setter.includes('node_modules'))) found[name] = (found[name] ?? 0) + 1
  }
  return found
}
