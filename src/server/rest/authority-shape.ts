/** An authority as REST shows it. @module */
import { Type } from 'typebox'
import { type Authorities, type Authority, chainOf, offeredBy } from '#ca/authorities.ts'
import { fingerprint } from '#x509/certificate.ts'
import { formatName, parseName } from '#x509/name.ts'
import { Address, Base64, KeyAlgorithmName, Slug, Time, Uuid } from './shapes.ts'

export const AuthorityShape = Type.Object({
  id: Uuid,
  address: Address,
  slug: Slug,
  generation: Type.Integer(),
  profile: Type.String(),
  issuer: Type.Union([Address, Type.Null()]),
  subject: Type.String(),
  keyAlgorithm: KeyAlgorithmName,
  state: Type.String(),
  notBefore: Time,
  notAfter: Time,
  fingerprint: Type.String({ description: 'SHA-256 of the certificate, hex' }),
  certificate: Base64,
  chain: Type.Array(Base64, { description: 'from this authority up to its root' }),
  links: Type.Array(Base64, {
    description: 'other ways to a root: links between generations, other generations of the root, cross certificates',
  }),
})

/** @param now links that have ended are left out */
export const authorityShape = (authorities: Authorities, authority: Authority, now: number) => ({
  id: authority.id,
  address: authority.address,
  slug: authority.slug,
  generation: authority.generation,
  profile: authority.profile,
  issuer: authorities.issuerOf(authority)?.address ?? null,
  subject: formatName(parseName(authority.certificate.subject)),
  keyAlgorithm: authority.keyAlgorithm,
  state: authority.state,
  notBefore: authority.certificate.notBefore.toISOString(),
  notAfter: authority.certificate.notAfter.toISOString(),
  fingerprint: fingerprint(authority.certificate.der).toHex(),
  certificate: authority.certificate.der.toBase64(),
  chain: chainOf(authorities, authority).map((der) => der.toBase64()),
  links: offeredBy(authorities, authority, now)
    .slice(chainOf(authorities, authority).length)
    .map((der) => der.toBase64()),
})
