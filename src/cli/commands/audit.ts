/** `sealworks audit`: the record of what was done and refused. @module */
import { closeSync, openSync, renameSync, rmSync, writeSync } from 'node:fs'
import { resolve } from 'node:path'
import { TrustError } from '#base/errors.ts'
import type { AnswerOf, InputOf } from '#server/rest/client.ts'
import { type Answer, command, type Context, flag, integer, many, oneOf, required, text } from '../command.ts'
import { type Caller, clientCommand } from '../connection.ts'
import { exitCodes } from '../exit-codes.ts'
import { checkWritable, readInput } from '../files.ts'
import { installationOptions, openConfiguration, ORGANIZATION } from '../installation.ts'
import { fields, table } from '../terminal.ts'

type Entry = AnswerOf<'listAuditEntries'>['items'][number]
type Query = NonNullable<InputOf<'listAuditEntries'>['query']>

const filterOptions = {
  actor: text('WHO', 'person:ID, service:ID, certificate:ID or system'),
  act: text('ACT', 'such as certificate.revoke'),
  object: text('OBJECT', 'such as certificate:ID'),
  outcome: oneOf(['done', 'refused'], 'with this outcome'),
  from: text('TIME', 'not before: 2026-11-23 or 2026-11-23T08:00:00Z'),
  until: text('TIME', 'before'),
}

export const commands = [
  clientCommand({
    noun: 'audit',
    verb: 'list',
    summary: 'What was done and refused, newest first',
    example: 'sealworks audit list --act certificate.revoke --from 2026-11-01',
    options: {
      ...filterOptions,
      limit: integer('N', 1, 500, 'most to show; 100 unless told'),
      cursor: text('CURSOR', 'go on where the last answer ended'),
    },
    async run(client, given, { columns, say }) {
      const value = await client.call('listAuditEntries', { query: present(given) })
      const shape = [
        { title: 'NUMBER', cell: ({ logIndex }: Entry) => logIndex },
        { title: 'TIME', cell: ({ at }: Entry) => at },
        { title: 'OUTCOME', cell: ({ outcome, reason }: Entry) => (reason === undefined ? outcome : `${outcome}: ${reason}`) },
        { title: 'ACT', cell: ({ act }: Entry) => act },
        { title: 'OBJECT', cell: ({ object }: Entry) => object },
        { title: 'WHO', cell: ({ actor }: Entry) => actor },
      ]
      if (value.next !== undefined) say(`There is more: --cursor ${value.next}`)
      return { value, text: table(value.items, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'audit',
    verb: 'export',
    summary: 'Write all entries to a file, one JSON object a line, newest first',
    example: 'sealworks audit export --from 2026-11-01 --out november.jsonl',
    options: { ...filterOptions, out: required(text('FILE', 'where to write')), force: flag('replace the file if it is there') },
    async run(client, { out, force, ...filter }, context) {
      checkWritable(context, out, force)
      const entries = await exportEntries(client, context, present(filter), resolve(context.directory, out))
      return { value: { entries, file: out }, text: `${out} is written: ${entries} entries.\n` }
    },
  }),

  command({
    noun: 'audit',
    verb: 'verify',
    summary: 'Read the whole log of a data directory and say exactly what is wrong with it',
    details:
      'Only reads, and asks for no person. Whoever can write the database could replace the log together with the key that it names: give the key from elsewhere (--verifier-key, as `init` printed it) and checkpoints that were kept elsewhere (--checkpoint).',
    example: 'sealworks audit verify --data ./data --verifier-key "$(cat audit.vkey)" --checkpoint 2026-10.checkpoint',
    options: {
      ...installationOptions,
      verifierKey: text('KEY', 'the log’s public key as `init` printed it'),
      checkpoint: many('FILE', 'a signed checkpoint that was kept elsewhere'),
    },
    async run(context, { verifierKey, checkpoint, ...where }) {
      const publicKey = verifierKey === undefined ? undefined : parseVerifierKey(verifierKey)
      const witnessed = await Array.fromAsync(checkpoint, async (file) =>
        new TextDecoder().decode(await readInput(context, file)),
      )
      const { config } = await openConfiguration(context, where)
      const { openExistingDatabase } = await import('../database.ts')
      const { verifyAuditLog } = await import('#audit/verify.ts')
      const database = openExistingDatabase(config, context)
      const progress = context.progress('entries')
      try {
        const { rootHash, problems, ...counts } = await verifyAuditLog(database, {
          organizationId: ORGANIZATION,
          clock: context.world.clock,
          publicKey,
          witnessed,
          progress: (entries) => progress.at(entries),
        })
        return verdict({ verified: problems.length === 0, ...counts, rootHash: rootHash.toBase64(), problems })
      } finally {
        progress.end()
        await database.close()
      }
    },
  }),
]

interface Verdict {
  readonly verified: boolean
  readonly problems: readonly { readonly sentence: string }[]
}

function verdict(value: Verdict & Readonly<Record<string, unknown>>): Answer {
  const { verified, problems, ...counts } = value
  const found = problems.map(({ sentence }) => `${sentence}\n`).join('')
  const text = verified ? `The log is whole.\n${fields(counts)}` : `The log is NOT whole.\n${found}${fields(counts)}`
  return { value, text, exitCode: verified ? exitCodes.done : exitCodes.verificationFailed }
}

/** `<origin>+<key id>+<type and key>` (C2SP signed-note): the octet of the type, then SubjectPublicKeyInfo. */
function parseVerifierKey(written: string): Uint8Array {
  const [, base64 = ''] = /^[^+\s]+\+[0-9a-f]{8}\+([A-Za-z0-9+/]+={0,2})$/.exec(written.trim()) ?? []
  try {
    const octets = Uint8Array.fromBase64(base64)
    if (octets.length > 1) return octets.subarray(1)
  } catch {
    // as if it were missing
  }
  throw new TrustError('malformed', 'verifierKey')
}

function present(given: Readonly<Record<string, string | number | undefined>>): Query {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
}

const PAGE = 500

/** Into a file beside, so that a file of that name is whole. */
async function exportEntries(client: Caller, { signal, progress }: Context, filter: Query, path: string): Promise<number> {
  const part = `${path}.part`
  const file = openSync(part, 'w', 0o600)
  const bar = progress('entries')
  let count = 0
  try {
    for (let cursor: string | undefined; !signal.aborted;) {
      const page: AnswerOf<'listAuditEntries'> = await client.call('listAuditEntries', {
        query: { ...filter, limit: PAGE, ...(cursor !== undefined && { cursor }) },
      })
      writeSync(file, page.items.map((entry) => `${JSON.stringify(entry)}\n`).join(''))
      bar.at((count += page.items.length))
      cursor = page.next
      if (cursor === undefined) break
    }
    renameSync(part, path)
    return count
  } catch (error) {
    rmSync(part, { force: true })
    throw error
  } finally {
    bar.end()
    closeSync(file)
  }
}
