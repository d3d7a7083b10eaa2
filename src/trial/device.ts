/**
 * A device as the trial plays it: keys of its own, and the requests that it signs with them.
 *
 * @module
 */
import { generateKeyPair, type KeyObject, sign } from 'node:crypto'
import { promisify } from 'node:util'
import { type Secret, secret } from '#base/secret.ts'
import { encodeCertificationRequest } from '#x509/certification-request.ts'
import { extensionWith } from '#x509/extensions/extension.ts'
import { parseIPAddress } from '#x509/extensions/general-name.ts'
import { subjectAltName } from '#x509/extensions/subject-alternative-name.ts'
import { nameOf, type NamePart } from '#x509/name.ts'

export type DeviceAlgorithm = 'ecdsa-p256' | 'ml-dsa-65'

export interface DeviceKey {
  readonly algorithm: DeviceAlgorithm
  readonly privateKey: KeyObject
  /** DER SubjectPublicKeyInfo */
  readonly publicKey: Uint8Array
}

/** A key with the certificate that was issued for it. */
export interface Identity {
  readonly key: DeviceKey
  /** DER */
  readonly certificate: Uint8Array
}

const makePair = promisify(generateKeyPair)

export async function makeKey(algorithm: DeviceAlgorithm = 'ecdsa-p256'): Promise<DeviceKey> {
  const { privateKey, publicKey } =
    algorithm === 'ml-dsa-65' ? await makePair('ml-dsa-65') : await makePair('ec', { namedCurve: 'P-256' })
  return { algorithm, privateKey, publicKey: new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })) }
}

/** DER PKCS #8, for the TLS client. */
export const privateKeyOf = ({ privateKey }: DeviceKey): Secret =>
  secret(new Uint8Array(privateKey.export({ type: 'pkcs8', format: 'der' })))

export interface RequestOptions {
  /** Ties the request to the connection that carries it (RFC 7030, 3.5). */
  readonly channelBinding?: string
  /** The address of a server. */
  readonly address?: string
}

/** @returns DER PKCS #10 */
export const requestFor = (
  key: DeviceKey,
  subject: readonly NamePart[],
  { channelBinding, address }: RequestOptions = {},
): Promise<Uint8Array> =>
  encodeCertificationRequest(
    {
      subject: nameOf(subject),
      publicKey: key.publicKey,
      ...(channelBinding !== undefined && { challengePassword: channelBinding }),
      ...(address !== undefined && {
        extensions: [extensionWith(subjectAltName, [{ type: 'iPAddress', value: parseIPAddress(address) }])],
      }),
    },
    key.algorithm === 'ml-dsa-65'
      ? { signatureAlgorithm: 'ml-dsa-65', sign: (message) => new Uint8Array(sign(null, message, key.privateKey)) }
      : { signatureAlgorithm: 'ecdsa-sha256', sign: (message) => new Uint8Array(sign('sha256', message, key.privateKey)) },
  )
