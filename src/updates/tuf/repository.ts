/**
 * The repository of TUF metadata: what is published as a target, who signs which role, and the newest of each.
 *
 * Root and targets are signed when somebody asks, by signers that may need people to agree; both wait as one change until there
 * are enough signatures. Snapshot and timestamp are signed by the server itself, again and again. All that clients see together
 * is kept in one transaction, so that at no moment, and after no crash, does a file name another that is not there. Numbers go up
 * with the seconds, so that a server that was restored from a backup goes on above what its clients have seen; those of roots have
 * no gap, as clients want it.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { asTrustError, TrustError } from '#base/errors.ts'
import { toWholeSeconds, uuidv7 } from '#base/world.ts'
import type { Requester } from '#signing/context.ts'
import { onBehalf } from '#signing/message-signing.ts'
import type { Waiting } from '#signing/service.ts'
import { keep, type Step } from '#store/batch.ts'
import type { Row } from '#store/database.ts'
import type { UpdatesContext } from '../context.ts'
import { listReleases, type Release } from '../releases.ts'
import {
  canonical,
  encodeMetadata,
  rootDocument,
  snapshotDocument,
  targetsDocument,
  timestampDocument,
  type JSONValue,
  metadataFile,
  type RoleKeys,
  type Target,
  targetFile,
  type TUFRole,
  tufRoles,
  type TUFSignature,
} from './messages.ts'
import { findRoleSigner, type RoleSigner, signRole } from './signing.ts'

export interface RoleTerms {
  /** By their names. */
  readonly signers: readonly string[]
  readonly threshold: number
}
export type TUFTerms = Readonly<Record<TUFRole, RoleTerms>>

/** Of a role, as the root names them. */
export interface RoleHolders {
  readonly threshold: number
  readonly keys: readonly { readonly signer: string; readonly keyid: string }[]
}

export interface Metadata {
  readonly role: TUFRole
  readonly number: number
  readonly octets: Uint8Array
  readonly expiresAt: number
}

export interface TUFRepository {
  readonly change: number
  readonly roles: Readonly<Record<TUFRole, RoleHolders>>
  /** The newest of each. */
  readonly newest: Readonly<Record<TUFRole, Metadata>>
}

export type TUFOutcome = { readonly state: 'done'; readonly repository: TUFRepository } | Waiting

/** A year for keys in a safe; a quarter for a list that people sign; a day for what says that nothing newer is held back. */
const DAYS: Readonly<Record<TUFRole, number>> = { root: 365, targets: 90, snapshot: 7, timestamp: 1 }
const DAY_MILLISECONDS = 86_400_000
/** What waits longer for people is made anew, with what was published by then. */
const CHANGE_DAYS = 7
/** Some 400 octets each; clients read no more than five megabytes. */
const TARGETS_MAX = 10_000
const PAGE = 200

const OBJECT = 'tuf'

/** @throws TrustError `tooLarge` */
export async function publishedTargets(context: UpdatesContext): Promise<readonly Target[]> {
  const targets: Target[] = []
  for (let after: string | undefined; ;) {
    const releases = await listReleases(context, { state: 'published', limit: PAGE, after })
    for (const release of releases) targets.push(...targetsOf(release))
    if (targets.length > TARGETS_MAX) throw new TrustError('tooLarge', 'tufTargets', { facts: { limit: TARGETS_MAX } })
    after = releases.at(-1)?.id
    if (releases.length < PAGE) return targets.toSorted((a, b) => (a.path < b.path ? -1 : 1))
  }
}

const targetsOf = ({ id, component, version, counter, models, artifacts }: Release): readonly Target[] =>
  artifacts.map(({ name, octets, digest, format }) => ({
    ...{ path: `${id}/${name}`, octets, digest },
    custom: {
      ...{ component, version, releaseCounter: counter, format },
      hardwareIds: models.flatMap(({ manufacturer, model, revisions }) => {
        const hardware = `${manufacturer}/${model}`
        return revisions.length === 0 ? [hardware] : revisions.map((revision) => `${hardware}:${revision}`)
      }),
    },
  }))

interface MetadataRow extends Row {
  readonly role: TUFRole
  readonly number: number
  readonly octets: Uint8Array
  readonly expires_at: number
}

type Store = Pick<UpdatesContext, 'db' | 'organizationId'>

