/** REST: the life of authorities: rotated, retired, certified elsewhere, signing across; and those that are only trusted. @module */
import { Type } from 'typebox'
import { isKeyAlgorithmId, type KeyAlgorithmId } from '#algorithms/table.ts'
import { TrustError } from '#base/errors.ts'
import {
  type AuthorityRequest,
  cancelRequest,
  importCertificate,
  listRequests,
  openRequest,
  requestAuthority,
  requestRotation,
} from '#ca/authority-requests.ts'
import type { Authority, TrustedAuthority } from '#ca/authorities.ts'
import { ceremoniesOf } from '#ca/ceremony.ts'
import { issueAllCRLs } from '#ca/crl.ts'
import { crossSign, importCrossCertificate } from '#ca/cross-sign.ts'
import { NameConstraintRules } from '#ca/profile.ts'
import { destroyAuthorityKey, retireAuthority } from '#ca/retire.ts'
import { rekeyAuthority, renewAuthority } from '#ca/rotate.ts'
import { DEFAULT_ORGANIZATION } from '#ca/tables.ts'
import { distrustAuthority, importCRL, type ImportedState, offlineStates, trustAuthority } from '#ca/trusted.ts'
import { parseCertificate, fingerprint } from '#x509/certificate.ts'
import { formatName, parseDistinguishedName, parseName } from '#x509/name.ts'
import type { CAServices } from '../compose.ts'
import { listPublications } from '../publication/publisher.ts'
import { type Agreed, DESTROY_AUTHORITY_KEY, WaitingShape } from './agreed.ts'
import { AuthorityShape, authorityShape } from './authority-shape.ts'
import { recordingRefusals } from './refusals.ts'
import { route } from './route.ts'
import { Address, Base64, DistinguishedName, Empty, KeyAlgorithmName, Slug, Time, Uuid, octetsOf } from './shapes.ts'

const ByAddress = Type.Object({ address: Address })
const BySlug = Type.Object({ slug: Slug })
const closed = { additionalProperties: false }
const CRLValidity = Type.Integer({ minimum: 60, maximum: 366 * 86_400 })

/** In base64: a list of a million entries. What the listener takes of any request bounds it first (`server.bodyMaxBytes`). */
const LIST_MAX_OCTETS = 90 << 20

const RequestShape = Type.Object({
  id: Uuid,
  address: Address,
  slug: Slug,
  generation: Type.Integer(),
  profile: Type.String(),
  keyAlgorithm: KeyAlgorithmName,
  createdAt: Time,
  request: Base64,
})

const requestShape = ({ id, address, slug, generation, profile, keyAlgorithm, createdAt, request }: AuthorityRequest) => ({
  id,
  address,
  slug,
  generation,
  profile,
  keyAlgorithm,
  createdAt: createdAt.toISOString(),
  request: request.toBase64(),
})

const CRLState = Type.Enum(['none', 'published', 'due', 'overdue'] satisfies ImportedState[])
const TrustedShape = Type.Object({
  id: Uuid,
  address: Address,
  kind: Type.Enum(['offline', 'foreign']),
  issuer: Type.Union([Address, Type.Null()]),
  subject: Type.String(),
  notAfter: Time,
  fingerprint: Type.String({ description: 'SHA-256 of the certificate, hex' }),
  crlState: Type.Union([CRLState, Type.Null()], { description: 'of an offline authority: whether its CRL is here and holds' }),
  crlNextUpdate: Type.Union([Time, Type.Null()]),
  certificate: Base64,
})

const CeremonyShape = Type.Object({
  entry: Uuid,
  logIndex: Type.Union([Type.Integer(), Type.Null()]),
  act: Type.String(),
  at: Time,
  actor: Type.String(),
  facts: Type.Record(Type.String(), Type.Union([Type.String(), Type.Number(), Type.Boolean()])),
})

const PublicationShape = Type.Object({
  target: Type.String(),
  path: Type.String(),
  publishedAt: Type.Union([Time, Type.Null()]),
  failures: Type.Integer({ description: 'since the last success' }),
  nextAttemptAt: Type.Union([Time, Type.Null()]),
  error: Type.Union([Type.String(), Type.Null()]),
})

