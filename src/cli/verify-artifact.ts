/**
 * `verify`: a report of every signature of a file, for people and for programs.
 *
 * @module
 */
import { type FileHandle } from 'node:fs/promises'
import type { SignatureAlgorithmId } from '#algorithms/table.ts'
import { TrustError } from '#base/errors.ts'
import type { TSTInfo } from '#cms/timestamp.ts'
import { fileSource } from '#signing/artifact/blob.ts'
import { type SignatureReport, type Standing, type TimeStampReport, verifyArtifact } from '#signing/artifact/verify.ts'
import type { Requirement } from '#signing/artifact/requirement.ts'
import type { BlobSource } from '#signing/format.ts'
import { TIME_STAMP_FORMAT } from '#signing/tsp/terms.ts'
import { timeStampIn, verifyTimeStampOver } from '#signing/tsp/verify.ts'
import { detectFormat, signingFormat } from '#signing/formats/registry.ts'
import { describeVerdict } from '#x509/path/describe.ts'
import type { Purpose } from '#x509/path/purpose-names.ts'
import { formatName, parseName } from '#x509/name.ts'
import type { Certificate } from '#x509/certificate.ts'
import type { Answer, Context } from './command.ts'
import { exitCodes } from './exit-codes.ts'
import { openArtifact } from './files.ts'
import { UsageError } from './usage.ts'
import { derOf, overHTTP, timeOf } from './verify-certificate.ts'

export interface VerifySignedValues {
  readonly file: string
  readonly trust: readonly string[]
  readonly signature: string | undefined
  readonly format: string | undefined
  readonly certificates: readonly string[]
  readonly signatureAlgorithm: SignatureAlgorithmId | undefined
  readonly timeTrust: readonly string[]
  readonly purpose: Purpose | 'any' | undefined
  readonly at: string | undefined
  readonly crl: readonly string[]
  readonly ocsp: readonly string[]
  readonly requireRevocation: boolean
  readonly offline: boolean
  readonly require: string | undefined
}

export async function verifySigned(context: Context, values: VerifySignedValues): Promise<Answer> {
  const { file, signature, requireRevocation, offline, signatureAlgorithm } = values
  const requirement = values.require === undefined ? undefined : requirementOf(values.require, context)
  const handles: FileHandle[] = []
  const sourceOf = async (name: string): Promise<BlobSource> => {
    const handle = await openArtifact(context, name)
    handles.push(handle)
    return fileSource(handle, (await handle.stat()).size)
  }
  try {
    const artifact = await sourceOf(file)
    const signed = signature === undefined ? artifact : await sourceOf(signature)
    if (values.format === TIME_STAMP_FORMAT) {
      if (signature === undefined) throw new UsageError('Say where the time stamp is: --signature FILE.', ['verify'])
      if (requirement !== undefined) throw new UsageError('--require is for signatures, and not for time stamps.', ['verify'])
      const token = await timeStampIn(signed)
      if (token === undefined) throw new TrustError('malformed', 'notTimeStamp')
      return await verifyTimeStamped(context, values, artifact, token)
    }
    // anybody can have the time of a file stated: who did has not signed it
    if (values.format === undefined && signature !== undefined && (await timeStampIn(signed)) !== undefined)
      throw new TrustError('policyRefused', 'signatureIsTimeStamp')
    const format = values.format === undefined ? await detectFormat(signed) : signingFormat(values.format)
    const certificates = await derOf(context, values.certificates, 'CERTIFICATE')
    const lists = await derOf(context, values.crl, 'X509 CRL')
    const answers = await derOf(context, values.ocsp, 'OCSP RESPONSE')
    const timeStampAnchors = await derOf(context, values.timeTrust, 'CERTIFICATE')
    const report = await verifyArtifact(format, signed, {
      at: timeOf(values.at, context, ['verify']),
      anchors: await derOf(context, values.trust, 'CERTIFICATE'),
      ...(timeStampAnchors.length > 0 && { timeStampAnchors }),
      intermediates: certificates,
      ...(requirement !== undefined && { requirement }),
      ...(values.purpose !== undefined && { purpose: values.purpose === 'any' ? null : values.purpose }),
      beside: {
        ...(signature !== undefined && { content: artifact }),
        ...(certificates.length > 0 && { certificates }),
        ...(signatureAlgorithm !== undefined && { signatureAlgorithm }),
      },
      revocation: {
        // who hands a list in wants to know by it
        demand: requireRevocation || lists.length + answers.length > 0 ? 'required' : 'known',
        lists,
        answers,
        ...(!offline && { port: overHTTP(context.signal) }),
      },
    })
    const signatures = report.signatures.map(described)
    const { valid, uncovered, unmet } = report
    const lines = [
      `${valid ? 'VALID' : 'NOT VALID'}  ${file}: ${format.id}, ${format.purpose}`,
      ...signatures.flatMap(linesOf),
      ...uncovered.map((what) => `Not covered by every signature: ${what}`),
      ...(unmet === undefined ? [] : [unmet.message]),
    ]
    return {
      value: { valid, format: format.id, signatures, uncovered: [...uncovered], unmet: unmet?.message ?? null },
      text: `${lines.join('\n')}\n`,
      exitCode: valid ? exitCodes.done : exitCodes.verificationFailed,
    }
  } finally {
    for (const handle of handles) await handle.close()
  }
}

