/**
 * Mosquitto's dynamic security plugin: commands as JSON over MQTT, and what it says to them.
 *
 * A broker may say that it did something and not have done it. Nothing here believes it: whoever changes something reads it back.
 *
 * Source: mosquitto_ctrl_dynsec(1); the plugin of Mosquitto 2.0.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import type { Link } from './link.ts'

export const CONTROL_TOPIC = '$CONTROL/dynamic-security/v1'
export const RESPONSE_TOPIC = `${CONTROL_TOPIC}/response`

export type AclType =
  | 'publishClientSend'
  | 'publishClientReceive'
  | 'subscribePattern'
  | 'unsubscribePattern'
  | 'subscribe'
  | 'unsubscribe'

export interface Acl {
  readonly acltype: AclType
  readonly topic: string
}

export interface Role {
  readonly rolename: string
  readonly acls: readonly Acl[]
}

export interface Account {
  readonly username: string
  readonly roles: readonly string[]
  readonly isDisabled: boolean
}

export interface Command {
  readonly command: string
  readonly [name: string]: unknown
}

export interface Answer {
  readonly command: string
  readonly error: string | undefined
  readonly data: Readonly<Record<string, unknown>>
}

export interface DynamicSecurity {
  /** @returns an answer to each, in their order @throws TrustError `unavailable` */
  run(commands: readonly Command[]): Promise<readonly Answer[]>
  /** To be handed what comes at {@link RESPONSE_TOPIC}. */
  answered(octets: Uint8Array): void
  roles(): Promise<ReadonlyMap<string, Role>>
  accounts(): Promise<ReadonlyMap<string, Account>>
  /** @returns undefined where there is none */
  role(rolename: string): Promise<Role | undefined>
  account(username: string): Promise<Account | undefined>
}

const ANSWER_MILLISECONDS = 10_000
/** Of a list: a few hundred kB each. */
const PAGE = 500
/** Commands in one message: the plugin writes its file after each, and answers when all are done. */
const BATCH = 50

export function dynamicSecurity(link: () => Link): DynamicSecurity {
  const waiting = new Map<string, (answer: Answer) => void>()
  let last = 0

  async function runSome(commands: readonly Command[]): Promise<readonly Answer[]> {
    const asked = commands.map((command) => ({ ...command, correlationData: String(++last) }))
    const answers = asked.map(({ correlationData }) => {
      const { promise, resolve } = Promise.withResolvers<Answer>()
      waiting.set(correlationData, resolve)
      return promise
    })
    const { promise: late, reject } = Promise.withResolvers<never>()
    const timer = setTimeout(() => reject(away('its dynamic security plugin does not answer')), ANSWER_MILLISECONDS)
    try {
      await link().publish(CONTROL_TOPIC, Buffer.from(JSON.stringify({ commands: asked })))
      return await Promise.race([Promise.all(answers), late])
    } finally {
      clearTimeout(timer)
      for (const { correlationData } of asked) waiting.delete(correlationData)
    }
  }

  async function run(commands: readonly Command[]): Promise<readonly Answer[]> {
    const answers: Answer[] = []
    for (let at = 0; at < commands.length; at += BATCH) answers.push(...(await runSome(commands.slice(at, at + BATCH))))
    return answers
  }

  /** Page after page, by position: what changes meanwhile is found by the next comparison. */
  async function list<T>(command: string, name: string, read: (item: unknown) => T, keyOf: (item: T) => string) {
    const found = new Map<string, T>()
    for (let offset = 0; ; offset += PAGE) {
      const [answer] = await run([{ command, verbose: true, count: PAGE, offset }])
      const items = listIn(answer?.data[name])
      for (const item of items.map(read)) found.set(keyOf(item), item)
      if (items.length < PAGE) return found
    }
  }

  async function one<T>(command: Command, name: string, read: (item: unknown) => T): Promise<T | undefined> {
    const [answer] = await run([command])
    if (answer?.error !== undefined) {
      if (/not found/i.test(answer.error)) return undefined
      throw away(answer.error)
    }
    return read(answer?.data[name])
  }

  return {
    run,
    answered(octets) {
      for (const item of listIn(recordOf(parseJSON(octets))['responses'])) {
        const { command, correlationData, error, data } = recordOf(item)
        if (typeof correlationData !== 'string' || typeof command !== 'string') continue
        waiting.get(correlationData)?.({
          command,
          error: typeof error === 'string' ? error : undefined,
          data: recordOf(data ?? {}),
        })
      }
    },
    roles: () => list('listRoles', 'roles', roleOf, ({ rolename }) => rolename),
    accounts: () => list('listClients', 'clients', accountOf, ({ username }) => username),
    role: (rolename) => one({ command: 'getRole', rolename }, 'role', roleOf),
    account: (username) => one({ command: 'getClient', username }, 'client', accountOf),
  }
}

export const away = (detail: string): TrustError => new TrustError('unavailable', 'brokerAway', { facts: { detail } })

function parseJSON(octets: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(octets).toString()) as unknown
  } catch {
    return {} // what cannot be read answers nothing, and who waits for it is told so in time
  }
}

const recordOf = (value: unknown): Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {}
const listIn = (value: unknown): readonly unknown[] => (Array.isArray(value) ? (value as readonly unknown[]) : [])
const textOf = (value: unknown): string => (typeof value === 'string' ? value : '')

function roleOf(item: unknown): Role {
  const { rolename, acls } = recordOf(item)
  return {
    rolename: textOf(rolename),
    acls: listIn(acls).map((acl) => {
      const { acltype, topic, allow } = recordOf(acl)
      // one that denies is none of ours, and shows as a difference
      return { acltype: textOf(acltype) as AclType, topic: allow === true ? textOf(topic) : `!${textOf(topic)}` }
    }),
  }
}

function accountOf(item: unknown): Account {
  const { username, roles, groups, disabled } = recordOf(item)
  return {
    username: textOf(username),
    // a group's roles are roles as well
    roles: [
      ...listIn(roles).map((role) => textOf(recordOf(role)['rolename'])),
      ...listIn(groups).map((group) => `group ${textOf(recordOf(group)['groupname'])}`),
    ],
    isDisabled: disabled === true,
  }
}
