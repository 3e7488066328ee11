/*
 * How much of the longest tests runs: all of it by default, a tenth in CI.
 */
/** Of the client, with `CLIENT_PART=0.1`. */
export const PART = Number(process.env.CLIENT_PART ?? 1)
/** Of those that count the connections of users on all instances, with `LEASES_PART=0.1`. */
export const LEASES_PART = Number(process.env.LEASES_PART ?? (process.env.CI === 'true' ? 0.1 : 1))
