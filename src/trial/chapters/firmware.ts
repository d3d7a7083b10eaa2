/** The maker signs what runs on its machines: here, at the server, with the time proven, and checked by programs of others. @module */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { encodePEM } from '#asn1/pem.ts'
import { TLS_ROOT_FILE } from '#server/init.ts'
import { byOpenSSL } from '../programs.ts'
import { type CommandAnswer, CommandRefusal, runCommand, tryCommand } from '../server-process.ts'
import { type Chapter, fact, must, NotAsExpected, present, type Scene } from '../story.ts'
import { birthAuthority, MAKER } from './authorities.ts'
import { officer, personToken, server } from './server.ts'

interface Desk {
  /** Files of this start. */
  readonly directory: string
  /** The release engineer at the command line. */
  run(...words: readonly string[]): Promise<unknown>
  /** The same where it may wait for others. */
  attempt(...words: readonly string[]): Promise<CommandAnswer>
}

export const desk = fact<Desk>('the release engineer’s desk')

const ENGINEER = 'Trial release engineer'
/** Of IANA's arc for examples (RFC 5612); an authority has its own. */
const TIME_POLICY = '1.3.6.1.4.1.32473.7'
const FIRMWARE = 'press7.bin'
const SCRIPT = 'commissioning.ps1'
const FIRMWARE_OCTETS = 8 << 20

export const firmwareChapter: Chapter = {
  title: 'Signed firmware',
  about:
    'What a machine runs is signed, so that it takes nothing else. The key stays at the server; a large file stays where it is.',
  steps: [
    {
      title: 'A release engineer, and three signers',
      async run(scene) {
        const { isOld } = await openDesk(scene)
        return { said: isOld ? 'the same as last time' : 'for firmware, for scripts, and for the time' }
      },
    },
    {
      title: 'sealworks sign: 8 MB of firmware stay here',
      async run(scene) {
        const { directory, run } = scene.known(desk)
        const answer = await run('sign', at(directory, FIRMWARE), '--signer', 'firmware', '--format', 'cms')
        must(stateOf(answer) === 'signed', 'the firmware is not signed')
        const { length } = readFileSync(at(directory, `${FIRMWARE}.p7s`))
        return { said: `${length} octets of CMS with a time stamp`, tally: SIGNATURE }
      },
    },
    {
      title: 'sealworks sign --upload: a script goes there',
      async run(scene) {
        const { directory, run } = scene.known(desk)
        const out = at(directory, `signed-${SCRIPT}`)
        const answer = await run('sign', at(directory, SCRIPT), '--signer', 'scripts', '--upload', '--out', out)
        must(stateOf(answer) === 'signed', 'the script is not signed')
        must(readFileSync(out, 'utf8').includes('# SIG # Begin signature block'), 'the script has no signature block')
        return { said: 'a job signs it, as Windows reads PowerShell', tally: SIGNATURE }
      },
    },
    {
      title: 'sealworks verify: both, and one bit turned',
      async run(scene) {
        const { directory, run } = scene.known(desk)
        const trust = ['--trust', at(directory, 'root.pem'), '--offline']
        const octets = readFileSync(at(directory, FIRMWARE))
        octets[octets.length >> 1] = (octets[octets.length >> 1] ?? 0) ^ 1
        writeFileSync(at(directory, ALTERED), octets)
        const verify = (file: string, ...more: readonly string[]): Promise<unknown> =>
          run('verify', at(directory, file), ...more, ...trust)
        const signature = ['--signature', at(directory, `${FIRMWARE}.p7s`)]
        const [refusal] = await Promise.all([
          verify(ALTERED, ...signature).catch((error: unknown) => error),
          verify(FIRMWARE, ...signature),
          verify(`signed-${SCRIPT}`),
        ])
        if (!(refusal instanceof CommandRefusal)) throw new NotAsExpected('the altered firmware passed for signed')
        return { said: 'valid by the maker’s root alone; and not valid' }
      },
    },
    byOpenSSL('openssl cms: the same firmware, the same bit', async (scene, tool) => {
      const { directory } = scene.known(desk)
      const common = ['cms', '-verify', '-binary', '-inform', 'DER', '-in', at(directory, `${FIRMWARE}.p7s`)]
      const trust = ['-CAfile', at(directory, 'root.pem'), '-purpose', 'any', '-out', at(directory, 'nothing')]
      const good = await tool.run(...common, '-content', at(directory, FIRMWARE), ...trust)
      must(good.code === 0 && /successful/i.test(good.text), good.text)
      const bad = await tool.run(...common, '-content', at(directory, ALTERED), ...trust)
      must(bad.code !== 0, 'openssl takes the altered firmware')
      return 'successful; and failure, as it should be'
    }),
    byOpenSSL('openssl ts: when the firmware was there', async (scene, tool) => {
      const { directory, run } = scene.known(desk)
      const stamp = at(directory, `${FIRMWARE}.tsr`)
      await run('timestamp', at(directory, FIRMWARE), '--signer', 'time', '--out', stamp)
      const files = ['-data', at(directory, FIRMWARE), '-in', stamp, '-CAfile', at(directory, 'root.pem')]
      const { code, text } = await tool.run('ts', '-verify', ...files)
      must(code === 0 && /Verification: OK/.test(text), text)
      return 'Verification: OK'
    }),
  ],
}

