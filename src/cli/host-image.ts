/** What `sealworks host image` does, apart from its words. @module */
import { mkdirSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { concat, equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { type BundleSignatures, addSignature } from '#host/image/signatures.ts'
import { BUNDLE_FILE, buildBundle, SIGNED_BUNDLE_FILE, type SignImage } from '#host/image/build.ts'
import {
  bundleDigest,
  checkFor,
  encodeBundle,
  type HostFacts,
  parseBundle,
  readBundle,
  type RootHolders,
} from '#host/image/bundle.ts'
import { type Checked, checkFiles } from '#host/image/check.ts'
import { answer } from '#signing/artifact/answer.ts'
import { bytesSource, octetsOf } from '#signing/artifact/blob.ts'
import { authenticodePE } from '#signing/formats/authenticode-pe.ts'
import { parseCertificate } from '#x509/certificate.ts'
import type { Answer, Context } from './command.ts'
import { type KeyValues, ownSigner } from './command-keys.ts'
import type { Caller } from './connection.ts'
import { exitCodes } from './exit-codes.ts'
import { checkWritable, readInput, writeOutput } from './files.ts'
import { readPlan } from './host-plan.ts'
import { table } from './terminal.ts'
import { UsageError } from './usage.ts'
import { derOf, timeOf } from './verify-certificate.ts'

export interface BuildValues {
  readonly plan: string
  readonly out: string
  readonly force: boolean
  readonly imageKey: string | undefined
  readonly imageCertificate: string | undefined
  readonly signed: string | undefined
}

export async function buildImages(context: Context, values: BuildValues): Promise<Answer> {
  const { plan: file, out, force } = values
  const to = resolve(context.directory, out)
  checkWritable(context, join(out, BUNDLE_FILE), force)
  const plan = await readPlan(context, file)
  mkdirSync(to, { recursive: true })
  const from = dirname(resolve(context.directory, file))
  const { bundle, unsigned } = await buildBundle(plan, { from, to }, await imageSigner(context, values))
  if (bundle === undefined) {
    const text = `Have these signed for UEFI, then build again with --signed and the directory of the signed ones:\n${unsigned.map((one) => `  ${one}\n`).join('')}`
    return { value: { unsigned }, text, exitCode: exitCodes.waitsForApproval }
  }
  const digest = bundleDigest(encodeBundle(bundle)).toHex()
  const value = {
    file: join(out, BUNDLE_FILE),
    version: bundle.version,
    digest,
    machines: bundle.machines.map(({ name }) => name),
  }
  return { value, text: `${value.file} is bundle ${bundle.version}, SHA-256 ${digest}. Have the holders of root keys sign it.\n` }
}

async function imageSigner(context: Context, { imageKey, imageCertificate, signed }: BuildValues): Promise<SignImage> {
  if (imageKey !== undefined && signed !== undefined) throw new UsageError('--image-key and --signed exclude each other.')
  if (signed !== undefined) return (machine) => readInput(context, join(signed, `${machine}.efi`))
  if (imageKey === undefined) return async () => undefined
  const own = { key: imageKey, certificate: imageCertificate, signer: undefined, as: 'image' }
  const { certificates, signatureAlgorithm, sign } = await ownSigner(undefined, context, own)
  const publicKey = parseCertificate(certificates[0]).subjectPublicKeyInfo
  const choice = { certificates, signatureAlgorithm }
  return async (_, unsigned) => {
    const source = bytesSource(unsigned)
    const { requests, attach } = await authenticodePE.toBeSigned(source, choice)
    // no time in it: the same image and key give the same octets
    const { pieces } = attach([await answer(requests[0], { ...choice, key: { publicKey, sign } })])
    return concat(await Array.fromAsync(octetsOf(source, pieces)))
  }
}

export async function signBundle(
  client: Caller | undefined,
  context: Context,
  directory: string,
  values: KeyValues,
): Promise<Answer> {
  const payload = await readInput(context, join(directory, BUNDLE_FILE))
  const { version, targets } = parseBundle(payload) // nobody signs what no host would read
  const file = join(directory, SIGNED_BUNDLE_FILE)
  const signer = await ownSigner(client, context, values)
  const { encoded, count }: BundleSignatures = await addSignature(payload, await inputIfThere(context, file), signer)
  writeOutput(context, { file, octets: encoded, isSecret: false, force: true })
  return {
    value: { file, version, targets, signatures: count },
    text: `${file} is bundle ${version} for ${targets.join(', ')}, with ${count} ${count === 1 ? 'signature' : 'signatures'}.\n`,
  }
}

async function inputIfThere(context: Context, file: string): Promise<Uint8Array | undefined> {
  try {
    return await readInput(context, file)
  } catch (error) {
    if (error instanceof TrustError && error.code === 'notFound') return undefined
    throw error
  }
}

export interface VerifyValues {
  readonly directory: string
  readonly root: readonly string[]
  readonly threshold: number
  readonly host: string | undefined
  readonly owner: string | undefined
  readonly epoch: number | undefined
  readonly installed: string | undefined
  readonly at: string | undefined
}

export async function verifyBundle(context: Context, values: VerifyValues): Promise<Answer> {
  const { directory } = values
  const at = timeOf(values.at, context, ['host', 'image', 'verify'])
  const holders = await Promise.all(values.root.map((file) => derOf(context, [file], 'CERTIFICATE')))
  if (values.threshold > holders.length) throw new UsageError('--threshold asks for more holders than there are --root.')
  const roots: RootHolders = { threshold: values.threshold, holders }
  const verified = await readBundle(await readInput(context, join(directory, SIGNED_BUNDLE_FILE)), roots, at)
  const { bundle, payload } = verified
  const facts = await hostFacts(context, values, roots, at)
  if (facts !== undefined) checkFor(verified, facts, at)
  const built = await inputIfThere(context, join(directory, BUNDLE_FILE))
  if (built !== undefined && !equal(built, payload)) throw new TrustError('conflict', 'hostBundleOther')
  const checks: readonly Checked[] = [
    { what: `signed by ${verified.holders.length} of ${holders.length} holders, ${roots.threshold} needed`, problem: undefined },
    ...(facts === undefined
      ? []
      : [{ what: `for ${facts.productSerial} of ${facts.owner.name}, and valid now`, problem: undefined }]),
    ...(await checkFiles(bundle, resolve(context.directory, directory))),
  ]
  const isGood = checks.every(({ problem }) => problem === undefined)
  const shape = [
    { title: 'CHECK', cell: ({ what }: Checked) => what },
    { title: 'RESULT', cell: ({ problem }: Checked) => problem?.message ?? 'good' },
  ]
  return {
    value: {
      valid: isGood,
      version: bundle.version,
      digest: bundleDigest(payload).toHex(),
      targets: bundle.targets,
      expiresAt: bundle.expiresAt.toISOString(),
      checks: checks.map(({ what, problem }) => ({
        what,
        valid: problem === undefined,
        ...(problem !== undefined && { reason: problem.reason }),
      })),
    },
    text: table(checks, shape, context.columns),
    exitCode: isGood ? exitCodes.done : exitCodes.verificationFailed,
  }
}

/** @throws UsageError when a host is half described */
async function hostFacts(
  context: Context,
  { host, owner, epoch = 0, installed }: VerifyValues,
  roots: RootHolders,
  at: Date,
): Promise<HostFacts | undefined> {
  if (host === undefined && owner === undefined && installed === undefined) return undefined
  if (host === undefined || owner === undefined) throw new UsageError('Say both, --host SERIAL and --owner NAME.')
  const facts = { productSerial: host, owner: { name: owner, epoch } }
  if (installed === undefined) return facts
  const octets = await readInput(context, installed)
  const { bundle, payload } = await readBundle(octets, roots, at)
  return { ...facts, installed: { version: bundle.version, digest: bundleDigest(payload) } }
}
