/**
 * The kinds of setting: what each accepts from a file and from the environment, in what bounds, and in which words
 * it says no.
 *
 * @module
 */
import { resolve } from 'node:path'
import { parseSchedule, type Schedule } from '#algorithms/policy.ts'

/** A value, or what is wrong with it. The sentence goes on after the setting's name: "must be …". */
export type Reading<T> = { readonly value: T } | { readonly problem: string }

export interface Setting<T> {
  /** One line for a person: what it does. */
  readonly help: string
  /** What is allowed, in words. */
  readonly allowed: string
  /** As it would be written in the file; undefined where there is none. */
  readonly default: unknown
  /** True where the environment may name a file with `…_FILE`. */
  readonly secret: boolean
  /** Its section cannot do without it. */
  readonly needed?: true
  /** @param written a TOML value */
  read(written: unknown, context: ReadingContext): Reading<T>
  /** Turns an environment variable's text into what the file would have held. */
  fromText(text: string): unknown
}

export interface ReadingContext {
  /** Relative paths start here. */
  readonly dataDirectory: string
}

export type ValueOf<S> = S extends Setting<infer T> ? T : never

export interface Address {
  readonly host: string
  readonly port: number
}

/** Where a secret is kept; the secret itself is never in the configuration. */
export type SecretReference = { readonly kind: 'file'; readonly path: string } | { readonly kind: 'env'; readonly name: string }

const asIs = (text: string): unknown => text

export const integer = (low: number, high: number, fallback: number, help: string): Setting<number> => ({
  help,
  allowed: `a whole number from ${low} to ${high}`,
  default: fallback,
  secret: false,
  read: (written) =>
    Number.isSafeInteger(written) && (written as number) >= low && (written as number) <= high
      ? { value: written as number }
      : { problem: `must be a whole number from ${low} to ${high}` },
  fromText: (text) => (/^-?\d{1,15}$/.test(text) ? Number(text) : text),
})

export const flag = (fallback: boolean, help: string): Setting<boolean> => ({
  help,
  allowed: 'true or false',
  default: fallback,
  secret: false,
  read: (written) => (typeof written === 'boolean' ? { value: written } : { problem: 'must be true or false' }),
  fromText: (text) => (text === 'true' ? true : text === 'false' ? false : text),
})

export const oneOf = <const V extends string>(values: readonly V[], fallback: NoInfer<V>, help: string): Setting<V> => ({
  help,
  allowed: `one of ${values.join(', ')}`,
  default: fallback,
  secret: false,
  read: (written) =>
    values.includes(written as V) ? { value: written as V } : { problem: `must be one of ${values.join(', ')}` },
  fromText: asIs,
})

/** Longest text setting: generous for names, short enough for a log line. */
const TEXT_MAX_LENGTH = 1024

export const text = (fallback: string, help: string): Setting<string> => ({
  help,
  allowed: 'text',
  default: fallback,
  secret: false,
  read: (written) =>
    typeof written === 'string' && written.length <= TEXT_MAX_LENGTH
      ? { value: written }
      : { problem: `must be text of at most ${TEXT_MAX_LENGTH} characters` },
  fromText: asIs,
})

/** In the environment the entries stand with commas between. */
export const listOf = <T>(item: Setting<T>, fallback: readonly string[], help: string): Setting<readonly T[]> => ({
  help,
  allowed: `a list, each ${item.allowed}`,
  default: fallback,
  secret: false,
  read(written, context) {
    if (!Array.isArray(written)) return { problem: 'must be a list' }
    const values: T[] = []
    for (const [index, entry] of written.entries()) {
      const reading = item.read(entry, context)
      if ('problem' in reading) return { problem: `entry ${index + 1} ${reading.problem}` }
      values.push(reading.value)
    }
    return { value: values }
  },
  fromText: (given) =>
    given
      .split(',')
      .map((entry) => entry.trim())
      .filter((entry) => entry !== '')
      .map((entry) => item.fromText(entry)),
})

/** A DNS name or IP address as a certificate would carry it. */
export const hostName = (help: string): Setting<string> => ({
  help,
  allowed: 'a DNS name or IP address',
  default: undefined,
  secret: false,
  read: (written) =>
    typeof written === 'string' && /^(?:[0-9a-f:.]{2,45}|(?:\*\.)?[a-z0-9_](?:[a-z0-9-.]{0,251}[a-z0-9])?)$/i.test(written)
      ? { value: written }
      : { problem: 'must be a DNS name or IP address' },
  fromText: asIs,
})

