/**
 * What Authenticode signs, whatever the kind of file: a statement that names the file's digest.
 *
 * Source: Microsoft, Windows Authenticode Portable Executable Signature Format, version 1.0 (2008); the object identifiers
 * are Microsoft's.
 *
 * @module
 */
import { ANY } from '#asn1/any.ts'
import { choice, decode, encode, explicit, implicit, type Infer, optional, sequence } from '#asn1/codec.ts'
import { BMPString, IA5String, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING } from '#asn1/types.ts'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { SignatureAlgorithmId } from '#algorithms/table.ts'
import type { Attribute } from '#cms/attributes.ts'
import { AlgorithmIdentifier, type DigestId, digestIdentifierWithNull, identifyDigest } from '#cms/digests.ts'
import { addUnsignedAttribute, parseSignedData, type SignedData } from '#cms/signed-data.ts'
import type { FormatOption, FoundSignature } from '../format.ts'
import { SPC_INDIRECT_DATA } from './answer.ts'

/** What a package or a script is said to be: a number and a class that reads such files. */
export const SPC_SIP_INFO = '1.3.6.1.4.1.311.2.1.30'
const SPC_STATEMENT_TYPE = '1.3.6.1.4.1.311.2.1.11'
const SPC_SP_OPUS_INFO = '1.3.6.1.4.1.311.2.1.12'
const SPC_INDIVIDUAL_PURPOSE = '1.3.6.1.4.1.311.2.1.21'
const NESTED_SIGNATURE = '1.3.6.1.4.1.311.2.4.1'

/** What Windows verifies; it knows neither RSASSA-PSS here nor Ed25519. */
export const AUTHENTICODE_ALGORITHMS = [
  'rsa-sha256',
  'rsa-sha384',
  'rsa-sha512',
  'ecdsa-sha256',
  'ecdsa-sha384',
  'ecdsa-sha512',
] as const satisfies readonly SignatureAlgorithmId[]

/** With page hashes of 36 octets for 4,096 of the image: an image of 1.5 GB. */
export const AUTHENTICODE_MAX_OCTETS = 16 << 20
/** One for each digest in use and a spare or two. */
const SIGNATURES_MAX = 8

const SpcIndirectDataContent = sequence('SpcIndirectDataContent', {
  data: sequence('SpcAttributeTypeAndOptionalValue', { type: OBJECT_IDENTIFIER, value: optional(ANY) }),
  messageDigest: sequence('DigestInfo', { digestAlgorithm: AlgorithmIdentifier, digest: OCTET_STRING }),
})

export const SpcString = choice('SpcString', { unicode: implicit(0, BMPString), ascii: implicit(1, IA5String) })

const SpcLink = choice('SpcLink', { url: implicit(0, IA5String), file: explicit(2, SpcString) })

const SpcSpOpusInfo = sequence('SpcSpOpusInfo', {
  programName: optional(explicit(0, SpcString)),
  moreInfo: optional(explicit(1, SpcLink)),
})

const SpcSipInfo = sequence('SpcSipInfo', {
  version: INTEGER,
  class: OCTET_STRING,
  reserved1: INTEGER,
  reserved2: INTEGER,
  reserved3: INTEGER,
  reserved4: INTEGER,
  reserved5: INTEGER,
})

/** DER. @param reader a class's identifier as it is written, in hexadecimal */
export const sipInfo = (version: bigint, reader: string): Uint8Array =>
  encode(SpcSipInfo, {
    version,
    class: Uint8Array.fromHex(reader),
    reserved1: 0n,
    reserved2: 0n,
    reserved3: 0n,
    reserved4: 0n,
    reserved5: 0n,
  })

/** Of a link that nobody follows: every signing program writes it. */
export const obsoleteLink: Uint8Array = encode(SpcLink, { type: 'file', value: { type: 'unicode', value: '<<<Obsolete>>>' } })

/** What may be chosen for a file that has room for one signature, in which others can be nested. */
export const AUTHENTICODE_OPTIONS = {
  existing: {
    help: 'what becomes of a signature that is there: replaced, or kept with the new one nested in it',
    values: ['replace', 'nest'],
    fallback: 'replace',
  },
  programName: { help: 'what Windows calls it when it asks whether to run it' },
  programUrl: { help: 'where that links to' },
} as const satisfies Readonly<Record<string, FormatOption>>

