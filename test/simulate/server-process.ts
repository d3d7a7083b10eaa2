/**
 * The whole server as a process of its own, which can be killed and started again in the same place.
 *
 * @module
 */
import { type ChildProcess, execFile, type ExecFileOptions, spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { parseOnePEM } from '#asn1/pem.ts'
import { utf8 } from '#base/bytes.ts'
import { secret, type Secret } from '#base/secret.ts'

export interface Installation {
  readonly dataDirectory: string
  /** `https://127.0.0.1:PORT` */
  readonly origin: string
  /** `http://127.0.0.1:PORT` */
  readonly publicOrigin: string
  /** DER */
  readonly tlsRoot: Uint8Array
  readonly tlsRootPEM: string
  /** The administrator's. */
  readonly token: Secret
  /** What its servers get in their environment besides. */
  readonly environment?: Readonly<Record<string, string>>
}

export interface ServerProcess {
  readonly process: ChildProcess
  /** When both listeners answer. Never, when the process ends before. */
  readonly ready: Promise<void>
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null; readonly complaint: string }>
}

const product = join(import.meta.dirname, '../../src/cli/main.ts')
const worker = join(import.meta.dirname, 'server-worker.ts')

export interface InstallOptions {
  /** URL; a file in the directory unless told. */
  readonly database?: string | undefined
  /** Threads that take connections. */
  readonly workers?: number | undefined
}

/** One command of the product. */
export const runProduct = (words: readonly string[], options: ExecFileOptions = {}): Promise<{ readonly stdout: string }> =>
  promisify(execFile)(process.execPath, [product, ...words], { ...options, encoding: 'utf8' })

/** What `sealworks init` does, by `sealworks init`. */
export async function install(dataDirectory: string, { database, workers = 0 }: InstallOptions = {}): Promise<Installation> {
  const [tls, open] = await Promise.all([freePort(), freePort()])
  const publicOrigin = `http://127.0.0.1:${open}`
  const settings = [
    '[server]',
    `publicUrl = "${publicOrigin}"`,
    `listen = "127.0.0.1:${tls}"`,
    `listenPublic = "127.0.0.1:${open}"`,
    'requestsPerSecondPerAddress = 0',
    'gracefulStopSeconds = 5',
    `workers = ${workers}`,
    '[ca]',
    'crlMinIntervalSeconds = 1',
    '[log]',
    'level = "warn"',
    ...(database === undefined ? [] : ['[store]', `url = "${database}"`]),
  ]
  writeFileSync(join(dataDirectory, 'sealworks.toml'), settings.join('\n'))
  const tokenFile = join(dataDirectory, 'administrator.token')
  const words = ['init', '--data', dataDirectory, '--administrator', 'Ada Berg', '--token-file', tokenFile]
  await runProduct(words, { cwd: dataDirectory, env: { ...process.env, NODE_COMPILE_CACHE: cacheOf(dataDirectory) } })
  const tlsRootPEM = readFileSync(join(dataDirectory, 'tls-root.pem'), 'utf8')
  return {
    dataDirectory,
    origin: `https://127.0.0.1:${tls}`,
    publicOrigin,
    tlsRoot: parseOnePEM(tlsRootPEM, 'CERTIFICATE'),
    tlsRootPEM,
    token: secret(utf8(readFileSync(tokenFile, 'utf8').trim())),
  }
}

/** @param stopAt `POINT#COUNT` where the process is to stop itself; the product itself runs otherwise @param settings by the environment */
export function startServer(
  { dataDirectory, environment = {} }: Installation,
  stopAt?: string,
  settings: Readonly<Record<string, string>> = {},
): ServerProcess {
  const child = spawn(process.execPath, [stopAt === undefined ? product : worker, 'serve', '--json', '--data', dataDirectory], {
    cwd: dataDirectory,
    stdio: ['ignore', 'pipe', 'pipe'],
    // compiled once by `init`: a server that is started over and over answers in half the time
    env: {
      ...process.env,
      ...environment,
      ...settings,
      NODE_COMPILE_CACHE: cacheOf(dataDirectory),
      ...(stopAt !== undefined && { SEALWORKS_TEST_STOP_AT: stopAt }),
    },
  })
  let complaint = ''
  child.stderr.on('data', (chunk) => (complaint += String(chunk)))
  const ready = Promise.withResolvers<void>()
  child.stdout.once('data', () => ready.resolve()) // it says where it listens once it does
  const ended = new Promise<Awaited<ServerProcess['ended']>>((resolve) => {
    child.once('close', (code, signal) => resolve({ code, signal, complaint }))
  })
  return { process: child, ready: ready.promise, ended }
}

const cacheOf = (dataDirectory: string): string => join(dataDirectory, 'compiled')

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => (typeof address === 'object' && address !== null ? resolve(address.port) : reject(new Error('no port'))))
    })
  })
}
