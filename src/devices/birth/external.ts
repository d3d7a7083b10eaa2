/**
 * Keys that are made here for devices that cannot make their own.
 *
 * Such a key lives in memory for as long as it takes to encrypt it to its unit, and is kept nowhere. It is answered once:
 * who asks again is told what to do (decision 17). The unit signs that it wrote the key into the device and destroyed its
 * own copy; until then the key is on the list of those that may still be somewhere else.
 *
 * Source: RFC 5083 (AuthEnvelopedData), RFC 5208 (PrivateKeyInfo, the content).
 *
 * @module
 */
import { hash } from 'node:crypto'
import { generateKey } from '#algorithms/private-key.ts'
import type { KeyAlgorithmId } from '#algorithms/table.ts'
import { TrustError } from '#base/errors.ts'
import { encodeAuthEnvelopedData } from '#cms/encrypt.ts'
import { issueAndKeep, openPlace, recorded, type Station } from './births.ts'
import type { BirthCertificate, BirthsContext } from './context.ts'
import { stepsToNoteKey, unitOf } from './external-record.ts'
import { assuranceOfEvidence } from './proven.ts'

export interface ExternalKeyRequest {
  /** By name. */
  readonly line: string
  readonly productSerial: string
  readonly keyAlgorithm: KeyAlgorithmId
  /** SHA-256 of the certificate of who gets the key, in hexadecimal digits. */
  readonly unit: string
}

export interface DeliveredKey extends BirthCertificate {
  /** DER ContentInfo with AuthEnvelopedData; in it a PrivateKeyInfo. */
  readonly encryptedKey: Uint8Array
}

/** @throws TrustError of any refusal; `conflict` for a device whose key was delivered */
export function bearWithKey(context: BirthsContext, wanted: ExternalKeyRequest, station: Station): Promise<DeliveredKey> {
  return recorded(context, { ...wanted, act: 'device.bear' }, station, async () => {
    await checkNotDelivered(context, wanted)
    const place = await openPlace(context, wanted.line, wanted.productSerial, 'external', station)
    const unit = unitOf(place.line, wanted.unit)
    const { spki, encryptedKey } = await makeFor(context, unit, wanted.keyAlgorithm)
    const messageHash = Uint8Array.fromHex(hash('sha256', encryptedKey))
    const signed = await issueAndKeep(
      context,
      place,
      {
        assurance: assuranceOfEvidence.external,
        proof: { type: 'key', spki },
        evidence: { maker: 'server', unit: wanted.unit, message: messageHash.toHex() },
        stepsFor: (issued) => stepsToNoteKey(context, place, issued, { maker: 'server', unit, messageHash }),
      },
      station,
    )
    return { ...signed, encryptedKey }
  })
}

/** The octets that we made are overwritten; those inside the runtime and OpenSSL are freed, OpenSSL's overwritten too. */
async function makeFor(
  { world }: BirthsContext,
  unit: Uint8Array,
  algorithm: KeyAlgorithmId,
): Promise<{ readonly spki: Uint8Array; readonly encryptedKey: Uint8Array }> {
  const { privateKey, publicKey } = await generateKey(algorithm)
  const content = privateKey.export({ type: 'pkcs8', format: 'der' })
  try {
    const encryptedKey = await encodeAuthEnvelopedData(
      { recipients: [{ type: 'certificate', certificate: unit }], cipher: 'aes-256-gcm', content },
      world.random,
    )
    return { spki: new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })), encryptedKey }
  } finally {
    content.fill(0)
  }
}

/** Says more than that the device is born: what is to be done now. */
async function checkNotDelivered(
  { db, organizationId }: BirthsContext,
  { productSerial, line }: ExternalKeyRequest,
): Promise<void> {
  const [row] = await db.query(
    `SELECT k.state FROM external_key k JOIN birth_line l ON l.id = k.line_id
      WHERE k.organization_id = ? AND l.name = ? AND k.product_serial = ? AND k.maker = 'server'`,
    ...[organizationId, line, productSerial],
  )
  if (row !== undefined) throw new TrustError('conflict', 'externalKeyDelivered', { facts: { productSerial } })
}
