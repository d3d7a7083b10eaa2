/** REST: the repository of TUF metadata, who signs for it, and its files. @module */
import { Type } from 'typebox'
import type { Access } from '#access/access.ts'
import { TrustError } from '#base/errors.ts'
import { metadataFile, targetFile, type TUFRole, tufRoles } from '#updates/tuf/messages.ts'
import {
  changeRepository,
  isCurrent,
  listMetadata,
  openRepository,
  publishedTargets,
  readMetadata,
  readRepository,
  type TUFOutcome,
  type TUFRepository,
  type TUFTerms,
} from '#updates/tuf/repository.ts'
import type { Updates } from '#updates/updates.ts'
import { WaitingShape } from './agreed.ts'
import { approvalShape } from './approvals.ts'
import { recordingRefusals } from './refusals.ts'
import { type Call, octetRoute, record, route, wholeAnswer } from './route.ts'
import { Empty, Time } from './shapes.ts'
import { requesterOf, SignerName } from './signers.ts'

const KEYS_MAX = 16
const Threshold = Type.Integer({ minimum: 1, maximum: KEYS_MAX, description: 'so many of them have to sign' })
const Holders = record({
  signers: Type.Array(SignerName, { minItems: 1, maxItems: KEYS_MAX, uniqueItems: true }),
  threshold: Threshold,
})
const TermsShape = record({ root: Holders, targets: Holders, snapshot: Holders, timestamp: Holders })
const FileName = Type.String({ pattern: '^([1-9][0-9]{0,15}\\.(root|targets|snapshot)|timestamp)\\.json$' })
const Digest = Type.String({ pattern: '^[0-9a-f]{64}$', description: 'SHA-256, hexadecimal' })

const RoleShape = record({
  role: Type.Enum([...tufRoles]),
  file: FileName,
  expiresAt: Time,
  threshold: Type.Integer(),
  keys: Type.Array(record({ signer: SignerName, keyid: Digest })),
})

const RepositoryShape = record({
  state: Type.Literal('done'),
  roles: Type.Array(RoleShape),
  current: Type.Boolean({ description: 'whether all that is released, and nothing else, is among the targets' }),
  files: Type.Array(FileName, { description: 'of a copy, in the order in which they are to be written' }),
  targets: Type.Array(
    record({
      path: Type.String(),
      file: Type.String({ description: 'below the address of targets' }),
      octets: Type.Integer(),
      digest: Digest,
    }),
    { description: 'what is released now' },
  ),
})

export function tufRoutes({ updates: { context }, access }: { readonly updates: Updates; readonly access: Access }) {
  async function shapeOf(repository: TUFRepository) {
    const [files, targets, current] = await Promise.all([
      listMetadata(context),
      publishedTargets(context),
      isCurrent(context, repository),
    ])
    return {
      state: 'done' as const,
      roles: tufRoles.map((role) => roleShape(repository, role)),
      current,
      files: [...files],
      targets: targets.map(({ path, octets, digest }) => ({ path, file: targetFile({ path, digest }), octets, digest })),
    }
  }
  const outcomeShape = async (outcome: TUFOutcome) =>
    outcome.state === 'done'
      ? shapeOf(outcome.repository)
      : { state: 'waiting' as const, approval: await approvalShape(outcome.approval, access) }
  const changing = (call: Call, act: string, terms: () => Promise<TUFTerms | undefined>) =>
    recordingRefusals(context.audit, { actor: call.actor, act: `tuf.${act}`, object: 'tuf' }, async () =>
      outcomeShape(await changeRepository(context, await terms(), requesterOf(call))),
    )
  const Outcome = Type.Union([RepositoryShape, WaitingShape])
  const isPending = ({ state }: { readonly state: 'done' | 'waiting' }): boolean => state === 'waiting'

  return [
    route({
      id: 'showTUF',
      method: 'GET',
      path: '/api/v1/tuf',
      permission: 'release.read',
      summary: 'The repository of TUF metadata: its roles, its files, and what is to be in it',
      response: RepositoryShape,
      handle: async () => shapeOf(await openRepository(context)),
    }),
    route({
      id: 'initTUF',
      method: 'POST',
      path: '/api/v1/tuf',
      permission: 'release.manage',
      summary: 'Make the repository of TUF metadata; the same call again goes on once people have agreed',
      body: TermsShape,
      response: Outcome,
      isPending,
      handle: (call, { body }) =>
        changing(call, 'change-root', async () => {
          if ((await readRepository(context)) !== undefined) throw new TrustError('conflict', 'tufBegun')
          return body
        }),
    }),
    route({
      id: 'rotateTUFRoot',
      method: 'POST',
      path: '/api/v1/tuf/root',
      permission: 'release.manage',
      summary:
        'Sign a new root, by the keys of the one before and by its own; the same call again goes on once people have agreed',
      body: TermsShape,
      response: Outcome,
      isPending,
      handle: (call, { body }) =>
        changing(call, 'change-root', async () => {
          await openRepository(context)
          return body
        }),
    }),
    route({
      id: 'publishTUF',
      method: 'POST',
      path: '/api/v1/tuf/targets',
      permission: 'release.manage',
      summary: 'Sign what is released now as targets; the same call again goes on once people have agreed',
      body: Empty,
      response: Outcome,
      isPending,
      handle: (call) => changing(call, 'publish', async () => undefined),
    }),
    octetRoute({
      id: 'fetchTUFMetadata',
      method: 'GET',
      path: '/api/v1/tuf/metadata/{file}',
      permission: 'release.read',
      summary: 'A file of TUF metadata',
      params: Type.Object({ file: FileName }),
      givesOctets: 'JSON, as it was signed',
      async answer(_, { params: { file } }) {
        const octets = await readMetadata(context, file)
        if (octets === undefined) throw new TrustError('notFound', 'tufFileUnknown')
        return wholeAnswer(octets)
      },
    }),
  ]
}

const roleShape = ({ roles, newest }: TUFRepository, role: TUFRole) => ({
  role,
  file: metadataFile(role, newest[role].number),
  expiresAt: new Date(newest[role].expiresAt).toISOString(),
  threshold: roles[role].threshold,
  keys: roles[role].keys.map(({ signer, keyid }) => ({ signer, keyid })),
})
