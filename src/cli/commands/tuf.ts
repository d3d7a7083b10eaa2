/** `sealworks tuf`: metadata of The Update Framework over what is released, for clients that speak it. @module */
import { mkdirSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import type { AnswerOf } from '#server/rest/client.ts'
import { type Answer, type Context, flag, integer, many, required, some, text } from '../command.ts'
import { type Caller, clientCommand } from '../connection.ts'
import { writeOctets } from '../files.ts'
import { fields, table } from '../terminal.ts'
import { waitsFor } from '../waiting.ts'

type Repository = AnswerOf<'showTUF'>
type Outcome = AnswerOf<'publishTUF'>
type Role = Repository['roles'][number]

const THRESHOLD_MAX = 16

const outcomeOf = (value: Outcome): Answer => (value.state === 'waiting' ? waitsFor(value) : shown(value))

const shown = (value: Repository, columns?: number): Answer => {
  const shape = [
    { title: 'ROLE', cell: ({ role }: Role) => role },
    { title: 'FILE', cell: ({ file }: Role) => file },
    { title: 'UNTIL', cell: ({ expiresAt }: Role) => expiresAt.slice(0, 19) },
    { title: 'SIGNED BY', cell: ({ threshold, keys }: Role) => `${threshold} of ${keys.map(({ signer }) => signer).join(' ')}` },
  ]
  const behind = value.current ? '' : 'What is released now is not what the targets say: tuf publish.\n'
  return { value, text: `${table(value.roles, shape, columns)}${behind}` }
}

const holders = {
  root: some('SIGNER', 'signs roots; keep it away from what is reached over a network'),
  rootThreshold: integer('N', 1, THRESHOLD_MAX, 'so many of them have to; all unless told'),
  targets: some('SIGNER', 'signs what is released'),
  targetsThreshold: integer('N', 1, THRESHOLD_MAX, 'so many of them have to; all unless told'),
  snapshot: many('SIGNER', 'signs snapshots, by itself; the one of the timestamp unless told'),
  timestamp: required(text('SIGNER', 'signs timestamps, by itself, about twice a day')),
}

interface Named {
  readonly root: readonly string[]
  readonly rootThreshold: number | undefined
  readonly targets: readonly string[]
  readonly targetsThreshold: number | undefined
  readonly snapshot: readonly string[]
  readonly timestamp: string
}

const bodyOf = ({ root, targets, snapshot, timestamp, rootThreshold, targetsThreshold }: Named) => ({
  root: { signers: [...root], threshold: rootThreshold ?? root.length },
  targets: { signers: [...targets], threshold: targetsThreshold ?? targets.length },
  snapshot: { signers: snapshot.length === 0 ? [timestamp] : [...snapshot], threshold: 1 },
  timestamp: { signers: [timestamp], threshold: 1 },
})

/** Each file under the name that clients ask for, and not before those that it names. */
async function exportTo(client: Caller, context: Context, directory: string, withTargets: boolean): Promise<Answer> {
  const repository = await client.call('showTUF', {})
  if (withTargets)
    for (const { path, file, digest } of repository.targets) {
      const [id = ''] = path.split('/')
      await fetchTo(context, join(directory, 'targets', file), () =>
        client.transfer('fetchReleaseFile', { params: { id, digest } }),
      )
    }
  for (const file of repository.files)
    await fetchTo(context, join(directory, 'metadata', file), () => client.transfer('fetchTUFMetadata', { params: { file } }))
  const value = { directory, files: repository.files.length, targets: withTargets ? repository.targets.length : 0 }
  return { value, text: fields(value) }
}

type Fetched = Awaited<ReturnType<Caller['transfer']>>

async function fetchTo(context: Context, file: string, fetch: () => Promise<Pick<Fetched, 'content'>>): Promise<void> {
  const { content } = await fetch()
  if (content === undefined) throw new TypeError('a file is octets')
  mkdirSync(dirname(resolve(context.directory, file)), { recursive: true })
  await writeOctets(context, { file, force: true, octets: content.read(), length: content.octets })
}

export const commands = [
  clientCommand({
    noun: 'tuf',
    verb: 'init',
    summary: 'Make the repository: the first root, and what is released now as targets',
    details:
      'Signers have the format plain and only server:updates among their users. Where people have to agree it ends with 6; the same command again goes on.',
    example: 'sealworks tuf init --root root-a --root root-b --targets list --timestamp live',
    options: holders,
    run: async (client, named) => outcomeOf(await client.call('initTUF', { body: bodyOf(named) })),
  }),

  clientCommand({
    noun: 'tuf',
    verb: 'rotate-root',
    summary: 'Sign a new root, by enough keys of the one before and of its own',
    details:
      'Also for a root that ends soon, with the same signers. Where people have to agree it ends with 6; the same command again goes on.',
    example: 'sealworks tuf rotate-root --root root-b --root root-c --targets list --timestamp live',
    options: holders,
    run: async (client, named) => outcomeOf(await client.call('rotateTUFRoot', { body: bodyOf(named) })),
  }),

  clientCommand({
    noun: 'tuf',
    verb: 'publish',
    summary: 'Sign what is released now as targets',
    details:
      'After a release was published or withdrawn, and before the targets end. Where people have to agree it ends with 6; the same command again goes on.',
    example: 'sealworks tuf publish',
    run: async (client) => outcomeOf(await client.call('publishTUF', {})),
  }),

  clientCommand({
    noun: 'tuf',
    verb: 'show',
    summary: 'Who signs which role, until when, and whether the targets are what is released',
    example: 'sealworks tuf show',
    run: async (client, _, { columns }) => shown(await client.call('showTUF', {}), columns),
  }),

  clientCommand({
    noun: 'tuf',
    verb: 'export',
    summary: 'Write the metadata, and the files if asked, as a web server can hand them out',
    details:
      'DIRECTORY/metadata and DIRECTORY/targets. The timestamp comes last, so that a copy in use is whole at every moment.',
    example: 'sealworks tuf export /srv/tuf --with-targets',
    operands: { directory: required(text('DIRECTORY', 'where it goes; files of the same names are replaced')) },
    options: { withTargets: flag('the released files too') },
    run: async (client, { directory, withTargets }, context) => exportTo(client, context, directory, withTargets),
  }),
]
