/**
 * Birth from a TPM: a challenge that only this TPM can read, and a key that it certifies.
 *
 * The challenge lies in the database, so that any node of the installation takes the answer. It counts once, for one
 * station, one product serial and one TPM, and for a short time. A wrong answer ends it.
 *
 * Source: TCG TPM 2.0 Keys for Device Identity and Attestation, 4 (the same steps); TCG EK Credential Profile 2.5.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { equal } from '#base/bytes.ts'
import { type Facts, TrustError } from '#base/errors.ts'
import { equalInConstantTime } from '#base/secret.ts'
import { uuidv7 } from '#base/world.ts'
import { checkCertified, checkCreation, trustedAttestationKey } from '#tpm2/attestation.ts'
import { makeCredential } from '#tpm2/credential.ts'
import { checkEndorsementCertificate, checkEndorsementKey } from '#tpm2/endorsement.ts'
import { publicKeyOf, subjectPublicKeyInfoOf } from '#tpm2/public-key.ts'
import {
  TPM2B_CREATION_DATA,
  TPM2B_ENCRYPTED_SECRET,
  TPM2B_ID_OBJECT,
  TPM2B_PUBLIC,
  TPMS_CREATION_DATA,
  type TPMT_PUBLIC,
} from '#tpm2/structures.ts'
import { marshal, unmarshal } from '#tpm2/wire.ts'
import { parseCertificationRequest } from '#x509/certification-request.ts'
import type { BirthsContext } from './context.ts'
import { type BirthLine, checkMayBear } from './lines.ts'
import type { ChallengeRequest, IssuedChallenge, TPMEvidence } from './messages.ts'
import { assuranceOfEvidence, type ProvenBirth } from './proven.ts'

/** As long as a SHA-256 digest: every endorsement key has at least that hash. */
const CREDENTIAL_OCTETS = 32
/** Fits into TPM2B_DATA of every TPM, whose shortest hash is SHA-1. */
const NONCE_OCTETS = 20

/** @throws TrustError of any refusal */
export async function makeChallenge(
  context: BirthsContext,
  line: BirthLine,
  asked: ChallengeRequest,
  station: string,
): Promise<IssuedChallenge> {
  const { db, world, organizationId, settings } = context
  checkMayBear(line, station, 'tpm')
  const endorsementKey = unmarshal(TPM2B_PUBLIC, asked.endorsementKey)
  const endorsementHash = sha256(subjectPublicKeyInfoOf(endorsementKey))
  const facts = await checkEndorsement(context, line, endorsementKey, endorsementHash, asked)
  const attestation = trustedAttestationKey(unmarshal(TPM2B_PUBLIC, asked.attestationKey))
  await checkNotBorn(context, endorsementHash)

  const [credential, nonce] = [world.random.octets(CREDENTIAL_OCTETS), world.random.octets(NONCE_OCTETS)]
  const sealed = await makeCredential({ endorsementKey, objectName: attestation.name, credential }, world.random)
  const now = world.clock.now()
  const [id, expiresAt] = [uuidv7(world), now + settings.challengeSeconds * 1000]
  await db.batch([
    {
      sql: `INSERT INTO birth_challenge (id, organization_id, version, line_id, product_serial, station, endorsement_hash,
          attestation_key, credential_hash, nonce, facts, state, expires_at, created_at)
        VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, 'open', ?, ?)`,
      parameters: [
        ...[id, organizationId, line.id, asked.productSerial, station, endorsementHash, asked.attestationKey],
        ...[sha256(credential), nonce, JSON.stringify(facts), expiresAt, now],
      ],
    },
  ])
  return {
    id,
    credentialBlob: marshal(TPM2B_ID_OBJECT, sealed.credentialBlob),
    secret: marshal(TPM2B_ENCRYPTED_SECRET, sealed.secret),
    nonce,
    expiresAt,
  }
}

/** @returns what the birth record says of the TPM */
async function checkEndorsement(
  context: BirthsContext,
  { terms }: BirthLine,
  endorsementKey: TPMT_PUBLIC,
  endorsementHash: Uint8Array,
  { endorsementCertificate, intermediates = [] }: ChallengeRequest,
): Promise<Facts> {
  const endorsement = endorsementHash.toHex()
  if (endorsementCertificate === undefined) {
    const isListed = terms.endorsementList && (await isAllowed(context, endorsementHash))
    if (!isListed) throw new TrustError('policyRefused', 'endorsementNotListed', { facts: { endorsement } })
    checkStorageKey(endorsementKey)
    return { endorsement, endorsedBy: 'list' }
  }
  const found = await checkEndorsementCertificate(endorsementCertificate, {
    at: new Date(context.world.clock.now()),
    ...context.issuer.endorsementTrust(terms.endorsementAuthorities),
    intermediates,
  })
  checkEndorsementKey(endorsementKey, found)
  const { tpmManufacturer, tpmModel, tpmVersion } = found
  return {
    endorsement,
    endorsedBy: 'certificate',
    endorsementCertificate: hash('sha256', endorsementCertificate),
    tpmManufacturer,
    tpmModel,
    tpmVersion,
  }
}

/** The list is of keys, not of what they are for: they are held to what those with a certificate are. */
const checkStorageKey = (key: TPMT_PUBLIC): void => checkEndorsementKey(key, { publicKey: publicKeyOf(key) })

async function isAllowed({ db, organizationId }: BirthsContext, endorsementHash: Uint8Array): Promise<boolean> {
  const [row] = await db.query(
    'SELECT source FROM endorsement_allowed WHERE organization_id = ? AND endorsement_hash = ?',
    ...[organizationId, endorsementHash],
  )
  return row !== undefined
}

