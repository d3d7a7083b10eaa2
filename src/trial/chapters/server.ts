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
import { openPeople, peopleLines } from '../people.ts'
import { choosePorts, HOST } from '../ports.ts'
import { CommandRefusal, runCommand, type ServerProcess, startServer } from '../server-process.ts'
import { type Chapter, fact, must, NotAsExpected, type Scene } from '../story.ts'
import { isHere, openToken, TOKEN_LABEL, type TrialToken } from '../token.ts'
import { keepLogKey, startWitness, type TrialWitness } from '../witness.ts'

export interface TrialServer {
  readonly process: ServerProcess
  /** Of its message broker. */
  readonly mqttPort: number
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
export const officerCommand = fact<(...words: readonly string[]) => Promise<unknown>>('the PKI officer’s command line')

/** Undefined where SoftHSM is not installed. */
export const token = fact<TrialToken | undefined>('the token')
/** The key store that the token is. */
export const TOKEN_STORE = 'hsm'
export const witness = fact<TrialWitness>('the witness')

/** The signer that says what each device may install. */
export const DIRECTOR = 'director'
const CONFIG_FILE = 'sealworks.toml'
export const TOKEN_FILE = 'administrator.token'
/** Opens the trial's backups. In a plant it lies in a safe. */
export const RECOVERY_KEY_FILE = 'recovery.key'
const ADMINISTRATOR = 'Trial administrator'
const OFFICER = 'Trial PKI officer'
const TOKEN_SECONDS = 3600

/** What `serve` takes unless told otherwise. */
const USUAL_PORTS = { tls: 8443, public: 8080, mqtt: 8883 } as const

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
        const who = ['--administrator', ADMINISTRATOR, '--token-file', join(directory, TOKEN_FILE)]
        const made = await runCommand(['init', ...withoutServer(directory), ...who]).catch((error: Error) => {
          throw new NotAsExpected(`${error.message}\nIf an earlier start was broken off, remove ${shown} and start again.`)
        })
        keepLogKey(directory, (made as { readonly auditVerifierKey: string }).auditVerifierKey)
        return { said: shown }
      },
    },
    {
      title: 'A recovery key is made, which opens backups',
      async run({ directory }) {
        const file = join(directory, RECOVERY_KEY_FILE)
        if (existsSync(file)) return { said: 'the same as last time' }
        await runCommand(['backup', 'recovery-key', '--out', file])
        return { said: 'in a plant it goes into a safe' }
      },
    },
    {
      title: 'A token for keys is made ready (SoftHSM)',
      async run(scene) {
        const made = await openToken(scene.directory, scene.world.random)
        scene.note(token, made)
        if (!isHere(made)) return { said: 'not here: install softhsm2 to see keys in a token', skipped: true }
        return { said: made.standing === 'new' ? 'initialized, with a random PIN' : 'the same as last time' }
      },
    },
    {
      title: 'Who may say who orders machines about',
      async run({ directory }) {
        const words = [...withoutServer(directory), '--token-file', join(directory, TOKEN_FILE)]
        const standing = await openPeople({ directory, run: (...more) => runCommand([...more, ...words]) })
        return {
          said:
            standing === 'known' ? 'the same as last time' : 'a policy officer with a key of their own, which the server has not',
        }
      },
    },
    {
      title: 'A witness of the record starts',
      async run(scene) {
        const started = await startWitness(scene.directory)
        scene.atEnd(() => started.process.stop())
        scene.note(witness, started)
        return { said: 'another process: it remembers how long the log was' }
      },
    },
    {
      title: 'The server starts',
      async run(scene) {
        const { directory, world } = scene
        const startedAt = new Date(world.clock.now())
        const { process, mqttPort } = await startOnFreePorts(scene)
        scene.atEnd(() => process.stop())
        const rootsPEM = readFileSync(join(directory, TLS_ROOT_FILE), 'utf8')
        const client = (token: string): Client => {
          const transport = httpsTransport({ server: process.tls, trust: { rootsPEM } })
          scene.atEnd(() => transport.close())
          return restClient({ transport, token: secret(utf8(token)) })
        }
        scene.note(server, { process, mqttPort, tlsRoot: parseOnePEM(rootsPEM, 'CERTIFICATE'), startedAt, client })
        return { said: `${process.tls}, ${process.public}` }
      },
    },
    {
      title: 'The administrator appoints a PKI officer',
      async run(scene) {
        const { directory } = scene
        const { client, process } = scene.known(server)
        const chief = client(readFileSync(join(directory, TOKEN_FILE), 'utf8').trim())
        scene.note(administrator, chief)
        const secretToken = await personToken(scene, OFFICER, 'pki-officer')
        const appointed = client(secretToken)
        const reason = await refusalOf(() => appointed.call('createPrincipal', { body: { kind: 'person', name: 'Accomplice' } }))
        must(reason === 'permissionMissing', `the officer was refused for ${reason} instead of permissionMissing`)
        scene.note(officer, appointed)
        const environment = {
          SEALWORKS_SERVER: process.tls,
          SEALWORKS_TRUST: join(directory, TLS_ROOT_FILE),
          SEALWORKS_TOKEN: secretToken,
        }
        scene.note(officerCommand, (...words) => runCommand(words, environment))
        return { said: 'may issue and revoke, may not add people' }
      },
    },
  ],
}

