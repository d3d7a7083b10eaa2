/**
 * Commands on their way: drafted, signed by whoever orders them and by those who have to agree, delivered, and receipted.
 *
 *     drafted ──operator──▶ waiting ──enough agreed──▶ ready ──▶ delivered ──▶ receipted, or refused by the device
 *     waiting ──enough agreed──▶ challenging ──the device's nonce, the operator's answer──▶ ready     (mode `challenge`)
 *
 * What was not delivered in its time is `expired`. The server makes up nothing: it has no key for commands. It counts, collects
 * what people signed, and judges it by the rules that the device judges by, so that a person hears of it before a device does.
 *
 * A counter is kept in the transaction that keeps its command, and is never below the seconds of the clock: neither a process
 * that ends, nor a second server, nor a backup that is brought back makes one twice.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { type Facts, TrustError } from '#base/errors.ts'
import type { Reason } from '#base/sentences.ts'
import { parseCOSE } from '#cbor/cose.ts'
import { keep, type Statement, type Step } from '#store/batch.ts'
import { messageStatement } from '#store/outbox.ts'
import type { Row } from '#store/database.ts'
import { equal } from '#base/bytes.ts'
import type { CommandsContext } from './context.ts'
import {
  type Arguments,
  type Command,
  COMMAND_MAX_OCTETS,
  commandDigest,
  encodeCommand,
  type Mode,
  NONCE_SECONDS,
  parseCommand,
  type Priority,
  type ReadCommand,
  readCommand,
} from './messages.ts'
import { openPolicy } from './policies.ts'
import {
  CLOCK_TOLERANCE_SECONDS,
  type CommandedDevice,
  commandRefusal,
  isMember,
  LIFE_DEFAULT_SECONDS,
  nameIn,
  operatorTrust,
  type Policy,
  type Refused,
  type Rule,
  ruleFor,
} from './policy/messages.ts'
import { type Form, joinCommand } from './signing.ts'

export const commandStates = [
  'drafted', // its operator has to sign it
  'waiting', // others have to agree
  'challenging', // the device has to ask, and the operator to answer
  'ready',
  'delivered',
  'receipted',
  'refused', // by the device, or by the server when it was to be delivered and did not hold any more
  'expired',
] as const
export type CommandState = (typeof commandStates)[number]

/** Of which something may still come. */
const OPEN = ['drafted', 'waiting', 'challenging', 'ready'] as const satisfies readonly CommandState[]

export interface WantedCommand {
  readonly deviceId: string
  readonly operation: string
  readonly arguments: Arguments
  readonly precondition?: string
  readonly priority: Priority
  /** As the policy names them. */
  readonly operator: string
  /** As the policy says, unless told: nothing keeps anybody from asking for a challenge. */
  readonly mode?: Mode
  /** 30, or as long as the policy allows where others have to agree, unless told. */
  readonly lifeSeconds?: number
}

export interface CommandRecord {
  /** Hexadecimal. */
  readonly id: string
  readonly number: number
  readonly version: number
  readonly deviceId: string
  readonly state: CommandState
  readonly form: Form
  /** What is signed. */
  readonly payload: Uint8Array
  readonly command: Command
  /** With all signatures, once it is ready. */
  readonly message: Uint8Array | undefined
  readonly digest: Uint8Array | undefined
  /** What the operator has to answer, while it is good. */
  readonly nonce: Uint8Array | undefined
  readonly nonceAt: number | undefined
  /** Why the device refused it. */
  readonly reason: string | undefined
  readonly createdBy: string
  readonly createdAt: number
  readonly deliveredAt: number | undefined
}

interface CommandRow extends Row {
  readonly number: number
  readonly id: string
  readonly version: number
  readonly device_id: string
  readonly state: CommandState
  readonly form: Form
  readonly payload: Uint8Array
  readonly message: Uint8Array | null
  readonly digest: Uint8Array | null
  readonly nonce: Uint8Array | null
  readonly nonce_at: number | null
  readonly reason: string | null
  readonly created_by: string
  readonly created_at: number
  readonly delivered_at: number | null
}

