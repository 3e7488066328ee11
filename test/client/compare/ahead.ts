/*
 * A process whose clock is an hour ahead: `node ahead.js <library> <port>`. It opens a client, and tells its parent what the client has told.
 */
import './page'
import type { Host } from './host'
import { libraries } from './libraries/index'
import { Tokens } from './tokens'

const HOUR = 3_600_000
const now = Date.now
Date.now = () => now() + HOUR

// As in the process of the table.
process.on('unhandledRejection', () => {})

const [, , name, port] = process.argv
const library = libraries.find((each) => each.name === name)
const tokens = new Tokens()
Object.assign(tokens, { clockError: HOUR, life: 6 })
const client = library?.open({ port: Number(port) } as Host, tokens)
setTimeout(() => process.send?.({ told: client?.told.slice(1), calls: tokens.calls }), 10_000)