/** A token of a person with this role, who is appointed at the first start. */
export async function personToken({ known }: Scene, name: string, role: Role): Promise<string> {
  const chief = known(administrator)
  const { items } = await chief.call('listPrincipals', {})
  const person =
    items.find((one) => one.name === name) ??
    (await chief.call('createPrincipal', { body: { kind: 'person', name, roles: [role] } }))
  const body = { name: 'trial factory', lifetimeSeconds: TOKEN_SECONDS }
  return (await chief.call('createToken', { params: { id: person.id }, body })).token
}

type Role = 'pki-officer' | 'release-engineer' | 'approver'

export const shownPath = (directory: string): string => {
  const path = relative(process.cwd(), directory)
  return path.startsWith('..') ? directory : path
}

/** Another program may take a port between our look and the server's. */
const ATTEMPTS_MAX = 3

async function startOnFreePorts({ directory, known }: Scene): Promise<Pick<TrialServer, 'process' | 'mqttPort'>> {
  const [hsm, seenBy] = [known(token), known(witness)]
  for (let attempt = 1; ; attempt++) {
    const ports = await portsFor(directory)
    const configFile = writeConfig(directory, [
      ...serverLines(ports),
      ...peopleLines(directory),
      ...witnessLines(seenBy),
      ...(hsm === undefined ? [] : tokenLines(hsm)),
    ])
    try {
      const process = await startServer({ directory, configFile, environment: hsm?.environment ?? {} })
      renameSync(configFile, join(directory, CONFIG_FILE)) // only now: another trial may have been running here
      return { process, mqttPort: ports.mqtt }
    } catch (error) {
      const isTaken = error instanceof CommandRefusal && error.reason === 'addressTaken'
      if (!isTaken || attempt === ATTEMPTS_MAX) throw error
    }
  }
}

/** The ports of the last time first: their addresses stand in the certificates that were issued then. */
async function portsFor(directory: string): Promise<Ports> {
  const last = { ...USUAL_PORTS, ...lastPorts(directory) }
  const names = ['tls', 'public', 'mqtt'] as const
  const chosen = await choosePorts(names.map((name) => [last[name], USUAL_PORTS[name]]))
  const [tls = 0, publicPort = 0, mqtt = 0] = chosen
  return { tls, public: publicPort, mqtt }
}

type Ports = Readonly<Record<keyof typeof USUAL_PORTS, number>>

function lastPorts(directory: string): Partial<Ports> {
  const path = join(directory, CONFIG_FILE)
  if (!existsSync(path)) return {}
  try {
    const file = readFileSync(path, 'utf8')
    const { server, mqtt } = parseConfig({ file, environment: {}, dataDirectory: directory })
    return {
      ...(server.listen !== undefined && { tls: server.listen.port }),
      ...(server.listenPublic !== undefined && { public: server.listenPublic.port }),
      ...(mqtt.listen !== undefined && { mqtt: mqtt.listen.port }),
    }
  } catch (error) {
    if (error instanceof TrustError) return {} // edited by hand; it is written anew
    throw error
  }
}

/** For commands that work on the directory before the server runs; the ports stand there for completeness only. */
const withoutServer = (directory: string): readonly string[] => {
  const configFile = writeConfig(directory, serverLines(USUAL_PORTS))
  return ['--data', directory, '--config', configFile]
}

const serverLines = (ports: Ports): readonly string[] => [
  '[server]',
  'installationName = "Trial factory"',
  `listen = "${HOST}:${ports.tls}"`,
  `listenPublic = "${HOST}:${ports.public}"`,
  `publicUrl = "http://${HOST}:${ports.public}"`,
  '[backup]',
  `recipients = ["${RECOVERY_KEY_FILE}.pem"]`,
  '[mqtt]',
  `listen = "${HOST}:${ports.mqtt}"`,
  '[updates]',
  `directorSigner = "${DIRECTOR}"`,
]

/** Asked each second: a story does not wait for the usual minute. */
const witnessLines = ({ verifierKey, url }: TrialWitness): readonly string[] => [
  '[audit]',
  `witnesses = ["${verifierKey} ${url}"]`,
  'witnessIntervalSeconds = 1',
]

/** No PIN: somebody has to give it. */
const tokenLines = ({ module }: TrialToken): readonly string[] => [
  `[keyStore.${TOKEN_STORE}]`,
  `module = "${module}"`,
  `tokens = ["label:${TOKEN_LABEL}"]`,
]

/** @returns its path, beside the one in use */
function writeConfig(directory: string, lines: readonly string[]): string {
  const path = join(directory, `${CONFIG_FILE}.next`)
  writeFileSync(path, `${['# Written by `npm start` each time it starts.', ...lines].join('\n')}\n`, { mode: 0o600 })
  return path
}

/** @returns the stable word of the refusal @throws NotAsExpected when it was allowed */
export async function refusalOf(call: () => Promise<unknown>): Promise<string> {
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