/** @returns undefined where there is none yet */
export async function readRepository({ db, organizationId }: Store): Promise<TUFRepository | undefined> {
  const [row] = await db.query<{ version: number; roles: string }>(
    'SELECT version, roles FROM tuf_repository WHERE organization_id = ?',
    organizationId,
  )
  if (row === undefined) return undefined
  const rows = await db.query<MetadataRow>(
    `SELECT role, number, octets, expires_at FROM tuf_metadata m WHERE organization_id = ? AND number =
      (SELECT MAX(number) FROM tuf_metadata n WHERE n.organization_id = m.organization_id AND n.role = m.role)`,
    organizationId,
  )
  const newest = Object.fromEntries(rows.map((one) => [one.role, { ...one, expiresAt: one.expires_at }]))
  return {
    change: row.version,
    roles: JSON.parse(row.roles) as TUFRepository['roles'],
    newest: newest as unknown as TUFRepository['newest'], // all four are kept with the first
  }
}

/** @throws TrustError `notFound` */
export async function openRepository(store: Store): Promise<TUFRepository> {
  const repository = await readRepository(store)
  if (repository === undefined) throw new TrustError('notFound', 'tufNotBegun')
  return repository
}

const FILE = /^(?:(?<number>[1-9]\d{0,15})\.(?<role>root|targets|snapshot)|timestamp)\.json$/

/** Any that was published, by its name. @returns undefined for what is not there */
export async function readMetadata({ db, organizationId }: Store, file: string): Promise<Uint8Array | undefined> {
  const found = FILE.exec(file)
  if (found === null) return undefined
  const { role = 'timestamp', number } = found.groups ?? {}
  const [row] = await db.query<{ octets: Uint8Array }>(
    `SELECT octets FROM tuf_metadata WHERE organization_id = ? AND role = ? ${number === undefined ? '' : 'AND number = ?'}
      ORDER BY number DESC LIMIT 1`,
    ...[organizationId, role, ...(number === undefined ? [] : [Number(number)])],
  )
  return row?.octets
}

/** What a copy of it consists of: every root, and the newest of the others; the timestamp last, since it names what has to be there. */
export async function listMetadata(store: Store): Promise<readonly string[]> {
  const { newest } = await openRepository(store)
  const roots = Array.from({ length: newest.root.number }, (_, before) => metadataFile('root', before + 1))
  return [...roots, ...(['targets', 'snapshot', 'timestamp'] as const).map((role) => metadataFile(role, newest[role].number))]
}

type SignedTargets = ReturnType<typeof targetsDocument>['targets']

const targetsIn = ({ octets }: Metadata): SignedTargets =>
  (JSON.parse(new TextDecoder().decode(octets)) as { readonly signed: { readonly targets: SignedTargets } }).signed.targets

/** The target whose file is called so, of those that are published now. */
export async function findTargetFile(context: Store, file: string): Promise<Pick<Target, 'digest' | 'octets'> | undefined> {
  const { newest } = await openRepository(context)
  const found = Object.entries(targetsIn(newest.targets)).find(
    ([path, { hashes }]) => targetFile({ path, digest: hashes.sha256 }) === file,
  )
  return found && { digest: found[1].hashes.sha256, octets: found[1].length }
}

/** Whether what is published as targets is what is released now. */
export async function isCurrent(context: UpdatesContext, { newest }: TUFRepository): Promise<boolean> {
  const { targets } = targetsDocument({ number: 1, expiresAt: 0 }, await publishedTargets(context))
  return JSON.stringify(targetsIn(newest.targets)) === JSON.stringify(targets)
}

/** Metadata that waits for signatures. */
interface Part {
  readonly role: TUFRole
  readonly number: number
  readonly expiresAt: number
  readonly signed: JSONValue
  readonly signatures: readonly TUFSignature[]
}

interface Change {
  readonly version: number
  readonly parts: readonly Part[]
}

/** Who has to sign a part: so many of these, and with a new root so many of those of the one before. */
type Quorum = readonly RoleHolders[]

/**
 * Makes the repository, changes who signs for it, or publishes what is released now; the same call again goes on where it waited
 * for people.
 *
 * @param terms for a new root; without them the root stays and only targets are signed
 * @throws TrustError `notFound` before there is a root; `policyRefused` for terms that do not hold or too few keys; `conflict`
 */
