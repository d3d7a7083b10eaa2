/**
 * What an issuing node shows its stations: a certificate that it made for itself, since nobody at the factory vouches for it.
 *
 * It is no birth and not of the job's authority, whose certificates are counted.
 *
 * @module
 */
import { createPrivateKey, createPublicKey, generateKeyPair } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { encodePEM } from '#asn1/pem.ts'
import { utf8 } from '#base/bytes.ts'
import { writeDurably } from '#base/durable-file.ts'
import { secret } from '#base/secret.ts'
import { toWholeSeconds, type World } from '#base/world.ts'
import { signMessage } from '#algorithms/private-key.ts'
import { signatureAlgorithm } from '#algorithms/table.ts'
import { encodeTBSCertificate } from '#x509/certificate.ts'
import { encodeExtension } from '#x509/extensions/extension.ts'
import { type GeneralName, parseIPAddress } from '#x509/extensions/general-name.ts'
import { subjectAltName } from '#x509/extensions/subject-alternative-name.ts'
import { encodeName, nameOf } from '#x509/name.ts'
import { encodeSigned, signatureIdentifier } from '#x509/signed.ts'
import type { TLSIdentity } from './tls-options.ts'

const KEY_FILE = 'tls-key.pem'
const CERTIFICATE_FILE = 'tls.pem'
/** Longer than a job. */
const VALIDITY_MILLISECONDS = 10 * 365 * 86_400_000

const makePair = promisify(generateKeyPair)

/** The same at every start: stations are given it once. */
export async function nodeIdentity(directory: string, names: readonly string[], world: World): Promise<TLSIdentity> {
  const [key, certificate] = [join(directory, KEY_FILE), join(directory, CERTIFICATE_FILE)]
  if (!existsSync(certificate)) await make({ key, certificate, names, world })
  return { certificateChainPEM: readFileSync(certificate, 'utf8'), privateKeyPEM: secret(utf8(readFileSync(key, 'utf8'))) }
}

async function make({
  key,
  certificate,
  names,
  world,
}: {
  readonly key: string
  readonly certificate: string
  readonly names: readonly string[]
  readonly world: World
}): Promise<void> {
  if (!existsSync(key)) {
    const made = await makePair('ec', { namedCurve: 'P-256' })
    writeDurably(key, made.privateKey.export({ type: 'pkcs8', format: 'pem' }), 0o600)
  }
  const privateKey = createPrivateKey(readFileSync(key))
  const now = toWholeSeconds(world.clock.now())
  const name = encodeName(nameOf([{ type: 'CN', value: 'Issuing node' }]))
  const serialNumber = new Uint8Array(world.random.octets(16))
  serialNumber[0] = 0x40
  const tbs = encodeTBSCertificate({
    serialNumber,
    signatureAlgorithm: signatureIdentifier('ecdsa-sha256'),
    issuer: name,
    validity: { notBefore: new Date(now - 86_400_000), notAfter: new Date(now + VALIDITY_MILLISECONDS) },
    subject: name,
    subjectPublicKeyInfo: new Uint8Array(createPublicKey(privateKey).export({ type: 'spki', format: 'der' })),
    extensions: [encodeExtension(subjectAltName, names.map(generalNameOf))],
  })
  const signature = await signMessage(tbs, signatureAlgorithm('ecdsa-sha256'), privateKey, false)
  const der = encodeSigned(tbs, signatureIdentifier('ecdsa-sha256'), signature)
  writeDurably(certificate, encodePEM('CERTIFICATE', der), 0o644) // last: it says that the key is there
}

function generalNameOf(name: string): GeneralName {
  const isAddress = /^[0-9.]+$/.test(name) || name.includes(':')
  return isAddress ? { type: 'iPAddress', value: parseIPAddress(name) } : { type: 'dNSName', value: name }
}
