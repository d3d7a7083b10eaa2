/**
 * The driver of a Mosquitto that runs beside: each device has an account and a role of its own in the dynamic security plugin,
 * and the CRLs of the areas' authorities lie in a file that Mosquitto reads again when told.
 *
 * Always both: an account that is disabled ends a session that is there and a role that is gone leaves it nothing to say, and a
 * CRL keeps the certificate from connecting anew. Whatever is changed is read back.
 *
 * @module
 */
import { readFileSync, renameSync, rmSync } from 'node:fs'
import { writeDurably, syncDirectory } from '#base/durable-file.ts'
import { dirname } from 'node:path'
import { asTrustError, TrustError } from '#base/errors.ts'
import type { Log } from '#base/log.ts'
import {
  type Broker,
  type BrokerDevice,
  type BrokerInbox,
  type BrokerRules,
  type BrokerStatus,
  handIn,
  type Reconciliation,
} from '../broker.ts'
import { parseUp, publishedByDevice, subscribedByDevice, subtreeOf, UP_OF_ALL } from '../topics.ts'
import { type Account, type Acl, away, type Command, dynamicSecurity, RESPONSE_TOPIC, type Role } from './dynamic-security.ts'
import { type Link, type LinkOptions, openLink } from './link.ts'

/** A device that may connect now. */
export interface RolledDevice extends BrokerDevice {
  /** One for each subject of its usable certificates. */
  readonly usernames: readonly string[]
}

/** Who may connect now: filled by the server. */
export interface DeviceRoll {
  all(): AsyncIterable<RolledDevice>
  /** @returns undefined for one that may not */
  one(deviceId: string): Promise<RolledDevice | undefined>
}

export interface MosquittoOptions {
  readonly link: Omit<LinkOptions, 'receive' | 'lost'>
  readonly roll: DeviceRoll
  readonly rules: Pick<BrokerRules, 'grants'>
  readonly inbox: BrokerInbox
  /** The newest CRLs of all authorities whose certificates it takes, as PEM. */
  readonly crls: () => Promise<string>
  /** Where Mosquitto reads them, and where it wrote its process id; undefined for none. */
  readonly crlFile: string | undefined
  readonly pidFile: string | undefined
  readonly log: Log
}

export interface MosquittoBroker extends Broker {
  /** Puts these devices right: those that may connect no more are cut off. @throws TrustError `unavailable` */
  update(deviceIds: Iterable<string>): Promise<void>
  /** Connects again where the connection is lost, and brings new CRLs. To be called about once a second. */
  runOnce(): Promise<void>
}

/** Of ours: others in the same broker are left alone. */
const ROLE_PREFIX = 'sealworks/'
const DRIVER_ROLE = `${ROLE_PREFIX}driver`

const roleNameOf = (deviceId: string): string => `${ROLE_PREFIX}device/${deviceId}`

interface Wanted {
  readonly device: BrokerDevice
  readonly role: Role
  readonly usernames: readonly string[]
}