export async function changeRepository(context: UpdatesContext, terms: TUFTerms | undefined, by: Requester): Promise<TUFOutcome> {
  const { db, audit, world } = context
  const before = terms === undefined ? await openRepository(context) : await readRepository(context)
  const signers = await signersFor(context, terms, before)
  const roles = terms === undefined ? (before as TUFRepository).roles : holdersOf(terms, signers)
  const change = await changeFor(context, { terms, before, roles, signers })
  const quorumOf = (role: TUFRole): Quorum =>
    role === 'root' && before !== undefined ? [roles.root, before.roles.root] : [roles[role]]
  const parts: Part[] = []
  let waiting: Waiting | undefined
  let problem: TrustError | undefined
  for (const part of change.parts) {
    const collected = await collect(context, part, quorumOf(part.role), signers, by)
    parts.push({ ...part, signatures: collected.signatures })
    waiting ??= collected.waiting
    problem ??= collected.problem
  }
  if (waiting !== undefined || problem !== undefined) await keep(db, [stepToWait(context, change, parts)])
  if (waiting !== undefined) return waiting
  if (problem !== undefined) throw problem
  world.faults.reach('tuf metadata signed')
  const offline = parts.map(({ role, number, expiresAt, signed, signatures }) => ({
    ...{ role, number, expiresAt },
    octets: encodeMetadata(signed, signatures),
  }))
  const targets = offline.find(({ role }) => role === 'targets') as Metadata
  const online = await signOnline(context, { roles, signers, before, targets, isSnapshotDue: true })
  const facts = { ...numbersOf([...offline, ...online]), keys: holdersText(roles) }
  await keep(db, [
    ...stepsToChange(context, before, roles),
    ...[...offline, ...online].map((one) => stepToKeep(context, one)),
    { sql: 'DELETE FROM tuf_change WHERE organization_id = ?', parameters: [context.organizationId] },
    audit.statement({
      ...{ actor: by.actor, act: terms === undefined ? 'tuf.publish' : 'tuf.change-root', object: OBJECT, outcome: 'done' },
      facts,
    }),
  ])
  world.faults.reach('tuf metadata kept')
  return { state: 'done', repository: await openRepository(context) }
}

const numbersOf = (files: readonly Metadata[]): Record<string, number> =>
  Object.fromEntries(files.map(({ role, number }) => [role, number]))

const holdersText = (roles: TUFRepository['roles']): string =>
  tufRoles
    .map((role) => `${role}: ${roles[role].threshold} of ${roles[role].keys.map(({ signer }) => signer).join(' ')}`)
    .join(', ')

/**
 * Snapshot and timestamp again, where half of their time is over; for a task that comes often.
 *
 * @returns whether there was something to do
 */
export async function renewOnline(context: UpdatesContext): Promise<boolean> {
  const { db, audit, world } = context
  const before = await readRepository(context)
  if (before === undefined) return false
  const isDue = (role: TUFRole): boolean =>
    world.clock.now() >= before.newest[role].expiresAt - (DAYS[role] * DAY_MILLISECONDS) / 2
  if (!isDue('timestamp') && !isDue('snapshot')) return false
  const signers = await signersFor(context, undefined, before)
  const { roles, newest } = before
  const files = await signOnline(context, { roles, signers, before, targets: newest.targets, isSnapshotDue: isDue('snapshot') })
  world.faults.reach('tuf metadata signed')
  await keep(db, [
    ...stepsToChange(context, before, roles),
    ...files.map((one) => stepToKeep(context, one)),
    audit.statement({
      ...{ actor: 'service:tuf', act: 'tuf.renew', object: OBJECT, outcome: 'done' },
      facts: numbersOf(files),
    }),
  ])
  world.faults.reach('tuf metadata kept')
  return true
}

type SignersByName = ReadonlyMap<string, RoleSigner>

async function signersFor(
  context: UpdatesContext,
  terms: TUFTerms | undefined,
  before: TUFRepository | undefined,
): Promise<SignersByName> {
  const named = terms === undefined ? [] : tufRoles.flatMap((role) => terms[role].signers)
  const held = before === undefined ? [] : tufRoles.flatMap((role) => before.roles[role].keys.map(({ signer }) => signer))
  const signers = new Map<string, RoleSigner>()
  for (const name of new Set(named)) signers.set(name, await findRoleSigner(context, name))
  for (const name of new Set(held).difference(signers))
    try {
      signers.set(name, await findRoleSigner(context, name))
    } catch (error) {
      if (asTrustError(error).code !== 'notFound') throw error // one that is gone is missed where it is needed
    }
  return signers
}

