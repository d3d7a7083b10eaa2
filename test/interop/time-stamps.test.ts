/**
 * A time-stamping authority as users run it, asked by programs of others: curl with openssl ts, osslsigncode, jarsigner.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import { systemWorld } from '#base/world.ts'
import { goodAnswer, openTimeServer, type TimeServerOfTests } from '#signing/tsp/ntp-testing.ts'
import { needs } from './programs.ts'

const run = promisify(execFile)
const tools = needs('openssl', 'curl', 'osslsigncode', 'jarsigner', 'keytool', 'python3', 'python3-rfc3161ng')
const sealworks = join(import.meta.dirname, '../../bin/sealworks')
const samples = join(import.meta.dirname, '../../src/signing/formats/testdata')
const folder = mkdtempSync(join(tmpdir(), 'sealworks-time-stamps-'))
const at = (name: string): string => join(folder, name)
const environment: NodeJS.ProcessEnv = { ...process.env }
const POLICY = '1.3.6.1.4.1.32473.7'
let server: ReturnType<typeof spawn> | undefined
let origin = ''
/** What time servers say: how far the clock is behind. */
let behind = 0
const timeServers: TimeServerOfTests[] = []

const cli = (...words: readonly string[]) => run(sealworks, [...words], { cwd: folder, env: environment })
const foreign = (
  program: 'openssl' | 'curl' | 'osslsigncode' | 'jarsigner' | 'keytool' | 'python3',
  ...words: readonly string[]
) => run(tools.path(program), [...words], { cwd: folder })

before(async () => {
  if (tools.skip !== false) return
  await cli('init', '--data', 'data', '--administrator', 'Ada Berg', '--token-file', 'ada.token')
  environment['SEALWORKS_TOKEN_FILE'] = 'ada.token'
  for (const role of ['pki-officer', 'release-engineer']) await cli('role', 'grant', 'Ada Berg', role, '--data', 'data')
  const address = `127.0.0.1:${await freePort()}`
  origin = `http://${address}`
  const { clock } = systemWorld()
  for (let count = 0; count < 3; count++)
    timeServers.push(await openTimeServer((question) => [goodAnswer(question, clock.now() + behind)]))
  const sources = timeServers.map(({ port }) => `"127.0.0.1:${port}"`).join(', ')
  const listeners = ['[server]', 'listen = "127.0.0.1:0"', `listenPublic = "${address}"`, `publicUrl = "${origin}"`]
  writeFileSync(at('sealworks.toml'), [...listeners, '[clock]', `sources = [${sources}]`, ''].join('\n'))
  const serve = ['serve', '--data', 'data', '--config', 'sealworks.toml', '--json']
  server = spawn(sealworks, serve, { cwd: folder, env: environment, stdio: ['ignore', 'pipe', 'inherit'] })
  assert.ok(server.stdout)
  const [line] = (await once(server.stdout, 'data')) as [Buffer]
  environment['SEALWORKS_SERVER'] = (JSON.parse(line.toString()) as { tls: string }).tls
  environment['SEALWORKS_TRUST'] = 'data/tls-root.pem'
  await cli('ca', 'create', 'root', '--name', 'CN=Example Root,O=Example')
  await cli('ca', 'create', 'services', '--name', 'CN=Example Services,O=Example', '--issuer', 'root')
  await cli('ca', 'export', 'root', '--out', 'root.pem')
  await cli('ca', 'export', 'services', '--out', 'services.pem')
  await authority('time', '--public')
  await authority('inhouse')
  writeFileSync(at('release.bin'), 'release 4.2')
  writeFileSync(at('other.bin'), 'release 4.3')
})

after(async () => {
  if (server !== undefined) {
    server.kill('SIGTERM')
    await once(server, 'exit')
  }
  for (const each of timeServers) await each[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})

async function authority(name: string, ...options: readonly string[]): Promise<void> {
  await cli('key', 'create', name, '--key-algorithm', 'rsa-3072')
  const issued = ['--issuer', 'services', '--subject', `CN=${name},O=Example`]
  await cli('signer', 'create', name, '--key', name, ...issued, '--format', 'rfc3161', '--policy', POLICY, ...options)
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, 'close')
  return port
}

