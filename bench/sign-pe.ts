/**
 * A program of 105 MB signed with Authenticode: as a whole process and through a client that runs already, beside
 * osslsigncode on the same file, and beside nothing but SHA-256 over it, which nobody can be quicker than.
 *
 * @module
 */
import { execFileSync } from 'node:child_process'
import { createHash, generateKeyPairSync } from 'node:crypto'
import { readFileSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { encodePEM } from '#asn1/pem.ts'
import { runCommandLine } from '#cli/run.ts'
import { chunksOf, fileSource } from '#signing/artifact/blob.ts'
import { sampleOf } from '#signing/formats/samples.ts'
import { makeCertificate, makeKey } from '#x509/testing.ts'
import { needs } from '../test/interop/programs.ts'
import { type Figure, median } from './figure.ts'
import { world } from './plant.ts'
import { filler, makeSigning, SEALWORKS, secondsOf } from './signing-plant.ts'

const ROUNDS = 5
const PROGRAM_OCTETS = 105_000_000

export async function benchSignPE(): Promise<readonly Figure[]> {
  await using signing = await makeSigning(['authenticode-pe'])
  const { inPlant, environment } = signing
  const program = inPlant('program.exe', Buffer.concat([sampleOf('authenticode-pe'), filler(PROGRAM_OCTETS)]))
  const [ours, theirs] = [inPlant('ours.exe'), inPlant('theirs.exe')]
  const words = signing.words(program, 'authenticode-pe', ours)
  const osslsigncode = await signWithOthers(inPlant, program, theirs)
  const whole: number[] = []
  const running: number[] = []
  const other: number[] = []
  const hashed: number[] = []
  for (let round = 0; round <= ROUNDS; round++) {
    const figures = [
      await secondsOf(() => void execFileSync(SEALWORKS, words, { env: environment, stdio: ['ignore', 'ignore', 'inherit'] })),
      await secondsOf(() => signHere(words, environment)),
      await secondsOf(() => osslsigncode()),
      await secondsOf(() => hashOf(program)),
    ] as const
    if (round > 0) for (const [at, list] of [whole, running, other, hashed].entries()) list.push(figures[at] ?? Number.NaN)
  }
  check(ours, theirs)
  const seconds = { whole: median(whole), running: median(running), other: median(other), hashed: median(hashed) }
  return [
    {
      name: 'signPE.running.toOsslsigncode',
      value: seconds.running / seconds.other,
      unit: '',
      reach: { below: 1 },
      note: 'a client that runs already, with a server; the file is on the disk before the end, which osslsigncode leaves to the system',
    },
    {
      name: 'signPE.whole.toOsslsigncode',
      value: seconds.whole / seconds.other,
      unit: '',
      reach: { below: 1.5 },
      note: '`sealworks sign` from its start',
    },
    {
      name: 'signPE.running.toHash',
      value: seconds.running / seconds.hashed,
      unit: '',
      note: 'SHA-256 over the same file, read in the same way',
    },
    { name: 'signPE.whole', value: seconds.whole, unit: 's' },
    { name: 'signPE.running', value: seconds.running, unit: 's' },
    { name: 'signPE.osslsigncode', value: seconds.other, unit: 's' },
    { name: 'signPE.hash', value: seconds.hashed, unit: 's' },
  ]
}

async function signHere(words: readonly string[], environment: Readonly<Record<string, string | undefined>>): Promise<void> {
  const silent = { columns: undefined, write: async () => {} }
  const stderr = { columns: undefined, write: async (data: string | Uint8Array) => void process.stderr.write(data) }
  const terminal = { world, environment, directory: process.cwd(), signal: new AbortController().signal, stdout: silent, stderr }
  const exitCode = await runCommandLine(words, { ...terminal, stdin: async () => new Uint8Array() })
  if (exitCode !== 0) throw new Error(`it ended with ${exitCode}`)
}

async function hashOf(path: string): Promise<void> {
  const handle = await open(path)
  try {
    const sum = createHash('sha256')
    for await (const chunk of chunksOf(fileSource(handle, (await handle.stat()).size))) sum.update(chunk)
    sum.digest()
  } finally {
    await handle.close()
  }
}

async function signWithOthers(
  inPlant: (name: string, content: string | Uint8Array) => string,
  program: string,
  signed: string,
): Promise<() => void> {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 3072 })
  const key = inPlant('other.key', privateKey.export({ type: 'pkcs8', format: 'pem' }))
  const subjectPublicKeyInfo = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }))
  const certificate = inPlant('other.pem', encodePEM('CERTIFICATE', await makeCertificate(makeKey(), { subjectPublicKeyInfo })))
  const words = ['sign', '-certs', certificate, '-key', key, '-h', 'sha256', '-in', program, '-out', signed]
  return () => {
    rmSync(signed, { force: true })
    execFileSync(needs('osslsigncode').path('osslsigncode'), words, { stdio: ['ignore', 'ignore', 'inherit'] })
  }
}

/** Both signed the same octets: they differ in checksum, directory and certificate table alone. */
function check(ours: string, theirs: string): void {
  const [one, other] = [readFileSync(ours), readFileSync(theirs)]
  const [from, to] = [4096, PROGRAM_OCTETS]
  if (!one.subarray(from, to).equals(other.subarray(from, to))) throw new Error('the two signed programs differ')
}
