// The page logs in and opens the guarded websocket. Change the text below while the page is open: Vite replaces this module.
const text = 'The server says: '

const headers = { 'content-type': 'application/json' }
const { token } = await (await fetch('/token', { method: 'POST', headers, body: '{"name":"ann"}' })).json()
const socket = new WebSocket(`ws://${globalThis.location.host}/chat`, ['bearer', token])
socket.onmessage = ({ data }) => { document.querySelector('#greeting').textContent = text + data }

import.meta.hot?.accept()
import.meta.hot?.dispose(() => socket.close())
