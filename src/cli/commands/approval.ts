/** `sealworks approval`: what needs more than one person. @module */
import { TrustError } from '#base/errors.ts'
import type { AnswerOf } from '#server/rest/client.ts'
import { integer, oneOf, required, text } from '../command.ts'
import { type Caller, clientCommand } from '../connection.ts'
import { exitCodes } from '../exit-codes.ts'
import { fields, table } from '../terminal.ts'

type Approval = AnswerOf<'showApproval'>

const approval = required(text('APPROVAL', 'its id, as `approval list` shows it'))
const ballot = {
  digest: text('HEX', 'of the act, as it was seen; with it nothing else is approved, whatever was asked for since'),
  comment: text('TEXT', 'why, for who asked'),
}

export const commands = [
  clientCommand({
    noun: 'approval',
    verb: 'list',
    summary: 'What people were asked to approve, newest first',
    example: 'sealworks approval list --state pending',
    options: {
      state: oneOf(['pending', 'approved', 'rejected', 'withdrawn', 'used', 'expired'], 'only these; what waits unless told'),
      limit: integer('N', 1, 500, 'at most so many; 100 unless told'),
    },
    async run(client, { state = 'pending', limit }, { columns }) {
      const value = await client.call('listApprovals', { query: { state, ...(limit !== undefined && { limit }) } })
      const shape = [
        { title: 'APPROVAL', cell: ({ id }: Approval) => id },
        { title: 'WHAT', cell: ({ description }: Approval) => description },
        { title: 'ASKED BY', cell: ({ askedBy }: Approval) => askedBy },
        { title: 'AGREED', cell: (row: Approval) => `${agreed(row)} of ${row.least}` },
        { title: 'UNTIL', cell: ({ expiresAt }: Approval) => expiresAt.slice(0, 16) },
      ]
      return { value: { approvals: value.items, next: value.next }, text: table(value.items, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'approval',
    verb: 'show',
    summary: 'One request for approval with the very act',
    details: 'Ends with 6 while it waits for somebody.',
    example: 'sealworks approval show 0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b',
    operands: { approval },
    async run(client, { approval: id }) {
      const value = await client.call('showApproval', { params: { id } })
      const exitCode = value.state === 'pending' ? exitCodes.waitsForApproval : exitCodes.done
      return { value, text: fields(value), exitCode }
    },
  }),

  clientCommand({
    noun: 'approval',
    verb: 'approve',
    summary: 'Agree to an act',
    details: 'It binds you to the very act: an edit afterwards voids what you said.',
    example: 'sealworks approval approve 0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b --comment "release 4.2, as planned"',
    operands: { approval },
    options: ballot,
    async run(client, { approval: id, digest, comment }) {
      const value = await client.call('approve', { params: { id }, body: await bodyOf(client, id, digest, comment) })
      const more = value.least - agreed(value)
      const what = value.state === 'approved' ? 'It is approved' : `${more} more have to agree`
      return { value, text: `You agreed: ${value.description}\n${what}.\n` }
    },
  }),

  clientCommand({
    noun: 'approval',
    verb: 'reject',
    summary: 'Say no to an act, also after others agreed; withdraw what you asked for yourself',
    example: 'sealworks approval reject 0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b --comment "wrong build"',
    operands: { approval },
    options: ballot,
    async run(client, { approval: id, digest, comment }) {
      const value = await client.call('reject', { params: { id }, body: await bodyOf(client, id, digest, comment) })
      return { value, text: `It is ${value.state}: ${value.description}\n` }
    },
  }),
]

const agreed = ({ votes }: Approval): number => votes.filter(({ vote }) => vote === 'approve').length

/** Without a digest, what it is for now is what is meant, and is said. */
async function bodyOf(client: Caller, id: string, digest: string | undefined, comment: string | undefined) {
  const seen = digest ?? (await client.call('showApproval', { params: { id } })).digest
  if (!/^[0-9a-f]{64}$/.test(seen)) throw new TrustError('malformed', 'approvalDigest')
  return { digest: seen, ...(comment !== undefined && { comment }) }
}
