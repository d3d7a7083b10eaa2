/**
 * Public keys as COSE_Key, and their thumbprints. Private keys are never read or written in this form.
 *
 * Source: RFC 9052, 7; RFC 9053, 7.1 and 7.2; RFC 8230, 4 (RSA); RFC 9964, 4 (ML-DSA); RFC 9679 (thumbprint).
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { importKeyMembers, keyMembers } from '#algorithms/jwk-form.ts'
import { messageNames } from '#algorithms/message-names.ts'
import type { PublicKey } from '#algorithms/public-key.ts'
import type { SignatureAlgorithmId } from '#algorithms/table.ts'
import { TrustError } from '#base/errors.ts'
import { type CBOR, encodeCBOR, type Label, parseCBOR } from './cbor.ts'
import { integerOf, mapOf, octetsOf } from './typed.ts'

const KTY = 1
const ALG = 3
const types = { OKP: 1, EC2: 2, RSA: 3, AKP: 7 } as const
/** As JSON Web Keys call them, which is how OpenSSL's face in Node.js takes and gives keys. */
const curves: ReadonlyMap<number, string> = new Map([
  [1, 'P-256'],
  [2, 'P-384'],
  [3, 'P-521'],
  [6, 'Ed25519'],
  [7, 'Ed448'],
])
const akp: ReadonlyMap<number, string> = new Map(
  (['ml-dsa-44', 'ml-dsa-65', 'ml-dsa-87'] as const).map((id) => {
    const { cose, jose } = messageNames(id, id)
    return [cose.usual, jose.usual]
  }),
)

/** @throws TrustError `unsupported` where no such form is registered */
export function encodeCOSEKey(key: PublicKey): Uint8Array {
  return encodeCBOR(new Map(requiredOf(key)))
}

/** SHA-256 over the required members in the deterministic form, which is what `encodeCOSEKey` writes. */
export const coseKeyThumbprint = (key: PublicKey): Uint8Array =>
  new Uint8Array(createHash('sha256').update(encodeCOSEKey(key)).digest())

function requiredOf(key: PublicKey): readonly (readonly [Label, CBOR])[] {
  const { algorithm } = key
  const jwk = keyMembers(key)
  const octets = (name: string): Uint8Array => Uint8Array.fromBase64(jwk[name] ?? '', { alphabet: 'base64url' })
  const curve = [...curves].find(([, name]) => name === jwk['crv'])?.[0] ?? 0
  switch (jwk['kty']) {
    case 'EC':
      return [
        [KTY, types.EC2],
        [-1, curve],
        [-2, octets('x')],
        [-3, octets('y')],
      ]
    case 'OKP':
      return [
        [KTY, types.OKP],
        [-1, curve],
        [-2, octets('x')],
      ]
    case 'RSA':
      return [
        [KTY, types.RSA],
        [-1, octets('n')],
        [-2, octets('e')],
      ]
    default:
      return [
        [KTY, types.AKP],
        [ALG, messageNames(algorithm as SignatureAlgorithmId, algorithm).cose.usual],
        [-1, octets('pub')],
      ]
  }
}

/** The labels of each type's private half (RFC 9053, 7; RFC 8230, 4; RFC 9964, 4). */
const secrets: Readonly<Record<number, readonly number[]>> = {
  [types.OKP]: [-4],
  [types.EC2]: [-4],
  [types.RSA]: [-3, -4, -5, -6, -7, -8, -9, -10, -11, -12],
  [types.AKP]: [-2],
}

/** @throws TrustError `malformed`, also for a private key, which nobody must be sent; `unsupported`; `policyRefused` */
export function parseCOSEKey(octets: Uint8Array): PublicKey {
  const map = mapOf(parseCBOR(octets, { encoding: 'any' }), 'the key')
  const kty = integerOf(map.get(KTY), 'the type of the key')
  if (secrets[kty]?.some((label) => map.has(label)) === true)
    throw new TrustError('malformed', 'notCOSE', { facts: { detail: 'the key is private' } })
  const member = (label: number): string =>
    octetsOf(map.get(label), `the member ${label} of the key`).toBase64({ alphabet: 'base64url', omitPadding: true })
  const curve = (): string => known(curves.get(integerOf(map.get(-1), 'the curve')))
  switch (kty) {
    case types.EC2:
      if (typeof map.get(-3) === 'boolean') throw new TrustError('unsupported', 'pointForm')
      return importKeyMembers({ kty: 'EC', crv: curve(), x: member(-2), y: member(-3) })
    case types.OKP:
      return importKeyMembers({ kty: 'OKP', crv: curve(), x: member(-2) })
    case types.RSA:
      return importKeyMembers({ kty: 'RSA', n: member(-1), e: member(-2) })
    case types.AKP:
      return importKeyMembers({ kty: 'AKP', alg: known(akp.get(integerOf(map.get(ALG), 'the algorithm'))), pub: member(-1) })
    default:
      throw new TrustError('unsupported', 'keyAlgorithm')
  }
}

function known(name: string | undefined): string {
  if (name === undefined) throw new TrustError('unsupported', 'keyAlgorithm')
  return name
}
