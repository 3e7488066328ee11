import neostandard, { plugins } from 'neostandard'

// Named with a dot to keep the top level short; neostandard reads .gitignore only beside an `eslint.config.*`.
const ignores = ['dist/', 'example/build/', '.build/', '.tap/']

/** The rules that need types. `files` are in the TypeScript projects that `projects` names. */
export function promises (files, ...projects) {
  return {
    name: 'fastify-ws-auth/promises',
    files,
    languageOptions: { parserOptions: { project: projects, tsconfigRootDir: import.meta.dirname } },
    linterOptions: { reportUnusedDisableDirectives: 'off' },
    plugins: { '@typescript-eslint': plugins['typescript-eslint'].plugin },
    rules: {
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/no-floating-promises': ['error', {
        // A test waits for the tests that it started, and collects their failures.
        allowForKnownSafePromises: [{ from: 'package', package: '@tapjs/core', name: 'PromiseWithSubtest' }]
      }],
      '@typescript-eslint/no-misused-promises': 'error'
    }
  }
}

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
  promises(['lib/**/*.ts', 'example/**/*.ts'], './lib/tsconfig.json', './example/tsconfig.json')
]
