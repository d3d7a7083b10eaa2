/** REST: people and services, their roles, tokens and sign-in links. @module */
import { Type } from 'typebox'
import type { Access } from '#access/access.ts'
import type { Principal } from '#access/principals.ts'
import { permissions, rights, roles } from '#access/rights.ts'
import type { TokenEntry } from '#access/tokens.ts'
import { TrustError } from '#base/errors.ts'
import { page, PAGE_DEFAULT, pageOf, pageQuery, record, route } from './route.ts'
import { Empty, Time, Uuid } from './shapes.ts'

const Role = Type.Enum([...roles])
const Kind = Type.Enum(['person', 'service'])

const PrincipalShape = record({
  id: Uuid,
  kind: Kind,
  name: Type.String(),
  state: Type.Enum(['active', 'suspended']),
  roles: Type.Array(Role),
  createdAt: Time,
})

const TokenShape = record({
  id: Uuid,
  name: Type.String(),
  createdAt: Time,
  expiresAt: Time,
  lastUsedAt: Type.Optional(Time),
  revokedAt: Type.Optional(Time),
})

const ById = Type.Object({ id: Uuid })
const ByIdAndRole = Type.Object({ id: Uuid, role: Role })

const principalShape = ({ id, kind, name, state, roles, createdAt }: Principal) => ({
  id,
  kind,
  name,
  state,
  roles: [...roles],
  createdAt: createdAt.toISOString(),
})

const tokenShape = ({ id, name, createdAt, expiresAt, lastUsedAt, revokedAt }: TokenEntry) => ({
  id,
  name,
  createdAt: createdAt.toISOString(),
  expiresAt: expiresAt.toISOString(),
  ...(lastUsedAt === undefined ? {} : { lastUsedAt: lastUsedAt.toISOString() }),
  ...(revokedAt === undefined ? {} : { revokedAt: revokedAt.toISOString() }),
})

/** Roles are a closed list and their rights do not change: they are shown, not stored. */
const roleShapes = roles.map((name) => ({ name, permissions: [...rights[name]] }))

const decoder = new TextDecoder()

