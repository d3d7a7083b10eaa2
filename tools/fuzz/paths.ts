/**
 * Path validation as a fuzz target. Signatures are taken for good here: else hardly a broken certificate would come as
 * far as the rules. What is refused with a rule is answered; anything else that is thrown is a fault.
 *
 * @module
 */
import { ANY } from '#asn1/any.ts'
import { decode, encode, sequenceOf } from '#asn1/codec.ts'
import { parseCertificateList } from '#x509/crl.ts'
import { parseOCSPResponse } from '#x509/ocsp.ts'
import { Budget } from '#x509/path/budget.ts'
import { checkPath } from '#x509/path/check.ts'
import { linkOf } from '#x509/path/link.ts'
import { checkProfile } from '#x509/path/profile-rules.ts'
import { checkPurpose } from '#x509/path/purpose.ts'
import { PathRefusal } from '#x509/path/reasons.ts'
import { listOf, statusByLists } from '#x509/path/revocation-lists.ts'
import { statusByAnswers } from '#x509/path/ocsp-answers.ts'
import pkits from '#x509/path/testdata/pkits.json' with { type: 'json' }
import * as samples from './samples.ts'

const Several = sequenceOf('several', ANY, { min: 1, max: 32 })
const AT = new Date('2015-06-01T00:00:00Z')

const from = (all: Readonly<Record<string, string>>, names: readonly string[]): Uint8Array[] =>
  names.map((name) => Uint8Array.fromBase64(all[name] as string))

/** One path of each section that has rules of its own. */
const chosen = new Set([
  '4.6.17',
  '4.8.15',
  '4.9.8',
  '4.10.5',
  '4.10.12',
  '4.11.7',
  '4.12.9',
  '4.13.19',
  '4.13.27',
  '4.13.34',
  '4.14.29',
  '4.15.5',
])
const rows = pkits.tests.filter(({ test }) => chosen.has(test.split(' ', 1)[0] as string))

/** Anchor first, as a SEQUENCE OF Certificate. */
export const pathSeeds: readonly Uint8Array[] = rows.map(({ path }) => encode(Several, from(pkits.certificates, path)))
/** A certificate and the lists that may speak of it, as a SEQUENCE. */
export const evidenceSeeds: readonly Uint8Array[] = rows.map(({ path, lists }) =>
  encode(Several, [...from(pkits.certificates, path.slice(-1)), ...from(pkits.lists, lists)]),
)
/** A certificate, its issuer's and an OCSP answer, as a SEQUENCE. */
export const answerSeeds: readonly Uint8Array[] = samples.ocspResponses.map((answer) =>
  encode(Several, [...samples.certificates.slice(0, 1), ...samples.certificates.slice(0, 1), answer]),
)

export function readPath(bytes: Uint8Array): void {
  const path = decode(Several, bytes).map((der) => linkOf(der))
  answered(() => checkPath(path, { at: AT, requireExplicitPolicy: true }, new Budget()))
  answered(() => checkPath(path, { at: AT }, new Budget()))
  answered(() => checkPurpose(path, 'time-stamping'))
  answered(() => checkProfile(path))
}

export async function readEvidence(bytes: Uint8Array): Promise<void> {
  const [certificate = new Uint8Array(), ...rest] = decode(Several, bytes)
  const lists = rest.flatMap((der) => listOf(parseCertificateList(der)) ?? [])
  const link = linkOf(certificate)
  await answeredLater(statusByLists({ link, lists, at: AT, budget: new Budget(), isSigned: async () => true }))
}

export async function readAnswer(bytes: Uint8Array): Promise<void> {
  const [certificate, issuer, answer] = decode(Several, bytes)
  const response = parseOCSPResponse(answer ?? new Uint8Array())
  const [link, above] = [linkOf(certificate ?? new Uint8Array()), linkOf(issuer ?? new Uint8Array())]
  const answers = response.type === 'answer' ? [response.answer] : []
  const question = { link, issuer: above, answers, at: AT, budget: new Budget(), isResponderGood: async () => true }
  await answeredLater(statusByAnswers(question))
}

function answered(work: () => unknown): void {
  try {
    work()
  } catch (error) {
    if (!(error instanceof PathRefusal)) throw error
  }
}

async function answeredLater(work: Promise<unknown>): Promise<void> {
  try {
    await work
  } catch (error) {
    if (!(error instanceof PathRefusal)) throw error
  }
}