/** @throws TrustError `policyRefused` */
function holdersOf(terms: TUFTerms, signers: SignersByName): TUFRepository['roles'] {
  const holders = tufRoles.map((role): [TUFRole, RoleHolders] => {
    const { threshold } = terms[role]
    const keys = [...new Set(terms[role].signers)].map((signer) => ({ signer, keyid: signers.get(signer)?.keyid ?? '' }))
    if (threshold < 1 || threshold > new Set(keys.map(({ keyid }) => keyid)).size)
      throw new TrustError('policyRefused', 'tufThreshold', { facts: { role, threshold } })
    return [role, { threshold, keys }]
  })
  const roles = Object.fromEntries(holders) as Record<TUFRole, RoleHolders>
  const offline = new Set([...roles.root.keys, ...roles.targets.keys].map(({ keyid }) => keyid))
  for (const { signer, keyid } of [...roles.snapshot.keys, ...roles.timestamp.keys])
    if (offline.has(keyid) || signers.get(signer)?.record.approval !== undefined)
      throw new TrustError('policyRefused', 'tufOnline', { facts: { name: signer } })
  return roles
}

interface Wanted {
  readonly terms: TUFTerms | undefined
  readonly before: TUFRepository | undefined
  readonly roles: TUFRepository['roles']
  readonly signers: SignersByName
}

/** The one that waits, where it is still about the same; a new one otherwise. */
async function changeFor(context: UpdatesContext, wanted: Wanted): Promise<Change> {
  const { db, world, organizationId } = context
  const { terms, before, roles, signers } = wanted
  const targets = await publishedTargets(context)
  const now = world.clock.now()
  const about = createHash('sha256')
    .update(JSON.stringify([terms !== undefined, before?.newest.root.number, before?.newest.targets.number, roles, targets]))
    .digest('hex')
  const [row] = await db.query<{ version: number; about: string; parts: string; created_at: number }>(
    'SELECT version, about, parts, created_at FROM tuf_change WHERE organization_id = ?',
    organizationId,
  )
  if (row?.about === about && now < row.created_at + CHANGE_DAYS * DAY_MILLISECONDS)
    return { version: row.version, parts: JSON.parse(row.parts) as readonly Part[] }
  const parts: Part[] = []
  const part = (
    role: Part['role'],
    number: number,
    encode: (place: { number: number; expiresAt: number }) => JSONValue,
  ): void => {
    const place = { number, expiresAt: expiryOf(role, now) }
    parts.push({ role, ...place, signed: encode(place), signatures: [] })
  }
  if (terms !== undefined) {
    const keys = new Map(
      tufRoles
        .flatMap((role) => roles[role].keys.flatMap(({ signer }) => signers.get(signer) ?? []))
        .map((one) => [one.keyid, one.key]),
    )
    const named = Object.fromEntries(tufRoles.map((role) => [role, roleKeys(roles[role])])) as Record<TUFRole, RoleKeys>
    part('root', (before?.newest.root.number ?? 0) + 1, (place) => rootDocument(place, [...keys.values()], named))
  }
  part('targets', nextNumber(before?.newest.targets, now), (place) => targetsDocument(place, targets))
  const version = (row?.version ?? 0) + 1
  await keep(db, [
    {
      sql: `INSERT INTO tuf_change (organization_id, version, about, parts, created_at) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (organization_id) DO UPDATE SET version = excluded.version, about = excluded.about, parts = excluded.parts,
          created_at = excluded.created_at WHERE tuf_change.version < excluded.version RETURNING version`,
      parameters: [organizationId, version, about, JSON.stringify(parts), now],
      expects: { version },
      refusal: changed,
    },
  ])
  return { version, parts }
}

const roleKeys = ({ keys, threshold }: RoleHolders): RoleKeys => ({ keyids: keys.map(({ keyid }) => keyid), threshold })
const changed = (): TrustError => new TrustError('conflict', 'tufChanged')
const expiryOf = (role: TUFRole, now: number): number => toWholeSeconds(now) + DAYS[role] * DAY_MILLISECONDS
const nextNumber = (last: Metadata | undefined, now: number): number =>
  Math.max((last?.number ?? 0) + 1, toWholeSeconds(now) / 1000)

const stepToWait = ({ organizationId }: UpdatesContext, { version }: Change, parts: readonly Part[]): Step => ({
  sql: 'UPDATE tuf_change SET parts = ?, version = version + 1 WHERE organization_id = ? AND version = ? RETURNING version',
  parameters: [JSON.stringify(parts), organizationId, version],
  expects: { version: version + 1 },
  refusal: changed,
})

interface Collected {
  readonly signatures: readonly TUFSignature[]
  readonly waiting: Waiting | undefined
  /** Why there are too few of them. */
  readonly problem: TrustError | undefined
}

