/*
 * Texts that nobody but a human reads: what a TypeError says, and the cause of a refusal in the log. What a text says cannot
 * be wrong in a way that admits somebody, and most are one of many of the same row: tests ask for the row.
 */
import { declareClassPlugin, PluginKind } from '@stryker-mutator/api/plugin'

/** Whether it is the argument of `new TypeError` or of a function that makes a refusal of it. */
function isMessage ({ node, parent, listKey, key }) {
  if (parent.type === 'ObjectProperty') return parent.value === node && parent.key.name === 'cause'
  if (listKey !== 'arguments') return false
  if (parent.type === 'NewExpression') return parent.callee.name === 'TypeError' && key === 0
  return parent.type === 'CallExpression' && ['refusal', 'invalid'].includes(parent.callee.name) && key === 0
}

class Texts {
  shouldIgnore (path) {
    const isText = path.isStringLiteral() || path.isTemplateLiteral()
    return isText && isMessage(path) ? 'a text of an error or of the log' : undefined
  }
}

export const strykerPlugins = [declareClassPlugin(PluginKind.Ignore, 'texts', Texts)]
