/*
 * Revokes the tokens of keys that an issuer no longer publishes. A verifier refuses a new token of such a key; the connections that were
 * opened by it would stay until their tokens expire.
 */
import type { FastifyInstance } from 'fastify'
import { checkKeys, invalid, readDelay, readFunction, readObject } from '../base/checks'
import { withDeadline } from '../base/deadline'
import { quietLog } from '../base/quiet-log'
import type { QuietLog } from '../base/quiet-log'
import { LostKeys } from '../revocation/lost-keys'
import { readPublishedKids } from '../revocation/published-keys'
import type { FetchKeys } from '../revocation/published-keys'
import { issuedAtTolerance } from '../token/claims'
import type { Parts } from './parts'
import { partsOf } from './running-apps'

/** Options of {@link revokeLostKeys}. */
export interface RevokeLostKeysOptions {
  /** The address of the keys (a JWK Set, RFC 7517, 5), the one that the verifier has them from. */
  url: string | URL
  /** How often the keys are read, in milliseconds, about: some more or less at random. Default 300 000. */
  every?: number
  /** How long a key must be missing in every answer before its tokens are revoked, in milliseconds. Default 3 600 000. */
  grace?: number
  /** Fetches the keys in place of the `fetch` of Node.js, for example through a proxy. It gets the URL, and `signal` among the options. */
  fetch?: FetchKeys
}

const DEFAULT_EVERY = 300_000
const DEFAULT_GRACE = 3_600_000
/** How long an answer may take, in milliseconds. */
const READ_TIMEOUT = 10_000
/** Part of the interval that is random, so that instances do not read, and revoke, at the same time. */
const JITTER = 0.2

/**
 * Reads the published keys of an issuer again and again, until the app closes, and revokes by `kid` the tokens of each key that has left the
 * set: those that were issued until then. A key has left if each answer of the `grace` lacks it, three at least, and if another key of the
 * answer before is still published. An answer that fails, is empty, malformed or not whole says nothing. Several instances may run it.
 *
 * @throws TypeError if an option is wrong, or if the app has no fastify-ws-auth. Call it before the app listens
 */
export function revokeLostKeys (app: FastifyInstance, options: RevokeLostKeysOptions): void {
  const parts = partsOf(app)
  if (parts === undefined) throw new TypeError('revokeLostKeys() must be given an app in which fastify-ws-auth is registered')
  const watch = new KeyWatch(readOptions(options), parts, quietLog(app.log))
  app.addHook('onReady', async () => { watch.start() })
  app.addHook('preClose', (done) => { watch.stop(); done() })
}

interface CompleteOptions {
  readonly url: string
  /** The URL for the log, without its query, which may have a secret. */
  readonly shownUrl: string
  readonly every: number
  readonly grace: number
  readonly fetch: FetchKeys
}

function readOptions (options: unknown): CompleteOptions {
  const given = readObject('options', options)
  checkKeys(given, '', ['url', 'every', 'grace', 'fetch'])
  const url = readUrl(given.url)
  return {
    url: url.href,
    shownUrl: `${url.origin}${url.pathname}`,
    every: readDelay('every', given.every, DEFAULT_EVERY),
    grace: readDelay('grace', given.grace, DEFAULT_GRACE),
    fetch: readFunction<FetchKeys>('fetch', given.fetch) ?? (async (url, init) => await fetch(url, init))
  }
}

function readUrl (value: unknown): URL {
  const text = value instanceof URL ? value.href : value
  const url = typeof text === 'string' && URL.canParse(text) ? new URL(text) : null
  // `fetch` refuses credentials in a URL.
  const isGood = url !== null && /^https?:$/.test(url.protocol) && url.username === '' && url.password === ''
  return isGood ? url : invalid('url', 'an http or https URL without a user and a password')
}

type WatchedParts = Pick<Parts, 'instance' | 'revocations' | 'verifier'>

/** Watches the keys of one issuer. */
class KeyWatch {
  readonly #options: CompleteOptions
  readonly #parts: WatchedParts
  readonly #log: QuietLog
  readonly #keys: LostKeys
  readonly #stopping = new AbortController()
  #timer: NodeJS.Timeout | undefined
  /** What the last answer was, which is logged once. */
  #state: 'read' | 'failed' | 'replaced' = 'read'

  constructor (options: CompleteOptions, parts: WatchedParts, log: QuietLog) {
    this.#options = options
    this.#parts = parts
    this.#log = log
    this.#keys = new LostKeys(options.grace)
  }

  start (): void {
    void this.#look()
  }

  stop (): void {
    this.#stopping.abort()
    clearTimeout(this.#timer)
  }

  /** Never rejects. */
  async #look (): Promise<void> {
    try {
      const kids = await this.#read()
      if (!this.#isStopped) await this.#take(kids)
    } catch (error) {
      if (!this.#isStopped) this.#report('failed', error)
    }
    if (this.#isStopped) return
    const delay = this.#options.every * (1 - JITTER / 2 + JITTER * Math.random())
    this.#timer = setTimeout(() => { void this.#look() }, delay).unref()
  }

  get #isStopped (): boolean {
    return this.#stopping.signal.aborted
  }

  /** An app's `fetch` may ignore the signal, so that the deadline is kept here too. */
  async #read (): Promise<ReadonlySet<string>> {
    const { url, fetch } = this.#options
    const late = new AbortController()
    const signal = AbortSignal.any([late.signal, this.#stopping.signal])
    return await withDeadline(readPublishedKids(url, fetch, signal), READ_TIMEOUT, 'reading the published keys').finally(() => late.abort())
  }

  async #take (kids: ReadonlySet<string>): Promise<void> {
    const { missing, lost, isReplaced } = this.#keys.take(kids, performance.now())
    this.#report(isReplaced ? 'replaced' : 'read')
    for (const kid of missing) this.#log.info({ kid, url: this.#options.shownUrl }, `a key is no longer published: its tokens are revoked if it does not come back within ${this.#options.grace} ms`)
    for (const kid of lost) await this.#revoke(kid)
  }

  /**
   * Other instances run this too: the first of them is enough. The `iat` of a token may be ahead of this clock, and the holder of a leaked key
   * chooses it, so that the tokens that the verifier would take now are revoked too.
   */
  async #revoke (kid: string): Promise<void> {
    const { instance, revocations, verifier } = this.#parts
    const now = Date.now() + issuedAtTolerance(verifier.rules)
    const lostAt = now - this.#keys.missingFor(kid, performance.now())
    this.#keys.forget(kid)
    if (revocations.kindFor({ iat: Math.floor(lostAt / 1000) }, null, [], kid) === 'kid') return
    // The instance has logged a failure, and repeats the command as long as it lives.
    await instance.revoke({ kid, beforeAt: now }, { by: 'revokeLostKeys', why: 'the key is no longer published' }).catch(() => {})
  }

  #report (state: 'read' | 'failed' | 'replaced', error?: unknown): void {
    const { shownUrl: url } = this.#options
    if (state === this.#state) return
    if (state === 'failed') this.#log.warn({ err: error, url }, 'the published keys cannot be read: none is taken to have left')
    else if (state === 'replaced') this.#log.warn({ url }, 'all published keys were replaced at once: none is revoked. If they are right, revoke the old ones by kid')
    else this.#log.info({ url }, 'the published keys are read again')
    this.#state = state
  }
}
