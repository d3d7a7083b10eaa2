/**
 * Archives of 200 MB signed as whole processes, beside the platforms' own signers on the same files: a Java archive of
 * 5,000 entries and jarsigner, an Android package and apksigner.
 *
 * @module
 */
import { execFileSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { encodePEM } from '#asn1/pem.ts'
import { makeCertificate, makeKey } from '#x509/testing.ts'
import { needs } from '../test/interop/programs.ts'
import { type Figure, median } from './figure.ts'
import { filler, makeSigning, runWatched, SEALWORKS, type SigningPlant } from './signing-plant.ts'

const ROUNDS = 3
const ENTRIES = 5000
const ENTRY_OCTETS = 40_000
const PICTURES = 5
const PICTURE_OCTETS = 40_000_000
const PASSWORD = 'changeit'

export async function benchSignArchives(): Promise<readonly Figure[]> {
  await using signing = await makeSigning(['jar', 'apk'])
  const [packed, stored] = [
    await javaArchive(signing, 'signJAR', []),
    await javaArchive(signing, 'signJAR.stored', ['--no-compress']),
  ]
  return [...packed, ...stored, ...(await androidPackage(signing))]
}

async function javaArchive(
  { inPlant, words, environment }: SigningPlant,
  name: string,
  how: readonly string[],
): Promise<readonly Figure[]> {
  const tools = needs('jar', 'jarsigner', 'keytool')
  const [classes, archive, keystore] = [inPlant(`${name}-classes`), inPlant(`${name}.jar`), inPlant(`${name}.p12`)]
  mkdirSync(classes)
  const octets = filler(ENTRY_OCTETS + ENTRIES)
  for (let i = 0; i < ENTRIES; i++) writeFileSync(join(classes, `${i}.class`), octets.subarray(i, i + ENTRY_OCTETS))
  execFileSync(tools.path('jar'), ['--create', ...how, '--file', archive, '-C', classes, '.'])
  const named = ['-keystore', keystore, '-storepass', PASSWORD, '-alias', 'press']
  const wanted = ['-keyalg', 'RSA', '-keysize', '3072', '-dname', 'CN=Press', '-sigalg', 'SHA256withRSA']
  execFileSync(tools.path('keytool'), ['-genkeypair', ...named, ...wanted], { stdio: 'ignore' })
  const [ours, theirs] = [inPlant('ours.jar'), inPlant('theirs.jar')]
  const other = ['-keystore', keystore, '-storepass', PASSWORD, '-signedjar', theirs, archive, 'press']
  return compare(name, 'jarsigner', ours, theirs, {
    ours: () => runWatched(SEALWORKS, words(archive, 'jar', ours), environment),
    theirs: () => runWatched(tools.path('jarsigner'), other),
    check: () => {
      const said = execFileSync(tools.path('jarsigner'), ['-verify', ours], { encoding: 'utf8' })
      if (!/jar verified/.test(said)) throw new Error(`jarsigner says: ${said}`)
    },
  })
}

async function androidPackage({ inPlant, words, environment }: SigningPlant): Promise<readonly Figure[]> {
  const tools = needs('aapt', 'apksigner')
  const [raw, built] = [inPlant('raw'), inPlant('press.apk')]
  mkdirSync(raw)
  const octets = filler(PICTURE_OCTETS + PICTURES)
  for (let i = 0; i < PICTURES; i++) writeFileSync(join(raw, `${i}.png`), octets.subarray(i, i + PICTURE_OCTETS))
  const manifest = inPlant('AndroidManifest.xml', '<manifest package="press.seven"><application/></manifest>\n')
  execFileSync(tools.path('aapt'), ['package', '-M', manifest, '-F', built, raw], { stdio: 'ignore' })
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 3072 })
  const subjectPublicKeyInfo = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }))
  const certificate = encodePEM('CERTIFICATE', await makeCertificate(makeKey(), { subjectPublicKeyInfo }))
  const key = ['--key', inPlant('key.pk8', privateKey.export({ type: 'pkcs8', format: 'der' }))]
  const [ours, theirs] = [inPlant('ours.apk'), inPlant('theirs.apk')]
  const terms = ['--cert', inPlant('certificate.pem', certificate), '--min-sdk-version', '24', '--v1-signing-enabled', 'false']
  return compare('signAPK', 'apksigner', ours, theirs, {
    ours: () => runWatched(SEALWORKS, words(built, 'apk', ours, ['--option', 'schemes=v2+v3']), environment),
    theirs: () => runWatched(tools.path('apksigner'), ['sign', ...key, ...terms, '--out', theirs, built]),
    check: () => void execFileSync(tools.path('apksigner'), ['verify', '--min-sdk-version', '24', ours]),
  })
}

interface Contest {
  readonly ours: () => ReturnType<typeof runWatched>
  readonly theirs: () => ReturnType<typeof runWatched>
  readonly check: () => void
}

async function compare(name: string, rival: string, ours: string, theirs: string, contest: Contest): Promise<readonly Figure[]> {
  const [own, other]: [number[], number[]] = [[], []]
  let memory = 0
  for (let round = 0; round <= ROUNDS; round++) {
    for (const path of [ours, theirs]) rmSync(path, { force: true })
    const [one, two] = [await contest.ours(), await contest.theirs()]
    memory = Math.max(memory, one.memoryPeak)
    if (round === 0) continue
    own.push(one.seconds)
    other.push(two.seconds)
  }
  contest.check()
  return [
    {
      name: `${name}.to${rival.replace(/^./, (letter) => letter.toUpperCase())}`,
      value: median(own) / median(other),
      unit: '',
      reach: { below: 0.5 },
      note: '200 MB, whole processes; ours with its server',
    },
    { name: `${name}.time`, value: median(own), unit: 's' },
    { name: `${name}.${rival}`, value: median(other), unit: 's' },
    { name: `${name}.memory`, value: memory / 2 ** 20, unit: 'MiB' },
  ]
}