const recordOf = (row: CommandRow): CommandRecord => ({
  id: row.id,
  number: row.number,
  version: row.version,
  deviceId: row.device_id,
  state: row.state,
  form: row.form,
  payload: row.payload,
  command: parseCommand(row.payload),
  message: row.message ?? undefined,
  digest: row.digest ?? undefined,
  nonce: row.nonce ?? undefined,
  nonceAt: row.nonce_at ?? undefined,
  reason: row.reason ?? undefined,
  createdBy: row.created_by,
  createdAt: row.created_at,
  deliveredAt: row.delivered_at ?? undefined,
})

export const objectOf = (id: string): string => `command:${id}`
/** Somebody else signed in between, that often in a row. */
const TRIES_MAX = 8

const refusalOf = ({ reason, facts }: { readonly reason: Reason; readonly facts: Facts }): TrustError =>
  new TrustError('policyRefused', reason, { facts })

/**
 * The payload of a command with its counter: nobody has signed it yet.
 *
 * @throws TrustError `notFound`; `policyRefused` for what the policy of the device's area allows nobody, or not this operator
 */
export async function draftCommand(context: CommandsContext, wanted: WantedCommand, actor: string): Promise<CommandRecord> {
  const { db, world, audit, organizationId } = context
  const device = await context.device(wanted.deviceId)
  const { policy } = await openPolicy(context, device.area)
  const rule = checkOrder(policy, wanted, device)
  const id = world.random.octets(16).slice()
  const issuer = rule.approvers === undefined ? context.issuer : `${context.issuer}/agreed`
  if (!policy.issuers.includes(issuer)) throw refusalOf({ reason: 'commandIssuerUnknown', facts: { issuer } })
  const form: Form = rule.approvers === undefined ? 'single' : 'several'
  const mode = wanted.mode ?? rule.mode
  const lifeSeconds = wanted.lifeSeconds ?? defaultLife(rule, mode)
  const name = id.toHex()
  await db.transaction(async (tx) => {
    const now = world.clock.now()
    const seconds = Math.floor(now / 1000)
    const [counted] = await tx.query<{ counter: number }>(
      `INSERT INTO command_counter (organization_id, issuer, device_id, counter) VALUES (?, ?, ?, ?)
        ON CONFLICT (organization_id, issuer, device_id) DO UPDATE SET counter = CASE
          WHEN command_counter.counter < excluded.counter THEN excluded.counter ELSE command_counter.counter + 1 END
        RETURNING counter`,
      ...[organizationId, issuer, wanted.deviceId, seconds],
    )
    const command: Command = {
      id,
      issuer,
      audience: { birthKey: device.birthKey, device: device.name },
      counter: (counted as { counter: number }).counter,
      notBefore: new Date(seconds * 1000),
      expiresAt: new Date((seconds + lifeSeconds) * 1000),
      operation: wanted.operation,
      arguments: wanted.arguments,
      ...(wanted.precondition !== undefined && { precondition: wanted.precondition }),
      area: device.area,
      epoch: device.epoch,
      priority: wanted.priority,
      operator: wanted.operator,
      mode,
    }
    const state = stateOf(rule, mode, { isOrdered: false, agreed: 0 })
    await tx.query(
      `INSERT INTO command (id, organization_id, version, device_id, issuer, counter, operation, operator, state, form, payload,
          created_by, created_at, expires_at) VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      ...[name, organizationId, wanted.deviceId, issuer, command.counter, wanted.operation, wanted.operator],
      ...[state, form, encodeCommand(command), actor, now, command.expiresAt.getTime()],
    )
    const facts = { device: wanted.deviceId, operation: wanted.operation, issuer, counter: command.counter }
    for (const { sql, parameters } of mailOf(context, state, wanted.deviceId)) await tx.query(sql, ...parameters)
    await audit.record(tx, { actor, act: 'command.draft', object: objectOf(name), outcome: 'done', facts })
  })
  world.faults.reach('command drafted')
  return openCommand(context, name)
}

/** What a device that is connected to a broker is told, when there is something for it. */
const mailOf = ({ world, organizationId }: CommandsContext, state: CommandState, device: string): readonly Statement[] =>
  state === 'ready' || state === 'challenging'
    ? [messageStatement(world, { topic: 'mail.command', organization: organizationId, payload: { device } })]
    : []

/** What the device would refuse is not drafted. */
function checkOrder(policy: Policy, { operation, operator, mode, lifeSeconds }: WantedCommand, device: CommandedDevice): Rule {
  const rule = ruleFor(policy, operation)
  const { area } = device
  if (rule === undefined) throw refusalOf({ reason: 'commandOperationUnknown', facts: { operation, area } })
  if (!isMember(policy, rule.operators, operator)) throw refusalOf({ reason: 'commandRoleLacks', facts: { operator, operation } })
  const { assurance } = device
  if (assurance < rule.assurance)
    throw refusalOf({ reason: 'commandAssurance', facts: { least: rule.assurance, assurance, operation } })
  if (rule.mode === 'challenge' && mode === 'time') throw refusalOf({ reason: 'commandChallengeNeeded', facts: { operation } })
  if (lifeSeconds !== undefined && lifeSeconds > rule.lifeSeconds)
    throw refusalOf({ reason: 'commandLifeTooLong', facts: { seconds: lifeSeconds, limit: rule.lifeSeconds } })
  return rule
}

/** People need their time; the device's nonce says then that it is now. */
const defaultLife = ({ approvers, lifeSeconds }: Rule, mode: Mode): number =>
  approvers === undefined && mode === 'time' ? Math.min(LIFE_DEFAULT_SECONDS, lifeSeconds) : lifeSeconds

function stateOf(
  { approvers }: Rule,
  mode: Mode,
  { isOrdered, agreed }: { readonly isOrdered: boolean; readonly agreed: number },
): CommandState {
  const areEnough = agreed >= (approvers?.least ?? 0)
  if (mode === 'challenge') return areEnough ? (isOrdered ? 'ready' : 'challenging') : 'waiting'
  if (!isOrdered) return 'drafted'
  return areEnough ? 'ready' : 'waiting'
}

/** @throws TrustError `notFound` */
export async function openCommand({ db, organizationId }: CommandsContext, id: string): Promise<CommandRecord> {
  const [row] = await db.query<CommandRow>('SELECT * FROM command WHERE id = ? AND organization_id = ?', id, organizationId)
  if (row === undefined) throw new TrustError('notFound', 'commandUnknown', { facts: { command: id } })
  return recordOf(row)
}

export interface CommandFilter {
  readonly deviceId?: string
  readonly state?: CommandState
  /** Delivered, over, and nobody knows what became of it. */
  readonly isReceiptMissing?: boolean
}

/** A device that was heard sends its receipt at once; one that was cut off, when it is back. */
const RECEIPT_AFTER_SECONDS = 60

/** Newest first. */
export async function listCommands(
  { db, world, organizationId }: CommandsContext,
  { deviceId, state, isReceiptMissing = false }: CommandFilter,
  { limit, before }: { readonly limit: number; readonly before?: number | undefined },
): Promise<readonly CommandRecord[]> {
  const conditions = ['organization_id = ?', 'number < ?']
  const parameters: (string | number)[] = [organizationId, before ?? Number.MAX_SAFE_INTEGER]
  const where = (condition: string, value: string | number): void => {
    conditions.push(condition)
    parameters.push(value)
  }
  if (deviceId !== undefined) where('device_id = ?', deviceId)
  if (state !== undefined) where('state = ?', state)
  if (isReceiptMissing) where("state = 'delivered' AND expires_at < ?", world.clock.now() - RECEIPT_AFTER_SECONDS * 1000)
  const rows = await db.query<CommandRow>(
    `SELECT * FROM command WHERE ${conditions.join(' AND ')} ORDER BY number DESC LIMIT ?`,
    ...[...parameters, limit],
  )
  return rows.map(recordOf)
}

/** What may still reach a device, oldest first. */
export async function listOpen(
  { db, organizationId }: CommandsContext,
  deviceId: string,
  { after, now, limit }: { readonly after: number; readonly now: number; readonly limit: number },
): Promise<readonly CommandRecord[]> {
  const rows = await db.query<CommandRow>(
    `SELECT * FROM command WHERE device_id = ? AND organization_id = ? AND number > ? AND expires_at >= ?
        AND state IN ('challenging', 'ready', 'delivered') ORDER BY number LIMIT ?`,
    ...[deviceId, organizationId, after, now - CLOCK_TOLERANCE_SECONDS * 1000, limit],
  )
  return rows.map(recordOf)
}

export interface PersonSignature {
  readonly name: string
  readonly isOperator: boolean
  readonly message: Uint8Array
  readonly signedAt: number
}

interface SignatureRow extends Row {
  readonly name: string
  readonly is_operator: number
  readonly message: Uint8Array
  readonly signed_at: number
}

/** In the order in which they came. */
export async function signaturesOf({ db }: CommandsContext, id: string): Promise<readonly PersonSignature[]> {
  const rows = await db.query<SignatureRow>(
    'SELECT name, is_operator, message, signed_at FROM command_signature WHERE command_id = ? ORDER BY signed_at, name',
    id,
  )
  return rows.map((row) => ({
    name: row.name,
    isOperator: row.is_operator === 1,
    message: row.message,
    signedAt: row.signed_at,
  }))
}

/**
 * Takes what one person signed: the operator, or one who agrees.
 *
 * @param message by itself: COSE_Sign1, or COSE_Sign with this one signature
 * @throws TrustError `malformed`, `badProof`, `unauthenticated`, `policyRefused`; `conflict` for a command that is over, or signed by them already
 */
export async function addSignature(
  context: CommandsContext,
  id: string,
  message: Uint8Array,
  actor: string,
): Promise<CommandRecord> {
  for (let tries = 1; ; tries++) {
    try {
      return await addOnce(context, id, message, actor)
    } catch (error) {
      if (!(error instanceof TrustError) || error.reason !== 'commandChanged' || tries === TRIES_MAX) throw error
    }
  }
}

async function addOnce(context: CommandsContext, id: string, message: Uint8Array, actor: string): Promise<CommandRecord> {
  const { db, world, audit, organizationId } = context
  const record = await openCommand(context, id)
  const now = world.clock.now()
  checkOpen(record, now)
  const device = await context.device(record.deviceId)
  const { policy } = await openPolicy(context, device.area)
  const { name, isOperator } = await judge(context, record, policy, message)
  const before = await signaturesOf(context, id)
  const signatures = [...before, { name, isOperator, message, signedAt: now }]
  const rule = ruleFor(policy, record.command.operation)
  if (rule === undefined)
    throw refusalOf({ reason: 'commandOperationUnknown', facts: { operation: record.command.operation, area: device.area } })
  const state = stateOf(rule, record.command.mode, {
    isOrdered: signatures.some((each) => each.isOperator),
    agreed: signatures.filter((each) => !each.isOperator).length,
  })
  const whole = state === 'ready' ? await complete(context, record, { policy, device, signatures, actor }) : undefined
  await keep(db, [
    {
      sql: `INSERT INTO command_signature (command_id, organization_id, name, is_operator, message, signed_by, signed_at)
          VALUES (?, ?, ?, ?, ?, ?, ?)`,
      parameters: [id, organizationId, name, isOperator ? 1 : 0, message, actor, now],
      refusal: () => new TrustError('conflict', 'commandSigned', { facts: { name } }),
    },
    stepToMove(record, state, whole === undefined ? {} : { message: whole, digest: commandDigest(whole) }),
    ...mailOf(context, state, record.deviceId),
    audit.statement({
      ...{ actor, act: isOperator ? 'command.order' : 'command.agree', object: objectOf(id), outcome: 'done' },
      facts: { state, payload: createHash('sha256').update(record.payload).digest('hex') },
    }),
  ])
  world.faults.reach('command signed')
  return openCommand(context, id)
}

function checkOpen({ id, state, command }: CommandRecord, now: number): void {
  if (!OPEN.some((each) => each === state)) throw new TrustError('conflict', 'commandOver', { facts: { command: id, state } })
  if (now > command.expiresAt.getTime())
    throw new TrustError('conflict', 'commandExpired', { facts: { expiresAt: command.expiresAt.toISOString() } })
}

/** Whose signature it is, over this very command. */
async function judge(
  { world, anchors }: CommandsContext,
  record: CommandRecord,
  policy: Policy,
  message: Uint8Array,
): Promise<{ readonly name: string; readonly isOperator: boolean }> {
  const { command, form, payload } = record
  const parsed = parseCOSE(message, COMMAND_MAX_OCTETS)
  const isOwn =
    parsed.payload !== undefined && equal(parsed.payload, payload) && parsed.type === (form === 'single' ? 'sign1' : 'sign')
  if (!isOwn) throw new TrustError('badProof', 'commandSignatureOther', { facts: { command: record.id } })
  const at = new Date(world.clock.now())
  const { birthKey } = command.audience
  const { signers } = await readCommand(message, { trust: operatorTrust(policy, anchors), at, birthKey })
  const [signer] = signers
  if (signer === undefined || signers.length > 1)
    throw new TrustError('badProof', 'commandSignatureOther', { facts: { command: record.id } })
  const { operation, operator, mode } = command
  const name = nameIn(policy, signer)
  const rule = ruleFor(policy, operation)
  const isOperator = name === operator
  const mayAgree = name !== undefined && rule?.approvers !== undefined && isMember(policy, rule.approvers.roles, name)
  if (name === undefined || (!isOperator && !mayAgree))
    throw refusalOf({ reason: 'commandApproverOther', facts: { name: name ?? 'Whoever', operation } })
  if (isOperator && mode === 'challenge') {
    const isAnswer = record.state === 'challenging' && record.nonce !== undefined && signer.nonce !== undefined
    if (!isAnswer || !equal(signer.nonce, record.nonce)) throw refusalOf({ reason: 'commandNonceOther', facts: { operator } })
  }
  return { name, isOperator }
}

interface Completing {
  readonly policy: Policy
  readonly device: CommandedDevice
  readonly signatures: readonly PersonSignature[]
  readonly actor: string
}

/** The same judgment as the device's, before it is delivered. @throws TrustError of the first refusal, once it is in the audit log */
async function complete(
  context: CommandsContext,
  record: CommandRecord,
  { policy, device, signatures, actor }: Completing,
): Promise<Uint8Array> {
  const message = joinCommand(
    signatures.toSorted((a, b) => Number(b.isOperator) - Number(a.isOperator)).map((each) => each.message),
  )
  const now = context.world.clock.now()
  const trust = operatorTrust(policy, context.anchors)
  const read = await readCommand(message, { trust, at: new Date(now), birthKey: device.birthKey })
  const { nonceAt = 0 } = record
  const refused = refusalHere(read, policy, device, record, { now, nonceAgeSeconds: (now - nonceAt) / 1000 })
  const standing = {
    roleHasOperation: refused?.reason !== 'commandRoleLacks' && refused?.reason !== 'commandOperationUnknown',
    isSignedByOperator: refused?.reason !== 'commandOperatorOther',
    isAssuranceReached: refused?.reason !== 'commandAssurance',
    areEnoughAgreed: refused?.reason !== 'commandApproversFew',
  }
  await context.checkMayCommand({ actor, deviceId: record.deviceId, command: record.id, standing })
  if (refused !== undefined) throw refusalOf(refused)
  return message
}

function refusalHere(
  read: ReadCommand,
  policy: Policy,
  device: CommandedDevice,
  { command, nonce }: CommandRecord,
  { now, nonceAgeSeconds }: { readonly now: number; readonly nonceAgeSeconds: number },
): Refused | undefined {
  return commandRefusal(read, policy, device, {
    now: new Date(now),
    lastSeen: new Date(0),
    counter: command.counter - 1, // what the device took last, it knows itself
    last: undefined,
    nonce: nonce && { octets: nonce, ageSeconds: nonceAgeSeconds },
  })
}

/**
 * Whether it still holds: a device may not have heard yet of the next policy, its next owner or area, and would obey. How old
 * the nonce is, it knows itself.
 *
 * @returns why it is not to be delivered any more
 */
export async function refusalNow(
  context: CommandsContext,
  record: CommandRecord,
  message: Uint8Array,
): Promise<Pick<TrustError, 'reason' | 'facts'> | undefined> {
  const now = context.world.clock.now()
  try {
    const device = await context.device(record.deviceId)
    const { policy } = await openPolicy(context, device.area)
    const trust = operatorTrust(policy, context.anchors)
    const read = await readCommand(message, { trust, at: new Date(now), birthKey: device.birthKey })
    return refusalHere(read, policy, device, record, { now, nonceAgeSeconds: 0 })
  } catch (error) {
    if (!(error instanceof TrustError) || error.code === 'unavailable' || error.code === 'internal') throw error
    return error
  }
}

interface Moved {
  readonly message?: Uint8Array
  readonly digest?: Uint8Array
  readonly nonce?: Uint8Array
  readonly nonceAt?: number
  readonly reason?: string
  readonly deliveredAt?: number
}

/** Of two who change it at once, the second looks again. */
export function stepToMove(record: CommandRecord, state: CommandState, moved: Moved = {}): Step {
  const { message, digest, nonce, nonceAt, reason, deliveredAt } = { ...record, ...moved }
  const version = record.version + 1
  return {
    sql: `UPDATE command SET state = ?, message = ?, digest = ?, nonce = ?, nonce_at = ?, reason = ?, delivered_at = ?, version = ?
        WHERE id = ? AND version = ? RETURNING version`,
    parameters: [
      ...[state, message ?? null, digest ?? null, nonce ?? null, nonceAt ?? null, reason ?? null, deliveredAt ?? null, version],
      ...[record.id, record.version],
    ],
    expects: { version },
    refusal: () => new TrustError('conflict', 'commandChanged'),
  }
}

/** Whether the device has to be asked for a nonce, again where the last one became too old. */
export const needsNonce = ({ state, nonceAt }: CommandRecord, now: number): boolean =>
  state === 'challenging' && (nonceAt === undefined || now - nonceAt > NONCE_SECONDS * 1000)

/** What nobody can deliver any more. @returns how many */
export async function expireCommands({ db, world, audit, organizationId }: CommandsContext): Promise<number> {
  const rows = await db.query<CommandRow>(
    `SELECT * FROM command WHERE organization_id = ? AND expires_at < ? AND state IN ('drafted', 'waiting', 'challenging', 'ready')
      ORDER BY number LIMIT 100`,
    ...[organizationId, world.clock.now() - CLOCK_TOLERANCE_SECONDS * 1000],
  )
  for (const row of rows) {
    const facts = { state: row.state }
    const entry = { actor: 'system', act: 'command.expire', object: objectOf(row.id), outcome: 'done' as const, facts }
    await keep(db, [stepToMove(recordOf(row), 'expired'), audit.statement(entry)])
  }
  return rows.length
}
