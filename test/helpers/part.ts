/*
 * How much of the longest tests of the client runs: all of it by default, a tenth in CI, with `CLIENT_PART=0.1`.
 */
export const PART = Number(process.env.CLIENT_PART ?? 1)
