/** A server comes up, and the first people with their rights. @module */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { parseOnePEM } from '#asn1/pem.ts'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { secret } from '#base/secret.ts'
import { parseConfig } from '#config/config.ts'
import { TLS_ROOT_FILE } from '#server/init.ts'
import { type Client, httpsTransport, RemoteRefusal, restClient } from '#server/rest/client.ts'
import { choosePorts, HOST } from '../ports.ts'
import { CommandRefusal, runCommand, type ServerProcess, startServer } from '../server-process.ts'
import { type Chapter, fact, must, NotAsExpected } from '../story.ts'

export interface TrialServer {
  readonly process: ServerProcess
  /** Who may have issued the server's certificate: DER. */
  readonly tlsRoot: Uint8Array
  /** When it was started. */
  readonly startedAt: Date
  /** Speaks REST for whom the token belongs to. */
  client(token: string): Client
}

export const server = fact<TrialServer>('the server')
/** May manage people, and read the audit log. */
export const administrator = fact<Client>('the administrator')
/** May make authorities and endpoints, issue and revoke. */
export const officer = fact<Client>('the PKI officer')
/** The same person at the command line. */
export const officerCommand = fact<(...words: readonly string[]) => Promise<void>>('the PKI officer’s command line')

const CONFIG_FILE = 'sealworks.toml'
const TOKEN_FILE = 'administrator.token'
const ADMINISTRATOR = 'Trial administrator'
const OFFICER = 'Trial PKI officer'
const OFFICER_TOKEN_SECONDS = 3600

/** What `serve` takes unless told otherwise. */
const USUAL_PORTS = { tls: 8443, public: 8080 } as const

export const serverChapter: Chapter = {
  title: 'The server',
  about: 'It runs as a process of its own. Everything below reaches it over the network, as a plant would.',
  steps: [
    {
      title: 'A data directory is made ready',
      async run({ directory }) {
        mkdirSync(directory, { recursive: true, mode: 0o700 })
        const shown = shownPath(directory)
        if (existsSync(join(directory, TLS_ROOT_FILE))) return { said: `goes on with ${shown}` }
        // The ports stand in the file that is written at each start; init needs none of them.
        const configFile = writeConfig(directory, [USUAL_PORTS.tls, USUAL_PORTS.public])
        const where = ['--data', directory, '--config', configFile]
        const who = ['--administrator', ADMINISTRATOR, '--token-file', join(directory, TOKEN_FILE)]
        await runCommand(['init', ...where, ...who]).catch((error: Error) => {
          throw new NotAsExpected(`${error.message}\nIf an earlier start was broken off, remove ${shown} and start again.`)
        })
        return { said: shown }
      },
    },
    {
      title: 'The server starts',
      async run(scene) {
        const { directory, world } = scene
        const startedAt = new Date(world.clock.now())
        const process = await startOnFreePorts(directory)
        scene.atEnd(() => process.stop())
        const rootsPEM = readFileSync(join(directory, TLS_ROOT_FILE), 'utf8')
        const client = (token: string): Client => {
          const transport = httpsTransport({ server: process.tls, trust: { rootsPEM } })
          scene.atEnd(() => transport.close())
          return restClient({ transport, token: secret(utf8(token)) })
        }
        scene.note(server, { process, tlsRoot: parseOnePEM(rootsPEM, 'CERTIFICATE'), startedAt, client })
        return { said: `${process.tls}, ${process.public}` }
      },
    },
    {
      title: 'The administrator appoints a PKI officer',
      async run(scene) {
        const { directory } = scene
        const { client, process } = scene.known(server)
        const chief = client(readFileSync(join(directory, TOKEN_FILE), 'utf8').trim())
        const { items } = await chief.call('listPrincipals', {})
        const person =
          items.find(({ name }) => name === OFFICER) ??
          (await chief.call('createPrincipal', { body: { kind: 'person', name: OFFICER, roles: ['pki-officer'] } }))
        const { token } = await chief.call('createToken', {
          params: { id: person.id },
          body: { name: 'trial factory', lifetimeSeconds: OFFICER_TOKEN_SECONDS },
        })
        const appointed = client(token)
        const reason = await refusalOf(() => appointed.call('createPrincipal', { body: { kind: 'person', name: 'Accomplice' } }))
        must(reason === 'permissionMissing', `the officer was refused for ${reason} instead of permissionMissing`)
        scene.note(administrator, chief)
        scene.note(officer, appointed)
        const environment = {
          SEALWORKS_SERVER: process.tls,
          SEALWORKS_TRUST: join(directory, TLS_ROOT_FILE),
          SEALWORKS_TOKEN: token,
        }
        scene.note(officerCommand, (...words) => runCommand(words, environment))
        return { said: 'may issue and revoke, may not add people' }
      },
    },
  ],
}

