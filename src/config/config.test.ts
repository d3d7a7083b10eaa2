/** What a configuration accepts, what it refuses, and in which words. @module */
import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { explainConfig, parseConfig, readConfig, variableOf } from './config.ts'
import { readSecret } from './secret-file.ts'
import { parseAddress } from './setting.ts'
import { namedSections, sections } from './settings.ts'

const parse = (file: string, environment: Record<string, string> = {}) =>
  parseConfig({ file, environment, dataDirectory: '/data' })

test('an empty file is a working configuration that only this machine can reach (R25)', () => {
  const config = parse('')
  assert.deepEqual(config.server.listen, { host: '127.0.0.1', port: 8443 })
  assert.deepEqual(config.server.listenPublic, { host: '127.0.0.1', port: 8080 })
  assert.equal(config.server.listenConsole, undefined)
  assert.equal(config.server.publicUrl, undefined)
  assert.deepEqual(config.store.url, { engine: 'sqlite', location: '/data/sealworks.db' })
  assert.deepEqual(config.keys.wrappingKey, { kind: 'file', path: '/data/keys/wrapping.key' })
})

test('every default is acceptable to its own setting', () => {
  for (const { name, default: value } of explainConfig()) {
    const [section = '', ...rest] = name.split('.')
    if (value === undefined) continue
    const tables: Record<string, Record<string, { read(v: unknown, c: object): object }>> = { ...sections, ...namedSections }
    const setting = tables[section]?.[rest.at(-1) ?? '']
    assert.ok(setting && 'value' in setting.read(value, { dataDirectory: '/data' }), name)
  }
})

test('the file sets, the environment overrides', () => {
  const file =
    '[server]\nlisten = "0.0.0.0:443"\npublicUrl = "http://pki.example/"\nserverNames = ["pki.example"]\n[log]\nlevel = "debug"\n'
  const config = parse(file, {
    SEALWORKS_LOG_LEVEL: 'warn',
    SEALWORKS_SERVER_SERVER_NAMES: 'a.example, 192.0.2.1',
    SEALWORKS_SERVER_BODY_MAX_BYTES: '2048',
  })
  assert.deepEqual(config.server.listen, { host: '0.0.0.0', port: 443 })
  assert.equal(config.server.publicUrl, 'http://pki.example')
  assert.deepEqual(config.server.serverNames, ['a.example', '192.0.2.1'])
  assert.equal(config.server.bodyMaxBytes, 2048)
  assert.equal(config.log.level, 'warn')
})

test('a key store has a section of its own under its name', () => {
  const file = '[keyStore.hsm]\nmodule = "hsm.so"\ntokens = ["label:line", "serial:12"]\npin = "env:PIN"\n[log]\nlevel = "warn"\n'
  const [hsm, ...others] = parse(file).keyStore
  assert.deepEqual(hsm, {
    name: 'hsm',
    module: '/data/hsm.so',
    tokens: [{ label: 'line' }, { serialNumber: '12' }],
    pin: { kind: 'env', name: 'PIN' },
    sessions: 8,
    checkEverySignature: false,
  })
  assert.deepEqual(others, [])
  const explained = explainConfig({ file, environment: {}, dataDirectory: '/data' })
  assert.equal(explained.find(({ name }) => name === 'keyStore.hsm.pin')?.value, 'env:PIN')
})

const keyStoreFaults = [
  { file: '[keyStore.hsm]\ntokens = ["label:a"]\n', expected: 'keyStore.hsm.module (line 1) must be set' },
  { file: '[keyStore.hsm]\nmodule = "x"\n', expected: 'keyStore.hsm.tokens (line 1) must be set' },
  { file: '[keyStore.hsm]\nmodule = "x"\ntokens = []\n', expected: 'keyStore.hsm.tokens (line 1) must be set' },
  {
    file: '[keyStore.hsm]\nmodule = "x"\ntokens = ["slot:0"]\n',
    expected: 'keyStore.hsm.tokens (line 3) entry 1 must be label:',
  },
  { file: '[keyStore.hsm]\npin = "1234"\n', expected: 'keyStore.hsm.pin (line 2) must be file:PATH or env:NAME' },
  {
    file: '[keyStore.hsm]\nmodul = "x"\n',
    expected: 'keyStore.hsm.modul (line 2) is no setting; did you mean keyStore.hsm.module?',
  },
  { file: '[keyStore.software]\nmodule = "x"\n', expected: 'keyStore.software (line 1) must be named' },
  { file: '[keyStore.HSM]\nmodule = "x"\n', expected: 'keyStore.HSM (line 1) must be named' },
  { file: '[keyStore]\nmodule = "x"\n', expected: 'keyStore.module (line 2) must be a section' },
]
for (const { file, expected } of keyStoreFaults) {
  test(`a key store's section: ${expected}`, () => {
    assert.throws(
      () => parse(file),
      (error: Error) => error.message.includes(expected) || assert.fail(error.message),
    )
    assert.throws(
      () => parse(file),
      (error: Error) => !error.message.includes('1234'),
    )
  })
}

