import neostandard from 'neostandard'

// Named with a dot to keep the top level short; neostandard reads .gitignore only beside an `eslint.config.*`.
const ignores = ['dist/', 'example/build/', '.build/', '.tap/']

export default [
  ...neostandard({ ts: true, ignores }),
  {
    name: 'fastify-ws-auth/types',
    files: ['lib/**/*.ts', 'example/**/*.ts', 'test/**/*.ts'],
    // Never run.
    ignores: ['test/types/**'],
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      // TypeScript's own check knows that a namespace of types may have the name of a const.
      '@typescript-eslint/no-redeclare': 'off',
      // How a promise is said to be left alone on purpose.
      'no-void': ['error', { allowAsStatement: true }]
    }
  },
  {
    name: 'fastify-ws-auth/client',
    files: ['lib/client/**/*.ts'],
    // The types of the DOM have it where listeners and messages are: without it, a socket of ours could not take the place of a WebSocket.
    rules: { '@typescript-eslint/no-explicit-any': 'off' }
  }
]
