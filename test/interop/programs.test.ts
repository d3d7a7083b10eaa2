/**
 * What a test gets that asks for a program: its path, a skip that says what to install, or a failure that does.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { find, missingPackages, needs, programs } from './programs.ts'

const before = { ...process.env }
let folder = ''

/** One folder as PATH: what is not put there is missing. */
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sealworks programs '))
  process.env['PATH'] = `:${folder}`
  delete process.env['CI']
  delete process.env['SEALWORKS_TEST_INSTALL']
})
afterEach(() => {
  process.env = { ...before }
  rmSync(folder, { recursive: true })
})

function put(name: string, mode: number): string {
  const file = join(folder, name)
  writeFileSync(file, '#!/bin/sh\n')
  chmodSync(file, mode)
  return file
}

test('a program in PATH is found, and a file that cannot run is not', () => {
  const curl = put('curl', 0o755)
  put('pki', 0o644)
  assert.equal(needs('curl').skip, false)
  assert.equal(needs('curl').path('curl'), curl)
  assert.equal(find('pki'), undefined)
})

test('a missing program is a skip that names the packages, each once', () => {
  put('curl', 0o755)
  assert.equal(
    needs('curl', 'certtool', 'ocsptool', 'pki').skip,
    'needs certtool, ocsptool, pki: apt-get install gnutls-bin strongswan-pki',
  )
})

for (const variable of ['CI', 'SEALWORKS_TEST_INSTALL'] as const) {
  test(`with ${variable} a missing program is a failure that names the package`, () => {
    process.env[variable] = variable === 'CI' ? 'true' : '1'
    const tools = needs('pki')
    assert.equal(tools.skip, false)
    assert.throws(() => tools.path('pki'), { message: 'needs pki: apt-get install strongswan-pki' })
  })
}

test('the packages to install are those of every command that PATH lacks', () => {
  put('curl', 0o755)
  const commands = Object.values(programs).filter((program) => !('at' in program))
  assert.ok(commands.length > 5)
  const missing = missingPackages()
  assert.ok(!missing.includes('curl'))
  for (const { debian } of commands) assert.ok(debian === 'curl' || missing.includes(debian), debian)
})
