// @ts-check
/*
 * How many connections fit on this machine, and what stands in the way of more.
 */
import { readFileSync } from 'node:fs'
import { freemem } from 'node:os'

/** Descriptors that a process has beside its connections. */
const OTHER_DESCRIPTORS = 400
/** What a connection takes on both sides and in the kernel, in bytes: it is rounded up. */
const BYTES = 24 * 1024
/** What has to stay free, in bytes. */
const SPARE = 2 ** 30
/**
 * How many connections come from one address, of which each needs a port. Linux looks for one in a quarter of its 28,000 first: from 7,000 on,
 * finding one takes it 5 ms.
 */
export const PER_ADDRESS = 5000

/** @typedef {{ connections: number, limit: string }} Room  `limit` says what stands in the way of more; empty if nothing does */

/** How many connections a process may have, as the system has it for this process and its children. */
export function connectionsPerProcess () {
  const { hard } = /** @type {any} */ (process.report.getReport()).userLimits.open_files
  return hard === 'unlimited' ? Infinity : Number(hard) - OTHER_DESCRIPTORS
}

/** @param {number} wanted @returns {Room} */
export function roomFor (wanted) {
  const perProcess = connectionsPerProcess()
  /** @type {Room[]} */
  const limits = [
    { connections: wanted, limit: '' },
    { connections: perProcess, limit: `a process may have ${perProcess + OTHER_DESCRIPTORS} open files (ulimit -Hn)` },
    ...filesOfAll(),
    { connections: Math.floor((availableBytes() - SPARE) / BYTES), limit: `${(availableBytes() / 2 ** 30).toFixed(1)} GiB of memory are available` },
    ...portsOfAll()
  ]
  return limits.reduce((least, one) => one.connections < least.connections ? one : least)
}

/** Both ends are files. @returns {Room[]} */
function filesOfAll () {
  const [used, , max] = (read('/proc/sys/fs/file-nr') ?? '').trim().split(/\s+/).map(Number)
  if (used === undefined || max === undefined) return []
  return [{ connections: Math.floor((max - used) / 2) - OTHER_DESCRIPTORS, limit: `all processes may have ${max} open files (fs.file-max)` }]
}

/** Linux has all of 127.0.0.0/8; elsewhere there is one address. @returns {Room[]} */
function portsOfAll () {
  if (process.platform === 'linux') {
    const [low = 0, high = 0] = (read('/proc/sys/net/ipv4/ip_local_port_range') ?? '0 65535').trim().split(/\s+/).map(Number)
    return high - low > 4 * PER_ADDRESS ? [] : [{ connections: high - low, limit: `there are ${high - low} ports for an address (net.ipv4.ip_local_port_range)` }]
  }
  return [{ connections: PER_ADDRESS, limit: 'there is one loopback address' }]
}

function availableBytes () {
  const kibibytes = /MemAvailable:\s+(\d+) kB/.exec(read('/proc/meminfo') ?? '')?.[1]
  return kibibytes === undefined ? freemem() : Number(kibibytes) * 1024
}

function read (path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}
