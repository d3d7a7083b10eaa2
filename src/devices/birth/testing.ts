/**
 * Devices for tests and measurements of births: what a TPM says, made with keys in this process, by the thousand.
 * That real ones say the same is shown by swtpm in `test/interop/births.test.ts`.
 *
 * @module
 */
import { diffieHellman, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { concat, equal } from '#base/bytes.ts'
import { trustedAttestationKey } from '#tpm2/attestation.ts'
import { decryptCFB, hmacOf, kdfa, kdfe } from '#tpm2/hash.ts'
import { objectName } from '#tpm2/name.ts'
import { keyPartOf, subjectPublicKeyInfoOf } from '#tpm2/public-key.ts'
import {
  TPM2B_DIGEST,
  TPM2B_ENCRYPTED_SECRET,
  TPM2B_ID_OBJECT,
  TPM2B_PUBLIC,
  TPMS_ATTEST,
  TPMS_ECC_POINT,
  TPMT_SIGNATURE,
  type TPMT_PUBLIC,
} from '#tpm2/structures.ts'
import { attestationKey, endorsementTemplate, signingKey } from '#tpm2/templates.ts'
import { marshal, unmarshal } from '#tpm2/wire.ts'
import { basicConstraints } from '#x509/extensions/basic-constraints.ts'
import { extKeyUsage } from '#x509/extensions/extended-key-usage.ts'
import { extensionWith } from '#x509/extensions/extension.ts'
import { keyUsage } from '#x509/extensions/key-usage.ts'
import { subjectAltName } from '#x509/extensions/subject-alternative-name.ts'
import { encodeName, nameOf } from '#x509/name.ts'
import { makeCertificate, makeKey, rootExtensions, type TestKey } from '#x509/testing.ts'
import { importPublicKey } from '#algorithms/public-key.ts'
import type { ChallengeRequest, IssuedChallenge, TPMEvidence } from './messages.ts'

/** A maker of TPMs. */
export interface TestMaker {
  readonly key: TestKey
  /** DER */
  readonly root: Uint8Array
  readonly subject: Uint8Array
}

export async function testMaker(name = 'Example TPM maker'): Promise<TestMaker> {
  const key = makeKey()
  const subject = encodeName(nameOf([{ type: 'CN', value: name }]))
  return { key, subject, root: await makeCertificate(key, { subject, issuer: subject, extensions: rootExtensions(key) }) }
}

interface HeldKey {
  readonly publicArea: TPMT_PUBLIC
  readonly privateKey: KeyObject
}

function hold(template: TPMT_PUBLIC): HeldKey {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const part = keyPartOf(importPublicKey(new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }))))
  if (part.type !== 'ECC' || template.type !== 'ECC') throw new TypeError('keys here are elliptic')
  return { privateKey, publicArea: { ...template, unique: part.unique } }
}

export interface TestTPM {
  readonly introduction: Omit<ChallengeRequest, 'productSerial'>
  /** DER SubjectPublicKeyInfo of the endorsement key. */
  readonly endorsement: Uint8Array
  /** What TPM2_ActivateCredential does. @throws Error when the challenge is for another TPM or another attestation key */
  activate(challenge: Pick<IssuedChallenge, 'credentialBlob' | 'secret'>): Uint8Array
  /** What TPM2_Certify does. */
  certify(key: HeldKey, nonce: Uint8Array): Pick<TPMEvidence, 'attest' | 'signature'>
  answer(challenge: IssuedChallenge, key?: HeldKey): TPMEvidence
}

let serial = 0

