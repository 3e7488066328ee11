/*
 * `fastify-ws-auth/testing`: for tests of apps, with any test runner, on a real Fastify. This folder may import from all others, and no
 * other imports from it. Start here.
 */
export type { AnyApp } from './app'
export { blackhole } from './blackhole'
export type { Blackhole } from './blackhole'
export { expectClose } from './expect-close'
export type { ClosableSocket, Close, ExpectCloseOptions, Reason } from './expect-close'
export { moveClock, restoreClock } from './move-clock'
export type { MoveClockOptions, MovedClock } from './move-clock'
export { restartable } from './restartable'
export type { CreateApp, RestartableServer } from './restartable'
export { signIn } from './sign-in'
export type { SignedIn, SignInOptions } from './sign-in'