const SIGNATURE = { what: 'artifacts signed', count: 1, timed: false } as const
const ALTERED = 'altered.bin'

const at = (directory: string, name: string): string => join(directory, name)
const stateOf = (answer: unknown): unknown => (answer as { readonly state?: unknown }).state

/** Who signs, with what; made at the first start and found at later ones. */
async function openDesk(scene: Scene): Promise<{ readonly isOld: boolean }> {
  const isOld = await makeSigners(scene)
  const { process } = scene.known(server)
  const environment = {
    SEALWORKS_SERVER: process.tls,
    SEALWORKS_TRUST: join(scene.directory, TLS_ROOT_FILE),
    SEALWORKS_TOKEN: await personToken(scene, ENGINEER, 'release-engineer'),
  }
  const directory = join(scene.directory, 'firmware')
  rmSync(directory, { recursive: true, force: true })
  mkdirSync(directory, { mode: 0o700 })
  const { chain } = scene.known(birthAuthority)
  const root = present(chain.at(-1), 'the maker has no root')
  writeFileSync(at(directory, 'root.pem'), encodePEM('CERTIFICATE', root))
  writeFileSync(at(directory, FIRMWARE), scene.world.random.octets(FIRMWARE_OCTETS))
  writeFileSync(at(directory, SCRIPT), 'param([string]$Press)\r\nWrite-Host "Press $Press is commissioned."\r\n')
  scene.note(desk, {
    directory,
    run: (...words) => runCommand(words, environment),
    attempt: (...words) => tryCommand(words, environment),
  })
  return { isOld }
}

/** @returns whether they were there */
async function makeSigners(scene: Scene): Promise<boolean> {
  const client = scene.known(officer)
  const existing = new Set((await client.call('listSigners', {})).items.map(({ name }) => name))
  const authority = scene.known(birthAuthority).address
  const issue = (name: string, profile: string) => ({ authority, profile, subject: `CN=${MAKER} ${name},O=${MAKER}` })
  const timeStamps = { policy: TIME_POLICY, accuracyMilliseconds: 1000, ordering: false, isPublic: true }
  const wanted = [
    { name: 'time', issue: issue('Time', 'time-stamping'), formats: ['rfc3161'], timeStamps },
    { name: 'firmware', issue: issue('Firmware', 'code-signing'), formats: ['cms'], timeStamping: 'time' },
    { name: 'scripts', issue: issue('Scripts', 'code-signing'), formats: ['authenticode-script'], timeStamping: 'time' },
  ]
  for (const signer of wanted) {
    if (existing.has(signer.name)) continue
    const key = `signer-${signer.name}`
    await client.call('createKey', { body: { label: key, keyAlgorithm: 'ecdsa-p256' } })
    await client.call('createSigner', { body: { ...signer, key } })
  }
  return existing.has('scripts')
}