/** What curl gets for a question of openssl's. */
async function stamped(file: string, name = 'time', ...query: readonly string[]): Promise<string> {
  await foreign('openssl', 'ts', '-query', '-data', file, '-sha256', ...query, '-out', `${file}.tsq`)
  const type = 'content-type: application/timestamp-query'
  const post = ['-sS', '-H', type, '--data-binary', `@${file}.tsq`, '-o', `${file}.tsr`, `${origin}/tsa/${name}`]
  await foreign('curl', ...post)
  const { stdout } = await foreign('openssl', 'ts', '-reply', '-in', `${file}.tsr`, '-text')
  return stdout
}

const verify = (...words: readonly string[]) =>
  foreign('openssl', 'ts', '-verify', '-in', 'release.bin.tsr', '-CAfile', 'root.pem', ...words)

test(
  'R9: openssl takes what curl brought for its question; not for another file, nonce or policy',
  { skip: tools.skip },
  async () => {
    const text = await stamped('release.bin', 'time', '-cert')
    assert.match(text, /Status: Granted\./)
    assert.match(text, /Policy OID: 1\.3\.6\.1\.4\.1\.32473\.7/)
    assert.match(text, /Accuracy: 0x01 seconds/)
    assert.match(text, /TSA: DirName:\/?O ?= ?Example, ?CN ?= ?time|TSA: DirName:.*time/)
    await verify('-queryfile', 'release.bin.tsq')
    await verify('-data', 'release.bin')
    await assert.rejects(verify('-data', 'other.bin'), { stderr: /message imprint mismatch/ })
    await foreign('openssl', 'ts', '-query', '-data', 'release.bin', '-sha256', '-cert', '-out', 'again.tsq')
    await assert.rejects(verify('-queryfile', 'again.tsq'), { stderr: /nonce mismatch/ })
    await foreign(
      'openssl',
      'ts',
      '-query',
      '-data',
      'release.bin',
      '-sha256',
      '-no_nonce',
      '-tspolicy',
      '1.2.3',
      '-out',
      'policy.tsq',
    )
    await assert.rejects(verify('-queryfile', 'policy.tsq'), { stderr: /policy mismatch/ })
    await assert.rejects(
      foreign('openssl', 'ts', '-verify', '-in', 'release.bin.tsr', '-data', 'release.bin', '-CAfile', 'data/tls-root.pem'),
    )
    // without certificates in it, by those that the verifier has
    assert.doesNotMatch(await stamped('other.bin'), /error/i)
    await cli('verify', 'release.bin', '--format', 'rfc3161', '--signature', 'release.bin.tsr', '--trust', 'root.pem')
  },
)

test('RFC 3161, 2.4.2: what is refused is refused in the words of the standard', { skip: tools.skip }, async () => {
  assert.match(
    await stamped('release.bin', 'time', '-tspolicy', '1.2.3'),
    /Status: Rejected\.[^]*the requested TSA policy is not supported/,
  )
  await foreign('openssl', 'ts', '-query', '-data', 'release.bin', '-sha1', '-out', 'sha1.tsq')
  const type = 'content-type: application/timestamp-query'
  const ask = (name: string, body: string, ...words: readonly string[]) =>
    foreign('curl', '-sS', '-H', type, '--data-binary', body, ...words, `${origin}/tsa/${name}`)
  await ask('time', '@sha1.tsq', '-o', 'sha1.tsr')
  assert.match(
    (await foreign('openssl', 'ts', '-reply', '-in', 'sha1.tsr', '-text')).stdout,
    /unrecognized or unsupported algorithm/i,
  )
  await ask('time', 'nonsense', '-o', 'nonsense.tsr')
  assert.match(
    (await foreign('openssl', 'ts', '-reply', '-in', 'nonsense.tsr', '-text')).stdout,
    /data submitted has the wrong format/i,
  )
  const status = ['-o', '/dev/null', '-w', '%{http_code}']
  assert.equal((await ask('inhouse', '@sha1.tsq', ...status)).stdout, '200') // its algorithm comes first
  assert.equal((await ask('inhouse', '@again.tsq', ...status)).stdout, '403')
  assert.equal((await ask('nobody', '@again.tsq', ...status)).stdout, '404')
})

