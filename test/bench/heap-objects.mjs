// @ts-check
/*
 * Reads heap snapshots of V8, and tells two of one process apart: which objects the second has more, by their constructors, or by the
 * property that they are found in if the constructor says nothing.
 */
import { readFileSync } from 'node:fs'

/** @typedef {{ count: number, bytes: number }} Sum */

/** Constructors that say nothing of an object. */
const PLAIN = new Set(['Object', 'Array', 'Map', 'Set', '(object elements)', '(object properties)', '', 'system / Context', 'system / HeapNumber', 'Symbol'])
/** Types of nodes whose names are contents, or nothing. */
const UNNAMED = new Set(['string', 'concatenated string', 'sliced string', 'number', 'array', 'hidden', 'object shape', 'code', 'symbol', 'bigint'])
/** Edges that keep nothing alive. */
const WEAK = 'weak'

/**
 * @param {string} before the path of a snapshot
 * @param {string} after the path of a later one
 * @returns {Map<string, Sum>} by label, what there is more
 */
export function objectsBetween (before, after) {
  const sums = sumsOf(after)
  for (const [label, { count, bytes }] of sumsOf(before)) {
    const sum = sums.get(label) ?? { count: 0, bytes: 0 }
    sums.set(label, { count: sum.count - count, bytes: sum.bytes - bytes })
  }
  return sums
}

/** @param {string} path @returns {Map<string, Sum>} */
function sumsOf (path) {
  const snapshot = new Snapshot(path)
  const sums = new Map()
  for (let node = 0; node < snapshot.count; node++) {
    const label = snapshot.labelOf(node)
    const sum = sums.get(label) ?? { count: 0, bytes: 0 }
    sums.set(label, { count: sum.count + 1, bytes: sum.bytes + snapshot.field(node, 'self_size') })
  }
  return sums
}

class Snapshot {
  /** @type {any} */
  #json
  #nodeFields
  #edgeFields
  #nodeTypes
  #edgeTypes
  /** The edge by which each node is reached first, and where it comes from. */
  #edge
  #from

  /** @param {string} path */
  constructor (path) {
    this.#json = JSON.parse(readFileSync(path, 'utf8'))
    const { node_fields: nodeFields, edge_fields: edgeFields, node_types: [nodeTypes], edge_types: [edgeTypes] } = this.#json.snapshot.meta
    this.#nodeFields = nodeFields
    this.#edgeFields = edgeFields
    this.#nodeTypes = nodeTypes
    this.#edgeTypes = edgeTypes
    this.count = this.#json.snapshot.node_count
    this.#edge = new Int32Array(this.count).fill(-1)
    this.#from = new Int32Array(this.count).fill(-1)
    this.#walk()
  }

  /** @param {number} node @param {string} name */
  field (node, name) {
    return this.#json.nodes[node * this.#nodeFields.length + this.#nodeFields.indexOf(name)]
  }

  /** @param {number} node @returns {string} */
  labelOf (node) {
    const own = this.#ownNameOf(node)
    if (!this.#isUnnamed(node)) return own
    const from = this.#from[node] ?? -1
    if (from === -1) return own
    return `${this.#isUnnamed(from) ? this.labelOf(from).replace(/ \(.*\)$/, '') : this.#ownNameOf(from)}.${this.#edgeName(node)} (${own})`
  }

  #isUnnamed (node) {
    return UNNAMED.has(this.#typeOf(node)) || PLAIN.has(this.#nameOf(node))
  }

  #ownNameOf (node) {
    const type = this.#typeOf(node)
    if (type === 'closure') return `function ${this.#nameOf(node) || '(anonymous)'}`
    return UNNAMED.has(type) && type !== 'array' && type !== 'hidden' ? type : this.#nameOf(node) || type
  }

  #typeOf (node) {
    return this.#nodeTypes[this.field(node, 'type')]
  }

  #nameOf (node) {
    return this.#json.strings[this.field(node, 'name')]
  }

  /** Elements of lists have no names of their own: all of one list are one. */
  #edgeName (node) {
    const at = this.#edge[node] ?? -1
    const type = this.#edgeTypes[this.#json.edges[at]]
    const name = this.#json.edges[at + this.#edgeFields.indexOf('name_or_index')]
    return type === 'element' || type === 'hidden' ? '[]' : this.#json.strings[name]
  }

  /** Breadth first from the roots, so that each node is labelled by the shortest way to it. */
  #walk () {
    const { nodes, edges } = this.#json
    const width = this.#edgeFields.length
    const [type, to] = ['type', 'to_node'].map((name) => this.#edgeFields.indexOf(name))
    const starts = new Int32Array(this.count + 1)
    const countAt = this.#nodeFields.indexOf('edge_count')
    for (let node = 0; node < this.count; node++) starts[node + 1] = starts[node] + nodes[node * this.#nodeFields.length + countAt] * width
    const queue = new Int32Array(this.count)
    let length = 1
    for (let i = 0; i < length; i++) {
      const node = queue[i]
      for (let edge = starts[node]; edge < starts[node + 1]; edge += width) {
        const next = edges[edge + to] / this.#nodeFields.length
        if (next === 0 || this.#from[next] !== -1 || this.#edgeTypes[edges[edge + type]] === WEAK) continue
        this.#from[next] = node
        this.#edge[next] = edge
        queue[length++] = next
      }
    }
  }
}
