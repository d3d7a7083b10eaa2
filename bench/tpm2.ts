/**
 * What a birth from a TPM costs the server (variant a): the endorsement certificate, the challenge, the certified key;
 * beside the bare operations in them. Prints µs per operation of the main thread; a birth has one of each.
 *
 *     node bench/tpm2.ts
 *
 * @module
 */
import { createECDH, createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto'
import { systemWorld } from '#base/world.ts'
import { checkCertified, trustedAttestationKey } from '#tpm2/attestation.ts'
import { makeCredential } from '#tpm2/credential.ts'
import { checkEndorsementCertificate, checkEndorsementKey } from '#tpm2/endorsement.ts'
import { areaOf, listOf, octetsOf, statementOf } from '#tpm2/testing.ts'
import { measure } from './measure.ts'

const { random } = systemWorld()
const rules = { at: new Date('2026-12-01T00:00:00Z'), anchors: listOf('anchors'), intermediates: listOf('issuers') }
const [nonce, statement, certified] = [octetsOf('nonce'), statementOf('certify'), areaOf('key')]
const credential = random.octets(32)
const objectName = octetsOf('attestationKeyName')

const challenge = (name: string) => {
  const endorsementKey = areaOf(name)
  return () => makeCredential({ endorsementKey, objectName, credential }, random)
}
const believe = () => checkCertified(statement, trustedAttestationKey(areaOf('attestationKey')), { certified, nonce })
const endorse = async (suffix: string): Promise<void> => {
  const endorsement = await checkEndorsementCertificate(octetsOf(`endorsementCertificate${suffix}`), rules)
  checkEndorsementKey(areaOf(`endorsementKey${suffix}`), endorsement)
}
const birth = async (suffix: string): Promise<void> => {
  await endorse(suffix)
  await challenge(`endorsementKey${suffix}`)()
  await believe()
}

const message = statement.attest
const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const signature = sign('sha256', message, privateKey)
const theirs = createECDH('secp384r1').generateKeys()
const spki = publicKey.export({ format: 'der', type: 'spki' })

await measure([
  ['bare: verify ECDSA P-256', () => verify('sha256', message, publicKey, signature)],
  ['bare: import a P-256 key', () => createPublicKey({ key: spki, format: 'der', type: 'spki' })],
  [
    'bare: a new P-384 key and its agreement',
    () => {
      const mine = createECDH('secp384r1')
      mine.generateKeys()
      return mine.computeSecret(theirs)
    },
  ],
  ['endorsement certificate up to its root (RSA-3072 signatures)', () => endorse('')],
  ['challenge for P-384', challenge('endorsementKey')],
  ['challenge for RSA-2048', challenge('endorsementKeyRSA')],
  ['certified key', believe],
  ['birth, P-384', () => birth('')],
  ['birth, RSA-2048', () => birth('RSA')],
])
