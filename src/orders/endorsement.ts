/**
 * Tier N1: that a node's key and counters are in a TPM whose maker is trusted, and in which.
 *
 * The maker makes a credential that only the TPM with this endorsement key reads, and only for the attestation key that
 * certified the node's key and counters. The node reads it and tells it back, signed; so the ticket is bound to a very TPM.
 * Both travel as files, over a network or on a stick. A challenge counts once, for one request; a wrong answer ends it.
 *
 * Source: TCG TPM 2.0 Library, Part 1, 24; TCG EK Credential Profile 2.5.
 *
 * @module
 */
import { hash } from 'node:crypto'
import type { PublicKey } from '#algorithms/public-key.ts'
import { type Facts, TrustError } from '#base/errors.ts'
import { equalInConstantTime } from '#base/secret.ts'
import { uuidv7 } from '#base/world.ts'
import type { Step } from '#store/batch.ts'
import type { Row } from '#store/database.ts'
import { trustedAttestationKey } from '#tpm2/attestation.ts'
import { makeCredential } from '#tpm2/credential.ts'
import { checkEndorsementCertificate, checkEndorsementKey } from '#tpm2/endorsement.ts'
import { subjectPublicKeyInfoOf } from '#tpm2/public-key.ts'
import { TPMS_ID_OBJECT, TPMT_PUBLIC } from '#tpm2/structures.ts'
import { marshal, unmarshal } from '#tpm2/wire.ts'
import { type EndorsementChallenge, type JobTicket, openStatement, type TicketRequest } from './messages.ts'
import type { OrdersContext, ProductionOrder } from './orders.ts'

/** A request whose signature was checked. */
export interface OpenedRequest {
  readonly asked: TicketRequest
  /** SHA-256 of the statement. */
  readonly digest: string
  readonly publicKey: PublicKey
}

/** As long as a SHA-256 digest: every endorsement key has at least that hash. */
const CREDENTIAL_OCTETS = 32
/** As long as a stick may be on its way. */
const CHALLENGE_MILLISECONDS = 14 * 86_400_000

/**
 * @returns what the node is asked, and what is kept of it: of the credential only its hash
 * @throws TrustError `policyRefused`, `badProof` for a TPM of nobody who is trusted
 */
export async function challengeFor(
  context: OrdersContext,
  order: ProductionOrder,
  { asked, digest }: OpenedRequest,
): Promise<{ readonly challenge: EndorsementChallenge; readonly facts: Facts; readonly steps: readonly Step[] }> {
  const { world, organizationId } = context
  if (asked.attestation?.endorsement === undefined) throw new TrustError('policyRefused', 'endorsementMissing')
  const { attestationKey, endorsement } = asked.attestation
  const endorsementKey = unmarshal(TPMT_PUBLIC, Uint8Array.fromBase64(endorsement.key))
  const certificate = Uint8Array.fromBase64(endorsement.certificate)
  const facts = await endorsementFacts(context, order, endorsementKey, certificate)
  const { name: objectName } = trustedAttestationKey(unmarshal(TPMT_PUBLIC, Uint8Array.fromBase64(attestationKey)))
  const credential = world.random.octets(CREDENTIAL_OCTETS)
  const { credentialBlob, secret } = await makeCredential({ endorsementKey, objectName, credential }, world.random)
  const now = world.clock.now()
  const [id, expiresAt] = [uuidv7(world), now + CHALLENGE_MILLISECONDS]
  return {
    facts,
    challenge: {
      ...{ version: 1, id, order: order.name, request: digest },
      credentialBlob: marshal(TPMS_ID_OBJECT, credentialBlob).toBase64(),
      secret: secret.toBase64(),
      expiresAt,
    },
    steps: [
      {
        sql: `INSERT INTO node_challenge (id, organization_id, version, order_id, request_hash, credential_hash, facts, state, expires_at, created_at)
            VALUES (?, ?, 1, ?, ?, ?, ?, 'open', ?, ?)`,
        parameters: [id, organizationId, order.id, digest, sha256(credential), JSON.stringify(facts), expiresAt, now],
      },
    ],
  }
}

