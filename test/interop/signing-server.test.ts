/**
 * The whole way: a signer with a certificate of our own authority, files that the command line hashes, and the platforms'
 * own verifiers. The server runs as users run it.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, copyFileSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import { compactVerify, importX509 } from 'jose'
import { needs } from './programs.ts'

const run = promisify(execFile)
const tools = needs('openssl', 'osslsigncode', 'jarsigner', 'keytool')
const sealworks = join(import.meta.dirname, '../../bin/sealworks')
const samples = join(import.meta.dirname, '../../src/signing/formats/testdata')
const folder = mkdtempSync(join(tmpdir(), 'sealworks-signing-server-'))
const at = (name: string): string => join(folder, name)
const environment: NodeJS.ProcessEnv = { ...process.env }
let server: ReturnType<typeof spawn> | undefined

const cli = (...words: readonly string[]) => run(sealworks, [...words], { cwd: folder, env: environment })
const foreign = (program: 'openssl' | 'osslsigncode' | 'jarsigner' | 'keytool', ...words: readonly string[]) =>
  run(tools.path(program), [...words], { cwd: folder })

before(async () => {
  if (tools.skip !== false) return
  await cli('init', '--data', 'data', '--administrator', 'Ada Berg', '--token-file', 'ada.token')
  environment['SEALWORKS_TOKEN_FILE'] = 'ada.token'
  const local = ['--data', 'data']
  await cli('role', 'grant', 'Ada Berg', 'pki-officer', ...local)
  await cli('role', 'grant', 'Ada Berg', 'release-engineer', ...local)
  // osslsigncode fetches revocation lists from where the certificates say
  const address = `127.0.0.1:${await freePort()}`
  const lines = ['[server]', 'listen = "127.0.0.1:0"', `listenPublic = "${address}"`, `publicUrl = "http://${address}"`, '']
  writeFileSync(at('sealworks.toml'), lines.join('\n'))
  const serve = ['serve', '--data', 'data', '--config', 'sealworks.toml', '--json']
  server = spawn(sealworks, serve, { cwd: folder, env: environment, stdio: ['ignore', 'pipe', 'inherit'] })
  assert.ok(server.stdout)
  const [line] = (await once(server.stdout, 'data')) as [Buffer]
  environment['SEALWORKS_SERVER'] = (JSON.parse(line.toString()) as { tls: string }).tls
  environment['SEALWORKS_TRUST'] = 'data/tls-root.pem'
  await cli('ca', 'create', 'root', '--name', 'CN=Example Root,O=Example')
  await cli('ca', 'create', 'products', '--name', 'CN=Example Products,O=Example', '--issuer', 'root')
  await cli('ca', 'export', 'root', '--out', 'root.pem')
  await cli('key', 'create', 'programs', '--key-algorithm', 'rsa-3072')
  const offered = ['cms', 'plain', 'authenticode-pe', 'authenticode-msi', 'authenticode-cab', 'authenticode-script', 'jar']
  const formats = offered.flatMap((format) => ['--format', format])
  const issued = ['--issuer', 'products', '--subject', 'CN=Programs,O=Example']
  await cli('signer', 'create', 'programs', '--key', 'programs', ...issued, ...formats)
})

after(async () => {
  if (server !== undefined) {
    server.kill('SIGTERM')
    await once(server, 'exit')
  }
  rmSync(folder, { recursive: true, force: true })
})

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, 'close')
  return port
}

/** One octet another. */
function flipped(name: string, offset: number): string {
  const octets = readFileSync(at(name))
  octets[offset] = (octets[offset] ?? 0) ^ 1
  writeFileSync(at(`flipped-${name}`), octets)
  return `flipped-${name}`
}

const refused = { code: 9 }

test(
  'R9: a program signed through the server verifies with osslsigncode and here; one octet another, with neither',
  { skip: tools.skip },
  async () => {
    copyFileSync(join(samples, 'hello.exe'), at('hello.exe'))
    await cli('sign', 'hello.exe', '--signer', 'programs', '--out', 'signed.exe')
    const { stdout } = await foreign('osslsigncode', 'verify', '-in', 'signed.exe', '-CAfile', 'root.pem')
    assert.match(stdout, /Signature verification: ok/)
    assert.match(
      (await cli('verify', 'signed.exe', '--trust', 'root.pem', '--require-revocation')).stdout,
      /^VALID[^]*CN=Programs,O=Example/,
    )
    const other = flipped('signed.exe', 0x602)
    await assert.rejects(foreign('osslsigncode', 'verify', '-in', other, '-CAfile', 'root.pem'))
    await assert.rejects(cli('verify', other, '--trust', 'root.pem', '--offline'), refused)
  },
)

test('R9: a package, a cabinet and a script signed through the server verify', { skip: tools.skip }, async () => {
  writeFileSync(at('press.ps1'), 'Write-Host "press 7"\n')
  for (const file of ['press.msi', 'press.cab']) copyFileSync(join(samples, file), at(file))
  for (const [file, ...options] of [['press.msi'], ['press.cab'], ['press.ps1', '--format', 'authenticode-script']] as const) {
    await cli('sign', file, '--signer', 'programs', '--out', `signed-${file}`, ...options)
    assert.match((await cli('verify', `signed-${file}`, '--trust', 'root.pem', '--offline')).stdout, /^VALID/)
    if (file === 'press.ps1') continue // osslsigncode of Debian 12 knows no scripts
    const { stdout } = await foreign('osslsigncode', 'verify', '-in', `signed-${file}`, '-CAfile', 'root.pem')
    assert.match(stdout, /Signature verification: ok/)
  }
})

