/** REST: certificate authorities and their CRLs. @module */
import { Type } from 'typebox'
import { isKeyAlgorithmId } from '#algorithms/table.ts'
import { TrustError } from '#base/errors.ts'
import type { Authority } from '#ca/authorities.ts'
import { issueAllCRLs } from '#ca/crl.ts'
import { parseDistinguishedName } from '#x509/name.ts'
import type { CAServices } from '../compose.ts'
import { AuthorityShape, authorityShape } from './authority-shape.ts'
import { recordingRefusals } from './refusals.ts'
import { route } from './route.ts'
import { Address, Base64, DistinguishedName, Empty, KeyAlgorithmName, Slug, Time } from './shapes.ts'

/** A longer list is fetched from the repository, where it comes in pieces. */
const CRL_IN_ANSWER_MAX_OCTETS = 512 << 10

export function authorityRoutes({ context, authorities }: CAServices) {
  const shape = (authority: Authority) => authorityShape(authorities, authority, context.world.clock.now())

  return [
    route({
      id: 'listAuthorities',
      method: 'GET',
      path: '/api/v1/authorities',
      permission: 'ca.read',
      summary: 'Certificate authorities',
      response: Type.Object({ authorities: Type.Array(AuthorityShape) }),
      handle: async () => ({ authorities: authorities.list().map(shape) }),
    }),
    route({
      id: 'createAuthority',
      method: 'POST',
      path: '/api/v1/authorities',
      permission: 'ca.create',
      summary: 'Make an authority with its key: a root, or one below another',
      body: Type.Object(
        {
          slug: Slug,
          name: DistinguishedName,
          profile: Type.Optional(Type.String({ description: 'root or issuing; by default what fits' })),
          issuer: Type.Optional(Address),
          keyAlgorithm: Type.Optional(KeyAlgorithmName),
          keyStore: Type.Optional(Type.String({ maxLength: 32, description: 'where its key is made and stays' })),
          noExpiry: Type.Optional(Type.Boolean({ description: 'never expires: for the hierarchy above birth certificates' })),
          crlValiditySeconds: Type.Optional(Type.Integer({ minimum: 60, maximum: 366 * 86400 })),
        },
        { additionalProperties: false },
      ),
      response: AuthorityShape,
      status: 201,
      async handle({ actor }, { body }) {
        const {
          slug,
          name,
          issuer,
          profile = issuer === undefined ? 'root' : 'issuing',
          keyAlgorithm = 'ecdsa-p256',
          keyStore,
          noExpiry,
          crlValiditySeconds,
        } = body
        const attempt = { actor, act: 'ca.create', object: `authority:${slug}` }
        const authority = await recordingRefusals(context.audit, attempt, async () => {
          if (!isKeyAlgorithmId(keyAlgorithm)) throw new TrustError('unsupported', 'keyAlgorithm')
          const wanted = {
            slug,
            name: parseDistinguishedName(name),
            profile,
            keyAlgorithm,
            ...(keyStore !== undefined && { keyStore }),
            ...(issuer !== undefined && { issuer }),
            ...(noExpiry !== undefined && { noExpiry }),
            ...(crlValiditySeconds !== undefined && { crlValiditySeconds }),
          }
          return authorities.create(wanted, actor)
        })
        // its certificates will point to a CRL, which must be there before them
        await issueAllCRLs(context, authority, actor)
        return shape(authority)
      },
    }),
    route({
      id: 'showAuthority',
      method: 'GET',
      path: '/api/v1/authorities/{address}',
      permission: 'ca.read',
      summary: 'One authority',
      params: Type.Object({ address: Address }),
      response: AuthorityShape,
      handle: async (_, { params }) => shape(authorities.byAddress(params.address)),
    }),
    route({
      id: 'issueCRL',
      method: 'POST',
      path: '/api/v1/authorities/{address}/crl',
      permission: 'crl.issue',
      summary: 'Issue the next CRL now',
      params: Type.Object({ address: Address }),
      body: Empty,
      response: Type.Object({
        crlNumber: Type.Integer(),
        thisUpdate: Time,
        nextUpdate: Time,
        entries: Type.Integer(),
        crl: Type.Optional(Base64),
      }),
      status: 201,
      async handle({ actor }, { params }) {
        const authority = authorities.byAddress(params.address)
        const { crlNumber, thisUpdate, nextUpdate, entries, der } = await issueAllCRLs(context, authority, actor)
        return {
          crlNumber,
          thisUpdate: thisUpdate.toISOString(),
          nextUpdate: nextUpdate.toISOString(),
          entries,
          ...(der.length <= CRL_IN_ANSWER_MAX_OCTETS && { crl: der.toBase64() }),
        }
      },
    }),
  ]
}