/** Also when the answer comes: a maker may have taken the certificate back meanwhile. */
async function endorsementFacts(
  { world, endorsementTrust }: OrdersContext,
  { terms }: ProductionOrder,
  endorsementKey: TPMT_PUBLIC,
  certificate: Uint8Array,
): Promise<Facts> {
  const found = await checkEndorsementCertificate(certificate, {
    ...endorsementTrust(terms.endorsementAuthorities ?? []),
    at: new Date(world.clock.now()),
  })
  checkEndorsementKey(endorsementKey, found)
  const { tpmManufacturer, tpmModel, tpmVersion } = found
  return {
    endorsement: hash('sha256', subjectPublicKeyInfoOf(endorsementKey)),
    endorsementCertificate: hash('sha256', certificate),
    ...{ tpmManufacturer, tpmModel, tpmVersion },
  }
}

export interface AnsweredChallenge {
  /** For the ticket. */
  readonly endorsement: NonNullable<JobTicket['endorsement']>
  readonly facts: Facts
  /** Uses the challenge up: kept with the ticket. */
  readonly steps: readonly Step[]
}

/** @throws TrustError of any refusal; a wrong credential ends the challenge */
export async function checkChallengeAnswer(
  context: OrdersContext,
  order: ProductionOrder,
  { asked, digest, publicKey }: OpenedRequest,
  text: string,
): Promise<AnsweredChallenge> {
  const answer = await openStatement('endorsement-answer', text, publicKey)
  const { id, credentialHash } = await openChallenge(context, order, answer.challenge, digest)
  if (answer.request !== digest) throw new TrustError('forbidden', 'nodeChallengeOther')
  if (!equalInConstantTime(sha256(Uint8Array.fromBase64(answer.credential)), credentialHash)) {
    const sql = "UPDATE node_challenge SET state = 'failed', version = version + 1 WHERE id = ? AND state = 'open'"
    await context.db.batch([{ sql, parameters: [id] }])
    throw new TrustError('badProof', 'nodeCredential')
  }
  const endorsement = asked.attestation?.endorsement
  if (endorsement === undefined) throw new TrustError('policyRefused', 'endorsementMissing')
  const { key, certificate } = endorsement
  const endorsementKey = unmarshal(TPMT_PUBLIC, Uint8Array.fromBase64(key))
  const facts = await endorsementFacts(context, order, endorsementKey, Uint8Array.fromBase64(certificate))
  return {
    facts: { challenge: id, ...facts },
    endorsement: { key: facts['endorsement'] as string, certificate: facts['endorsementCertificate'] as string },
    steps: [
      {
        sql: `UPDATE node_challenge SET state = 'used', version = version + 1 WHERE id = ? AND state = 'open' AND expires_at > ?
            RETURNING state`,
        parameters: [id, context.world.clock.now()],
        expects: { state: 'used' },
        refusal: () => new TrustError('conflict', 'nodeChallengeUsed'),
      },
    ],
  }
}

async function openChallenge(
  { db, world, organizationId }: OrdersContext,
  order: ProductionOrder,
  id: string,
  digest: string,
): Promise<{ readonly id: string; readonly credentialHash: Uint8Array }> {
  const [row]: readonly Row[] = await db.query(
    'SELECT * FROM node_challenge WHERE id = ? AND organization_id = ?',
    id,
    organizationId,
  )
  if (row === undefined || row['order_id'] !== order.id || row['request_hash'] !== digest)
    throw new TrustError('forbidden', 'nodeChallengeOther')
  if (row['state'] !== 'open') throw new TrustError('conflict', 'nodeChallengeUsed')
  if ((row['expires_at'] as number) <= world.clock.now()) throw new TrustError('forbidden', 'nodeChallengeExpired')
  return { id, credentialHash: row['credential_hash'] as Uint8Array }
}

const sha256 = (octets: Uint8Array): Uint8Array => Uint8Array.fromHex(hash('sha256', octets))
