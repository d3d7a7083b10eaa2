/** OpenSSL, which shares no code with this product, comes to the same verdicts. @module */
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { encodePEM } from '#asn1/pem.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { fetchCRL, type KnownAuthority, standingAddresses } from '../relying-party.ts'
import { type Chapter, fact, must, type Outcome, present, type Scene, type Step } from '../story.ts'
import { birthAuthority, ownerAuthority } from './authorities.ts'
import { type OwnedDevice, ownedDevices } from './owners.ts'
import { lostDevice } from './revocation.ts'

/** Undefined where the machine has no openssl. */
const openssl = fact<OpenSSL | undefined>('openssl')

interface OpenSSL {
  /** @returns standard output and standard error together, with the exit code */
  run(...words: readonly string[]): Promise<{ readonly code: number; readonly text: string }>
  /** @returns the path of a file with these certificates */
  file(name: string, ...certificates: readonly Uint8Array[]): string
  writeDER(name: string, der: Uint8Array): string
}

/** An answer over loopback takes milliseconds. */
const TIMEOUT_MILLISECONDS = 20_000

export const secondOpinionChapter: Chapter = {
  title: 'A second opinion',
  about: 'OpenSSL shares no code with this product. It looks at the same certificates, lists and answers.',
  steps: [
    {
      title: 'Is openssl on this machine?',
      async run(scene) {
        const program = await findOpenSSL(scene)
        scene.note(openssl, program?.tool)
        return program === undefined
          ? { said: 'no: install openssl to see this chapter', skipped: true }
          : { said: program.version }
      },
    },
    witness('openssl verify: a birth certificate', async (scene, tool) =>
      verify(tool, atWork(scene).birth.certificate, scene.known(birthAuthority)),
    ),
    witness('openssl verify: an owner’s certificate', async (scene, tool) =>
      verify(tool, atWork(scene).owner.certificate, scene.known(ownerAuthority)),
    ),
    witness('openssl ocsp: the device at work', (scene, tool) => ocsp(scene, tool, atWork(scene), 'good')),
    witness('openssl ocsp: the stolen device', (scene, tool) => ocsp(scene, tool, scene.known(lostDevice), 'revoked')),
    witness('openssl crl: the owner’s list', async (scene, tool) => {
      const issuer = scene.known(ownerAuthority)
      const { certificate } = scene.known(lostDevice).owner
      const crl = await fetchCRL(certificate, issuer, scene.world)
      const path = tool.writeDER('owner.crl', crl.list.der)
      const trusted = tool.file('owner-chain.pem', ...issuer.chain)
      const { code, text } = await tool.run('crl', '-inform', 'DER', '-in', path, '-CAfile', trusted, '-noout', '-text')
      const serial = parseCertificate(certificate).serialNumber.toHex().toUpperCase()
      must(code === 0 && text.includes('verify OK'), text)
      must(text.toUpperCase().includes(`SERIAL NUMBER: ${serial}`), `openssl does not find ${serial} in the list`)
      return 'signature good, names the stolen device'
    }),
  ],
}

/** A step that says what openssl said, or that there is no openssl. */
function witness(title: string, look: (scene: Scene, tool: OpenSSL) => Promise<string>): Step {
  return {
    title,
    async run(scene): Promise<Outcome> {
      const tool = scene.known(openssl)
      if (tool === undefined) return { said: 'not looked at', skipped: true }
      return { said: await look(scene, tool), tally: { what: 'checks by openssl', count: 1, timed: false } }
    },
  }
}

/** One that was not stolen. */
const atWork = (scene: Scene): OwnedDevice => present(scene.known(ownedDevices)[0], 'there are no devices')

async function verify(tool: OpenSSL, certificate: Uint8Array, { chain }: KnownAuthority): Promise<string> {
  const [issuing, root] = [present(chain[0], 'no authority'), present(chain[1], 'no root')]
  const files = ['-CAfile', tool.file('root.pem', root), '-untrusted', tool.file('issuing.pem', issuing)]
  const { code, text } = await tool.run('verify', '-x509_strict', ...files, tool.file('device.pem', certificate))
  must(code === 0 && /: OK\s*$/.test(text), text)
  return 'OK, up to the root'
}

async function ocsp(scene: Scene, tool: OpenSSL, { owner }: OwnedDevice, expected: 'good' | 'revoked'): Promise<string> {
  const { chain } = scene.known(ownerAuthority)
  const path = tool.file('device.pem', owner.certificate)
  const issuer = tool.file('issuing.pem', present(chain[0], 'no authority'))
  const trusted = tool.file('chain.pem', ...chain)
  const url = standingAddresses(parseCertificate(owner.certificate)).ocsp
  const words = ['ocsp', '-issuer', issuer, '-cert', path, '-url', url, '-CAfile', trusted]
  const { code, text } = await tool.run(...words)
  must(code === 0 && text.includes('Response verify OK'), text)
  must(text.includes(`${path}: ${expected}`), `openssl does not say ${expected}: ${text}`)
  return expected
}

async function findOpenSSL(scene: Scene): Promise<{ readonly version: string; readonly tool: OpenSSL } | undefined> {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-trial-'))
  scene.atEnd(() => rmSync(directory, { recursive: true, force: true }))
  const tool: OpenSSL = {
    run: (...words) => runProgram(words),
    file: (name, ...certificates) =>
      write(join(directory, name), certificates.map((der) => encodePEM('CERTIFICATE', der)).join('')),
    writeDER: (name, der) => write(join(directory, name), der),
  }
  const { code, text } = await tool.run('version')
  return code === 0 ? { version: text.replace(/ \(.*/s, '').trim(), tool } : undefined
}

function write(path: string, content: string | Uint8Array): string {
  writeFileSync(path, content)
  return path
}

/** @returns code -1 when the program is not there or does not end in time */
const runProgram = (words: readonly string[]): Promise<{ code: number; text: string }> =>
  new Promise((resolve) => {
    execFile('openssl', words, { timeout: TIMEOUT_MILLISECONDS }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1
      resolve({ code, text: stdout + stderr })
    })
  })
