/** REST: who speaks for which organization. @module */
import { Type } from 'typebox'
import type { Access } from '#access/access.ts'
import { actorOf } from '#access/principals.ts'
import { bindSpeaker, speakersOf, unbindSpeaker } from '#devices/speakers.ts'
import type { CAServices } from '../compose.ts'
import { CatalogName } from './device-catalog.ts'
import { recordingRefusals } from './refusals.ts'
import { type Call, record, route } from './route.ts'
import { Time, Uuid } from './shapes.ts'

const ByName = Type.Object({ name: CatalogName })
const Who = record({ principal: Uuid })
const SpeakersShape = record({
  organization: CatalogName,
  isOpen: Type.Boolean({ description: 'whether everybody with the role speaks for it still, since nobody was ever bound' }),
  items: Type.Array(record({ principal: Uuid, kind: Type.Enum(['person', 'service']), boundAt: Time })),
})

export function speakerRoutes({ devices: { context } }: Pick<CAServices, 'devices'>, access: Access) {
  async function shown(organization: string) {
    const speakers = await speakersOf(context, organization)
    const items = (speakers ?? []).map(({ actor, boundAt }) => {
      const [kind = '', principal = ''] = actor.split(':', 2)
      return { principal, kind: kind === 'service' ? ('service' as const) : ('person' as const), boundAt: timeOf(boundAt) }
    })
    return { organization, isOpen: speakers === undefined, items }
  }

  const changing = (call: Call, act: 'bind' | 'unbind', organization: string, principalId: string) =>
    recordingRefusals(
      context.audit,
      { actor: call.actor, act: `organization.${act}`, object: `organization:${organization}` },
      async () => {
        const speaker = actorOf(await access.findPrincipal(principalId))
        await (act === 'bind' ? bindSpeaker : unbindSpeaker)(context, organization, speaker, call.actor)
        return shown(organization)
      },
    )

  return [
    route({
      id: 'listSpeakers',
      method: 'GET',
      path: '/api/v1/organizations/{name}/speakers',
      permission: 'device.read',
      summary: 'Who speaks for an organization: gives its devices away, takes them, runs its areas',
      params: ByName,
      response: SpeakersShape,
      handle: (_, { params: { name } }) => shown(name),
    }),
    route({
      id: 'bindSpeaker',
      method: 'POST',
      path: '/api/v1/organizations/{name}/speakers',
      permission: 'user.manage',
      summary: 'Let a person or service speak for an organization; from then on nobody else does who is not bound',
      params: ByName,
      body: Who,
      response: SpeakersShape,
      handle: (call, { params: { name }, body: { principal } }) => changing(call, 'bind', name, principal),
    }),
    route({
      id: 'unbindSpeaker',
      method: 'POST',
      path: '/api/v1/organizations/{name}/speakers/unbind',
      permission: 'user.manage',
      summary: 'Let a person or service speak for an organization no more',
      params: ByName,
      body: Who,
      response: SpeakersShape,
      handle: (call, { params: { name }, body: { principal } }) => changing(call, 'unbind', name, principal),
    }),
  ] as const
}

const timeOf = (at: number): string => new Date(at).toISOString()
