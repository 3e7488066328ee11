/*
 * Counts down to the end of a connection, by the server's clock.
 */

/** How long a connection outlives its token, in milliseconds: `expiryGrace` of app.ts. */
const GRACE = 2000

/**
 * How far the server's clock is ahead of the monotonic clock of the page, in milliseconds. The instants in tokens are the server's. `null` until
 * the server has said it.
 */
let clockOffset = null

/** @param now what the server's clock said before a message was read. The message that took the shortest time counts. */
export function setClock (now) {
  const offset = now - performance.now()
  clockOffset = Math.max(offset, clockOffset ?? offset)
}

function serverNow () {
  return clockOffset === null ? Date.now() : performance.now() + clockOffset
}

/** Lets an element count down to an instant. Without one it shows a dash. */
export function countDown (place, expiresAt) {
  place.dataset.expiresAt = expiresAt ?? ''
  tick(place)
}

/** Lets an element count down so many milliseconds. */
export function countDownFor (place, left) {
  countDown(place, left === null ? null : serverNow() + left)
}

function tick (place) {
  const { expiresAt, note } = place.dataset
  const left = expiresAt === '' ? null : expiresAt - serverNow()
  place.textContent = left === null ? '–' : textOf(left)
  // The note explains the grace.
  if (note !== undefined) document.getElementById(note).hidden = left === null || left > 0
}

/** The server waits for the grace, because a new token may be on its way, and closes within a second after it. */
function textOf (left) {
  if (left > 0) return `${clockOf(Math.ceil(left / 1000))} left`
  const grace = Math.ceil((left + GRACE) / 1000)
  return grace > 0 ? `expired, ${grace} s of grace` : 'expired, closing'
}

function clockOf (seconds) {
  const [hours, minutes, rest] = [seconds / 3600, seconds / 60 % 60, seconds % 60].map(Math.floor)
  const minutesAndSeconds = `${minutes}:${String(rest).padStart(2, '0')}`
  return hours === 0 ? minutesAndSeconds : `${hours}:${minutesAndSeconds.padStart(5, '0')}`
}

setInterval(() => document.querySelectorAll('[data-expires-at]').forEach(tick), 250)