test('every problem is named at once, with its line or its variable', () => {
  const file = '[server]\nlistn = "127.0.0.1:1"\nlisten = "nowhere"\n\n[stor]\nurl = "sqlite:x"\n\n[ca]\nbackdateSeconds = -1\n'
  assert.throws(
    () => parse(file, { SEALWORKS_LOG_LEVEL: 'loud', SEALWORKS_LOG_LEVL: 'info' }),
    (error: Error & { code: string; reason: string }) => {
      assert.equal(error.code, 'malformed')
      assert.equal(error.reason, 'configInvalid')
      for (const expected of [
        'server.listn (line 2) is no setting; did you mean server.listen?',
        'server.listen (line 3) must be HOST:PORT',
        'stor (line 5) is no section',
        'ca.backdateSeconds (line 9) must be a whole number from 0 to 86400',
        'SEALWORKS_LOG_LEVEL must be one of debug, info, warn, error',
        'SEALWORKS_LOG_LEVL is no setting; did you mean SEALWORKS_LOG_LEVEL?',
      ]) {
        assert.ok(error.message.includes(expected), `${expected}\nin\n${error.message}`)
      }
      return true
    },
  )
})

const refused: { name: string; file: string; problem: RegExp; never?: string }[] = [
  { name: 'not TOML', file: '[server\n', problem: /file \(line 1\)/ },
  { name: 'a setting outside a section', file: 'listen = "127.0.0.1:1"\n', problem: /listen \(line 1\) is no section/ },
  { name: 'a section that is a value', file: 'server = 1\n', problem: /server \(line 1\) must be a section/ },
  { name: 'a port out of range', file: '[server]\nlisten = "127.0.0.1:65536"\n', problem: /server.listen/ },
  { name: 'a number as text', file: '[server]\nbodyMaxBytes = "2048"\n', problem: /server.bodyMaxBytes/ },
  { name: 'a fraction', file: '[server]\nbodyMaxBytes = 2048.5\n', problem: /server.bodyMaxBytes/ },
  {
    name: 'a public address with a user',
    file: '[server]\npublicUrl = "http://me:hush@x/"\n',
    problem: /server.publicUrl/,
    never: 'hush',
  },
  { name: 'a script as public address', file: '[server]\npublicUrl = "javascript:alert(1)"\n', problem: /server.publicUrl/ },
  { name: 'a secret in the file', file: '[keys]\nwrappingKey = "hunter2"\n', problem: /file:PATH or env:NAME/, never: 'hunter2' },
  {
    name: 'a password in the database URL',
    file: '[store]\nurl = "postgres://u:hunter2@db/x"\n',
    problem: /must not hold a password/,
    never: 'hunter2',
  },
  {
    name: 'a password in the URL query',
    file: '[store]\nurl = "postgres://db/x?password=hunter2"\n',
    problem: /must not hold a password/,
    never: 'hunter2',
  },
  { name: 'another database', file: '[store]\nurl = "mysql://db/x"\n', problem: /store.url/ },
  { name: 'a name inherited from Object', file: '[server]\nconstructor = 1\n[toString]\n', problem: /toString .*is no section/ },
]
for (const { name, file, problem, never } of refused) {
  test(`refuses ${name}`, () => {
    assert.throws(
      () => parse(file),
      (error: Error & { code: string }) => {
        assert.equal(error.code, 'malformed')
        assert.match(error.message, problem)
        if (never !== undefined) assert.ok(!error.message.includes(never), 'a secret is never repeated')
        return true
      },
    )
  })
}

