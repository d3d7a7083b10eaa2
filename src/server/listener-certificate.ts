/**
 * The server's own certificate: issued by the installation's TLS authority, renewed before it ends.
 *
 * Its key is made in memory at each start and never written: who copies the disk cannot be this server.
 *
 * @module
 */
import { generateKeyPair } from 'node:crypto'
import { promisify } from 'node:util'
import { importPublicKey } from '#algorithms/public-key.ts'
import { encodePEM } from '#asn1/pem.ts'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { secret } from '#base/secret.ts'
import { type Authorities, type Authority, chainOf } from '#ca/authorities.ts'
import type { CAContext } from '#ca/context.ts'
import { rehearse, signRehearsed, stepsToInsert } from '#ca/issue.ts'
import { tlsServer } from '#ca/profiles/tls-server.ts'
import { keep } from '#store/batch.ts'
import { type GeneralName, parseIPAddress } from '#x509/extensions/general-name.ts'
import type { TLSIdentity } from './tls-options.ts'

/** Made by `init`; its root is what clients of this server are given to trust. */
export const TLS_AUTHORITY = 'tls'

export interface ListenerCertificate {
  readonly identity: TLSIdentity
  readonly notBefore: number
  readonly notAfter: number
}

const makePair = promisify(generateKeyPair)

/** @param names host names and addresses @throws TrustError `unavailable` when the installation has no TLS authority */
export async function issueListenerCertificate(
  context: CAContext,
  authorities: Authorities,
  { names, validityDays }: { readonly names: readonly string[]; readonly validityDays: number },
): Promise<ListenerCertificate> {
  const authority = tlsAuthority(authorities)
  const { privateKey, publicKey } = await makePair('ec', { namedCurve: 'P-256' })
  const profile = { ...tlsServer, validity: { days: validityDays }, revocationPointers: context.settings.publicUrl !== undefined }
  const plan = {
    authority,
    profile,
    publicKey: importPublicKey(new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }))),
    subject: EMPTY_NAME,
    subjectText: '',
    productSerial: undefined,
    subjectAltName: names.map(generalNameOf),
  }
  // a server that may not issue to others yet still has to be reached
  const own = { ...context, settings: { ...context.settings, issuanceClosed: false } }
  const issued = await signRehearsed(rehearse(own, plan))
  await keep(context.db, stepsToInsert(context, issued, { actor: 'system' }))
  // who was given an earlier root to trust reaches the new key by its link
  const links = authorities.further(authority).filter(({ kind }) => kind === 'newWithOld')
  const chain = [issued.der, ...chainOf(authorities, authority).slice(0, -1), ...links.map(({ certificate }) => certificate.der)]
  return {
    identity: {
      certificateChainPEM: chain.map((der) => encodePEM('CERTIFICATE', der)).join(''),
      privateKeyPEM: secret(utf8(privateKey.export({ type: 'pkcs8', format: 'pem' }))),
    },
    notBefore: issued.notBefore,
    notAfter: issued.notAfter,
  }
}

export function tlsAuthority(authorities: Authorities): Authority {
  const authority = authorities.list().findLast(({ slug }) => slug === TLS_AUTHORITY) // the newest generation
  if (authority === undefined) throw new TrustError('unavailable', 'tlsAuthorityMissing')
  return authority
}

/** Names stand in subjectAltName (RFC 9525, 2). */
const EMPTY_NAME = Uint8Array.of(0x30, 0x00)

function generalNameOf(name: string): GeneralName {
  const isAddress = /^[0-9.]+$/.test(name) || name.includes(':')
  return isAddress ? { type: 'iPAddress', value: parseIPAddress(name) } : { type: 'dNSName', value: name }
}
