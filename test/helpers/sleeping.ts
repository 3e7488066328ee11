/* A process in which somebody sleeps, and nothing else is left to do. */
import { kNext, Sweep } from '../../lib/connection/sweep'

const sweep = new Sweep()
for (const instant of [Date.now() + 60_000, Date.now() + 3_600_000, Number.MAX_SAFE_INTEGER]) {
  sweep.add({ [kNext]: null, isGone: false, wake: () => {} }, sweep.tickAt(instant))
}
process.send?.({ size: sweep.size }, () => process.disconnect())