/** @param changed called after authorities changed, so that listeners name the right client authorities */
export function authorityLifeRoutes({ context, authorities }: CAServices, changed: () => Promise<void>, agreed: Agreed) {
  const shape = (authority: Authority) => authorityShape(authorities, authority, context.world.clock.now())

  /** What was refused to a person who may do it is kept too. */
  const kept = <T>(actor: string, act: string, object: string, work: () => Promise<T>): Promise<T> =>
    recordingRefusals(context.audit, { actor, act, object: `authority:${object}` }, work)

  async function trustedShapes(trusted: readonly TrustedAuthority[]) {
    const states = await offlineStates(context, authorities)
    return trusted.map((authority) => {
      const { id, address, kind, certificate } = authority
      const offline = states.find((one) => one.authority.id === id)
      return {
        id,
        address,
        kind,
        issuer: authorities.issuerOf(authority)?.address ?? null,
        subject: formatName(parseName(certificate.subject)),
        notAfter: certificate.notAfter.toISOString(),
        fingerprint: fingerprint(certificate.der).toHex(),
        crlState: offline?.state ?? null,
        crlNextUpdate: offline?.crl?.nextUpdate.toISOString() ?? null,
        certificate: certificate.der.toBase64(),
      }
    })
  }

  return [
    route({
      id: 'rotateAuthority',
      method: 'POST',
      path: '/api/v1/authorities/{address}/rotate',
      permission: 'ca.create',
      summary: 'Renew an authority with its key, or give it a new key as its next generation',
      params: ByAddress,
      body: Type.Object({ mode: Type.Enum(['renew', 'rekey']), keyAlgorithm: Type.Optional(KeyAlgorithmName) }, closed),
      response: AuthorityShape,
      async handle({ actor }, { params: { address }, body: { mode, keyAlgorithm } }) {
        const algorithm = algorithmOf(keyAlgorithm)
        const authority = await kept(actor, `ca.${mode}`, address, () =>
          mode === 'renew'
            ? renewAuthority(context, authorities, address, actor)
            : rekeyAuthority(
                context,
                authorities,
                address,
                { ...(algorithm !== undefined && { keyAlgorithm: algorithm }) },
                actor,
              ),
        )
        if (mode === 'rekey') await issueAllCRLs(context, authority, actor)
        await changed()
        return shape(authority)
      },
    }),
    route({
      id: 'retireAuthority',
      method: 'POST',
      path: '/api/v1/authorities/{address}/retire',
      permission: 'ca.manage',
      summary: 'Issue nothing more with an authority; its CRLs and OCSP go on',
      params: ByAddress,
      body: Empty,
      response: AuthorityShape,
      handle: async ({ actor }, { params: { address } }) =>
        shape(await kept(actor, 'ca.retire', address, () => retireAuthority(context, authorities, address, actor))),
    }),
    route({
      id: 'destroyAuthorityKey',
      method: 'POST',
      path: '/api/v1/authorities/{address}/destroy-key',
      permission: 'ca.manage',
      summary: 'Destroy the key of an authority that is retired and has outlived what it issued, or is revoked',
      params: ByAddress,
      body: Empty,
      response: Type.Union([AuthorityShape, WaitingShape]),
      isPending: (answer) => 'approval' in answer,
      async handle(call, { params: { address: asked } }) {
        const { actor } = call
        const { id, address, certificate } = authorities.byAddress(asked)
        const parameters = { address, certificate: fingerprint(certificate.der).toHex() }
        return agreed({ kind: DESTROY_AUTHORITY_KEY, object: `authority:${id}`, parameters }, call, async () =>
          shape(await kept(actor, 'ca.destroy-key', address, () => destroyAuthorityKey(context, authorities, address, actor))),
        )
      },
    }),
    route({
      id: 'listCeremonies',
      method: 'GET',
      path: '/api/v1/authorities/{address}/ceremonies',
      permission: 'ca.read',
      summary: 'Key ceremony records of an authority: what was made, by whom, and where the key lies',
      params: ByAddress,
      response: Type.Object({ address: Address, ceremonies: Type.Array(CeremonyShape) }),
      async handle(_, { params }) {
        const { id, address } = authorities.byAddress(params.address)
        const ceremonies = await ceremoniesOf(context, id)
        return {
          address,
          ceremonies: ceremonies.map(({ entryId, logIndex = null, act, at, actor, facts }) => ({
            entry: entryId,
            logIndex,
            act,
            at: at.toISOString(),
            actor,
            facts: { ...facts },
          })),
        }
      },
    }),
    route({
      id: 'crossSign',
      method: 'POST',
      path: '/api/v1/authorities/{address}/cross-sign',
      permission: 'ca.create',
      summary: 'Sign the request or the certificate of another authority',
      params: ByAddress,
      body: Type.Object(
        {
          request: Type.Optional(Base64),
          certificate: Type.Optional(Base64),
          profile: Type.Optional(Type.String({ description: 'of an authority; issuing unless told' })),
          pathLength: Type.Optional(Type.Integer({ minimum: 0, maximum: 10 })),
          nameConstraints: Type.Optional(NameConstraintRules),
          validityDays: Type.Optional(Type.Integer({ minimum: 1, maximum: 36_525 })),
          noExpiry: Type.Optional(Type.Boolean()),
        },
        closed,
      ),
      response: Type.Object({ id: Uuid, certificate: Base64, notAfter: Time, subject: Type.String() }),
      status: 201,
      async handle({ actor }, { params: { address }, body }) {
        const { request, certificate, profile, pathLength, nameConstraints, validityDays, noExpiry } = body
        if ((request === undefined) === (certificate === undefined))
          throw new TrustError('malformed', 'inputInvalid', {
            facts: { problems: 'body must have either request or certificate' },
          })
        const of = request === undefined ? { certificate: octetsOf(certificate ?? '') } : { request: octetsOf(request) }
        const validity = noExpiry === true ? { noExpiry } : validityDays === undefined ? undefined : { days: validityDays }
        const wanted = {
          authority: address,
          of,
          ...(profile !== undefined && { profile }),
          ...(pathLength !== undefined && { pathLength }),
          ...(nameConstraints !== undefined && { nameConstraints }),
          ...(validity !== undefined && { validity }),
        }
        const issued = await kept(actor, 'ca.cross-sign', address, () => crossSign(context, authorities, wanted, actor))
        return {
          id: issued.id,
          certificate: issued.der.toBase64(),
          notAfter: new Date(issued.notAfter).toISOString(),
          subject: issued.subjectText,
        }
      },
    }),
    route({
      id: 'importCrossCertificate',
      method: 'POST',
      path: '/api/v1/cross-certificates',
      permission: 'ca.create',
      summary: 'Take a certificate that another authority issued for one of ours; it is offered with the chain',
      body: Type.Object({ certificate: Base64 }, closed),
      response: AuthorityShape,
      status: 201,
      handle: async ({ actor }, { body }) =>
        shape(
          await kept(actor, 'ca.import-cross', 'unknown', () =>
            importCrossCertificate(context, authorities, octetsOf(body.certificate), actor),
          ),
        ),
    }),
    route({
      id: 'listAuthorityRequests',
      method: 'GET',
      path: '/api/v1/authority-requests',
      permission: 'ca.read',
      summary: 'Authorities that wait for their certificate from elsewhere',
      response: Type.Object({ requests: Type.Array(RequestShape) }),
      handle: async () => ({ requests: (await listRequests(context)).map(requestShape) }),
    }),
    route({
      id: 'requestAuthority',
      method: 'POST',
      path: '/api/v1/authority-requests',
      permission: 'ca.create',
      summary: 'Make the key and the request of an authority that is certified elsewhere',
      body: Type.Object(
        {
          slug: Slug,
          name: DistinguishedName,
          profile: Type.Optional(Type.String({ description: 'issuing unless told' })),
          keyAlgorithm: Type.Optional(KeyAlgorithmName),
          keyStore: Type.Optional(Type.String({ maxLength: 32, description: 'where its key is made and stays' })),
          crlValiditySeconds: Type.Optional(CRLValidity),
        },
        closed,
      ),
      response: RequestShape,
      status: 201,
      async handle(
        { actor },
        { body: { slug, name, profile = 'issuing', keyAlgorithm = 'ecdsa-p256', keyStore, crlValiditySeconds } },
      ) {
        const input = {
          slug,
          name: parseDistinguishedName(name),
          profile,
          keyAlgorithm: algorithmOf(keyAlgorithm) as KeyAlgorithmId,
          ...(keyStore !== undefined && { keyStore }),
          ...(crlValiditySeconds !== undefined && { crlValiditySeconds }),
        }
        return requestShape(await kept(actor, 'ca.request', slug, () => requestAuthority(context, input, actor)))
      },
    }),
    route({
      id: 'requestRotation',
      method: 'POST',
      path: '/api/v1/authorities/{address}/request',
      permission: 'ca.create',
      summary: 'Make a request for the next certificate of an authority that is certified elsewhere',
      params: ByAddress,
      body: Type.Object({ mode: Type.Enum(['renew', 'rekey']), keyAlgorithm: Type.Optional(KeyAlgorithmName) }, closed),
      response: RequestShape,
      status: 201,
      async handle({ actor }, { params: { address }, body: { mode, keyAlgorithm } }) {
        const algorithm = algorithmOf(keyAlgorithm)
        const wanted = { mode, ...(algorithm !== undefined && { keyAlgorithm: algorithm }) }
        return requestShape(
          await kept(actor, 'ca.request', address, () => requestRotation(context, authorities, address, wanted, actor)),
        )
      },
    }),
    route({
      id: 'showAuthorityRequest',
      method: 'GET',
      path: '/api/v1/authority-requests/{slug}',
      permission: 'ca.read',
      summary: 'One request of an authority',
      params: BySlug,
      response: RequestShape,
      handle: async (_, { params }) => requestShape(await openRequest(context, params.slug)),
    }),
    route({
      id: 'cancelAuthorityRequest',
      method: 'DELETE',
      path: '/api/v1/authority-requests/{slug}',
      permission: 'ca.create',
      summary: 'Take a request back; a key that was made for it is destroyed',
      params: BySlug,
      handle: ({ actor }, { params: { slug } }) =>
        kept(actor, 'ca.cancel-request', slug, () => cancelRequest(context, authorities, slug, actor)),
    }),
    route({
      id: 'importAuthorityCertificate',
      method: 'POST',
      path: '/api/v1/authority-requests/{slug}/certificate',
      permission: 'ca.create',
      summary: 'Complete a request with the certificate that came back',
      params: BySlug,
      body: Type.Object({ certificate: Base64 }, closed),
      response: AuthorityShape,
      status: 201,
      async handle({ actor }, { params: { slug }, body }) {
        const der = octetsOf(body.certificate)
        const authority = await kept(actor, 'ca.import', slug, () => importCertificate(context, authorities, slug, der, actor))
        await issueAllCRLs(context, authority, actor)
        await changed()
        return shape(authority)
      },
    }),
    route({
      id: 'listTrustedAuthorities',
      method: 'GET',
      path: '/api/v1/trusted-authorities',
      permission: 'ca.read',
      summary: 'Authorities that are trusted without their keys being here, with the state of offline CRLs',
      response: Type.Object({ trusted: Type.Array(TrustedShape) }),
      handle: async () => ({ trusted: await trustedShapes(authorities.trusted()) }),
    }),
    route({
      id: 'trustAuthority',
      method: 'POST',
      path: '/api/v1/trusted-authorities',
      permission: 'ca.create',
      summary: 'Trust an authority from elsewhere: for paths, or as an offline root of ours whose CRL is published here',
      body: Type.Object({ slug: Slug, kind: Type.Enum(['offline', 'foreign']), certificate: Base64 }, closed),
      response: TrustedShape,
      status: 201,
      async handle({ actor }, { body: { slug, kind, certificate } }) {
        const wanted = { slug, kind, certificate: octetsOf(certificate) }
        parseCertificate(wanted.certificate)
        const trusted = await kept(actor, 'ca.trust', slug, () => trustAuthority(context, authorities, wanted, actor))
        await changed()
        const [only] = await trustedShapes([trusted])
        if (only === undefined) throw new TrustError('internal', 'internal')
        return only
      },
    }),
    route({
      id: 'distrustAuthority',
      method: 'DELETE',
      path: '/api/v1/trusted-authorities/{address}',
      permission: 'ca.create',
      summary: 'Trust an authority no more',
      params: ByAddress,
      async handle({ actor }, { params: { address } }) {
        await kept(actor, 'ca.distrust', address, () => distrustAuthority(context, authorities, address, actor))
        await changed()
      },
    }),
    route({
      id: 'importCRL',
      method: 'POST',
      path: '/api/v1/trusted-authorities/crls',
      permission: 'crl.issue',
      summary: 'Take the CRL of an offline authority; it is published from now on',
      bodyMaxOctets: LIST_MAX_OCTETS,
      body: Type.Object(
        { crl: Type.String({ pattern: '^[A-Za-z0-9+/]*={0,2}$', maxLength: LIST_MAX_OCTETS, description: 'base64' }) },
        closed,
      ),
      response: Type.Object({
        authority: Address,
        crlNumber: Type.String(),
        entries: Type.Integer(),
        thisUpdate: Time,
        nextUpdate: Time,
      }),
      status: 201,
      async handle({ actor }, { body }) {
        const { authority, crl } = await kept(actor, 'ca.import-crl', 'unknown', () =>
          importCRL(context, authorities, octetsOf(body.crl), actor),
        )
        await changed()
        return {
          authority: authority.address,
          crlNumber: String(crl.crlNumber),
          entries: crl.entries,
          thisUpdate: crl.thisUpdate.toISOString(),
          nextUpdate: crl.nextUpdate.toISOString(),
        }
      },
    }),
    route({
      id: 'listPublications',
      method: 'GET',
      path: '/api/v1/publications',
      permission: 'ca.read',
      summary: 'What was put where for relying parties, and what failed',
      response: Type.Object({ publications: Type.Array(PublicationShape) }),
      async handle() {
        const publications = await listPublications(context.db, DEFAULT_ORGANIZATION)
        return {
          publications: publications.map(({ target, path, publishedAt, attempts, nextAttemptAt, error = null }) => ({
            target,
            path,
            publishedAt: publishedAt === undefined ? null : new Date(publishedAt).toISOString(),
            failures: attempts,
            nextAttemptAt: nextAttemptAt === undefined ? null : new Date(nextAttemptAt).toISOString(),
            error,
          })),
        }
      },
    }),
  ]
}

/** @throws TrustError `unsupported` */
function algorithmOf(name: string | undefined): KeyAlgorithmId | undefined {
  if (name !== undefined && !isKeyAlgorithmId(name)) throw new TrustError('unsupported', 'keyAlgorithm')
  return name
}