/** A time stamp beside a file: that the file was there at the time, as an authority says that is trusted. */
async function verifyTimeStamped(
  context: Context,
  { file, trust, timeTrust, certificates, ...values }: VerifySignedValues,
  content: BlobSource,
  token: Uint8Array,
): Promise<Answer> {
  const lists = await derOf(context, values.crl, 'X509 CRL')
  const answers = await derOf(context, values.ocsp, 'OCSP RESPONSE')
  const report = await verifyTimeStampOver(content, token, await derOf(context, certificates, 'CERTIFICATE'), {
    at: timeOf(values.at, context, ['verify']),
    anchors: await derOf(context, timeTrust.length > 0 ? timeTrust : trust, 'CERTIFICATE'),
    revocation: {
      demand: values.requireRevocation || lists.length + answers.length > 0 ? 'required' : 'known',
      lists,
      answers,
      ...(!values.offline && { port: overHTTP(context.signal) }),
    },
  })
  const { valid, time, authority, standing, problem } = describedStamp(report)
  const { info } = report
  const lines = [
    `${valid ? 'VALID' : 'NOT VALID'}  ${file}: time stamp (RFC 3161)`,
    ...(info === undefined
      ? []
      : [`  time      ${time ?? ''}${info.accuracy === undefined ? '' : `, good to ${accuracyText(info.accuracy)}`}`]),
    ...(authority === null ? [] : [`  authority ${authority}`]),
    ...(info === undefined ? [] : [`  policy    ${info.policy}`]),
    ...(standing === null ? [] : [`  chain     ${standing.atSigning.summary}`]),
    ...(typeof standing?.now?.summary === 'string' ? [`  now       ${standing.now.summary}`] : []),
    ...(problem === null ? [] : [`  because   ${problem}`]),
  ]
  return {
    value: {
      valid,
      format: TIME_STAMP_FORMAT,
      time,
      authority,
      policy: info?.policy ?? null,
      serialNumber: info?.serialNumber.toHex() ?? null,
      standing,
      problem,
    },
    text: `${lines.join('\n')}\n`,
    exitCode: valid ? exitCodes.done : exitCodes.verificationFailed,
  }
}

const accuracyText = ({ seconds = 0, millis = 0, micros = 0 }: NonNullable<TSTInfo['accuracy']>): string =>
  `${seconds + millis / 1e3 + micros / 1e6} s`

/** @throws UsageError */
function requirementOf(written: string, context: Context): Requirement {
  if (written === 'both' || written === 'post-quantum') return { type: written }
  const [type, time] = written.split(/=(.*)/s)
  if (type === 'classical-until' && time !== undefined)
    return { type, until: timeOf(time, context, ['verify'], '--require classical-until=TIME') }
  throw new UsageError('--require is both, post-quantum or classical-until=TIME.', ['verify'])
}

const nameOf = ({ subject }: Certificate): string => formatName(parseName(subject))
const isoOf = (time: Date | undefined): string | null => time?.toISOString() ?? null

const describedStanding = ({ valid, atSigning, now, revokedLater }: Standing) => ({
  valid,
  atSigning: describeVerdict(atSigning),
  now: now === undefined ? null : describeVerdict(now),
  revokedLater: isoOf(revokedLater),
})

const describedStamp = ({ valid, genTime, authority, standing, problem }: TimeStampReport) => ({
  valid,
  time: isoOf(genTime),
  authority: authority === undefined ? null : nameOf(authority),
  standing: standing === undefined ? null : describedStanding(standing),
  problem: problem?.message ?? null,
})

const described = (report: SignatureReport) => ({
  where: report.where,
  verdict: report.verdict,
  untouched: report.untouched ?? null,
  signer: report.signer === undefined ? null : nameOf(report.signer),
  signatureAlgorithm: report.signatureAlgorithm ?? null,
  digestAlgorithm: report.digestAlgorithm ?? null,
  announced: report.announced ?? 0,
  claimedTime: isoOf(report.signingTime),
  provenTime: isoOf(report.provenTime),
  timeStamps: report.timeStamps.map(describedStamp),
  standing: report.standing === undefined ? null : describedStanding(report.standing),
  problem: report.problem?.message ?? null,
})

const untouchedWords = (untouched: boolean | null): string =>
  untouched === null ? 'not known whether untouched' : untouched ? 'untouched' : 'CHANGED'

function linesOf({
  where,
  verdict,
  untouched,
  signer,
  signatureAlgorithm,
  announced,
  claimedTime,
  provenTime,
  timeStamps,
  standing,
  problem,
}: ReturnType<typeof described>) {
  const field = (name: string, text: string): string => `  ${name.padEnd(10)}${text}`
  return [
    `${where}: ${verdict}, ${untouchedWords(untouched)}`,
    ...(signer === null ? [] : [field('signer', `${signer} (${signatureAlgorithm ?? 'algorithm not known'})`)]),
    ...(announced === 0
      ? []
      : [field('with', announced === 1 ? 'another signature that it names' : `${announced} other signatures that it names`)]),
    ...(standing === null ? [] : [field('chain', standing.atSigning.summary)]),
    ...(typeof standing?.now?.summary === 'string' ? [field('now', standing.now.summary)] : []),
    ...(typeof standing?.revokedLater === 'string' ? [field('revoked', `at ${standing.revokedLater}, after it was signed`)] : []),
    ...(claimedTime === null ? [] : [field('claims', claimedTime)]),
    ...(provenTime === null ? [] : [field('proven', `there by ${provenTime}`)]),
    ...timeStamps.map(({ valid, time, authority, problem: why }) =>
      field('stamp', valid ? `${time} by ${authority}` : `proves nothing: ${why ?? 'its authority is not trusted'}`),
    ),
    ...(problem === null ? [] : [field('because', problem)]),
  ]
}
