/** `sealworks job`: files that the server signs. @module */
import { flag, integer, required, text } from '../command.ts'
import { clientCommand } from '../connection.ts'
import { exitCodes } from '../exit-codes.ts'
import { fetchResult, type Job, unfinished } from '../sign-upload.ts'
import { fields, table } from '../terminal.ts'

const job = required(text('JOB', 'its id, as `job list` shows it'))

const MEBI_OCTETS = 1_048_576

export const commands = [
  clientCommand({
    noun: 'job',
    verb: 'list',
    summary: 'Files that were sent to be signed, newest first',
    example: 'sealworks job list',
    options: {
      limit: integer('N', 1, 500, 'at most so many; 100 unless told'),
      cursor: text('CURSOR', 'where to go on: `next` of the page before'),
    },
    async run(client, { limit, cursor }, { columns }) {
      const query = { ...(limit !== undefined && { limit }), ...(cursor !== undefined && { cursor }) }
      const value = await client.call('listSigningJobs', { query })
      const shape = [
        { title: 'JOB', cell: ({ id }: Job) => id },
        { title: 'STATE', cell: ({ state }: Job) => state },
        { title: 'SIGNER', cell: ({ signer }: Job) => signer },
        { title: 'FORMAT', cell: ({ format }: Job) => format },
        { title: 'MIB', cell: ({ octets }: Job) => (octets / MEBI_OCTETS).toFixed(1) },
        { title: 'SENT', cell: ({ createdAt }: Job) => createdAt.slice(0, 19) },
      ]
      return { value: { jobs: value.items, next: value.next }, text: table(value.items, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'job',
    verb: 'show',
    summary: 'How far a job is',
    details: 'Ends with 6 while it waits for people.',
    example: 'sealworks job show 0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b',
    operands: { job },
    async run(client, { job: id }) {
      const value = await client.call('showSigningJob', { params: { id } })
      return { value, text: fields(value), exitCode: value.state === 'waiting' ? exitCodes.waitsForApproval : exitCodes.done }
    },
  }),

  clientCommand({
    noun: 'job',
    verb: 'fetch',
    summary: 'Write what a job signed',
    example: 'sealworks job fetch 0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b --out setup.exe',
    operands: { job },
    options: {
      out: required(text('FILE', 'where it goes')),
      force: flag('replace the file if it is there'),
      proof: text('FILE', 'where the proof goes that the signature is in the audit log'),
    },
    async run(client, { job: id, ...values }, context) {
      const found = await client.call('showSigningJob', { params: { id } })
      return found.state === 'done' ? fetchResult(client, context, found, values) : unfinished(found)
    },
  }),

  clientCommand({
    noun: 'job',
    verb: 'cancel',
    summary: 'Let go of a file that is not signed yet',
    example: 'sealworks job cancel 0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b',
    operands: { job },
    async run(client, { job: id }) {
      const value = await client.call('cancelSigningJob', { params: { id } })
      return { value, text: `Job ${id} is ${value.state}.\n` }
    },
  }),
]
