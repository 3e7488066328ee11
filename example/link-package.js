/*
 * Puts this clone into the node_modules of the current folder, as an installation would: its package.json, and a link to its build.
 */
const { cpSync, mkdirSync, rmSync, symlinkSync } = require('node:fs')
const { join } = require('node:path')

const clone = join(__dirname, '..')
const target = join('node_modules', 'fastify-ws-auth')
rmSync(target, { recursive: true, force: true })
mkdirSync(target, { recursive: true })
cpSync(join(clone, 'package.json'), join(target, 'package.json'))
symlinkSync(join(clone, 'dist'), join(target, 'dist'), 'junction')
