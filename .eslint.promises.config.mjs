/*
 * The rules about promises. They need the types of all files, which takes longer than all other rules together: `npm run test:all`
 * runs them for lib and example, `npm test` does not. For the tests: `npm run lint:promises -- test`.
 */
import { plugins } from 'neostandard'

const { parser, plugin } = plugins['typescript-eslint']

export default [
  { ignores: ['test/types/**', 'test/bench/**', '**/*.mjs', '**/*.js', 'dist/', '.build/', '.tap/'] },
  {
    name: 'fastify-ws-auth/promises',
    files: ['lib/**/*.ts', 'example/**/*.ts', 'test/**/*.ts'],
    languageOptions: { parser, parserOptions: { project: ['./tsconfig.json', './example/tsconfig.json'], tsconfigRootDir: import.meta.dirname } },
    linterOptions: { reportUnusedDisableDirectives: 'off' },
    plugins: { '@typescript-eslint': plugin },
    rules: {
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/no-floating-promises': ['error', {
        // A test waits for the tests that it started, and collects their failures.
        allowForKnownSafePromises: [{ from: 'package', package: '@tapjs/core', name: 'PromiseWithSubtest' }]
      }],
      '@typescript-eslint/no-misused-promises': 'error'
    }
  }
]
