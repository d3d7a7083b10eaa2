/** REST: how an authority tells what it revoked. @module */
import { Type } from 'typebox'
import { changeRevocationPolicy, CRL_SHARDS_MAX, type RevocationPolicy, revocationPolicyOf } from '#ca/revocation-policy.ts'
import type { CAServices } from '../compose.ts'
import { route } from './route.ts'
import { Address } from './shapes.ts'

const Params = Type.Object({ address: Address })
const Shards = Type.Integer({ minimum: 1, maximum: CRL_SHARDS_MAX, description: 'over how many CRLs certificates are spread' })
const Seconds = Type.Integer({ minimum: 60, maximum: 31 * 86_400 })
const Mode = Type.Union([Type.Literal('onRequest'), Type.Literal('preSigned')])

const PolicyShape = Type.Object({
  crlShards: Shards,
  crlDeltaSeconds: Type.Union([Seconds, Type.Null()], { description: 'how long delta CRLs are valid; null for none' }),
  ocspMode: Mode,
  ocspValiditySeconds: Type.Union([Seconds, Type.Null()], { description: 'null for the usual time of the mode' }),
})

export function revocationPolicyRoutes({ context, authorities }: CAServices) {
  const shape = ({ crlShards, crlDeltaSeconds, ocspMode, ocspValiditySeconds }: RevocationPolicy) => ({
    crlShards,
    crlDeltaSeconds: crlDeltaSeconds ?? null,
    ocspMode,
    ocspValiditySeconds: ocspValiditySeconds ?? null,
  })
  return [
    route({
      id: 'showRevocationPolicy',
      method: 'GET',
      path: '/api/v1/authorities/{address}/revocation',
      permission: 'ca.read',
      summary: 'CRL shards, deltas and OCSP answers of an authority',
      params: Params,
      response: PolicyShape,
      handle: async (_, { params }) => shape(await revocationPolicyOf(context, authorities.byAddress(params.address))),
    }),
    route({
      id: 'changeRevocationPolicy',
      method: 'PUT',
      path: '/api/v1/authorities/{address}/revocation',
      permission: 'ca.manage',
      summary: 'Change them; what is left out stays. Shards can only be added, for certificates issued from then on',
      params: Params,
      body: Type.Partial(PolicyShape, { additionalProperties: false }),
      response: PolicyShape,
      handle: async ({ actor }, { params, body }) =>
        shape(await changeRevocationPolicy(context, authorities, params.address, body, actor)),
    }),
  ]
}
