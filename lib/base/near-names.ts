/*
 * Finds the name that was most likely meant by a misspelt one.
 */

/** A sentence that proposes the nearest of some names: `; did you mean "token"?`. Empty if none is near. */
export function didYouMean (name: string, known: readonly string[]): string {
  const plain = plainName(name)
  const [nearest] = known.map((one) => ({ one, distance: distanceOf(plain, plainName(one)) })).sort((a, b) => a.distance - b.distance)
  // A third of the name may differ: more is another word.
  return nearest === undefined || nearest.distance > Math.max(plain.length, 3) / 3 ? '' : `; did you mean "${nearest.one}"?`
}

/** Lower case, without separators of words. */
export function plainName (name: string): string {
  return name.toLowerCase().replace(/[-_]/g, '')
}

/** How many letters have to be added, removed, replaced or swapped with their neighbour (Damerau and Levenshtein, restricted). */
function distanceOf (one: string, other: string): number {
  const rows: number[][] = [Array.from({ length: other.length + 1 }, (_, j) => j)]
  for (let i = 1; i <= one.length; i++) {
    const [above, row] = [rows[i - 1] as number[], [i]]
    for (let j = 1; j <= other.length; j++) {
      const isSame = one[i - 1] === other[j - 1]
      const edits = [Number(above[j]) + 1, Number(row[j - 1]) + 1, Number(above[j - 1]) + (isSame ? 0 : 1)]
      const isSwapped = i > 1 && j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1]
      if (isSwapped) edits.push(Number(rows[i - 2]?.[j - 2]) + 1)
      row.push(Math.min(...edits))
    }
    rows.push(row)
  }
  return Number(rows[one.length]?.[other.length])
}