export async function testTPM(maker: TestMaker): Promise<TestTPM> {
  const endorsement = hold(endorsementTemplate('H-2').publicArea)
  const attestation = hold(attestationKey())
  const spki = subjectPublicKeyInfoOf(endorsement.publicArea)
  const trusted = trustedAttestationKey(attestation.publicArea)
  const endorsementCertificate = await makeCertificate(maker.key, {
    subjectPublicKeyInfo: spki,
    serialNumber: Uint8Array.fromHex(`01${(++serial).toString(16).padStart(8, '0')}`),
    issuer: maker.subject,
    subject: encodeName(nameOf([{ type: 'CN', value: 'TPM' }])),
    extensions: [
      extensionWith(basicConstraints, { cA: false }, true),
      extensionWith(keyUsage, ['keyAgreement'], true),
      extensionWith(extKeyUsage, ['2.23.133.8.1']),
      extensionWith(subjectAltName, [{ type: 'directoryName', value: TPM_NAME }], true),
    ],
  })

  const activate: TestTPM['activate'] = ({ credentialBlob, secret }) => {
    const { encIdentity, integrityHMAC } = unmarshal(TPM2B_ID_OBJECT, credentialBlob)
    const point = unmarshal(TPMS_ECC_POINT, unmarshal(TPM2B_ENCRYPTED_SECRET, secret))
    const { x: own } = (endorsement.publicArea as Extract<TPMT_PUBLIC, { type: 'ECC' }>).unique
    const seed = kdfe('SHA256', agree(endorsement.privateKey, point), {
      label: 'IDENTITY',
      contextU: point.x,
      contextV: own,
      bits: 256,
    })
    const name = objectName(attestation.publicArea)
    const integrity = kdfa('SHA256', seed, { label: 'INTEGRITY', contextU: EMPTY, contextV: EMPTY, bits: 256 })
    if (!equal(hmacOf('SHA256', integrity, encIdentity, name), integrityHMAC)) throw new Error('TPM_RC_INTEGRITY')
    const key = kdfa('SHA256', seed, { label: 'STORAGE', contextU: name, contextV: EMPTY, bits: 128 })
    return unmarshal(TPM2B_DIGEST, decryptCFB({ key, iv: new Uint8Array(16) }, encIdentity))
  }

  const certify: TestTPM['certify'] = ({ publicArea }, nonce) => {
    const name = objectName(publicArea)
    const attest = marshal(TPMS_ATTEST, {
      magic: 'TPM_GENERATED_VALUE',
      type: 'ATTEST_CERTIFY',
      qualifiedSigner: trusted.name,
      extraData: nonce,
      clockInfo: { clock: 1n, resetCount: 1, restartCount: 0, safe: true },
      firmwareVersion: 1n,
      attested: { name, qualifiedName: name },
    })
    const raw = sign('sha256', attest, { key: attestation.privateKey, dsaEncoding: 'ieee-p1363' })
    const signature = marshal(TPMT_SIGNATURE, {
      sigAlg: 'ECDSA',
      signature: { hash: 'SHA256', signatureR: raw.subarray(0, 32), signatureS: raw.subarray(32) },
    })
    return { attest, signature }
  }

  return {
    introduction: {
      endorsementKey: marshal(TPM2B_PUBLIC, endorsement.publicArea),
      endorsementCertificate,
      attestationKey: marshal(TPM2B_PUBLIC, attestation.publicArea),
    },
    endorsement: spki,
    activate,
    certify,
    answer: (challenge, key = keyInTPM()) => ({
      type: 'tpm',
      challenge: challenge.id,
      credential: activate(challenge),
      key: marshal(TPM2B_PUBLIC, key.publicArea),
      ...certify(key, challenge.nonce),
    }),
  }
}

/** A new key for its device. */
export const keyInTPM = (template: TPMT_PUBLIC = signingKey()): HeldKey => hold(template)

const EMPTY = new Uint8Array(0)

/** As TCG EK Credential Profile 2.5, 3.2.9, has it. */
const TPM_NAME = nameOf([
  { type: '2.23.133.2.1', value: 'id:53414D50' },
  { type: '2.23.133.2.2', value: 'Sample' },
  { type: '2.23.133.2.3', value: 'id:00010000' },
])

/** By way of a SubjectPublicKeyInfo of P-256, whose head is always this. */
const P256_HEAD = Uint8Array.fromHex('3059301306072a8648ce3d020106082a8648ce3d03010703420004')

function agree(privateKey: KeyObject, { x, y }: { readonly x: Uint8Array; readonly y: Uint8Array }): Uint8Array {
  const padded = (octets: Uint8Array): Uint8Array => concat([new Uint8Array(32 - octets.length), octets])
  const publicKey = importPublicKey(concat([P256_HEAD, padded(x), padded(y)])).key
  return new Uint8Array(diffieHellman({ privateKey, publicKey }))
}

/** What a manifest says of one chip, with the key of RFC 7517, A.1. */
export const statedElement = JSON.stringify({
  ...{
    version: 1,
    model: 'ATECC608B',
    partNumber: 'ATECC608B-TFLXTLSU',
    uniqueId: '0123f1822c38dd7a01',
    groupId: '359SCE55NV38H3CB',
  },
  manufacturer: { organizationName: 'Microchip Technology Inc' },
  publicKeySet: {
    keys: [
      {
        ...{ kid: '0', kty: 'EC', crv: 'P-256' },
        x: 'MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4',
        y: '4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM',
      },
    ],
  },
})
