/** Signers with a root, an authority for time, and artifacts that count what is read of them; for tests. @module */
import { constants, createHash, generateKeyPairSync, type KeyObject, privateEncrypt, sign } from 'node:crypto'
import { importPublicKey } from '#algorithms/public-key.ts'
import { keyAlgorithm, type KeyAlgorithmId, signatureAlgorithm, type SignatureAlgorithmId } from '#algorithms/table.ts'
import { concat } from '#base/bytes.ts'
import { asTrustError, TrustError } from '#base/errors.ts'
import { encodeTimeStampToken } from '#cms/timestamp.ts'
import { encodeCertificateList, type RevokedEntry } from '#x509/crl.ts'
import { basicConstraints } from '#x509/extensions/basic-constraints.ts'
import { crlNumber } from '#x509/extensions/crl-extensions.ts'
import { extKeyUsage, type KeyPurpose, keyPurposes } from '#x509/extensions/extended-key-usage.ts'
import { extensionWith } from '#x509/extensions/extension.ts'
import { keyUsage } from '#x509/extensions/key-usage.ts'
import { keyIdentifierOf, subjectKeyIdentifier } from '#x509/extensions/subject-key-identifier.ts'
import { encodeName, nameOf } from '#x509/name.ts'
import { makeCertificate, makeKey, rootExtensions, TEST_NOT_AFTER, TEST_NOT_BEFORE, type TestKey } from '#x509/testing.ts'
import type { Beside, BlobSource, Choices, SigningFormat } from '../format.ts'
import { answer, type Answering, type AnsweringKey } from './answer.ts'
import { bytesSource, octetsOf } from './blob.ts'
import { type ArtifactReport, verifyArtifact } from './verify.ts'

/** Within the validity of every certificate here. */
export const AT = new Date('2027-06-01T12:00:00Z')

/** Somebody who issues to trial signers. */
interface TrialAuthority {
  readonly key: TestKey
  /** DER Name. */
  readonly name: Uint8Array
  /** DER. */
  readonly certificate: Uint8Array
}

async function trialAuthority(text: string, key: TestKey): Promise<TrialAuthority> {
  const name = encodeName(nameOf([{ type: 'CN', value: text }]))
  return { key, name, certificate: await makeCertificate(key, { issuer: name, subject: name, extensions: rootExtensions(key) }) }
}

function quantumKey(): TestKey {
  const { privateKey, publicKey } = keyPair('ml-dsa-65')
  const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }))
  const signer = { signatureAlgorithm: 'ml-dsa-65' as const, sign: (message: Uint8Array) => sign(null, message, privateKey) }
  return { privateKey, publicKey: importPublicKey(spki), spki, signer }
}

const classicalAuthority = await trialAuthority('Trial Root', makeKey())
export const quantumAuthority = await trialAuthority('Trial Quantum Root', quantumKey())
/** DER. */
export const root = classicalAuthority.certificate
const rootKey = classicalAuthority.key
const rootName = classicalAuthority.name

export interface TrialSigner {
  readonly privateKey: KeyObject
  readonly answering: Answering
}

let serial = 100
/** A certificate of the root, or of the authority, with the purpose in a critical extension. */
export async function trialSigner(
  algorithm: KeyAlgorithmId,
  purpose: KeyPurpose = 'codeSigning',
  notAfter = TEST_NOT_AFTER,
  authority = classicalAuthority,
): Promise<TrialSigner> {
  const { publicKey, privateKey } = keyPair(algorithm)
  const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }))
  const certificate = await makeCertificate(authority.key, {
    serialNumber: Uint8Array.of(1, ++serial),
    validity: { notBefore: TEST_NOT_BEFORE, notAfter },
    issuer: authority.name,
    subject: encodeName(nameOf([{ type: 'CN', value: `Trial ${algorithm} ${serial}` }])),
    subjectPublicKeyInfo: spki,
    extensions: [
      extensionWith(basicConstraints, { cA: false }),
      extensionWith(keyUsage, ['digitalSignature'], true),
      extensionWith(extKeyUsage, [keyPurposes[purpose]], true),
      extensionWith(subjectKeyIdentifier, keyIdentifierOf(spki)),
    ],
  })
  const key: AnsweringKey = {
    publicKey: spki,
    sign: async (message, id) => signed(privateKey, message, id),
    signDigest: async (digest, id) => rsaOverDigest(privateKey, digest, id),
  }
  const { signsWith } = keyAlgorithm(algorithm)
  return {
    privateKey,
    answering: {
      key,
      certificates: [certificate, authority.certificate],
      signatureAlgorithm: signsWith as SignatureAlgorithmId,
      signingTime: new Date('2027-05-01T10:00:00Z'),
    },
  }
}

function keyPair(id: KeyAlgorithmId): { readonly publicKey: KeyObject; readonly privateKey: KeyObject } {
  const { parameters } = keyAlgorithm(id)
  if ('curve' in parameters) return generateKeyPairSync('ec', { namedCurve: parameters.curve })
  if ('modulusBits' in parameters) return generateKeyPairSync('rsa', { modulusLength: parameters.modulusBits })
  return generateKeyPairSync(parameters.type as 'ed25519')
}