/** A first look; the unique key decides between births that race. */
async function checkNotBorn({ db }: BirthsContext, endorsementHash: Uint8Array): Promise<void> {
  const [row] = await db.query('SELECT certificate_id FROM birth_endorsement WHERE endorsement_hash = ?', endorsementHash)
  if (row !== undefined) throw endorsementUsed(endorsementHash)
}

const endorsementUsed = (endorsementHash: Uint8Array): TrustError =>
  new TrustError('conflict', 'endorsementUsed', { facts: { endorsement: endorsementHash.toHex() } })

/**
 * Checks the answer to a challenge.
 *
 * @throws TrustError of any refusal; one that the answer's content earned ends the challenge
 */
export async function checkAnswer(
  context: BirthsContext,
  line: BirthLine,
  productSerial: string,
  evidence: TPMEvidence,
  station: string,
): Promise<ProvenBirth> {
  const challenge = await openChallenge(context, evidence.challenge, { line, productSerial, station })
  try {
    return await proven(context, challenge, evidence)
  } catch (thrown) {
    await endChallenge(context, evidence.challenge)
    throw thrown
  }
}

interface Challenge {
  readonly id: string
  readonly endorsementHash: Uint8Array
  readonly attestationKey: Uint8Array
  readonly credentialHash: Uint8Array
  readonly nonce: Uint8Array
  readonly facts: Facts
}

/** @throws TrustError `notFound`, `conflict` when it was used, `forbidden` when it is another's or too old */
async function openChallenge(
  { db, world, organizationId }: BirthsContext,
  id: string,
  by: { readonly line: BirthLine; readonly productSerial: string; readonly station: string },
): Promise<Challenge> {
  const [row] = await db.query('SELECT * FROM birth_challenge WHERE id = ? AND organization_id = ?', id, organizationId)
  if (row === undefined) throw new TrustError('notFound', 'birthChallengeUnknown')
  const isTheirs = row['line_id'] === by.line.id && row['station'] === by.station && row['product_serial'] === by.productSerial
  if (!isTheirs) throw new TrustError('forbidden', 'birthChallengeOther')
  if (row['state'] !== 'open') throw new TrustError('conflict', 'birthChallengeUsed')
  if ((row['expires_at'] as number) <= world.clock.now()) throw new TrustError('forbidden', 'birthChallengeExpired')
  return {
    id,
    endorsementHash: row['endorsement_hash'] as Uint8Array,
    attestationKey: row['attestation_key'] as Uint8Array,
    credentialHash: row['credential_hash'] as Uint8Array,
    nonce: row['nonce'] as Uint8Array,
    facts: JSON.parse(row['facts'] as string) as Facts,
  }
}

async function endChallenge({ db }: BirthsContext, id: string): Promise<void> {
  const sql = "UPDATE birth_challenge SET state = 'failed', version = version + 1 WHERE id = ? AND state = 'open'"
  await db.batch([{ sql, parameters: [id] }])
}

async function proven(
  { world, organizationId }: BirthsContext,
  challenge: Challenge,
  evidence: TPMEvidence,
): Promise<ProvenBirth> {
  const { id, endorsementHash, nonce } = challenge
  if (!equalInConstantTime(sha256(evidence.credential), challenge.credentialHash))
    throw new TrustError('badProof', 'birthCredential')
  const attestation = trustedAttestationKey(unmarshal(TPM2B_PUBLIC, challenge.attestationKey))
  const certified = unmarshal(TPM2B_PUBLIC, evidence.key)
  const { attest, signature, creationData } = evidence
  const { publicKey, clockInfo } = await (creationData === undefined
    ? checkCertified({ attest, signature }, attestation, { certified, nonce })
    : checkCreation({ attest, signature }, attestation, { certified, creationData: contentOf(creationData), nonce }))
  if (certified.objectAttributes.includes('restricted') || certified.objectAttributes.includes('decrypt'))
    throw new TrustError('policyRefused', 'birthKeyPurpose')
  const { request } = evidence
  if (request !== undefined && !equal(parseCertificationRequest(request).subjectPublicKeyInfo, publicKey.spki))
    throw new TrustError('badProof', 'birthKeyOther')
  return {
    assurance: assuranceOfEvidence.tpm,
    proof: request === undefined ? { type: 'key', spki: publicKey.spki } : { type: 'request', der: request },
    evidence: {
      ...challenge.facts,
      challenge: id,
      attestationKey: attestation.name.toHex(),
      statement: hash('sha256', attest),
      resets: clockInfo.resetCount,
    },
    stepsFor: ({ certificateId }) => [
      {
        sql: `UPDATE birth_challenge SET state = 'used', version = version + 1 WHERE id = ? AND state = 'open' AND expires_at > ?
            RETURNING state`,
        parameters: [id, world.clock.now()],
        expects: { state: 'used' },
        refusal: () => new TrustError('conflict', 'birthChallengeUsed'),
      },
      {
        sql: 'INSERT INTO birth_endorsement (endorsement_hash, organization_id, certificate_id, created_at) VALUES (?, ?, ?, ?)',
        parameters: [endorsementHash, organizationId, certificateId, world.clock.now()],
        refusal: () => endorsementUsed(endorsementHash),
      },
    ],
  }
}

/** Structures with their size in front are as long as they say, or they do not parse. */
const contentOf = (creationData: Uint8Array): Uint8Array =>
  marshal(TPMS_CREATION_DATA, unmarshal(TPM2B_CREATION_DATA, creationData))

const sha256 = (octets: Uint8Array): Uint8Array => Uint8Array.fromHex(hash('sha256', octets))