test('R9: an archive signed through the server verifies with jarsigner and here', { skip: tools.skip }, async () => {
  copyFileSync(join(samples, 'press.jar'), at('press.jar'))
  await cli('sign', 'press.jar', '--signer', 'programs', '--out', 'signed.jar')
  const store = ['-keystore', 'trust.p12', '-storepass', 'changeit']
  await foreign('keytool', '-importcert', '-noprompt', '-alias', 'root', '-file', 'root.pem', '-storetype', 'PKCS12', ...store)
  const { stdout } = await foreign('jarsigner', '-verify', '-strict', ...store, 'signed.jar').catch(
    (error: unknown) => error as { stdout: string },
  )
  assert.match(stdout, /jar verified/)
  assert.match((await cli('verify', 'signed.jar', '--trust', 'root.pem', '--offline')).stdout, /^VALID/)
})

test(
  'R31: two keys sign as COSE, JWS and provenance through the server; jose reads what needs no second key',
  { skip: tools.skip },
  async () => {
    await cli('ca', 'create', 'tomorrow', '--name', 'CN=Example Tomorrow,O=Example', '--key-algorithm', 'ml-dsa-65')
    await cli('ca', 'export', 'tomorrow', '--out', 'tomorrow.pem')
    await cli('key', 'create', 'messages', '--key-algorithm', 'ecdsa-p256')
    await cli('key', 'create', 'messages-pq', '--key-algorithm', 'ml-dsa-65')
    const named = [
      '--subject',
      'CN=Messages,O=Example',
      ...['cose-sign', 'jws', 'dsse'].flatMap((format) => ['--format', format]),
    ]
    const both = ['--key', 'messages', '--issuer', 'products', '--with-key', 'messages-pq', '--with-issuer', 'tomorrow']
    await cli('signer', 'create', 'both', ...both, ...named)
    await cli('signer', 'create', 'one', '--key', 'messages', '--issuer', 'products', ...named)
    writeFileSync(at('press.bin'), 'firmware of press 7\n'.repeat(4_000))
    writeFileSync(at('other.bin'), 'firmware of press 8\n'.repeat(4_000))
    const build = ['builderId=https://b.example', 'buildType=https://t.example', 'content=provenance'].flatMap((each) => [
      '--option',
      each,
    ])
    for (const [format, ...options] of [['cose-sign', '--option', 'content=hash'], ['jws'], ['dsse', ...build]] as const) {
      const signed = `press.${format}`
      await cli('sign', 'press.bin', '--signer', 'both', '--format', format, '--out', signed, ...options)
      const trust = ['--trust', 'root.pem', '--trust', 'tomorrow.pem', '--offline', '--require', 'both']
      assert.match((await cli('verify', 'press.bin', '--signature', signed, ...trust)).stdout, /^VALID[^]*ml-dsa-65/)
      await assert.rejects(cli('verify', 'other.bin', '--signature', signed, ...trust), refused)
    }
    await cli('sign', 'press.bin', '--signer', 'one', '--format', 'jws', '--out', 'lone.jws', '--option', 'content=attached')
    const { payload, protectedHeader } = await compactVerify(readFileSync(at('lone.jws'), 'utf8'), ({ x5c = [] }) =>
      importX509(`-----BEGIN CERTIFICATE-----\n${x5c[0]}\n-----END CERTIFICATE-----`, 'ES256'),
    )
    assert.deepEqual(Buffer.from(payload), readFileSync(at('press.bin')))
    assert.equal(protectedHeader.alg, 'ES256')
  },
)

test('a large file is hashed where it lies; openssl takes the signature', { skip: tools.skip }, async () => {
  const file = openSync(at('large.bin'), 'w')
  ftruncateSync(file, process.env['SLOW'] === '1' ? 4 * 2 ** 30 : 64 * 2 ** 20) // a sparse file: nothing to write
  closeSync(file)
  await cli('sign', 'large.bin', '--signer', 'programs', '--format', 'cms', '--out', 'large.p7s')
  const verify = [
    'cms',
    '-verify',
    '-binary',
    '-inform',
    'DER',
    '-in',
    'large.p7s',
    '-content',
    'large.bin',
    '-CAfile',
    'root.pem',
  ]
  const { stderr } = await foreign('openssl', ...verify, '-purpose', 'any', '-out', '/dev/null')
  assert.match(stderr, /Verification successful/)
})

test('what a signer does not sign is refused by the server, whatever the client says', { skip: tools.skip }, async () => {
  await cli('signer', 'create', 'archives', '--key', 'programs', '--format', 'jar')
  copyFileSync(join(samples, 'hello.exe'), at('other.exe'))
  await assert.rejects(cli('sign', 'other.exe', '--signer', 'archives', '--format', 'plain', '--out', 'other.sig'), { code: 7 })
  await assert.rejects(cli('signer', 'create', 'nonsense', '--key', 'programs', '--format', 'nonesuch'), { code: 4 })
})