const ADDRESS = /^(?:\[(?<six>[0-9a-fA-F:.]+)\]|(?<host>[A-Za-z0-9.-]+)):(?<port>\d{1,5})$/

/** @returns undefined unless `written` is HOST:PORT or [IPV6]:PORT; port 0 asks for any free one */
export function parseAddress(written: string): Address | undefined {
  const groups = ADDRESS.exec(written)?.groups
  const port = Number(groups?.['port'])
  const host = groups?.['six'] ?? groups?.['host']
  return host !== undefined && port <= 65535 ? { host, port } : undefined
}

/** `off` where there is no such listener. */
export const address = (fallback: string, help: string): Setting<Address | undefined> => ({
  help,
  allowed: 'HOST:PORT, [IPV6]:PORT, or "off"',
  default: fallback,
  secret: false,
  read(written) {
    if (written === 'off') return { value: undefined }
    const value = typeof written === 'string' ? parseAddress(written) : undefined
    return value === undefined ? { problem: 'must be HOST:PORT, [IPV6]:PORT, or "off"' } : { value }
  },
  fromText: asIs,
})

/** A web address without a query and without a slash at the end; undefined when not set. */
export const url = (schemes: readonly string[], help: string): Setting<string | undefined> => {
  const problem = `must be a web address that begins with ${schemes.join(' or ')} and has no user, query or fragment`
  return {
    help,
    allowed: `a web address (${schemes.join(', ')})`,
    default: undefined,
    secret: false,
    read(written) {
      const parsed = typeof written === 'string' ? URL.parse(written) : null
      if (parsed === null || !schemes.includes(parsed.protocol.slice(0, -1))) return { problem }
      if (parsed.search !== '' || parsed.hash !== '' || parsed.username !== '' || parsed.password !== '') return { problem }
      return { value: parsed.href.replace(/\/$/, '') }
    },
    fromText: asIs,
  }
}

/** A file or directory; relative ones start at the data directory. @param fallback undefined where there may be none */
export const path = <const F extends string | undefined>(
  fallback: F,
  help: string,
): Setting<F extends string ? string : string | undefined> => ({
  help,
  allowed: 'a path; relative ones start at the data directory',
  default: fallback,
  secret: false,
  read: (written, { dataDirectory }) =>
    typeof written === 'string' && written !== '' && !written.includes('\0')
      ? { value: resolve(dataDirectory, written) }
      : { problem: 'must be a path' },
  fromText: asIs,
})

/** Which database: `sqlite:PATH` or `postgres://…` without its password. */
export interface DatabaseAddress {
  readonly engine: 'sqlite' | 'postgres'
  /** SQLite: an absolute path. PostgreSQL: the URL. */
  readonly location: string
}

export const databaseURL = (fallback: string, help: string): Setting<DatabaseAddress> => ({
  help,
  allowed: 'sqlite:PATH or postgres://USER@HOST:PORT/DATABASE',
  default: fallback,
  secret: false,
  read(written, { dataDirectory }) {
    const problem = 'must be sqlite:PATH or postgres://USER@HOST:PORT/DATABASE'
    if (typeof written !== 'string') return { problem }
    if (/^sqlite:./.test(written)) return { value: { engine: 'sqlite', location: resolve(dataDirectory, written.slice(7)) } }
    const parsed = URL.parse(written)
    if (parsed === null || !/^postgres(?:ql)?:$/.test(parsed.protocol)) return { problem }
    // A URL is printed, logged and passed around; a password in it would be, too.
    if (parsed.password !== '' || parsed.searchParams.has('password')) {
      return { problem: 'must not hold a password; name it with the setting `password`, as file:PATH or env:NAME' }
    }
    return { value: { engine: 'postgres', location: written } }
  },
  fromText: asIs,
})

/** Names a secret, never holds one. @param fallback undefined where nothing is named unless the file does */
export const secretReference = <const F extends string | undefined>(
  fallback: F,
  help: string,
): Setting<F extends string ? SecretReference : SecretReference | undefined> => ({
  help,
  allowed: 'file:PATH or env:NAME',
  default: fallback,
  secret: true,
  read(written, { dataDirectory }) {
    if (typeof written === 'string' && /^file:./.test(written)) {
      return { value: { kind: 'file', path: resolve(dataDirectory, written.slice(5)) } }
    }
    if (typeof written === 'string' && /^env:[A-Za-z_][A-Za-z0-9_]*$/.test(written)) {
      return { value: { kind: 'env', name: written.slice(4) } }
    }
    return { problem: 'must be file:PATH or env:NAME; a secret itself is never written here' } // and never repeated here
  },
  fromText: asIs,
})