export function mosquittoBroker(options: MosquittoOptions): MosquittoBroker {
  const { roll, rules, inbox, log } = options
  const known = new Map<string, Wanted>()
  const bySubtree = new Map<string, BrokerDevice>()
  const owners = new Map<string, string>()
  let link: Link | undefined
  let state: BrokerStatus['state'] = 'stopped'
  let detail: string | undefined
  let cuts = 0
  let queue: Promise<unknown> = Promise.resolve()
  const security = dynamicSecurity(() => {
    if (link === undefined) throw away(detail ?? 'not connected')
    return link
  })

  /** One after the other: what is read back has to be what was written. */
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = queue.then(work, work)
    queue = mine.catch(() => {})
    return mine
  }

  function noteLost(why: string): void {
    link = undefined
    if (state !== 'stopped') state = 'away'
    if (detail !== why) log.warn('the message broker is away', { detail: why })
    detail = why
  }

  async function connect(): Promise<void> {
    const receive = async (topic: string, octets: Uint8Array): Promise<void> =>
      topic === RESPONSE_TOPIC ? security.answered(octets) : takeUp(topic, octets)
    link = await openLink({ ...options.link, receive, lost: noteLost })
    await link.subscribe([RESPONSE_TOPIC])
    await beDriver()
    await link.subscribe([UP_OF_ALL])
  }

  /** The plugin ends a session whose account gets a role, the driver's own at its first start too. */
  async function connectWithRole(): Promise<void> {
    try {
      await connect()
    } catch {
      await connect()
    }
  }

  /** Nobody has what no role gives, and the driver's account has what the driver needs. */
  async function beDriver(): Promise<void> {
    const denied = (['publishClientSend', 'publishClientReceive', 'subscribe'] as const).map((acltype) => ({
      acltype,
      allow: false,
    }))
    const role: Role = {
      rolename: DRIVER_ROLE,
      acls: [
        ...(['subscribePattern', 'publishClientReceive'] as const).map((acltype) => ({ acltype, topic: UP_OF_ALL })),
        ...subscribedByDevice.map((channel) => ({ acltype: 'publishClientSend' as const, topic: `iiot/+/+/+/${channel}/#` })),
      ],
    }
    const { username } = options.link
    const had = await security.role(DRIVER_ROLE)
    if (had === undefined || !sameAcls(had, role)) await security.run([had === undefined ? createRole(role) : modifyRole(role)])
    const account = await security.account(username)
    if (account?.roles.includes(DRIVER_ROLE) !== true)
      await security.run([{ command: 'addClientRole', username, rolename: DRIVER_ROLE, priority: 0 }])
    await security.run([{ command: 'setDefaultACLAccess', acls: denied }])
    const [defaults] = await security.run([{ command: 'getDefaultACLAccess' }])
    const open = (defaults?.data['acls'] as readonly { readonly acltype: string; readonly allow: boolean }[] | undefined) ?? []
    for (const { acltype } of denied)
      if (!open.some((one) => one.acltype === acltype && !one.allow))
        throw disagrees(`what no role gives is allowed (${acltype})`)
  }

  async function wantedOf(device: RolledDevice): Promise<Wanted> {
    const { publish, subscribe } = await rules.grants(device)
    const own = subtreeOf(device)
    const send = [...publishedByDevice.map((channel) => `${own}/${channel}/#`), ...publish]
    const hear = [...subscribedByDevice.map((channel) => `${own}/${channel}/#`), ...subscribe]
    const acls: Acl[] = [
      ...send.map((topic): Acl => ({ acltype: 'publishClientSend', topic })),
      ...hear.map((topic): Acl => ({ acltype: 'publishClientReceive', topic })),
      ...hear.map((topic): Acl => ({ acltype: 'subscribePattern', topic })),
    ]
    return { device, role: { rolename: roleNameOf(device.deviceId), acls }, usernames: device.usernames }
  }

  /** Two devices whose certificates have one subject cannot be told apart there: the second gets nothing. */
  function withoutOthers(wanted: Wanted): Wanted {
    const { deviceId } = wanted.device
    const usernames = wanted.usernames.filter((username) => (owners.get(username) ?? deviceId) === deviceId)
    if (usernames.length < wanted.usernames.length)
      log.warn('another device has the same subject in its certificate, so that the broker cannot tell them apart', {
        device: deviceId,
      })
    return { ...wanted, usernames }
  }

  function remember(deviceId: string, wanted: Wanted | undefined): void {
    const before = known.get(deviceId)
    if (before !== undefined) {
      bySubtree.delete(subtreeOf(before.device))
      for (const username of before.usernames) owners.delete(username)
    }
    known.delete(deviceId)
    if (wanted === undefined) return
    known.set(deviceId, wanted)
    bySubtree.set(subtreeOf(wanted.device), wanted.device)
    for (const username of wanted.usernames) owners.set(username, deviceId)
  }

  async function reconcileAll(): Promise<Reconciliation> {
    for (const id of known.keys()) remember(id, undefined)
    for await (const rolled of roll.all()) remember(rolled.deviceId, withoutOthers(await wantedOf(rolled)))
    const counts = { devices: known.size, added: 0, changed: 0, removed: 0 }
    const [roles, accounts] = [await security.roles(), await security.accounts()]
    for (const wanted of known.values()) {
      const isThere = roles.has(wanted.role.rolename)
      if (await putRight(wanted, roles.get(wanted.role.rolename), accounts)) counts[isThere ? 'changed' : 'added'] += 1
    }
    const [ours, names] = [new Set([...known.values()].map(({ role }) => role.rolename)), new Set(owners.keys())]
    const stale = [...accounts.values()].filter(({ username, roles: its }) => !names.has(username) && its.some(isOfDevice))
    const empty = [...roles.keys()].filter((rolename) => isOfDevice(rolename) && !ours.has(rolename))
    await remove(
      stale.map(({ username }) => username),
      empty,
    )
    counts.removed = empty.length
    await readBackAll()
    return counts
  }

  /** @returns whether anything was different */
  async function putRight(wanted: Wanted, role: Role | undefined, accounts: ReadonlyMap<string, Account>): Promise<boolean> {
    const commands: Command[] = []
    const mine = wanted.usernames.map((username) => ({ username, account: accounts.get(username) }))
    const isChanged = role === undefined || !sameAcls(role, wanted.role)
    // a session that rests on what was ends, and the device connects again
    if (isChanged)
      for (const { username, account } of mine) if (account !== undefined) commands.push({ command: 'disableClient', username })
    if (role === undefined) commands.push(createRole(wanted.role))
    else if (isChanged) commands.push(modifyRole(wanted.role))
    for (const { username, account } of mine) {
      const roles = [{ rolename: wanted.role.rolename, priority: 0 }]
      if (account === undefined) commands.push({ command: 'createClient', username, roles })
      else if (!isAccount(account, wanted)) commands.push({ command: 'modifyClient', username, roles, groups: [] })
      if (account !== undefined && (isChanged || account.isDisabled)) commands.push({ command: 'enableClient', username })
    }
    if (commands.length === 0) return false
    await security.run(commands)
    return true
  }

  async function remove(usernames: readonly string[], rolenames: readonly string[]): Promise<void> {
    await security.run([
      // disabled first: this is what ends a session
      ...usernames.map((username) => ({ command: 'disableClient', username })),
      ...usernames.map((username) => ({ command: 'deleteClient', username })),
      ...rolenames.map((rolename) => ({ command: 'deleteRole', rolename })),
    ])
  }

  async function readBackAll(): Promise<void> {
    const [roles, accounts] = [await security.roles(), await security.accounts()]
    const ours = new Set([...known.values()].map(({ role }) => role.rolename))
    for (const wanted of known.values()) checkThere(wanted, roles.get(wanted.role.rolename), (username) => accounts.get(username))
    for (const rolename of roles.keys())
      if (isOfDevice(rolename) && !ours.has(rolename)) throw disagrees('a role that was deleted is still there')
    for (const { username, roles: its } of accounts.values())
      if (its.some(isOfDevice) && !owners.has(username)) throw disagrees('an account that was deleted is still there')
  }

  function checkThere(
    { role, usernames }: Wanted,
    there: Role | undefined,
    accountOf: (username: string) => Account | undefined,
  ): void {
    if (there === undefined || !sameAcls(there, role)) throw disagrees('a role is not as it was written')
    for (const username of usernames) {
      const account = accountOf(username)
      if (account === undefined || account.isDisabled || !isAccount(account, { role }))
        throw disagrees('an account is not as it was written')
    }
  }

  async function updateOne(deviceId: string): Promise<void> {
    const before = known.get(deviceId)
    const rolled = await roll.one(deviceId)
    const wanted = rolled === undefined ? undefined : withoutOthers(await wantedOf(rolled))
    if (wanted === undefined && before === undefined) return
    const rolename = roleNameOf(deviceId)
    const gone = (before?.usernames ?? []).filter((username) => wanted?.usernames.includes(username) !== true)
    remember(deviceId, wanted)
    if (wanted === undefined || gone.length > 0) {
      await remove(gone, wanted === undefined ? [rolename] : [])
      cuts += 1
      for (const username of gone)
        if ((await security.account(username)) !== undefined) throw disagrees('an account that was deleted is still there')
    }
    if (wanted === undefined) {
      if ((await security.role(rolename)) !== undefined) throw disagrees('a role that was deleted is still there')
      return
    }
    const accounts = await accountsOf(wanted.usernames)
    if (!(await putRight(wanted, await security.role(rolename), accounts))) return
    const after = await accountsOf(wanted.usernames)
    checkThere(wanted, await security.role(rolename), (username) => after.get(username))
  }

  async function accountsOf(usernames: readonly string[]): Promise<ReadonlyMap<string, Account>> {
    const found = new Map<string, Account>()
    for (const username of usernames) {
      const account = await security.account(username)
      if (account !== undefined) found.set(username, account)
    }
    return found
  }

  async function refreshCRLs(): Promise<void> {
    const { crlFile, pidFile } = options
    if (crlFile === undefined) return
    const text = await options.crls()
    if (text === (readOrNothing(crlFile) ?? '')) return
    const next = `${crlFile}.next`
    rmSync(next, { force: true })
    writeDurably(next, text, 0o644) // signed and public
    renameSync(next, crlFile)
    syncDirectory(dirname(crlFile))
    if (pidFile === undefined) return
    const pid = Number(readOrNothing(pidFile)?.trim())
    if (!Number.isSafeInteger(pid) || pid <= 1) throw new TrustError('unavailable', 'brokerProcess', { facts: { file: pidFile } })
    try {
      process.kill(pid, 'SIGHUP')
    } catch (cause) {
      throw new TrustError('unavailable', 'brokerProcess', { facts: { file: pidFile }, cause })
    }
  }

  /** What comes from a device that is not on the roll any more is not taken. */
  async function takeUp(topic: string, octets: Uint8Array): Promise<void> {
    const up = parseUp(topic)
    const device = up === undefined ? undefined : bySubtree.get(up.subtree)
    if (up === undefined || device === undefined || !inbox.kinds.includes(up.kind)) return
    const answer = await handIn(inbox, device, up.kind, octets)
    if (answer !== undefined) await link?.publish(`${subtreeOf(device)}/down/${answer.topic}`, answer.octets)
  }

  async function attempt<T>(work: () => Promise<T>): Promise<T> {
    try {
      const done = await work()
      if (link !== undefined) {
        state = 'running'
        detail = undefined
      }
      return done
    } catch (thrown) {
      const error = asTrustError(thrown)
      if (detail !== error.message) log.error('the message broker is not as it should be', { error })
      state = 'away'
      detail = error.message
      link?.close() // and everything is compared anew
      link = undefined
      throw error
    }
  }

  const connectAndCompare = (): Promise<Reconciliation> =>
    attempt(async () => {
      if (link === undefined) await connectWithRole()
      await refreshCRLs()
      return reconcileAll()
    })

  return {
    start: () =>
      inTurn(async () => {
        state = 'away'
        await connectAndCompare()
      }),
    async stop() {
      state = 'stopped'
      await inTurn(async () => {
        link?.close()
        link = undefined
      })
    },
    update: (deviceIds) =>
      inTurn(async () => {
        // what was changed meanwhile is found when it is back
        if (link !== undefined)
          await attempt(async () => {
            for (const id of deviceIds) await updateOne(id)
          })
      }),
    async cut(deviceId) {
      const before = cuts
      await inTurn(() => attempt(() => updateOne(deviceId)))
      return cuts - before
    },
    async publish(deviceId, { channel, topic, octets }) {
      const device = known.get(deviceId)?.device
      if (link === undefined || device === undefined) return false
      await link.publish(`${subtreeOf(device)}/${channel}/${topic}`, octets)
      return true
    },
    reconcile: () => inTurn(connectAndCompare),
    runOnce: () =>
      inTurn(async () => {
        if (state === 'stopped') return
        if (link === undefined) await connectAndCompare()
        else await attempt(refreshCRLs)
      }),
    status: () => ({ broker: 'mosquitto', state, detail, sessions: undefined, devices: known.size, cut: cuts }),
  }
}

const disagrees = (what: string): TrustError => new TrustError('unavailable', 'brokerDisagrees', { facts: { detail: what } })

const isOfDevice = (rolename: string): boolean => rolename.startsWith(roleNameOf(''))

const createRole = ({ rolename, acls }: Role): Command => ({ command: 'createRole', rolename, acls: acls.map(allowing) })
const modifyRole = ({ rolename, acls }: Role): Command => ({ command: 'modifyRole', rolename, acls: acls.map(allowing) })
const allowing = (acl: Acl) => ({ ...acl, priority: 0, allow: true })

const lineOf = ({ acltype, topic }: Acl): string => `${acltype} ${topic}`
const sameAcls = (a: Role, b: Role): boolean => {
  const [one, other] = [a, b].map(({ acls }) => new Set(acls.map(lineOf)))
  return one?.size === other?.size && [...(one ?? [])].every((line) => other?.has(line) === true)
}

const isAccount = ({ roles }: Account, { role }: Pick<Wanted, 'role'>): boolean =>
  roles.length === 1 && roles[0] === role.rolename

function readOrNothing(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
