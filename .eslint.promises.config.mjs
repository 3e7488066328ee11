/*
 * The rules about promises, for the tests. They take the types of all tests, which takes longer than all the other rules together:
 * `npm run test:all` runs them, `npm test` does not.
 */
import { promises } from './.eslint.config.mjs'
import { plugins } from 'neostandard'

export default [
  { ignores: ['test/types/**', 'test/bench/**', '**/*.mjs'] },
  { languageOptions: { parser: plugins['typescript-eslint'].parser } },
  promises(['test/**/*.ts'], './tsconfig.json')
]
