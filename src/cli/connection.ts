/**
 * How a command reaches the installation that it works on: a server over HTTPS, or a data directory in this process.
 *
 * Both go through the same routes with the same checks; a data directory only spares the network.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { TrustError } from '#base/errors.ts'
import { utf8 } from '#base/bytes.ts'
import { type Secret, secret } from '#base/secret.ts'
import type { Client } from '#server/rest/client.ts'
import { type Answer, type Command, command, type Context, type None, type Parameters, text, type ValuesOf } from './command.ts'
import { UsageError } from './usage.ts'

const SERVER_DEFAULT = 'https://127.0.0.1:8443'
const TLS_ROOT = join('data', 'tls-root.pem')

/** For commands that may do without an installation too. */
export const connectionOptions = {
  server: text('URL', `the server (SEALWORKS_SERVER; ${SERVER_DEFAULT} unless told)`),
  trust: text(
    'FILE',
    `PEM roots by which the server is known (SEALWORKS_TRUST; ./${TLS_ROOT} if it is there, else this machine's)`,
  ),
  data: text('DIR', 'work on a data directory in this process instead; refused while a server runs on it (SEALWORKS_DATA)'),
  config: text('FILE', 'with --data: its configuration (SEALWORKS_CONFIG)'),
  tokenFile: text('FILE', 'the token of who asks (SEALWORKS_TOKEN_FILE; or the token itself in SEALWORKS_TOKEN)'),
} satisfies Parameters
type ConnectionValues = ValuesOf<typeof connectionOptions>

/** What commands see of the client. */
export type Caller = Pick<Client, 'call' | 'transfer'>

export interface ClientCommandDefinition<A extends Parameters, O extends Parameters> {
  readonly noun: string
  readonly verb: string
  readonly summary: string
  readonly details?: string
  readonly example: string
  readonly operands?: A
  readonly options?: O
  run(client: Caller, values: ValuesOf<A & O>, context: Context): Promise<Answer>
}

/** A command that calls the REST interface. */
export const clientCommand = <A extends Parameters = None, O extends Parameters = None>(
  definition: ClientCommandDefinition<A, O>,
): Command =>
  command<A, O>({
    ...definition,
    sharedOptions: connectionOptions,
    async run(context, values, shared) {
      const client = await connect(context, shared as ConnectionValues) // the parser read them by the table above
      try {
        return await definition.run(client, values, context)
      } finally {
        await client.close()
      }
    },
  })

interface OpenClient extends Caller {
  close(): Promise<void>
}

/** @throws UsageError, TrustError `conflict` when a server has the directory */
export async function connect(context: Context, values: ConnectionValues): Promise<OpenClient> {
  const { environment } = context
  if (values.server !== undefined && values.data !== undefined) throw new UsageError('--server and --data exclude each other.')
  const token = await readToken(context, values.tokenFile)
  // What is written beats what the environment says.
  const data = values.data ?? (values.server === undefined ? environment['SEALWORKS_DATA'] : undefined)
  if (data !== undefined) {
    const { openLocalClient } = await import('./local.ts')
    return openLocalClient(context, { data, config: values.config }, token)
  }
  if (values.config !== undefined) throw new UsageError('--config needs --data.')
  const { httpsTransport, restClient } = await import('#server/rest/client.ts')
  const server = values.server ?? environment['SEALWORKS_SERVER'] ?? SERVER_DEFAULT
  if (URL.parse(server)?.protocol !== 'https:') throw new UsageError('--server must be https://HOST:PORT.')
  const rootsPEM = readRoots(context, values.trust ?? environment['SEALWORKS_TRUST'])
  const transport = httpsTransport({ server, ...(rootsPEM !== undefined && { trust: { rootsPEM } }) })
  const client = restClient({ transport, ...(token !== undefined && { token }) })
  return { ...client, close: async () => client.close() }
}

function readRoots({ directory }: Context, named: string | undefined): string | undefined {
  try {
    return readFileSync(resolve(directory, named ?? TLS_ROOT), 'utf8')
  } catch (cause) {
    if (named === undefined) return undefined
    throw new TrustError('notFound', 'fileUnreadable', { facts: { file: named, problem: codeOf(cause) }, cause })
  }
}

/** @throws TrustError `policyRefused` when others may read the file */
async function readToken({ directory, environment }: Context, named: string | undefined): Promise<Secret | undefined> {
  const file = named ?? (environment['SEALWORKS_TOKEN'] === undefined ? environment['SEALWORKS_TOKEN_FILE'] : undefined)
  if (file !== undefined) {
    const { readSecret } = await import('#config/secret-file.ts')
    return readSecret({ kind: 'file', path: resolve(directory, file) }, environment)
  }
  const token = environment['SEALWORKS_TOKEN']
  return token === undefined ? undefined : secret(utf8(token.trim()))
}

const codeOf = (cause: unknown): string => (cause instanceof Error && 'code' in cause ? String(cause.code) : 'it cannot be used')
