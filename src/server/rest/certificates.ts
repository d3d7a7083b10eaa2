/** REST: certificates, issued by hand, found, and taken out of use. @module */
import { Type } from 'typebox'
import { checkAllowed } from '#access/rights.ts'
import { isKeyAlgorithmId } from '#algorithms/table.ts'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { secret } from '#base/secret.ts'
import { chainOf } from '#ca/authorities.ts'
import { type ByHand, generateAndIssue, issueForRequest } from '#ca/by-hand.ts'
import {
  type CertificateRecord,
  findCertificates,
  holdCertificate,
  openCertificate,
  releaseCertificate,
  revocationReasons,
  revokeCertificate,
} from '#ca/certificates.ts'
import { type Endpoint, openEndpoint } from '#ca/endpoint.ts'
import { openProfile } from '#ca/profiles.ts'
import { encodePKCS12 } from '#cms/pkcs12.ts'
import { type GeneralName, parseIPAddress } from '#x509/extensions/general-name.ts'
import { parseDistinguishedName } from '#x509/name.ts'
import type { CAServices } from '../compose.ts'
import { orRecord } from './refusals.ts'
import { type Call, route } from './route.ts'
import { Address, Base64, DistinguishedName, Empty, KeyAlgorithmName, Time, Uuid, octetsOf } from './shapes.ts'

const CertificateShape = Type.Object({
  id: Uuid,
  authority: Address,
  serialNumber: Type.String({ description: 'hex' }),
  profile: Type.String(),
  subject: Type.String(),
  productSerial: Type.Union([Type.String(), Type.Null()]),
  notBefore: Time,
  notAfter: Time,
  state: Type.String(),
  revokedAt: Type.Union([Time, Type.Null()]),
  revocationReason: Type.Union([Type.String(), Type.Null()]),
  createdAt: Time,
  certificate: Base64,
})

const IssuedShape = Type.Object({ id: Uuid, certificate: Base64, chain: Type.Array(Base64) })

const Where = {
  authority: Address,
  profile: Type.String(),
  endpoint: Type.Optional(
    Type.String({ description: 'label of an endpoint that lends its rules, such as the hardware type of births' }),
  ),
}

const ById = Type.Object({ id: Uuid })

