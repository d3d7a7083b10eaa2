/**
 * DSSE: a file in an envelope with its type, or a statement of how an artifact was built, as supply chains exchange them.
 *
 * The envelope's signatures do not know of each other. Several keys sign a provenance only, which lists them in what is
 * signed; an envelope of several independent parties is made by adding to it (`content=envelope`).
 *
 * Source: DSSE v1.0; in-toto Statement v1; SLSA Provenance v1.
 *
 * @module
 */
import { importPublicKey, type PublicKey, verifySignature } from '#algorithms/public-key.ts'
import { certificateSignatureOf, type SignatureAlgorithmId, signaturesOf } from '#algorithms/table.ts'
import { concat } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { digestContent } from '#cms/digests.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { bytesSource, chunksOf, MESSAGE_MAX_OCTETS, readWhole, whole } from '../artifact/blob.ts'
import { encodeEnvelope, encodePAEHead, type Envelope, type EnvelopeSignature, parseEnvelope } from '../artifact/dsse-envelope.ts'
import {
  answerTo,
  certificateThumbprint,
  type MessageSigner,
  messageSigners,
  rawRequests,
  readAttached,
} from '../artifact/message-signers.ts'
import { optionsOf } from '../artifact/options.ts'
import { encodeProvenance, parseStatement, STATEMENT_MEDIA_TYPE, type Statement } from '../artifact/statement.ts'
import type {
  Beside,
  BlobSource,
  Choices,
  FoundSignature,
  Range,
  RawEvidence,
  SigningFormat,
  UnknownEvidence,
} from '../format.ts'

const PEEK_OCTETS = 4096

type Options = Readonly<Record<string, string>>