function signed(key: KeyObject, message: Uint8Array, id: SignatureAlgorithmId): Uint8Array {
  const { digest, saltOctets } = signatureAlgorithm(id)
  const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: saltOctets ?? 0 }
  return new Uint8Array(sign(digest, message, saltOctets === undefined ? key : { key, ...pss }))
}

/** RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 9.2): the one signature over a digest that Node.js can make. */
function rsaOverDigest(key: KeyObject, digest: Uint8Array, id: SignatureAlgorithmId): Uint8Array {
  if (id !== 'rsa-sha256') throw new TrustError('unsupported', 'digestNotSignable', { facts: { algorithm: id } })
  const info = concat([Uint8Array.fromHex('3031300d060960864801650304020105000420'), digest])
  return new Uint8Array(privateEncrypt({ key, padding: constants.RSA_PKCS1_PADDING }, info))
}

/** Artifacts of any size, of which no more than this may be read at once. */
export const READ_MAX_OCTETS = 1 << 20

export interface Counted extends BlobSource {
  readonly largest: () => number
}

export function counted(source: BlobSource): Counted {
  let largest = 0
  return {
    size: source.size,
    largest: () => largest,
    async read(offset, length) {
      largest = Math.max(largest, length)
      return source.read(offset, length)
    },
  }
}

export const octetsIn = async (source: BlobSource, pieces: Parameters<typeof octetsOf>[1]): Promise<Uint8Array> =>
  concat(await Array.fromAsync(octetsOf(source, pieces)))

export const choicesOf = ({ answering }: TrialSigner): Choices => {
  const { certificates, signatureAlgorithm: algorithm, others } = answering
  return { certificates, signatureAlgorithm: algorithm, ...(others !== undefined && { others }) }
}

/** The same signer with a second key. */
export const withCompanion = (
  signer: TrialSigner,
  { answering: { key, certificates, signatureAlgorithm: id } }: TrialSigner,
) => ({
  ...signer,
  answering: { ...signer.answering, others: [{ key, certificates, signatureAlgorithm: id }] },
})

/** Signs as a build machine with a server does. */
export async function signedWith(
  format: SigningFormat,
  artifact: BlobSource,
  signer: TrialSigner,
  options: NonNullable<Choices['options']> = {},
): Promise<{ readonly octets: Uint8Array; readonly isBeside: boolean }> {
  const { requests, attach } = await format.toBeSigned(artifact, { ...choicesOf(signer), options })
  const answers = await Promise.all(requests.map((request) => answer(request, signer.answering)))
  const { pieces, isBeside } = attach(answers)
  return { octets: await octetsIn(artifact, pieces), isBeside }
}

export const verified = (format: SigningFormat, octets: Uint8Array, beside?: Beside): Promise<ArtifactReport> =>
  verifyArtifact(format, bytesSource(octets), { at: AT, anchors: [root], ...(beside !== undefined && { beside }) })

/** `valid`, or in words why not. A fault that is no refusal is thrown. */
export async function judged(format: SigningFormat, octets: Uint8Array, beside?: Beside): Promise<string> {
  try {
    const { valid, signatures } = await verified(format, octets, beside)
    if (valid) return 'valid'
    return signatures.map(({ verdict, problem }) => `${verdict} ${problem?.reason ?? ''}`).join(', ')
  } catch (error) {
    const { code, reason } = asTrustError(error)
    if (code === 'internal') throw error
    return `${code} ${reason}`
  }
}

/** What the root revoked, as of {@link AT}. */
export const revocationList = (entries: readonly RevokedEntry[]): Promise<Uint8Array> =>
  encodeCertificateList(
    {
      issuer: rootName,
      thisUpdate: new Date(AT.getTime() - 3_600_000),
      nextUpdate: new Date(AT.getTime() + 3_600_000),
      extensions: [extensionWith(crlNumber, 1n)],
    },
    entries,
    rootKey.signer,
  )

/** Makes time stamps in the name of an authority. */
export async function trialTimeStamps(genTime: Date, authority?: TrialSigner): Promise<NonNullable<Answering['timeStamp']>> {
  const { answering } = authority ?? (await trialSigner('ecdsa-p256', 'timeStamping'))
  const [certificate, ...above] = answering.certificates
  return (signature) =>
    encodeTimeStampToken(
      {
        policy: '1.3.6.1.4.1.32473.7',
        imprint: { digestAlgorithm: 'sha256', digest: new Uint8Array(createHash('sha256').update(signature).digest()) },
        serialNumber: Uint8Array.of(1, 2, 3),
        genTime,
        accuracy: { seconds: 1 },
        ordering: false,
        extensions: [],
      },
      { key: answering.key, certificate, signatureAlgorithm: answering.signatureAlgorithm },
      above,
    )
}
