/** REST: certificate profiles. @module */
import { Type } from 'typebox'
import { parseProfile, Profile } from '#ca/profile.ts'
import { listProfiles, openProfile, putProfile } from '#ca/profiles.ts'
import { sampleOf } from '#ca/sample.ts'
import type { CAServices } from '../compose.ts'
import { route } from './route.ts'
import { Base64 } from './shapes.ts'

const ProfileId = Type.String({
  pattern: '^[a-z][a-z0-9-]{1,40}$',
  description: '2 to 41 lower-case letters, digits and hyphens',
})

export function profileRoutes({ context }: CAServices) {
  return [
    route({
      id: 'listProfiles',
      method: 'GET',
      path: '/api/v1/profiles',
      permission: 'profile.read',
      summary: 'Certificate profiles, the built-in ones first',
      response: Type.Object({ profiles: Type.Array(Type.Object({ profile: Profile, builtIn: Type.Boolean() })) }),
      handle: async () => ({ profiles: [...(await listProfiles(context))] }),
    }),
    route({
      id: 'showProfile',
      method: 'GET',
      path: '/api/v1/profiles/{id}',
      permission: 'profile.read',
      summary: 'One profile',
      params: Type.Object({ id: ProfileId }),
      response: Profile,
      handle: (_, { params }) => openProfile(context, params.id),
    }),
    route({
      id: 'sampleProfile',
      method: 'GET',
      path: '/api/v1/profiles/{id}/sample',
      permission: 'profile.read',
      summary: 'A filled sample of what a profile gives: a real certificate, by an authority that lives for a moment',
      params: Type.Object({ id: ProfileId }),
      response: Type.Object({ certificate: Base64, issuer: Base64 }),
      async handle(_, { params }) {
        const { certificate, issuer } = await sampleOf(context, await openProfile(context, params.id))
        return { certificate: certificate.toBase64(), issuer: issuer.toBase64() }
      },
    }),
    route({
      id: 'putProfile',
      method: 'PUT',
      path: '/api/v1/profiles/{id}',
      permission: 'profile.manage',
      summary: "Add or replace a profile of the installation's own",
      params: Type.Object({ id: ProfileId }),
      body: Type.Unsafe<Record<string, unknown>>({ type: 'object', description: 'a profile; its id is taken from the path' }),
      response: Profile,
      handle: ({ actor }, { params, body }) => putProfile(context, { ...body, id: params.id }, actor),
    }),
    route({
      id: 'checkProfile',
      method: 'POST',
      path: '/api/v1/profiles/check',
      permission: 'profile.read',
      summary: 'Say what is wrong with a profile, without keeping it',
      body: Type.Unsafe<Record<string, unknown>>({ type: 'object', description: 'a profile' }),
      response: Profile,
      handle: async (_, { body }) => parseProfile(body),
    }),
  ]
}
