/*
 * A property of which each run has a world of its own. The globals are replaced once for all of them.
 */
import type { IAsyncPropertyWithHooks } from 'fast-check'
import { holdsAsync } from '../../helpers/arbitraries'
import { Lab } from './lab'

export async function holdsInLab<Args> (property: IAsyncPropertyWithHooks<Args>, runs: number): Promise<void> {
  const lab = new Lab()
  lab.install()
  try {
    await holdsAsync(property, runs)
  } finally {
    lab.uninstall()
  }
}
