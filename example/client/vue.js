/*
 * A socket in Vue: it lives as long as the component, and its state is a ref.
 */
import { connect } from 'fastify-ws-auth/client'
import { createApp, h, onScopeDispose, ref, shallowRef } from 'vue'

/** Connects until the scope of the component ends. @returns the socket and a ref of its state */
export function useSocket (url, options) {
  const socket = connect(url, options)
  const state = shallowRef(socket.state)
  socket.subscribe(() => { state.value = socket.state })
  onScopeDispose(() => socket.close())
  return { socket, state }
}

async function token ({ signal }) {
  const response = await fetch('/token', { method: 'POST', signal })
  return response.status === 401 ? null : response.json()
}

createApp({
  setup () {
    const { socket, state } = useSocket('/chat', { token })
    const [lines, text] = [ref([]), ref('')]
    socket.onmessage = ({ data }) => lines.value.push(data)
    const onSubmit = (event) => {
      event.preventDefault()
      socket.send(text.value)
      text.value = ''
    }
    return () => [
      h('p', { id: 'state' }, [state.value.status, state.value.end?.reason].filter(Boolean).join(' ')),
      h('form', { onSubmit }, [
        h('input', { 'aria-label': 'Message', required: true, value: text.value, onInput: ({ target }) => { text.value = target.value } }),
        h('button', { disabled: state.value.status !== 'open' }, 'Send')
      ]),
      h('ul', lines.value.map((line) => h('li', line)))
    ]
  }
}).mount('main')
