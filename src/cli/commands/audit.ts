/** `sealworks audit`: the record of what was done and refused. @module */
import { closeSync, openSync, renameSync, rmSync, writeSync } from 'node:fs'
import { resolve } from 'node:path'
import type { NoteKey } from '#audit/note-key.ts'
import type { AnswerOf, InputOf } from '#server/rest/client.ts'
import { type Answer, command, type Context, flag, integer, many, oneOf, required, text } from '../command.ts'
import { type Caller, clientCommand, connect } from '../connection.ts'
import { exitCodes } from '../exit-codes.ts'
import { checkWritable, readInput, writeOutput } from '../files.ts'
import { installationOptions, type InstallationValues, openConfiguration, ORGANIZATION } from '../installation.ts'
import { fields, table } from '../terminal.ts'
import { UsageError } from '../usage.ts'

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
    summary: 'Write all entries to a file, one JSON object a line, newest first; or the whole log as tiles',
    details:
      'With --as tiles, --out is a directory in the form of C2SP tlog-tiles, which any such client reads: entries, hashes and the newest checkpoint. Every hash is made anew from the entries and must lead to the root that the log signed, else nothing is called exported (exit 9). A second export into the same directory fetches only what came since.',
    example: 'sealworks audit export --from 2026-11-01 --out november.jsonl',
    options: {
      ...filterOptions,
      as: oneOf(['lines', 'tiles'], 'lines of JSON, unless told'),
      out: required(text('PATH', 'where to write: a file, or a directory for tiles')),
      force: flag('replace the file if it is there'),
    },
    async run(client, { out, force, as, ...filter }, context) {
      const path = resolve(context.directory, out)
      if (as === 'tiles') {
        if (Object.keys(present(filter)).length > 0) throw new UsageError('Tiles are of the whole log: leave out the filters.')
        const { exportTiles } = await import('../audit-tiles.ts')
        const { entries, written } = await exportTiles(client, path, context)
        return {
          value: { entries, written, directory: out },
          text: `${out} holds ${entries} entries as tiles: ${written} new files.\n`,
        }
      }
      checkWritable(context, out, force)
      const entries = await exportEntries(client, context, present(filter), path)
      return { value: { entries, file: out }, text: `${out} is written: ${entries} entries.\n` }
    },
  }),

  clientCommand({
    noun: 'audit',
    verb: 'log',
    summary: 'The log’s name, its key, and what its witnesses say',
    example: 'sealworks audit log',
    async run(client) {
      return { value: await client.call('showAuditLog', {}) }
    },
  }),

  clientCommand({
    noun: 'audit',
    verb: 'checkpoint',
    summary: 'Write the newest signed checkpoint, to be kept elsewhere',
    details:
      'Keep it where nobody who can write the database can: "audit verify --checkpoint" then shows a log that was rolled back, rewritten or cut.',
    example: 'sealworks audit checkpoint --out /media/stick/2026-11-23.checkpoint',
    options: {
      out: required(text('FILE', 'where to write')),
      cosigned: flag('the newest that a witness has seen'),
      force: flag('replace the file if it is there'),
    },
    async run(client, { out, cosigned, force }, context) {
      const { size, rootHash, note } = await client.call('showAuditCheckpoint', { query: cosigned ? { cosigned } : {} })
      writeOutput(context, { file: out, octets: note, isSecret: false, force })
      return { value: { size, rootHash, file: out }, text: `${out} is written: ${size} entries, root hash ${rootHash}\n` }
    },
  }),

  clientCommand({
    noun: 'audit',
    verb: 'prove',
    summary: 'Write a proof that an entry is in the log, which verifies without a server',
    details: 'The file is a C2SP tlog-proof that carries the entry itself. "audit check" reads it, and so does any such client.',
    example: 'sealworks audit prove 0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b --out revocation.tlog-proof',
    operands: { entry: required(text('ENTRY', 'id of the entry, as "audit list --json" shows it')) },
    options: {
      out: required(text('FILE', 'where to write')),
      cosigned: flag('under a checkpoint that a witness has seen'),
      force: flag('replace the file if it is there'),
    },
    async run(client, { entry, out, cosigned, force }, context) {
      checkWritable(context, out, force)
      const { proof, index, size } = await client.call('proveAuditEntry', {
        params: { id: entry },
        query: cosigned ? { cosigned } : {},
      })
      writeOutput(context, { file: out, octets: proof, isSecret: false, force })
      return { value: { index, size, file: out }, text: `${out} is written: entry ${index} of ${size}.\n` }
    },
  }),

  command({
    noun: 'audit',
    verb: 'check',
    summary: 'Check a proof of an entry, without a server',
    details: 'Ends with 9 when the proof does not hold. What it prints is then not proven.',
    example: 'sealworks audit check revocation.tlog-proof --verifier-key "$(cat audit.vkey)"',
    operands: { file: required(text('FILE', 'the proof, as "audit prove" wrote it')) },
    options: {
      verifierKey: required(text('KEY', 'the log’s public key as `init` printed it')),
      witness: many('KEY', 'a witness that must have cosigned, by the key that it prints'),
    },
    async run(context, { file, verifierKey, witness }) {
      const { checkProof } = await import('#audit/proof-file.ts')
      const { parseVerifierKey } = await import('#audit/note-key.ts')
      const keys = { log: parseVerifierKey(verifierKey), witnesses: witness.map(parseVerifierKey) }
      const proven = await checkProof(new TextDecoder().decode(await readInput(context, file)), keys)
      const { index, checkpoint, cosignatures } = proven
      const entry: unknown = JSON.parse(proven.entry)
      const seen = cosignatures.map(({ witness: name, at }) => ({ witness: name, at: at.toISOString() }))
      const value = { entry, index, size: checkpoint.size, origin: checkpoint.origin, cosignatures: seen }
      return { value, text: `The entry is in the log.\n${fields(value)}` }
    },
  }),

  command({
    noun: 'audit',
    verb: 'verify',
    summary: 'Read the whole log of a data directory, or have a server read its own, and say exactly what is wrong with it',
    details:
      'A data directory is only read, and no person is asked for. Whoever can write the database could replace the log together with the key that it names: give the key from elsewhere (--verifier-key, as `init` printed it) and checkpoints that were kept elsewhere (--checkpoint). With --server the server verifies its log, and the signature of its newest checkpoint and that it continues those kept elsewhere are checked here.',
    example: 'sealworks audit verify --data ./data --verifier-key "$(cat audit.vkey)" --checkpoint 2026-10.checkpoint',
    options: {
      ...installationOptions,
      verifierKey: text('KEY', 'the log’s public key as `init` printed it'),
      checkpoint: many('FILE', 'a signed checkpoint that was kept elsewhere'),
      witness: many('KEY', 'a witness that must have cosigned each of those checkpoints'),
      server: text('URL', 'verify the log of this server instead of a data directory'),
      trust: text('FILE', 'with --server: PEM roots by which the server is known'),
      tokenFile: text('FILE', 'with --server: the token of who asks'),
    },
    async run(context, { verifierKey, checkpoint, witness, server, trust, tokenFile, ...where }) {
      const { parseVerifierKey } = await import('#audit/note-key.ts')
      const key = verifierKey === undefined ? undefined : parseVerifierKey(verifierKey)
      const kept = await Array.fromAsync(checkpoint, async (file) => new TextDecoder().decode(await readInput(context, file)))
      if (witness.length > 0) {
        const { checkCosignatures } = await import('#audit/proof-file.ts')
        for (const note of kept) await checkCosignatures(note, witness.map(parseVerifierKey))
      }
      if (server === undefined) return verdict(await verifyDirectory(context, where, key, kept))
      if (where.data !== undefined) throw new UsageError('--server and --data exclude each other.')
      const client = await connect(context, { server, trust, tokenFile, ...where })
      try {
        const { verifyRemoteLog } = await import('../audit-remote.ts')
        const named = key ?? parseVerifierKey((await client.call('showAuditLog', {})).verifierKey)
        return verdict(await verifyRemoteLog(client, named, kept))
      } finally {
        await client.close()
      }
    },
  }),

  command({
    noun: 'audit',
    verb: 'witness',
    summary: 'Run a witness: cosign checkpoints of logs as long as they only grow',
    details:
      'Runs on another machine than the log, under another administrator. It keeps its key and what it has seen in its own directory, and refuses what does not continue that (C2SP tlog-witness). Plain HTTP: what comes in is signed by the log, what goes out by the witness. Never restore its directory from an old copy: it would cosign what it refused before. SIGTERM or SIGINT ends it.',
    example: 'sealworks audit witness --state ./witness --log "$(cat audit.vkey)" --listen 0.0.0.0:8090',
    options: {
      state: required(text('DIR', 'where it keeps its key and what it has seen')),
      create: text('NAME', 'make the witness first, once, under this name: a URL without scheme, such as witness.example/w1'),
      algorithm: oneOf(['ed25519', 'ml-dsa-44'], 'with --create: of its key; ed25519 unless told, which more programs read'),
      log: many('KEY', 'a log that it cosigns, by the public key that `init` printed there'),
      listen: text('ADDRESS', '127.0.0.1:8090 unless told'),
    },
    stopsItself: true,
    run: async (context, { state, create, algorithm, log, listen }) => {
      const { runWitness } = await import('../audit-witness.ts')
      return runWitness(context, { directory: resolve(context.directory, state), create, algorithm, logs: log, listen })
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

async function verifyDirectory(
  context: Context,
  where: InstallationValues,
  key: NoteKey | undefined,
  witnessed: readonly string[],
): Promise<Verdict & Readonly<Record<string, unknown>>> {
  const { config } = await openConfiguration(context, where)
  const { openExistingDatabase } = await import('../database.ts')
  const { verifyAuditLog } = await import('#audit/verify.ts')
  const database = openExistingDatabase(config, context)
  const progress = context.progress('entries')
  try {
    const { rootHash, problems, ...counts } = await verifyAuditLog(database, {
      organizationId: ORGANIZATION,
      clock: context.world.clock,
      publicKey: key?.publicKey,
      witnessed,
      progress: (entries) => progress.at(entries),
    })
    return { verified: problems.length === 0, ...counts, rootHash: rootHash.toBase64(), problems }
  } finally {
    progress.end()
    await database.close()
  }
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