/** Who cosigns the audit log's checkpoints, and where to ask. */
export interface WitnessReference {
  /** C2SP signed-note verifier key of type cosignature/v1. */
  readonly verifierKey: string
  readonly url: string
}

/** `KEY URL`: the key as the witness prints it, a space, where it listens. */
export const witness = (help: string): Setting<WitnessReference> => {
  const problem = 'must be the key of a witness (NAME+ID+KEY), a space, and its web address'
  return {
    help,
    allowed: 'KEY URL: the key that the witness prints, a space, and its web address',
    default: undefined,
    secret: false,
    read(written) {
      const [verifierKey, address, ...rest] = typeof written === 'string' ? written.trim().split(/ +/) : []
      if (verifierKey === undefined || address === undefined || rest.length > 0) return { problem }
      const reading = url(['http', 'https'], help).read(address, { dataDirectory: '' })
      if (!/^[^\s+]+\+[0-9a-f]{8}\+[A-Za-z0-9+/]+=*$/.test(verifierKey) || 'problem' in reading) return { problem }
      return reading.value === undefined ? { problem } : { value: { verifierKey, url: reading.value } }
    },
    fromText: asIs,
  }
}

/** RFC 5905, 7.2. */
const NTP_PORT = 123

/** An NTP server; its port may be left out. */
export const timeServer = (help: string): Setting<Address> => {
  const problem =
    'must be the name or address of an NTP server, perhaps with its port: ntp.example, ntp.example:123, [2001:db8::1]:123'
  return {
    help,
    allowed: 'HOST, HOST:PORT or [IPV6]:PORT',
    default: undefined,
    secret: false,
    read(written) {
      const value = typeof written === 'string' ? (parseAddress(written) ?? parseAddress(`${written}:${NTP_PORT}`)) : undefined
      return value === undefined || value.port === 0 ? { problem } : { value }
    },
    fromText: asIs,
  }
}

/** A PKCS #11 token, by what stays when it is plugged in elsewhere. */
export type TokenName = { readonly label: string } | { readonly serialNumber: string }

export const tokenName = (help: string): Setting<TokenName> => ({
  help,
  allowed: 'label:LABEL or serial:NUMBER',
  default: undefined,
  secret: false,
  read(written) {
    // the widths of CK_TOKEN_INFO
    const [, kind, value = ''] = /^(label|serial):(.+)$/.exec(typeof written === 'string' ? written : '') ?? []
    if (kind === 'label' && Buffer.byteLength(value) <= 32) return { value: { label: value } }
    if (kind === 'serial' && Buffer.byteLength(value) <= 16) return { value: { serialNumber: value } }
    return { problem: 'must be label:LABEL (at most 32 bytes) or serial:NUMBER (at most 16); a slot number changes too easily' }
  },
  fromText: asIs,
})

/** X.660: the first arc says how far the second goes. */
const OBJECT_IDENTIFIER = /^(?:[01]\.(?:[1-3]?\d)|2\.(?:0|[1-9]\d{0,9}))(?:\.(?:0|[1-9]\d{0,9})){1,20}$/

/** Undefined unless it is set. */
export const objectIdentifier = (help: string): Setting<string | undefined> => ({
  help,
  allowed: 'an object identifier such as 1.3.6.1.4.1.32473.1',
  default: undefined,
  secret: false,
  read: (written) =>
    typeof written === 'string' && OBJECT_IDENTIFIER.test(written)
      ? { value: written }
      : { problem: 'must be an object identifier such as 1.3.6.1.4.1.32473.1' },
  fromText: asIs,
})

/** What a named section cannot do without. */
export const needed = <T>(setting: Setting<T | undefined>): Setting<T> => ({ ...setting, needed: true }) as Setting<T>

/** When an algorithm is allowed, deprecated or refused. Undefined: the preset says. */
export const schedule = (help: string): Setting<Schedule | undefined> => {
  const allowed = 'allowed, deprecated or refused, each with "from YYYY-MM-DD" but the first perhaps, commas between'
  return {
    help,
    allowed,
    default: undefined,
    secret: false,
    read(written) {
      const value = typeof written === 'string' ? parseSchedule(written) : undefined
      return value === undefined ? { problem: `must be ${allowed}, in order of time` } : { value }
    },
    fromText: asIs,
  }
}
