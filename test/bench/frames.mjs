// @ts-check
/*
 * Frames as a client sends them (RFC 6455, 5.2), and messages of one length that a server sends back.
 */

/** @typedef {'text' | 'json' | 'packet'} MessageKind  how messages begin: with a letter, as the auth frames of fastify-ws-auth do, or as socket.io's */
/** @typedef {{ sent: Buffer, expected: Buffer }} Batch  the frames of a few messages, and those that come back */

const MESSAGE_BYTES = 64
const TEXT = 0x81
export const CLOSE = 0x88
const IS_MASKED = 0x80

/** @param {string} text of less than 64 KiB */
export function textFrame (text) {
  return maskedFrame(TEXT, Buffer.from(text))
}

/** The key is zero: it costs the server the same, and payloads can be read. @param {number} head @param {Buffer} payload */
export function maskedFrame (head, payload) {
  if (payload.length < 126) return Buffer.concat([Buffer.from([head, IS_MASKED | payload.length, 0, 0, 0, 0]), payload])
  return Buffer.concat([Buffer.from([head, IS_MASKED | 126, payload.length >> 8, payload.length & 255, 0, 0, 0, 0]), payload])
}

/** @param {MessageKind} kind @param {number} count @returns {Batch} */
export function createBatch (kind, count) {
  const messages = Array.from({ length: count }, (_, i) => createMessage(kind, i))
  return {
    sent: Buffer.concat(messages.map(textFrame)),
    expected: Buffer.concat(messages.flatMap((message) => [Buffer.from([TEXT, MESSAGE_BYTES]), Buffer.from(message)]))
  }
}

/** @param {MessageKind} kind */
function createMessage (kind, i) {
  const [start = '', end = ''] = {
    text: [`message ${i} `, '.'],
    json: [`{"type":"chat","id":${i},"text":"`, '"}'],
    packet: [`42["message","${i} `, '"]']
  }[kind]
  return start + 'x'.repeat(MESSAGE_BYTES - start.length - end.length) + end
}
