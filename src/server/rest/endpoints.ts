/** REST: enrollment endpoints, their rules and their one-time secrets. @module */
import { Type } from 'typebox'
import { TrustError } from '#base/errors.ts'
import {
  changeRules,
  createEndpoint,
  createEnrollmentSecret,
  disableEndpoint,
  type Endpoint,
  EndpointRules,
  listEndpoints,
  noRules,
} from '#ca/endpoint.ts'
import { openProfile } from '#ca/profiles.ts'
import { servesRequests } from '#ca/request-rules.ts'
import type { CAServices } from '../compose.ts'
import { route } from './route.ts'
import { Address, Empty, Time, Uuid } from './shapes.ts'

const Label = Type.String({ pattern: '^[a-z0-9][a-z0-9-]{0,62}$', description: '1 to 63 lower-case letters, digits and hyphens' })
const Params = Type.Object({ label: Label })

const EndpointShape = Type.Object({
  id: Uuid,
  label: Label,
  protocol: Type.Literal('est'),
  authority: Address,
  profile: Type.String(),
  rules: EndpointRules,
  isDefault: Type.Boolean(),
  state: Type.String(),
  createdAt: Time,
})

/** @param changed called after rules changed, so that listeners name the right client authorities */
export function endpointRoutes({ context, authorities }: CAServices, changed: () => Promise<void>) {
  const shape = ({ id, label, protocol, authorityId, profile, rules, isDefault, state, createdAt }: Endpoint) => ({
    id,
    label,
    protocol,
    authority: authorities.byId(authorityId).address,
    profile,
    rules,
    isDefault,
    state,
    createdAt: createdAt.toISOString(),
  })

  const byLabel = async (label: string): Promise<Endpoint> => {
    const endpoint = (await listEndpoints(context)).find((one) => one.label === label)
    if (endpoint === undefined) throw new TrustError('notFound', 'endpointUnknown', { facts: { endpoint: label } })
    return endpoint
  }

  const checkIssuers = (rules: Partial<EndpointRules>): Partial<EndpointRules> =>
    rules.clientIssuers === undefined ? rules : { ...rules, clientIssuers: rules.clientIssuers.map(issuerAddress) }

  /** One of ours, or one that is trusted only. */
  const issuerAddress = (written: string): string => {
    const trusted = authorities.trusted().find(({ address, slug }) => address === written || slug === written)
    return trusted?.address ?? authorities.byAddress(written).address
  }

  return [
    route({
      id: 'listEndpoints',
      method: 'GET',
      path: '/api/v1/endpoints',
      permission: 'endpoint.read',
      summary: 'Enrollment endpoints',
      response: Type.Object({ endpoints: Type.Array(EndpointShape) }),
      handle: async () => ({ endpoints: (await listEndpoints(context)).map(shape) }),
    }),
    route({
      id: 'createEndpoint',
      method: 'POST',
      path: '/api/v1/endpoints',
      permission: 'endpoint.manage',
      summary: 'Bind a protocol to an authority, a profile and rules',
      body: Type.Object(
        {
          label: Label,
          protocol: Type.Optional(Type.Literal('est')),
          authority: Address,
          profile: Type.String(),
          rules: Type.Optional(Type.Partial(EndpointRules)),
          isDefault: Type.Optional(Type.Boolean()),
        },
        { additionalProperties: false },
      ),
      response: EndpointShape,
      status: 201,
      async handle({ actor }, { body }) {
        const profile = await openProfile(context, body.profile)
        if (!servesRequests(profile))
          throw new TrustError('policyRefused', 'profileForAuthorities', { facts: { profile: profile.id } })
        const endpoint = await createEndpoint(
          context,
          {
            label: body.label,
            protocol: body.protocol ?? 'est',
            authorityId: authorities.byAddress(body.authority).id,
            profile: profile.id,
            rules: checkIssuers(body.rules ?? {}),
            isDefault: body.isDefault ?? false,
          },
          actor,
        )
        await changed()
        return shape(endpoint)
      },
    }),
    route({
      id: 'showEndpoint',
      method: 'GET',
      path: '/api/v1/endpoints/{label}',
      permission: 'endpoint.read',
      summary: 'One endpoint',
      params: Params,
      response: EndpointShape,
      handle: async (_, { params }) => shape(await byLabel(params.label)),
    }),
    route({
      id: 'changeEndpoint',
      method: 'PUT',
      path: '/api/v1/endpoints/{label}/rules',
      permission: 'endpoint.manage',
      summary: 'Replace the rules of who may ask for what',
      params: Params,
      body: Type.Partial(EndpointRules),
      response: EndpointShape,
      async handle({ actor }, { params, body }) {
        const { id } = await byLabel(params.label)
        await changeRules(context, id, { ...noRules, ...checkIssuers(body) }, actor)
        await changed()
        return shape(await byLabel(params.label))
      },
    }),
    route({
      id: 'disableEndpoint',
      method: 'POST',
      path: '/api/v1/endpoints/{label}/disable',
      permission: 'endpoint.manage',
      summary: 'Refuse every request at this endpoint from now on',
      params: Params,
      body: Empty,
      response: EndpointShape,
      async handle({ actor }, { params }) {
        const { id } = await byLabel(params.label)
        await disableEndpoint(context, id, actor)
        await changed()
        return shape(await byLabel(params.label))
      },
    }),
    route({
      id: 'createEnrollmentSecret',
      method: 'POST',
      path: '/api/v1/endpoints/{label}/secrets',
      permission: 'endpoint.secret',
      summary: 'Make a one-time secret for one device',
      params: Params,
      body: Type.Object(
        {
          productSerial: Type.Optional(Type.String({ minLength: 1, maxLength: 64 })),
          validSeconds: Type.Optional(Type.Integer({ minimum: 60, maximum: 90 * 86400 })),
        },
        { additionalProperties: false },
      ),
      response: Type.Object({ userName: Type.String(), password: Type.String(), expiresAt: Time }),
      answersSecret: true,
      status: 201,
      async handle({ actor }, { params, body }) {
        const { id: endpointId } = await byLabel(params.label)
        const { productSerial, validSeconds = 86400 } = body
        const made = await createEnrollmentSecret(
          context,
          { endpointId, validSeconds, ...(productSerial !== undefined && { productSerial }) },
          actor,
        )
        return {
          userName: made.userName,
          password: Buffer.from(made.password.reveal('hand the secret to its owner')).toString(),
          expiresAt: made.expiresAt.toISOString(),
        }
      },
    }),
  ]
}