export const shownPath = (directory: string): string => {
  const path = relative(process.cwd(), directory)
  return path.startsWith('..') ? directory : path
}

/** Another program may take a port between our look and the server's. */
const ATTEMPTS_MAX = 3

async function startOnFreePorts(directory: string): Promise<ServerProcess> {
  for (let attempt = 1; ; attempt++) {
    const configFile = writeConfig(directory, await portsFor(directory))
    try {
      const process = await startServer({ directory, configFile })
      renameSync(configFile, join(directory, CONFIG_FILE)) // only now: another trial may have been running here
      return process
    } catch (error) {
      const isTaken = error instanceof CommandRefusal && error.reason === 'addressTaken'
      if (!isTaken || attempt === ATTEMPTS_MAX) throw error
    }
  }
}

/** The ports of the last time first: their addresses stand in the certificates that were issued then. */
async function portsFor(directory: string): Promise<readonly number[]> {
  const [tls, publicPort] = lastPorts(directory)
  return choosePorts([
    [tls ?? USUAL_PORTS.tls, USUAL_PORTS.tls],
    [publicPort ?? USUAL_PORTS.public, USUAL_PORTS.public],
  ])
}

function lastPorts(directory: string): readonly (number | undefined)[] {
  const path = join(directory, CONFIG_FILE)
  if (!existsSync(path)) return []
  try {
    const { listen, listenPublic } = parseConfig({
      file: readFileSync(path, 'utf8'),
      environment: {},
      dataDirectory: directory,
    }).server
    return [listen?.port, listenPublic?.port]
  } catch (error) {
    if (error instanceof TrustError) return [] // edited by hand; it is written anew
    throw error
  }
}

/** @returns its path, beside the one in use */
function writeConfig(directory: string, [tls, publicPort]: readonly number[]): string {
  const path = join(directory, `${CONFIG_FILE}.next`)
  const lines = [
    '# Written by `npm start` each time it starts.',
    '[server]',
    'installationName = "Trial factory"',
    `listen = "${HOST}:${tls}"`,
    `listenPublic = "${HOST}:${publicPort}"`,
    `publicUrl = "http://${HOST}:${publicPort}"`,
  ]
  writeFileSync(path, `${lines.join('\n')}\n`, { mode: 0o600 })
  return path
}

/** @returns the stable word of the refusal @throws NotAsExpected when it was allowed */
async function refusalOf(call: () => Promise<unknown>): Promise<string> {
  try {
    await call()
  } catch (error) {
    if (error instanceof RemoteRefusal) return error.reason
    throw error
  }
  throw new NotAsExpected('it was allowed')
}

export interface SignInLink {
  readonly url: string
  readonly expiresAt: Date
}

/** A link that signs the administrator in at the status page, once. */
export async function signInLink(chief: Client, { process }: TrialServer): Promise<SignInLink> {
  const { principal } = await chief.call('showMe', {})
  const { path, expiresAt } = await chief.call('createSignInLink', { params: { id: principal.id } })
  return { url: `${process.tls}${path}`, expiresAt: new Date(expiresAt) }
}
