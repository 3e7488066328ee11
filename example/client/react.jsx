/*
 * A socket in React: it lives as long as the component, and the component is rendered anew when its state changes.
 */
import { connect } from 'fastify-ws-auth/client'
import { StrictMode, useEffect, useState, useSyncExternalStore } from 'react'
import { createRoot } from 'react-dom/client'

/** Connects while the component is shown. @returns the socket, `null` at first, and its state */
export function useSocket (url, token) {
  const [socket, setSocket] = useState(null)
  useEffect(() => {
    const socket = connect(url, { token })
    setSocket(socket)
    return () => socket.close()
  }, [url, token])
  const state = useSyncExternalStore(socket?.subscribe ?? subscribeToNothing, () => socket?.state ?? CONNECTING)
  return [socket, state]
}

const CONNECTING = { status: 'connecting', attempt: 0, end: null }
const subscribeToNothing = () => () => {}

async function token ({ signal }) {
  const response = await fetch('/token', { method: 'POST', signal })
  return response.status === 401 ? null : response.json()
}

function Chat () {
  const [socket, { status, end }] = useSocket('/chat', token)
  const [lines, setLines] = useState([])
  useEffect(() => {
    const onMessage = ({ data }) => setLines((lines) => [...lines, data])
    socket?.addEventListener('message', onMessage)
    return () => socket?.removeEventListener('message', onMessage)
  }, [socket])
  const send = (data) => socket.send(data.get('text'))
  return (
    <>
      <p id='state'>{status} {end?.reason}</p>
      <form action={send}><input name='text' aria-label='Message' required /><button disabled={status !== 'open'}>Send</button></form>
      <ul>{lines.map((line, index) => <li key={index}>{line}</li>)}</ul>
    </>
  )
}

createRoot(document.querySelector('main')).render(<StrictMode><Chat /></StrictMode>)
