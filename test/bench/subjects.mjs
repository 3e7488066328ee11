// @ts-check
/*
 * What is measured: for each phase the subjects, what they are asked, and which of their ratios have a target.
 */

/**
 * @typedef {object} Subject
 * @property {string} name
 * @property {import('./contenders.mjs').ServerSpec['guard']} guard
 * @property {import('./tokens.mjs').Algorithm} algorithm
 * @property {import('./load.mjs').Carrier} carrier
 * @property {'right' | 'wrong' | 'none'} token
 * @property {number} status what the server has to answer
 */

/** @typedef {{ of: string, to: string, max?: number }} Comparison  of two subjects; `max` is the target */

/** @returns {Subject} */
function subject (name, guard, given = {}) {
  return { name, guard, algorithm: 'HS256', carrier: 'header', token: 'right', status: 101, ...given }
}

const wrong = { token: 'wrong', status: 401 }
const none = { token: 'none', carrier: 'none', status: 401 }

/** @type {Record<'accepted' | 'refused' | 'heap', { subjects: Subject[], comparisons: Comparison[] }>} */
export const phases = {
  accepted: {
    subjects: [
      subject('A', 'none'),
      subject('B', 'hook'),
      subject('V', 'verifyOnly'),
      subject('C', 'plugin'),
      subject('C query', 'plugin', { carrier: 'query' }),
      subject('C subprotocol', 'plugin', { carrier: 'subprotocol' }),
      subject('C cookie', 'plugin', { carrier: 'cookie' }),
      subject('C app jwt', 'pluginWithAppJwt'),
      subject('B RS256', 'hook', { algorithm: 'RS256' }),
      subject('C RS256', 'plugin', { algorithm: 'RS256' }),
      subject('B ES256', 'hook', { algorithm: 'ES256' }),
      subject('C ES256', 'plugin', { algorithm: 'ES256' })
    ],
    comparisons: [
      { of: 'C', to: 'A', max: 1.15 },
      { of: 'C', to: 'B', max: 1 },
      { of: 'B', to: 'A' },
      { of: 'V', to: 'A' },
      { of: 'C', to: 'V' },
      { of: 'C query', to: 'A' },
      { of: 'C subprotocol', to: 'A' },
      { of: 'C cookie', to: 'A' },
      { of: 'C app jwt', to: 'A' },
      { of: 'C RS256', to: 'B RS256' },
      { of: 'C ES256', to: 'B ES256' }
    ]
  },
  refused: {
    subjects: [
      subject('B', 'hook', wrong),
      subject('C', 'plugin', wrong),
      subject('C app jwt', 'pluginWithAppJwt', wrong),
      subject('B no token', 'hook', none),
      subject('C no token', 'plugin', none)
    ],
    comparisons: [
      { of: 'C', to: 'B', max: 0.85 },
      { of: 'C app jwt', to: 'B' },
      { of: 'C no token', to: 'B no token' }
    ]
  },
  heap: {
    subjects: [
      subject('A', 'none'),
      subject('A no token', 'none', { carrier: 'none' }),
      subject('B', 'hook'),
      subject('C', 'plugin'),
      subject('C query', 'plugin', { carrier: 'query' }),
      subject('C app jwt', 'pluginWithAppJwt')
    ],
    comparisons: []
  }
}

/** The most heap that an idle connection of C may cost more than one of A, in KiB. */
export const MAX_HEAP_MORE = 0.7

/** The columns of a comparison with another build: each subject of the plugin a second time. */
export function withOtherBuild ({ subjects, comparisons }) {
  const ours = subjects.filter(({ guard }) => guard.startsWith('plugin'))
  return {
    subjects: [...subjects, ...ours.map((one) => ({ ...one, name: otherName(one.name), isOtherBuild: true }))],
    comparisons: [...comparisons, ...ours.map(({ name }) => ({ of: otherName(name), to: name }))]
  }
}

function otherName (name) {
  return name.replace('C', 'D')
}