/** What a file of this kind is, and its digest. */
export interface IndirectData {
  /** An OBJECT IDENTIFIER: which kind of file. */
  readonly type: string
  /** DER, as the kind has it. */
  readonly value: Uint8Array
  readonly digestAlgorithm: DigestId
  readonly digest: Uint8Array
}

/** @returns a request's content type, content and attributes */
export function indirectDataRequest(
  { type, value, digestAlgorithm, digest }: IndirectData,
  { programName, programUrl }: { readonly programName?: string | undefined; readonly programUrl?: string | undefined },
): {
  readonly type: 'cms'
  readonly form: 'authenticode'
  readonly contentType: string
  readonly content: { readonly attached: Uint8Array }
  readonly attributes: readonly Attribute[]
} {
  const attached = encode(SpcIndirectDataContent, {
    data: { type, value },
    messageDigest: { digestAlgorithm: digestIdentifierWithNull(digestAlgorithm), digest },
  })
  const opusInfo: Infer<typeof SpcSpOpusInfo> = {
    programName: programName === undefined ? undefined : { type: 'unicode', value: programName },
    moreInfo: programUrl === undefined ? undefined : { type: 'url', value: programUrl },
  }
  return {
    type: 'cms',
    form: 'authenticode',
    contentType: SPC_INDIRECT_DATA,
    content: { attached },
    attributes: [
      { attrType: SPC_SP_OPUS_INFO, attrValues: [encode(SpcSpOpusInfo, opusInfo)] },
      {
        attrType: SPC_STATEMENT_TYPE,
        attrValues: [encode(sequence('SpcStatementType', { type: OBJECT_IDENTIFIER }), { type: SPC_INDIVIDUAL_PURPOSE })],
      },
    ],
  }
}

/** As it stands in a signature: its digest may be one that is not offered here, and is then refused with its signer. */
export interface Statement extends Pick<IndirectData, 'type' | 'value' | 'digest'> {
  readonly digestAlgorithm: AlgorithmIdentifier
}

export interface AuthenticodeSignature {
  readonly signedData: SignedData
  readonly statement: Statement
  /** 0 for the outermost. */
  readonly nesting: number
}

/**
 * A signature and those nested in it, in the order in which Windows shows them.
 *
 * @param der ContentInfo
 * @param type which kind of file it must be over
 * @throws TrustError `malformed`, `tooLarge`
 */
export function parseAuthenticode(der: Uint8Array, type: string): readonly AuthenticodeSignature[] {
  const found: AuthenticodeSignature[] = []
  const take = (message: Uint8Array, nesting: number): void => {
    if (found.length === SIGNATURES_MAX) throw badSignature(`it has more than ${SIGNATURES_MAX} signatures`)
    const signedData = parseSignedData(message, { pkcs7: true, maxOctets: AUTHENTICODE_MAX_OCTETS })
    found.push({ signedData, statement: statementIn(signedData, type), nesting })
    const [{ unsignedAttrs = [] }] = signedData.signerInfos as readonly [(typeof signedData.signerInfos)[0]]
    for (const { attrType, attrValues } of unsignedAttrs) {
      if (attrType !== NESTED_SIGNATURE) continue
      if (nesting > 0) throw badSignature('a nested signature has others nested in it')
      for (const nested of attrValues) take(nested, nesting + 1)
    }
  }
  take(der, 0)
  return found
}

/**
 * The signature in a file's one place for them, and those nested in it.
 *
 * @param reader the class that it must name, where the type is {@link SPC_SIP_INFO}
 * @param digestWith the file's
 * @throws TrustError `malformed`, `tooLarge`
 */