test('R9: our own client and verifier: by name, by address, and what they refuse', { skip: tools.skip }, async () => {
  const { stdout } = await cli(
    'timestamp',
    'release.bin',
    '--signer',
    'inhouse',
    '--digest',
    'sha512',
    '--out',
    'named.tsr',
    '--proof',
    'named.proof',
  )
  assert.match(stdout, /named\.tsr is written: release\.bin was there at 2\d{3}-.*says .*CN=inhouse/)
  assert.match(readFileSync(at('named.proof'), 'utf8'), /time-stamp\.make|c2sp\.org\/tlog-proof/)
  await cli('timestamp', 'release.bin', '--url', `${origin}/tsa/time`, '--out', 'addressed.tsr', '--policy', POLICY)
  await foreign('openssl', 'ts', '-verify', '-in', 'named.tsr', '-data', 'release.bin', '-CAfile', 'root.pem')
  const judge = (file: string, signature: string, trust: string) =>
    cli('verify', file, '--format', 'rfc3161', '--signature', signature, '--trust', trust, '--require-revocation')
  for (const answer of ['named.tsr', 'addressed.tsr'])
    assert.match((await judge('release.bin', answer, 'root.pem')).stdout, /^VALID[^]*good to 1 s[^]*1\.3\.6\.1\.4\.1\.32473\.7/)
  await assert.rejects(judge('other.bin', 'named.tsr', 'root.pem'), { code: 9 })
  // nobody signed the file by having its time stated
  const asSignature = (...more: readonly string[]) =>
    cli('verify', 'release.bin', '--signature', 'named.tsr', '--trust', 'root.pem', '--offline', ...more)
  await assert.rejects(asSignature(), { stderr: /says when a file was there and not who signed it/ })
  await assert.rejects(asSignature('--format', 'cms'), { code: 9, stdout: /^NOT VALID/ })
  await assert.rejects(judge('release.bin', 'named.tsr', 'data/tls-root.pem'), { code: 9 })
  await assert.rejects(cli('timestamp', 'release.bin', '--signer', 'inhouse', '--policy', '1.2.3', '--out', 'x.tsr'), { code: 7 })
  await assert.rejects(cli('timestamp', 'release.bin', '--url', `${origin}/tsa/inhouse`, '--out', 'x.tsr'), { code: 8 })
  const octets = readFileSync(at('named.tsr'))
  octets[octets.length - 5] = (octets[octets.length - 5] ?? 0) ^ 1
  writeFileSync(at('bent.tsr'), octets)
  await assert.rejects(judge('release.bin', 'bent.tsr', 'root.pem'), { code: 9 })
})

test(
  'R9: osslsigncode signs with our time stamps; and our signer stamps by the name of the authority',
  { skip: tools.skip },
  async () => {
    copyFileSync(join(samples, 'hello.exe'), at('hello.exe'))
    await foreign(
      'openssl',
      'req',
      '-newkey',
      'rsa:3072',
      '-nodes',
      '-keyout',
      'code.key',
      '-out',
      'code.csr',
      '-subj',
      '/CN=Code/O=Example',
    )
    const issue = ['--csr', 'code.csr', '--ca', 'services', '--profile', 'code-signing', '--format', 'chain', '--out', 'code.pem']
    await cli('cert', 'issue', ...issue)
    const key = ['-certs', 'code.pem', '-key', 'code.key', '-h', 'sha256', '-ts', `${origin}/tsa/time`]
    await foreign('osslsigncode', 'sign', ...key, '-in', 'hello.exe', '-out', 'theirs.exe')
    await cli('key', 'create', 'programs', '--key-algorithm', 'rsa-3072')
    const issued = ['--issuer', 'services', '--subject', 'CN=Programs,O=Example']
    const formats = ['--format', 'authenticode-pe', '--format', 'cms', '--format', 'jar']
    await cli('signer', 'create', 'programs', '--key', 'programs', ...issued, ...formats, '--time-stamping', 'inhouse')
    await cli('sign', 'hello.exe', '--signer', 'programs', '--out', 'ours.exe')
    for (const file of ['theirs.exe', 'ours.exe']) {
      const trust = ['-CAfile', 'root.pem', '-TSA-CAfile', 'root.pem']
      const { stdout } = await foreign('osslsigncode', 'verify', '-in', file, ...trust)
      assert.match(stdout, /Timestamp Server Signature verification: ok/)
      assert.match(stdout, /Signature verification: ok/)
      assert.match((await cli('verify', file, '--trust', 'root.pem', '--offline')).stdout, /^VALID[^]*there by 2/)
    }
  },
)

