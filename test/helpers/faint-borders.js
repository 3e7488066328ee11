/*
 * Read as a text, and run in a page: the controls that are seen, with a border of less than 3:1 against what is around them.
 */
/* global document, getComputedStyle */
(() => {
  const partsOf = (color) => (color.match(/[\d.]+/g) ?? []).map(Number)
  const isClear = (color) => partsOf(color)[3] === 0
  const luminanceOf = (color) => {
    const [red, green, blue] = partsOf(color).map((part) => part / 255).map((part) => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
  }
  const backgroundOf = (node) => {
    for (; node !== null; node = node.parentElement) {
      const { backgroundColor } = getComputedStyle(node)
      if (!isClear(backgroundColor)) return backgroundColor
    }
    return 'rgb(255, 255, 255)'
  }
  const contrastOf = (node) => {
    const { borderTopColor } = getComputedStyle(node)
    if (isClear(borderTopColor)) return Infinity
    const [dark, light] = [luminanceOf(borderTopColor), luminanceOf(backgroundOf(node.parentElement))].sort((one, other) => one - other)
    return (light + 0.05) / (dark + 0.05)
  }
  const controls = [...document.querySelectorAll('button:enabled, .button, select, input:not([type=checkbox])')].filter((node) => node.checkVisibility())
  return controls.filter((node) => contrastOf(node) < 3).map((node) => `${node.outerHTML.slice(0, 80)} has ${contrastOf(node).toFixed(2)}`)
})()
