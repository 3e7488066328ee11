/*
 * Finds and makes elements. Text from the server becomes text of the page and never markup: the Trusted Types of the
 * Content-Security-Policy refuse anything else.
 */
export const find = (selector, root = document) => root.querySelector(selector)
export const cloneOf = (id) => find(id).content.firstElementChild.cloneNode(true)
export const timeOf = (instant) => new Date(instant).toLocaleTimeString([], { timeStyle: 'medium' })
export const hourOf = (instant) => new Date(instant).toLocaleTimeString([], { timeStyle: 'short' })

export function element (tag, className, text) {
  const made = document.createElement(tag)
  made.className = className
  made.textContent = text
  return made
}

let noticeTimer
export function notify (text) {
  find('#notice').textContent = text
  clearTimeout(noticeTimer)
  noticeTimer = setTimeout(() => { find('#notice').textContent = '' }, 6000)
}

/** Adds a line, and forgets those of long ago. */
export function logTo (list, text) {
  const line = element('li', '', ` ${text}`)
  line.prepend(element('time', '', timeOf(Date.now())))
  list.append(line)
  if (list.childElementCount > 50) list.firstElementChild.remove()
  list.parentElement.scrollTop = list.parentElement.scrollHeight
}