export const accessRoutes = (access: Access) =>
  [
    route({
      id: 'showMe',
      method: 'GET',
      path: '/api/v1/me',
      permission: 'signedIn',
      summary: 'Who this is, and what they may do',
      response: record({ principal: PrincipalShape, permissions: Type.Array(Type.Enum([...permissions])) }),
      async handle({ principal }) {
        if (principal === undefined) throw new TrustError('unauthenticated', 'signInNeeded')
        const allowed = new Set(principal.roles.flatMap((role) => [...rights[role]]))
        return { principal: principalShape(principal), permissions: [...allowed] }
      },
    }),
    route({
      id: 'listRoles',
      method: 'GET',
      path: '/api/v1/roles',
      permission: 'signedIn',
      summary: 'All roles with their permissions',
      response: record({ items: Type.Array(record({ name: Role, permissions: Type.Array(Type.String()) })) }),
      handle: async () => ({ items: roleShapes }),
    }),
    route({
      id: 'listPrincipals',
      method: 'GET',
      path: '/api/v1/principals',
      permission: 'user.read',
      summary: 'People and services by name',
      query: record(pageQuery),
      response: page(PrincipalShape),
      async handle(_, { query: { limit = PAGE_DEFAULT, cursor } }) {
        const { principals, next } = await access.listPrincipals({ limit, cursor })
        return pageOf(principals.map(principalShape), next)
      },
    }),
    route({
      id: 'createPrincipal',
      method: 'POST',
      path: '/api/v1/principals',
      permission: 'user.manage',
      summary: 'Add a person or a service',
      body: record({
        kind: Kind,
        name: Type.String({ minLength: 1, maxLength: 100 }),
        roles: Type.Optional(Type.Array(Role, { maxItems: roles.length })),
      }),
      response: PrincipalShape,
      status: 201,
      handle: async ({ actor }, { body }) => principalShape(await access.createPrincipal(body, actor)),
    }),
    route({
      id: 'showPrincipal',
      method: 'GET',
      path: '/api/v1/principals/{id}',
      permission: 'user.read',
      summary: 'One person or service',
      params: ById,
      response: PrincipalShape,
      handle: async (_, { params }) => principalShape(await access.findPrincipal(params.id)),
    }),
    route({
      id: 'suspendPrincipal',
      method: 'POST',
      path: '/api/v1/principals/{id}/suspend',
      permission: 'user.manage',
      summary: 'Let them sign in with nothing until resumed',
      params: ById,
      body: Empty,
      response: PrincipalShape,
      async handle({ actor }, { params }) {
        await access.suspendPrincipal(params.id, actor)
        return principalShape(await access.findPrincipal(params.id))
      },
    }),
    route({
      id: 'resumePrincipal',
      method: 'POST',
      path: '/api/v1/principals/{id}/resume',
      permission: 'user.manage',
      summary: 'Let them sign in again',
      params: ById,
      body: Empty,
      response: PrincipalShape,
      async handle({ actor }, { params }) {
        await access.resumePrincipal(params.id, actor)
        return principalShape(await access.findPrincipal(params.id))
      },
    }),
    route({
      id: 'grantRole',
      method: 'PUT',
      path: '/api/v1/principals/{id}/roles/{role}',
      permission: 'user.manage',
      summary: 'Give a role',
      params: ByIdAndRole,
      handle: async ({ actor }, { params: { id, role } }) => access.grantRole(id, role, actor),
    }),
    route({
      id: 'revokeRole',
      method: 'DELETE',
      path: '/api/v1/principals/{id}/roles/{role}',
      permission: 'user.manage',
      summary: 'Take a role away',
      params: ByIdAndRole,
      handle: async ({ actor }, { params: { id, role } }) => access.revokeRole(id, role, actor),
    }),
    route({
      id: 'listTokens',
      method: 'GET',
      path: '/api/v1/principals/{id}/tokens',
      permission: 'user.read',
      summary: 'Their tokens, without the secret part',
      params: ById,
      response: record({ items: Type.Array(TokenShape) }),
      async handle(_, { params }) {
        await access.findPrincipal(params.id)
        return { items: (await access.listTokens(params.id)).map(tokenShape) }
      },
    }),
    route({
      id: 'createToken',
      method: 'POST',
      path: '/api/v1/principals/{id}/tokens',
      permission: 'user.manage',
      summary: 'Make a token; it is shown this once',
      params: ById,
      body: record({
        name: Type.String({ minLength: 1, maxLength: 100, description: 'where it is used' }),
        lifetimeSeconds: Type.Integer({ minimum: 1 }),
      }),
      response: record({ id: Uuid, token: Type.String(), expiresAt: Time }),
      status: 201,
      answersSecret: true,
      async handle({ actor }, { params, body }) {
        const { id, token, expiresAt } = await access.createToken(params.id, body, actor)
        return { id, token: decoder.decode(token.reveal('give the token to its owner')), expiresAt: expiresAt.toISOString() }
      },
    }),
    route({
      id: 'revokeToken',
      method: 'DELETE',
      path: '/api/v1/tokens/{id}',
      permission: 'user.manage',
      summary: 'End a token at once',
      params: ById,
      handle: async ({ actor }, { params }) => access.revokeToken(params.id, actor),
    }),
    route({
      id: 'createSignInLink',
      method: 'POST',
      path: '/api/v1/principals/{id}/sign-in-link',
      permission: 'user.manage',
      summary: 'Make a link that signs a person in once',
      params: ById,
      body: Empty,
      response: record({ path: Type.String({ description: 'append it to the address of the console' }), expiresAt: Time }),
      status: 201,
      answersSecret: true,
      async handle({ actor }, { params }) {
        const { link, expiresAt } = await access.createSignInLink(params.id, actor)
        const path = `/sign-in?code=${decoder.decode(link.reveal('give the link to its person'))}`
        return { path, expiresAt: expiresAt.toISOString() }
      },
    }),
  ] as const