test('no text crashes the parser: it yields a configuration or names problems', () => {
  const line = fc.oneof(
    fc.string(),
    fc.constantFrom('[server]', '[keys]', 'listen = "x"', 'listen = {a = 1}', 'serverNames = [[1]]', 'publicUrl = 1979-05-27'),
  )
  fc.assert(
    fc.property(fc.array(line, { maxLength: 8 }), (lines) => {
      const { problems, config } = readConfig({ file: lines.join('\n'), environment: {}, dataDirectory: '/data' })
      assert.ok(problems.length > 0 || config.server.bodyMaxBytes === 1_048_576)
    }),
    { numRuns: 500 },
  )
})

test('explain says what is in force and where it came from, and never a secret', () => {
  const rows = explainConfig({
    file: '[log]\nlevel = "warn"\n',
    environment: { SEALWORKS_STORE_PASSWORD_FILE: '/run/secrets/db' },
    dataDirectory: '/data',
  })
  const row = (name: string) => rows.find((r) => r.name === name)
  assert.deepEqual(row('log.level')?.origin, { kind: 'file', line: 2 })
  assert.deepEqual(row('store.password')?.value, 'file:/run/secrets/db')
  assert.deepEqual(row('store.password')?.origin, { kind: 'environment', variable: 'SEALWORKS_STORE_PASSWORD_FILE' })
  assert.deepEqual(row('server.listen')?.origin, { kind: 'default' })
  assert.equal(new Set(rows.map((r) => r.variable)).size, rows.length)
})

test('a secret and its file together are refused', () => {
  assert.throws(() => parse('', { SEALWORKS_STORE_PASSWORD: 'env:X', SEALWORKS_STORE_PASSWORD_FILE: '/x' }), /keep one/)
})

test('a witness is its key, a space, and its address', () => {
  const key = 'witness.example/w1+1a2b3c4d+BAAA'
  const read = (written: string) =>
    readConfig({ file: `[audit]\nwitnesses = [${JSON.stringify(written)}]`, environment: {}, dataDirectory: '/d' })
  assert.deepEqual(read(`${key} http://witness.example:8090/`).config.audit.witnesses, [
    { verifierKey: key, url: 'http://witness.example:8090' },
  ])
  for (const bad of [
    '',
    key,
    `${key} ftp://x`,
    `${key} http://x y`,
    'key http://x',
    `${key} http://user:x@x`,
    `w+1a2b3c4d+ http://x`,
  ]) {
    assert.match(read(bad).problems[0]?.problem ?? '', /entry 1 must be the key of a witness/, bad)
  }
})

test('environment names are the keys in upper snake case', () => {
  assert.equal(variableOf('server', 'listenPublic'), 'SEALWORKS_SERVER_LISTEN_PUBLIC')
  assert.equal(variableOf('ca', 'crlMinIntervalSeconds'), 'SEALWORKS_CA_CRL_MIN_INTERVAL_SECONDS')
})

test('addresses: IPv6 in brackets, port 0 for a free one', () => {
  assert.deepEqual(parseAddress('[::1]:8443'), { host: '::1', port: 8443 })
  assert.deepEqual(parseAddress('0.0.0.0:0'), { host: '0.0.0.0', port: 0 })
  for (const bad of ['', ':1', '::1:1', 'a b:1', 'a:', 'a:999999', 'a']) assert.equal(parseAddress(bad), undefined, bad)
})

test('a secret file is read when only its owner may read it', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-config-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const path = join(directory, 'secret')
  const read = () => readSecret({ kind: 'file', path }, {}).reveal('test')
  writeFileSync(path, 'hush\n', { mode: 0o600 })
  assert.equal(Buffer.from(read()).toString(), 'hush')
  writeFileSync(path, Uint8Array.of(0x80, 0x0a))
  assert.deepEqual([...read()], [0x80, 0x0a], 'a binary key keeps its last octet')
  chmodSync(path, 0o644)
  assert.throws(read, { code: 'policyRefused', reason: 'secretExposed' })
  assert.throws(() => readSecret({ kind: 'file', path: join(directory, 'none') }, {}), { code: 'notFound' })
  assert.throws(() => readSecret({ kind: 'env', name: 'NONE' }, {}), { code: 'notFound' })
  assert.equal(Buffer.from(readSecret({ kind: 'env', name: 'IT' }, { IT: 'x' }).reveal('test')).toString(), 'x')
})
