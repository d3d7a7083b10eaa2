/** What `sealworks license check` does: a license against a birth certificate, with no server. @module */
import { importPublicKey } from '#algorithms/public-key.ts'
import { parsePEM } from '#asn1/pem.ts'
import { asTrustError } from '#base/errors.ts'
import { checkLicense, type License, readLicense, readStatusList, type StatusList, thumbprintsOf } from '#licenses/messages.ts'
import { messageTrust } from '#signing/messages.ts'
import { parseCertificate } from '#x509/certificate.ts'
import type { Answer, Context } from './command.ts'
import { exitCodes } from './exit-codes.ts'
import { readInput } from './files.ts'
import { timeOf } from './verify-certificate.ts'

interface CheckValues {
  readonly file: string
  readonly trust: readonly string[]
  readonly certificate: string | undefined
  readonly model: string | undefined
  readonly status: readonly string[]
  readonly at: string | undefined
  readonly seen: string | undefined
  readonly sequence: number | undefined
  readonly epoch: number | undefined
}

export async function checkFile(context: Context, values: CheckValues): Promise<Answer> {
  const { file, model, sequence = 0, epoch = 0 } = values
  const help = ['license', 'check']
  const anchors: Uint8Array[] = []
  for (const one of values.trust) anchors.push(...certificatesIn(await readInput(context, one)))
  const trust = messageTrust(anchors)
  const lastSeen = values.seen === undefined ? 0 : timeOf(values.seen, context, help, '--seen TIME').getTime()
  const now = timeOf(values.at, context, help).getTime()
  try {
    const license = await readLicense(await readInput(context, file), trust)
    const status = await newestStatus(context, values.status, license, trust)
    const keys = await keysOf(context, values.certificate, license)
    const device = { keys, epoch, ...(model !== undefined && { model }) }
    const { state, until } = checkLicense(license, device, { now, lastSeen, storedSequence: sequence, ...(status && { status }) })
    return {
      value: { holds: true, state, until: until === undefined ? null : iso(until), license: shown(license) },
      text: `HOLDS  ${described(license)}\n  ${state}${until === undefined ? ', without an end' : `, until ${iso(until)}`}\n`,
    }
  } catch (thrown) {
    const { code, reason, message } = asTrustError(thrown)
    if (!['policyRefused', 'badProof', 'unauthenticated', 'malformed', 'unsupported', 'tooLarge'].includes(code)) throw thrown
    return {
      value: { holds: false, reason, why: message },
      text: `DOES NOT HOLD  ${file}: ${message}\n`,
      exitCode: exitCodes.verificationFailed,
    }
  }
}

const certificatesIn = (octets: Uint8Array): readonly Uint8Array[] =>
  octets[0] === 0x30
    ? [octets]
    : parsePEM(new TextDecoder('latin1').decode(octets)).flatMap(({ label, der }) => (label === 'CERTIFICATE' ? [der] : []))

/** Without a certificate nobody says which device it is: whichever it is for. */
async function keysOf(context: Context, certificate: string | undefined, { confirmation }: License) {
  if (certificate === undefined) return { jkt: '', ckt: '', ...confirmation }
  const [own] = certificatesIn(await readInput(context, certificate))
  return thumbprintsOf(importPublicKey(parseCertificate(own ?? new Uint8Array(0)).subjectPublicKeyInfo))
}

async function newestStatus(
  context: Context,
  files: readonly string[],
  { issuer }: License,
  trust: ReturnType<typeof messageTrust>,
): Promise<StatusList | undefined> {
  const lists: StatusList[] = []
  for (const file of files) lists.push(await readStatusList(await readInput(context, file), trust))
  return lists.filter((list) => list.issuer === issuer).toSorted((a, b) => b.version - a.version)[0]
}

const iso = (at: number): string => new Date(at).toISOString()

const shown = ({ issuedAt, notBefore, expiresAt, owner, ...license }: License) => ({
  ...license,
  ...{ issuedAt: iso(issuedAt), notBefore: iso(notBefore), expiresAt: expiresAt === undefined ? null : iso(expiresAt) },
  owner: owner ?? null,
})

const described = ({ model, productSerial, features, sequence }: License): string =>
  `${features.map(({ name, limit }) => (limit === undefined ? name : `${name} ${limit}`)).join(', ')} on ${model} ${productSerial} (sequence ${sequence})`