export const dsse: SigningFormat = {
  id: 'dsse',
  purpose: 'any file in an envelope with its type, and SLSA provenance of artifacts: cosign, in-toto',
  source: 'DSSE v1.0, in-toto Statement v1, SLSA Provenance v1',
  asks: ['raw'],
  standsBeside: true,
  severalKeys: true,
  options: {
    content: {
      help: 'what the envelope holds: the file (up to 8 MiB), a provenance of it, or a further signature on the envelope that the file is',
      values: ['file', 'provenance', 'envelope'],
      fallback: 'file',
    },
    payloadType: { help: 'what the file is: a media type or URI', fallback: 'application/octet-stream' },
    certificates: {
      help: 'whether the signer’s certificates are in the envelope',
      values: ['chain', 'none'],
      fallback: 'chain',
    },
    subject: { help: 'provenance: the name of the artifact', fallback: 'artifact' },
    builderId: { help: 'provenance: URI of who vouches for how it was built' },
    buildType: { help: 'provenance: URI that says what the parameters mean' },
    externalParameters: { help: 'provenance: JSON object of what was asked of the build' },
    resolvedDependencies: { help: 'provenance: JSON array of what the build used' },
    invocationId: { help: 'provenance: which run of the builder it was' },
  },

  async detect(artifact) {
    const [head, tail] = await Promise.all([
      artifact.read(0, Math.min(artifact.size, PEEK_OCTETS)),
      artifact.read(Math.max(0, artifact.size - PEEK_OCTETS), Math.min(artifact.size, PEEK_OCTETS)),
    ])
    const [first, last] = [head, tail].map((octets) => Buffer.from(octets).toString('latin1')) as [string, string]
    const isNamed = (pattern: RegExp): boolean => pattern.test(first) || pattern.test(last)
    return /^\s*\{/.test(first) && isNamed(/"payloadType"\s*:/) && isNamed(/"sig(?:natures)?"\s*:/)
  },

  async toBeSigned(artifact, choices) {
    const options = optionsOf(dsse, choices)
    const signers = dsseSigners(options, choices)
    const { payloadType, payload, signatures: before } = await contentOf(artifact, options, signers)
    const message = bytesSource(concat([encodePAEHead(payloadType, payload.length), payload]))
    return {
      requests: await rawRequests(signers, () => message),
      attach(answers) {
        const made = signers.map((signer) => ({
          keyid: keyidOf(signer.publicKey),
          sig: answerTo(signer, answers),
          certificates: options['certificates'] === 'chain' ? signer.certificates : [],
        }))
        const envelope = encodeEnvelope({ payloadType, payload, signatures: [...before, ...made] })
        const isBeside = options['content'] === 'provenance'
        return { pieces: [envelope], isBeside, suffix: isBeside ? '.intoto.jsonl' : '.dsse.json' }
      },
    }
  },

  async extract(signed, beside = {}) {
    const octets = await readWhole(signed, 'the envelope', MESSAGE_MAX_OCTETS)
    const envelope = parseEnvelope(octets, MESSAGE_MAX_OCTETS)
    const statement =
      envelope.payloadType === STATEMENT_MEDIA_TYPE ? parseStatement(envelope.payload, MESSAGE_MAX_OCTETS) : undefined
    if (beside.content !== undefined && statement === undefined) throw new TrustError('malformed', 'messageContentTwice')
    const message = concat([encodePAEHead(envelope.payloadType, envelope.payload.length), envelope.payload])
    const judged = await Promise.all(envelope.signatures.map((signature) => evidenceOf(signature, message, beside)))
    const covered = beside.content === undefined ? rangesOf(octets, envelope) : [whole(beside.content)]
    const signatures = judged.map((evidence, at): FoundSignature => ({
      where: judged.length === 1 ? 'the envelope' : `signature ${at + 1}`,
      evidence,
      covered,
      async checkCovered() {
        if (statement === undefined) return
        checkSigners(statement, judged)
        if (beside.content !== undefined) await checkSubject(statement, beside.content)
      },
    }))
    return { signatures, uncovered: [] }
  },
}

/** A statement must be in an envelope that says it is one; nothing but a provenance can list its signers. */
function dsseSigners(options: Options, choices: Choices): readonly [MessageSigner, ...MessageSigner[]] {
  const signers = messageSigners(dsse.id, choices)
  if (signers.length > 1 && options['content'] !== 'provenance') throw new TrustError('policyRefused', 'dsseSeveralKeys')
  return signers
}

const keyidOf = ({ spki }: PublicKey): string => certificateThumbprint(spki).toHex()

async function contentOf(
  artifact: BlobSource,
  options: Options,
  signers: readonly MessageSigner[],
): Promise<Pick<Envelope, 'payloadType' | 'payload' | 'signatures'>> {
  const { content, payloadType = '' } = options
  if (content === 'provenance')
    return { payloadType: STATEMENT_MEDIA_TYPE, payload: await provenanceOf(artifact, options, signers), signatures: [] }
  const octets = await readAttached(artifact)
  if (content === 'envelope') return addedTo(parseEnvelope(octets, MESSAGE_MAX_OCTETS), signers)
  if (payloadType === STATEMENT_MEDIA_TYPE) parseStatement(octets, MESSAGE_MAX_OCTETS)
  return { payloadType, payload: octets, signatures: [] }
}

/** A provenance that lists its signers takes no others, and nobody twice. */
function addedTo(envelope: Envelope, signers: readonly MessageSigner[]): Envelope {
  const { payloadType, payload, signatures } = envelope
  const isClosed = payloadType === STATEMENT_MEDIA_TYPE && parseStatement(payload, MESSAGE_MAX_OCTETS).signers.length > 0
  const isTwice = signers.some((signer) => signatures.some(({ keyid }) => keyid === keyidOf(signer.publicKey)))
  if (isClosed || isTwice) throw new TrustError('conflict', isClosed ? 'dsseClosed' : 'dsseSignedAlready')
  return envelope
}

async function provenanceOf(artifact: BlobSource, options: Options, signers: readonly MessageSigner[]): Promise<Uint8Array> {
  const { subject = '', builderId, buildType, externalParameters, resolvedDependencies, invocationId } = options
  if (builderId === undefined || buildType === undefined) throw new TrustError('malformed', 'provenanceIncomplete')
  return encodeProvenance({
    subject,
    sha256: await sha256Of(artifact),
    builderId,
    buildType,
    externalParameters,
    resolvedDependencies,
    invocationId,
    signers: signers.map(({ signatureAlgorithm: algorithm, thumbprint }) => ({ algorithm, certificate: thumbprint.toHex() })),
  })
}

async function sha256Of(artifact: BlobSource): Promise<string> {
  const digests = await digestContent(chunksOf(artifact), ['sha256'])
  return (digests.get('sha256') as Uint8Array).toHex()
}

/** More would let whoever sends an envelope choose how long we are busy. */
const CERTIFICATES_TRIED_MAX = 8

/**
 * The envelope says neither key nor algorithm so that one could believe it: the certificate that it carries is tried, or
 * those that were given, with the algorithms that their keys go with. What fits is judged like any signature.
 */
async function evidenceOf(
  { sig, certificates, keyid }: EnvelopeSignature,
  message: Uint8Array,
  { certificates: given = [], signatureAlgorithm: named }: Beside,
): Promise<RawEvidence | UnknownEvidence> {
  const [own, ...intermediates] = certificates
  const tried = own === undefined ? given.slice(0, CERTIFICATES_TRIED_MAX) : [own]
  let first: RawEvidence | undefined
  for (const certificate of tried) {
    const key = importPublicKey(parseCertificate(certificate).subjectPublicKeyInfo)
    for (const signatureAlgorithm of algorithmsFor(key, named)) {
      const evidence: RawEvidence = {
        type: 'raw',
        signature: sig,
        signatureAlgorithm,
        certificate,
        intermediates,
        message: bytesSource(message),
      }
      if (await verifySignature({ algorithm: signatureAlgorithm, octets: sig }, key, message)) return evidence
      // one that is named, or alone, is wrong; of several that were given it is another's
      if (own !== undefined || tried.length === 1 || keyidOf(key) === keyid) first ??= evidence
    }
  }
  return first ?? { type: 'unknown', problem: new TrustError('unauthenticated', 'certificateNotGiven') }
}

function algorithmsFor({ algorithm }: PublicKey, named: SignatureAlgorithmId | undefined): readonly SignatureAlgorithmId[] {
  if (named !== undefined) return [named]
  const usual = certificateSignatureOf(algorithm)
  return [usual, ...signaturesOf(algorithm).flatMap(({ id }) => (id === usual ? [] : [id as SignatureAlgorithmId]))]
}

/** @throws TrustError `badProof` */
function checkSigners({ signers }: Statement, judged: readonly (RawEvidence | UnknownEvidence)[]): void {
  for (const { algorithm, certificate } of signers) {
    const isThere = judged.some(
      (evidence) =>
        evidence.type === 'raw' &&
        evidence.signatureAlgorithm === algorithm &&
        certificateThumbprint(evidence.certificate).toHex() === certificate,
    )
    if (!isThere) throw new TrustError('badProof', 'messageSignatureMissing', { facts: { algorithm } })
  }
}

/** @throws TrustError `badProof` */
async function checkSubject({ subjects }: Statement, content: BlobSource): Promise<void> {
  if (!subjects.includes(await sha256Of(content)))
    throw new TrustError('badProof', 'artifactChanged', { facts: { what: 'what the statement is about' } })
}

/** Where the payload stands, if its text stands in the envelope once. */
function rangesOf(octets: Uint8Array, { encodedPayload }: Envelope): readonly Range[] {
  const envelope = Buffer.from(octets.buffer, octets.byteOffset, octets.length)
  const offset = envelope.indexOf(`"${encodedPayload}"`) + 1
  const isOnce = encodedPayload !== '' && offset > 0 && envelope.indexOf(encodedPayload, offset + 1) < 0
  return isOnce ? [{ offset, length: encodedPayload.length }] : []
}
