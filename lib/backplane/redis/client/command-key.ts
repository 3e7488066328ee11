/*
 * Finds the key of a command, for clients of a cluster that do not know where a command has its keys. Of a command with several, the
 * first is enough: all keys of an app are on one node.
 */

/** Commands without a key. */
const KEYLESS = new Set(['TIME', 'INFO', 'PING'])

/** The first key of a command that this package sends. `undefined` if the command has none: any node may be asked then. */
export function firstKeyOf (command: readonly string[]): string | undefined {
  const [name = ''] = command
  if (KEYLESS.has(name)) return undefined
  if (name === 'XREAD') return command[command.indexOf('STREAMS') + 1]
  if (name === 'EVAL' || name === 'EVALSHA') return command[3]
  return command[name === 'XINFO' ? 2 : 1]
}
