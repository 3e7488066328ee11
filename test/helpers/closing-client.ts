/*
 * A client that speaks by hand, for processes with thousands of them: a library would cost more than the servers. It imports
 * next to nothing, to be there soon.
 */
import { connect } from 'node:net'
import { clientFrame, requestText } from './raw-client'

/** What becomes of a connection that was open. */
export interface Ending {
  /** The close frame has come, `<code> <reason>`, or the connection has gone without one: `lost`. Called once. */
  onTold?: (why: string) => void
  /** The connection has gone, after that. */
  onGone?: (why: string) => void
}

/** Connects; resolves to whether it was let in. It answers a close frame, as it should. */
export async function openClosing (port: number, token: string, { onTold, onGone }: Ending): Promise<boolean> {
  const socket = connect({ port, host: '127.0.0.1' })
  return await new Promise((resolve) => {
    let isOpen = false
    let why: string | null = null
    const tell = (what: string): void => {
      if (why === null) onTold?.(what)
      why ??= what
    }
    socket.on('error', () => {})
    socket.on('close', () => {
      if (!isOpen) return resolve(false)
      tell('lost')
      onGone?.(why ?? 'lost')
    })
    socket.write(requestText({ path: '/chat', headers: { authorization: `Bearer ${token}` } }))
    socket.on('data', (chunk) => {
      if (!isOpen) {
        isOpen = chunk.includes('101 Switching Protocols')
        return isOpen ? resolve(true) : socket.destroy()
      }
      if (chunk[0] !== 0x88) return
      tell(`${chunk.readUInt16BE(2)} ${chunk.subarray(4).toString()}`)
      socket.end(clientFrame(8, chunk.subarray(2, 4)))
    })
  })
}
