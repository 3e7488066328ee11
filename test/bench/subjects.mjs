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
 * @property {Record<string, unknown>} options further options of fastify-ws-auth
 * @property {import('./open-load.mjs').MessageKind} message what is echoed
 * @property {boolean} sendsToken whether the first message is an auth frame
 * @property {boolean} [isTalking] whether others talk meanwhile
 */

/** @typedef {{ of: string, to: string, max?: number }} Comparison  of two subjects; `max` is the target */

/** @returns {Subject} */
function subject (name, guard, given = {}) {
  return {
    name, guard, algorithm: 'HS256', carrier: 'header', token: 'right', status: 101, options: {}, message: 'text', sendsToken: false, ...given
  }
}

const wrong = { token: 'wrong', status: 401 }
const none = { token: 'none', carrier: 'none', status: 401 }
/** Auth frames are ours. */
const frames = { options: { renewal: true } }
const json = { message: 'json' }
/** The token comes with the first message, for which there is time until all has been measured. */
const message = { carrier: 'none', options: { token: { message: { timeout: 600_000 } }, limits: { pending: 1e6 } } }

/** @type {Record<'accepted' | 'refused' | 'echo' | 'heap' | 'expiry', { subjects: Subject[], comparisons: Comparison[] }>} */
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
  echo: {
    subjects: [
      subject('A', 'none'),
      subject('A again', 'none'),
      subject('C', 'plugin'),
      subject('C frames', 'plugin', frames),
      subject('A json', 'none', json),
      subject('C json', 'plugin', json),
      subject('C frames json', 'plugin', { ...frames, ...json })
    ],
    comparisons: [
      { of: 'C', to: 'A', max: 1.02 },
      { of: 'A again', to: 'A' },
      { of: 'C frames', to: 'A' },
      { of: 'C json', to: 'A json', max: 1.02 },
      { of: 'C frames json', to: 'A json' },
      { of: 'C frames', to: 'C' },
      { of: 'C frames json', to: 'C json' }
    ]
  },
  heap: {
    subjects: [
      subject('A', 'none'),
      subject('A no token', 'none', { carrier: 'none' }),
      subject('B', 'hook'),
      subject('C', 'plugin'),
      subject('C query', 'plugin', { carrier: 'query' }),
      subject('C app jwt', 'pluginWithAppJwt'),
      subject('B timer', 'hookAndTimer'),
      subject('C frames', 'plugin', frames),
      subject('C waiting', 'plugin', message),
      subject('C first message', 'plugin', { ...message, sendsToken: true })
    ],
    comparisons: []
  },
  expiry: {
    subjects: [
      subject('B timer', 'hookAndTimer'),
      subject('B timer, talking', 'hookAndTimer', { isTalking: true }),
      subject('C', 'plugin'),
      subject('C, talking', 'plugin', { isTalking: true })
    ],
    comparisons: []
  }
}

/** @type {{ name: string, by: 'sweep' | 'timers', when: import('./arming.mjs').When }[]} */
export const armingSubjects = [
  { name: 'C spread', by: 'sweep', when: 'spread' },
  { name: 'C one second', by: 'sweep', when: 'oneSecond' },
  { name: 'C random', by: 'sweep', when: 'random' },
  { name: 'timers spread', by: 'timers', when: 'spread' },
  { name: 'timers one second', by: 'timers', when: 'oneSecond' },
  { name: 'timers random', by: 'timers', when: 'random' }
]

/** The most that an armed expiry may cost: 1 MB of heap for 100,000, and nanoseconds. */
export const MAX_ARMED_BYTES = 10
export const MAX_ARMING = 500
/** The latest that a connection may be told that its token has expired, in milliseconds. */
export const MAX_LATE = 1000

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

/** The sweep of another build. */
export function withOtherSweep (subjects) {
  const ours = subjects.filter(({ by }) => by === 'sweep')
  return [...subjects, ...ours.map((one) => ({ ...one, name: otherName(one.name), isOtherBuild: true }))]
}

function otherName (name) {
  return name.replace('C', 'D')
}