/** Asks one after the other until there are enough; one whose key is away is done without where others suffice. */
async function collect(
  context: UpdatesContext,
  part: Part,
  quorum: Quorum,
  signers: SignersByName,
  by: Requester,
): Promise<Collected> {
  const signatures = [...part.signatures]
  let waiting: Waiting | undefined
  let problem: TrustError | undefined
  const asked = new Set<string>()
  const missing = (): RoleHolders | undefined => quorum.find(({ keys, threshold }) => countOf(keys, signatures) < threshold)
  for (const { signer, keyid } of quorum.flatMap(({ keys }) => keys)) {
    if (missing() === undefined) break
    if (asked.has(keyid) || signatures.some((one) => one.keyid === keyid)) continue
    asked.add(keyid)
    const held = signers.get(signer)
    if (held?.keyid !== keyid) {
      problem ??= new TrustError('policyRefused', 'tufKeyOther', { facts: { name: signer, role: part.role } })
      continue
    }
    try {
      const made = await signRole(context, held, canonical(part.signed), onBehalf('server:updates', by))
      if (made.state === 'waiting') waiting ??= made
      else signatures.push(made.signature)
    } catch (error) {
      problem ??= asTrustError(error)
    }
  }
  const lacking = missing()
  if (lacking === undefined) return { signatures, waiting: undefined, problem: undefined }
  const { threshold } = lacking
  const fewer = new TrustError('policyRefused', 'tufThreshold', { facts: { role: part.role, threshold } })
  return { signatures, waiting, problem: waiting === undefined ? (problem ?? fewer) : undefined }
}

const countOf = (keys: RoleHolders['keys'], signatures: readonly TUFSignature[]): number =>
  new Set(keys.map(({ keyid }) => keyid)).intersection(new Set(signatures.map(({ keyid }) => keyid))).size

interface Online {
  readonly roles: TUFRepository['roles']
  readonly signers: SignersByName
  readonly before: TUFRepository | undefined
  readonly targets: Metadata
  readonly isSnapshotDue: boolean
}

async function signOnline(context: UpdatesContext, { roles, signers, before, targets, isSnapshotDue }: Online) {
  const now = context.world.clock.now()
  const make = async (
    role: 'snapshot' | 'timestamp',
    encode: (place: { readonly number: number; readonly expiresAt: number }) => JSONValue,
  ): Promise<Metadata> => {
    const place = { number: nextNumber(before?.newest[role], now), expiresAt: expiryOf(role, now) }
    const signed = encode(place)
    const part = { role, ...place, signed, signatures: [] }
    const { signatures, waiting, problem } = await collect(context, part, [roles[role]], signers, SERVER)
    if (waiting !== undefined)
      throw new TrustError('policyRefused', 'tufOnline', {
        facts: { name: roles[role].keys.map(({ signer }) => signer).join(', ') },
      })
    if (problem !== undefined) throw problem
    return { role, ...place, octets: encodeMetadata(signed, signatures) }
  }
  const files: Metadata[] = []
  const snapshot =
    isSnapshotDue || before === undefined ? await make('snapshot', (place) => snapshotDocument(place, targets)) : undefined
  if (snapshot !== undefined) files.push(snapshot)
  const named = snapshot ?? (before as TUFRepository).newest.snapshot
  files.push(await make('timestamp', (place) => timestampDocument(place, named)))
  return files
}

const SERVER: Requester = onBehalf('server:updates')

/** Of two at once one finds another repository than it read. */
const stepsToChange = (
  { organizationId, world }: UpdatesContext,
  before: TUFRepository | undefined,
  roles: TUFRepository['roles'],
): readonly Step[] => [
  before === undefined
    ? {
        sql: 'INSERT INTO tuf_repository (organization_id, version, roles, created_at) VALUES (?, 1, ?, ?)',
        parameters: [organizationId, JSON.stringify(roles), world.clock.now()],
        refusal: changed,
      }
    : {
        sql: 'UPDATE tuf_repository SET version = version + 1, roles = ? WHERE organization_id = ? AND version = ? RETURNING version',
        parameters: [JSON.stringify(roles), organizationId, before.change],
        expects: { version: before.change + 1 },
        refusal: changed,
      },
]

const stepToKeep = ({ organizationId, world }: UpdatesContext, { role, number, octets, expiresAt }: Metadata): Step => ({
  sql: `INSERT INTO tuf_metadata (id, organization_id, version, role, number, octets, digest, expires_at, created_at)
    VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?)`,
  parameters: [
    ...[uuidv7(world), organizationId, role, number, octets, createHash('sha256').update(octets).digest('hex')],
    ...[expiresAt, world.clock.now()],
  ],
  refusal: changed,
})
