/*
 * A promise for the next time at which a socket is open.
 */

export class Opened {
  resolve: () => void = () => {}
  reject: (error: Error) => void = () => {}
  readonly promise = new Promise<void>((resolve, reject) => {
    this.resolve = resolve
    this.reject = reject
  })
}