test('R9: jarsigner signs with our time stamps', { skip: tools.skip }, async () => {
  copyFileSync(join(samples, 'press.jar'), at('press.jar'))
  const words = ['-keystore', 'code.p12', '-storepass', 'changeit']
  await foreign(
    'openssl',
    'pkcs12',
    '-export',
    '-inkey',
    'code.key',
    '-in',
    'code.pem',
    '-name',
    'code',
    '-passout',
    'pass:changeit',
    '-out',
    'code.p12',
  )
  await foreign('keytool', '-importcert', '-noprompt', '-alias', 'root', '-file', 'root.pem', ...words)
  const { stdout } = await foreign(
    'jarsigner',
    ...words,
    '-tsa',
    `${origin}/tsa/time`,
    '-signedjar',
    'theirs.jar',
    'press.jar',
    'code',
  )
  assert.match(stdout, /jar signed/)
  const said = await foreign('jarsigner', '-verify', '-verbose', '-certs', ...words, 'theirs.jar')
  assert.match(said.stdout, /jar verified/)
  assert.match(said.stdout, /timestamp/i)
  assert.match((await cli('verify', 'theirs.jar', '--trust', 'root.pem', '--offline')).stdout, /^VALID[^]*there by 2/)
})

const PYTHON = `
import sys, rfc3161ng
url, certificate = sys.argv[1], open(sys.argv[2], 'rb').read()
asking = rfc3161ng.RemoteTimestamper(url, certificate=certificate, hashname='sha256', include_tsa_certificate=True)
token = asking.timestamp(data=b'release 4.2', nonce=0x4142434445464748)
assert asking.check(token, data=b'release 4.2', nonce=0x4142434445464748)
for wrong in ({'data': b'release 4.3', 'nonce': 0x4142434445464748}, {'data': b'release 4.2', 'nonce': 7}):
    try:
        asking.check(token, **wrong)
    except ValueError as error:
        print('refused:', error)
print(rfc3161ng.get_timestamp(token))
`

test('R9: python3-rfc3161ng takes our tokens; not for other data or another nonce', { skip: tools.skip }, async () => {
  writeFileSync(at('ask.py'), PYTHON)
  const { stdout: shown } = await cli('signer', 'show', 'time', '--json')
  const [own = ''] = (JSON.parse(shown) as { key: { certificates: string[] } }).key.certificates
  writeFileSync(at('time.cer'), Buffer.from(own, 'base64'))
  const { stdout } = await foreign('python3', 'ask.py', `${origin}/tsa/time`, 'time.cer')
  assert.equal(stdout.match(/^refused:/gm)?.length, 2, stdout)
  assert.match(stdout, /^2\d{3}-/m)
})

test(
  'the clock: held to its servers, said in doctor and metrics, and no clock in doubt is good',
  { skip: tools.skip },
  async () => {
    const doctor = async (): Promise<string> => {
      const how = ['doctor', '--data', 'data', '--config', 'sealworks.toml']
      return (await cli(...how).catch((error: unknown) => error as { stdout: string })).stdout
    }
    assert.match(await doctor(), /ok {3}time servers: they are -?\d+\.\d ms ahead/)
    behind = 3_600_000
    assert.match(await doctor(), /look {2}time servers: they are 3(600|599)\d{3}\.\d ms ahead/)
    behind = 0
    const metrics = ['-sS', '--cacert', 'data/tls-root.pem', `${environment['SEALWORKS_SERVER'] ?? ''}/metrics`]
    const { stdout } = await foreign('curl', ...metrics)
    assert.match(stdout, /^sealworks_clock_doubtful 0$/m)
    assert.match(stdout, /^sealworks_clock_error_seconds 0\.\d+$/m)
    const { stdout: ready } = await foreign('curl', '-sS', `${origin}/health/ready`)
    assert.match(ready, /"name":"clock","ok":true/)
  },
)

test('a revoked authority is believed by nobody who looks', { skip: tools.skip }, async () => {
  const { stdout } = await cli('signer', 'show', 'inhouse', '--json')
  const [own] = (JSON.parse(stdout) as { key: { certificates: string[] } }).key.certificates
  assert.ok(own !== undefined)
  writeFileSync(at('inhouse.cer'), Buffer.from(own, 'base64'))
  const shown = await foreign('openssl', 'x509', '-inform', 'DER', '-in', 'inhouse.cer', '-noout', '-serial')
  await cli('cert', 'revoke', shown.stdout.trim().replace('serial=', ''), '--reason', 'keyCompromise')
  await cli('ca', 'issue-crl', 'services')
  const judge = (signature: string) =>
    cli('verify', 'release.bin', '--format', 'rfc3161', '--signature', signature, '--trust', 'root.pem')
  assert.match((await judge('addressed.tsr')).stdout, /^VALID/) // of the other authority
  await assert.rejects(judge('named.tsr'), {
    code: 9,
    stdout: /revoked/i,
  })
})
