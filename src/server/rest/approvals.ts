/** REST: what needs more than one person, and what people say to it. @module */
import { Type } from 'typebox'
import type { Access } from '#access/access.ts'
import type { ActValue } from '#approvals/act.ts'
import { type Approval, type Approvals, approvalStates, type Ballot, type Voter } from '#approvals/approvals.ts'
import { TrustError } from '#base/errors.ts'
import { type Call, page, PAGE_DEFAULT, pageOf, pageQuery, record, route } from './route.ts'
import { Time, Uuid } from './shapes.ts'

const Digest = Type.String({ pattern: '^[0-9a-f]{64}$', description: 'SHA-256 in hex, as the request for approval shows it' })

export const ApprovalShape = record({
  id: Uuid,
  kind: Type.String(),
  object: Type.String(),
  description: Type.String({ description: 'what will be done, in a sentence' }),
  parameters: Type.Record(Type.String(), Type.Unknown(), { description: 'the very act' }),
  digest: Type.String({ description: 'of the act with how often and how long: what an approval is bound to' }),
  state: Type.Enum([...approvalStates]),
  askedBy: Type.String(),
  reason: Type.String(),
  least: Type.Integer({ description: 'how many people have to agree' }),
  approvers: record({ roles: Type.Array(Type.String()), people: Type.Array(Type.String()) }),
  votes: Type.Array(record({ person: Type.String(), vote: Type.Enum(['approve', 'reject']), comment: Type.String(), at: Time })),
  uses: Type.Integer(),
  usesMax: Type.Integer(),
  validSeconds: Type.Integer({ description: 'how long it may be done once enough have agreed' }),
  askedAt: Time,
  expiresAt: Time,
})

const BallotShape = record({ digest: Digest, comment: Type.Optional(Type.String({ maxLength: 500 })) })
const ById = Type.Object({ id: Uuid })

export const approvalRoutes = (approvals: Approvals, access: Access) => {
  const shown = (approval: Approval) => approvalShape(approval, access)
  return [
    route({
      id: 'listApprovals',
      method: 'GET',
      path: '/api/v1/approvals',
      permission: 'approval.read',
      summary: 'Acts that people were asked to approve, newest first',
      query: record({ ...pageQuery, state: Type.Optional(Type.Enum([...approvalStates])) }),
      response: page(ApprovalShape),
      async handle(_, { query: { limit = PAGE_DEFAULT, cursor, state } }) {
        const { approvals: found, next } = await approvals.list({ limit, cursor, state })
        return pageOf(await Promise.all(found.map(shown)), next)
      },
    }),
    route({
      id: 'showApproval',
      method: 'GET',
      path: '/api/v1/approvals/{id}',
      permission: 'approval.read',
      summary: 'One request for approval',
      params: ById,
      response: ApprovalShape,
      handle: async (_, { params: { id } }) => shown(await approvals.find(id)),
    }),
    route({
      id: 'approve',
      method: 'POST',
      path: '/api/v1/approvals/{id}/approve',
      permission: 'signedIn', // each request says who may
      summary: 'Agree to the very act that was seen',
      params: ById,
      body: BallotShape,
      response: ApprovalShape,
      handle: async (call, { params: { id }, body }) => shown(await approvals.approve(id, ballot(body), voterOf(call))),
    }),
    route({
      id: 'reject',
      method: 'POST',
      path: '/api/v1/approvals/{id}/reject',
      permission: 'signedIn',
      summary: 'Say no, which closes the request; who asked withdraws it',
      params: ById,
      body: BallotShape,
      response: ApprovalShape,
      handle: async (call, { params: { id }, body }) => shown(await approvals.reject(id, ballot(body), voterOf(call))),
    }),
  ] as const
}

function voterOf({ actor, principal }: Call): Voter {
  if (principal === undefined) throw new TrustError('unauthenticated', 'signInNeeded')
  return { actor, id: principal.id, kind: principal.kind }
}

const ballot = ({ digest, comment }: { readonly digest: string; readonly comment?: string }): Ballot => ({
  digest: Uint8Array.fromHex(digest),
  ...(comment !== undefined && { comment }),
})

/** People by their names, which the audit log does not know. */
export async function approvalShape(
  { act, rule, digest, askedBy, votes, askedAt, expiresAt, ...rest }: Approval,
  access: Access,
) {
  const nameOf = async (id: string): Promise<string> => {
    try {
      return (await access.findPrincipal(id)).name
    } catch {
      return id
    }
  }
  const { id, description, state, reason, uses } = rest
  return {
    ...{ id, description, state, reason, uses },
    kind: act.kind,
    object: act.object,
    parameters: act.parameters as Record<string, ActValue>,
    digest: digest.toHex(),
    askedBy: await nameOf(askedBy.slice(askedBy.indexOf(':') + 1)),
    least: rule.least,
    approvers: { roles: [...rule.approvers.roles], people: await Promise.all(rule.approvers.people.map(nameOf)) },
    votes: await Promise.all(
      votes.map(async ({ personId, vote, comment, at }) => ({ person: await nameOf(personId), vote, comment, at: timeOf(at) })),
    ),
    usesMax: rule.usesMax,
    validSeconds: rule.validSeconds,
    askedAt: timeOf(askedAt),
    expiresAt: timeOf(expiresAt),
  }
}

const timeOf = (at: number): string => new Date(at).toISOString()