export function foundSignatures(
  der: Uint8Array,
  { type, reader, ...found }: Pick<FoundSignature, 'where' | 'covered'> & { readonly type: string; readonly reader?: string },
  digestWith: (digestAlgorithm: DigestId) => Promise<Uint8Array>,
): readonly FoundSignature[] {
  const digests = new Map<DigestId, Promise<Uint8Array>>()
  const once = (id: DigestId): Promise<Uint8Array> => {
    const known = digests.get(id) ?? digestWith(id)
    digests.set(id, known)
    return known
  }
  return parseAuthenticode(der, type).map(({ signedData, statement }, nested) => ({
    where: nested === 0 ? found.where : `${found.where}, nested signature ${nested}`,
    evidence: { type: 'cms', signedData },
    covered: found.covered,
    async checkCovered() {
      if (reader !== undefined) checkReader(statement, reader)
      await checkDigest(statement, once)
    },
  }))
}

/** The same identifier stands for packages and scripts. @throws TrustError `malformed` for what another class reads */
function checkReader({ value }: Statement, reader: string): void {
  const { class: stated } = decode(SpcSipInfo, value, { maxOctets: value.length })
  if (stated.toHex() !== reader) throw badSignature('the signature is for another kind of file')
}

/**
 * A signature in a place that is padded: fewer zeros than the alignment are behind it, and nothing is hidden there.
 *
 * @throws TrustError `malformed`
 */
export function withoutPadding(octets: Uint8Array, alignment: number): Uint8Array {
  const length = elementLength(octets)
  const padding = octets.subarray(length)
  if (padding.length >= alignment || padding.some((octet) => octet !== 0))
    throw badSignature('there is something behind a signature')
  return octets.subarray(0, length)
}

/** Of the SEQUENCE that begins there, in the definite form; its reader checks the rest. */
function elementLength(octets: Uint8Array): number {
  const [tag, first = 0] = octets
  const count = first < 0x80 ? 0 : first & 0x7f
  if (tag !== 0x30 || first === 0x80 || count > 4) throw badSignature('there is no signature in its place')
  let length = count === 0 ? first : 0
  for (let i = 0; i < count; i++) length = length * 256 + (octets[2 + i] ?? 0)
  if (length > octets.length - 2 - count) throw badSignature('a signature runs past its place')
  return 2 + count + length
}

function statementIn({ contentType, contentElement, signerInfos }: SignedData, type: string): Statement {
  if (contentType !== SPC_INDIRECT_DATA || contentElement === undefined)
    throw badSignature('the signature is over something else than an SpcIndirectDataContent')
  const [signerInfo, another] = signerInfos
  if (signerInfo === undefined || another !== undefined) throw badSignature('the signature has not one signer')
  if (signerInfo.signedAttrs === undefined) throw badSignature('the signature has no signed attributes')
  const { data, messageDigest } = decode(SpcIndirectDataContent, contentElement, { maxOctets: contentElement.length })
  if (data.type !== type || data.value === undefined) throw badSignature('the signature is for another kind of file')
  const { digestAlgorithm, digest } = messageDigest
  if (digestAlgorithm.algorithm !== signerInfo.digestAlgorithm.algorithm)
    throw badSignature('file and signature have different digests')
  return { type, value: data.value, digestAlgorithm, digest }
}

/** @throws TrustError `malformed` */
export const nest = (outer: Uint8Array, nested: Uint8Array): Uint8Array =>
  addUnsignedAttribute(outer, { attrType: NESTED_SIGNATURE, attrValues: [nested] })

/** @param digestWith the file's @throws TrustError `badProof`, `unsupported` for a digest that is not offered */
export async function checkDigest(
  statement: Statement,
  digestWith: (digestAlgorithm: DigestId) => Promise<Uint8Array>,
): Promise<void> {
  if (!equal(statement.digest, await digestWith(identifyDigest(statement.digestAlgorithm))))
    throw new TrustError('badProof', 'artifactChanged', { facts: { what: 'its digest' } })
}

/** Its answer, or a refusal of what is none. @throws TrustError `malformed` */
export function checkAnswer(der: Uint8Array | undefined, type: string): Uint8Array {
  if (der === undefined) throw new TrustError('malformed', 'answerOther', { facts: { detail: 'there is none' } })
  parseAuthenticode(der, type)
  return der
}

const badSignature = (detail: string): TrustError =>
  new TrustError('malformed', 'badArtifact', { facts: { format: 'Authenticode', detail } })