export function certificateRoutes({ context, authorities, devices }: CAServices) {
  const shape = (record: CertificateRecord) => ({
    id: record.id,
    authority: issuerOf(record).address,
    serialNumber: record.serialNumber.toHex(),
    profile: record.profile,
    subject: record.subject,
    productSerial: record.productSerial ?? null,
    notBefore: record.notBefore.toISOString(),
    notAfter: record.notAfter.toISOString(),
    state: record.state,
    revokedAt: record.revokedAt?.toISOString() ?? null,
    revocationReason: record.revocationReason ?? null,
    createdAt: record.createdAt.toISOString(),
    certificate: record.der.toBase64(),
  })
  /** Ours, or an offline root's. */
  const issuerOf = ({ authorityId }: Pick<CertificateRecord, 'authorityId'>) =>
    authorities.issuerOf({ issuerId: authorityId }) ?? authorities.byId(authorityId)
  const shown = async (id: string) => shape(await openCertificate(context, id))
  /** An authority's own certificate takes down all below it: that is for those who may manage authorities. */
  const changing = async ({ actor, principal }: Call, id: string, work: () => Promise<void>) => {
    const { profile } = await openCertificate(context, id)
    if ((await openProfile(context, profile)).holder === 'authority') {
      await orRecord(context.audit, { actor, act: 'certificate.change', object: `certificate:${id}` }, () =>
        checkAllowed(principal, 'ca.manage'),
      )
    }
    await work()
    await authorities.refresh()
    return shown(id)
  }
  /** Devices are asked as in enrollment; what an endpoint means for them holds for its own profile only. */
  const whereOf = async (
    wanted: Pick<ByHand, 'authority' | 'profile'>,
    label: string | undefined,
    actor: string,
  ): Promise<ByHand> => {
    const lent = await lending(label)
    const endpointId = lent.endpoint?.profile === wanted.profile ? lent.endpoint.id : ''
    return {
      ...wanted,
      ...lent,
      async authorize(productSerial) {
        const stepsWith = await devices.enrollment.authorize({ endpointId, actor, certificateId: undefined, productSerial })
        return ({ id, keyHash, issuedAt }) => stepsWith({ certificateId: id, keyHash, issuedAt })
      },
    }
  }
  const lending = async (label: string | undefined): Promise<{ readonly endpoint?: Endpoint }> =>
    label === undefined ? {} : { endpoint: await openEndpoint(context, 'est', label) }

  return [
    route({
      id: 'findCertificates',
      method: 'GET',
      path: '/api/v1/certificates',
      permission: 'certificate.read',
      summary: 'Find certificates, newest first',
      query: Type.Object(
        {
          serialNumber: Type.Optional(Type.String({ pattern: '^[0-9a-fA-F:]{2,200}$', description: 'hexadecimal digits' })),
          productSerial: Type.Optional(Type.String({ maxLength: 64 })),
          subject: Type.Optional(Type.String({ maxLength: 200 })),
          authority: Type.Optional(Address),
          profile: Type.Optional(Type.String({ maxLength: 41 })),
          state: Type.Optional(Type.Enum(['active', 'superseded', 'held', 'revoked', 'issued-unconfirmed'])),
          limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 500 })),
          cursor: Type.Optional(Uuid),
        },
        { additionalProperties: false },
      ),
      response: Type.Object({ certificates: Type.Array(CertificateShape), cursor: Type.Union([Uuid, Type.Null()]) }),
      async handle(_, { query: { authority, limit = 100, cursor, ...filter } }) {
        const authorityId = authority === undefined ? undefined : authorities.byAddress(authority).id
        const wanted = { ...filter, ...(authorityId !== undefined && { authorityId }) }
        const records = await findCertificates(context, wanted, { limit, ...(cursor !== undefined && { after: cursor }) })
        return { certificates: records.map(shape), cursor: records.length < limit ? null : (records.at(-1)?.id ?? null) }
      },
    }),
    route({
      id: 'showCertificate',
      method: 'GET',
      path: '/api/v1/certificates/{id}',
      permission: 'certificate.read',
      summary: 'One certificate with the chain above it',
      params: ById,
      response: Type.Object({ ...CertificateShape.properties, chain: Type.Array(Base64) }),
      async handle(_, { params }) {
        const record = await openCertificate(context, params.id)
        const chain = chainOf(authorities, issuerOf(record))
        return { ...shape(record), chain: chain.map((der) => der.toBase64()) }
      },
    }),
    route({
      id: 'issueCertificate',
      method: 'POST',
      path: '/api/v1/certificates',
      permission: 'certificate.issue',
      summary: 'Issue for a certificate request (PKCS #10)',
      body: Type.Object({ ...Where, request: Base64 }, { additionalProperties: false }),
      response: IssuedShape,
      status: 201,
      async handle({ actor }, { body: { authority, profile, endpoint, request } }) {
        const where = await whereOf({ authority, profile }, endpoint, actor)
        const {
          certificateId: id,
          certificate,
          chain,
        } = await issueForRequest(context, authorities, where, octetsOf(request), actor)
        return { id, certificate: certificate.toBase64(), chain: chain.map((der) => der.toBase64()) }
      },
    }),
    route({
      id: 'generateCertificate',
      method: 'POST',
      path: '/api/v1/certificates/generate',
      permission: 'certificate.issue',
      summary: 'Make a key and its certificate as PKCS #12; the key is kept nowhere',
      body: Type.Object(
        {
          ...Where,
          subject: DistinguishedName,
          names: Type.Optional(
            Type.Array(Type.String({ minLength: 1, maxLength: 500 }), {
              maxItems: 64,
              description: 'dns:…, ip:…, uri:… or email:…',
            }),
          ),
          keyAlgorithm: Type.Optional(KeyAlgorithmName),
          password: Type.String({ minLength: 8, maxLength: 256 }),
          legacy: Type.Optional(Type.Boolean({ description: '3DES and SHA-1, for readers that know nothing better' })),
        },
        { additionalProperties: false },
      ),
      response: Type.Object({ ...IssuedShape.properties, pkcs12: Base64 }),
      answersSecret: true,
      status: 201,
      async handle({ actor }, { body }) {
        const { authority, profile, subject, names = [], keyAlgorithm = 'ecdsa-p256', password, legacy = false } = body
        if (!isKeyAlgorithmId(keyAlgorithm)) throw new TrustError('unsupported', 'keyAlgorithm')
        const where = await whereOf({ authority, profile }, body.endpoint, actor)
        const wanted = { ...where, subject: parseDistinguishedName(subject), names: names.map(parseGeneralName), keyAlgorithm }
        const made = await generateAndIssue(context, authorities, wanted, actor)
        const pkcs12 = await encodePKCS12(
          {
            key: made.privateKey,
            certificates: [made.certificate, ...made.chain],
            friendlyName: subject,
            password: secret(utf8(password)),
            form: legacy ? 'legacy' : 'modern',
          },
          context.world.random,
        )
        return {
          id: made.certificateId,
          certificate: made.certificate.toBase64(),
          chain: made.chain.map((der) => der.toBase64()),
          pkcs12: pkcs12.toBase64(),
        }
      },
    }),
    route({
      id: 'revokeCertificate',
      method: 'POST',
      path: '/api/v1/certificates/{id}/revoke',
      permission: 'certificate.revoke',
      summary: 'Revoke for good; OCSP says so at once',
      params: ById,
      body: Type.Object({ reason: Type.Optional(Type.Enum(revocationReasons)) }, { additionalProperties: false }),
      response: CertificateShape,
      async handle(call, { params, body }) {
        return changing(call, params.id, () => revokeCertificate(context, params.id, body.reason ?? 'unspecified', call.actor))
      },
    }),
    route({
      id: 'holdCertificate',
      method: 'POST',
      path: '/api/v1/certificates/{id}/hold',
      permission: 'certificate.revoke',
      summary: 'Put on hold until released or revoked',
      params: ById,
      body: Empty,
      response: CertificateShape,
      async handle(call, { params }) {
        return changing(call, params.id, () => holdCertificate(context, params.id, call.actor))
      },
    }),
    route({
      id: 'releaseCertificate',
      method: 'POST',
      path: '/api/v1/certificates/{id}/release',
      permission: 'certificate.revoke',
      summary: 'Release from hold',
      params: ById,
      body: Empty,
      response: CertificateShape,
      async handle(call, { params }) {
        return changing(call, params.id, () => releaseCertificate(context, params.id, call.actor))
      },
    }),
  ]
}

/** `dns:press7.plant.example`, `ip:192.0.2.7`, `uri:urn:device:A-1`. */
function parseGeneralName(text: string): GeneralName {
  const [, kind, value = ''] = /^(dns|ip|uri|email):(.+)$/.exec(text) ?? []
  switch (kind) {
    case 'dns':
      return { type: 'dNSName', value }
    case 'email':
      return { type: 'rfc822Name', value }
    case 'ip':
      return { type: 'iPAddress', value: parseIPAddress(value) }
    case 'uri':
      return { type: 'uniformResourceIdentifier', value }
    default:
      throw new TrustError('malformed', 'nameText', { facts: { name: text } })
  }
}
