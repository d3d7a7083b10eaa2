/**
 * What devices get of commands, and what they say to them.
 *
 * @module
 */
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { keep } from '#store/batch.ts'
import type { Row } from '#store/database.ts'
import type { CommandsContext } from './context.ts'
import { type CommandRecord, listOpen, needsNonce, objectOf, openCommand, refusalNow, stepToMove } from './commands.ts'
import { type Challenge, encodeSelect, readFromDevice, type Receipt } from './messages.ts'
import { policyOf } from './policies.ts'

export interface Numbered {
  readonly number: number
  readonly octets: Uint8Array
}

/** A device that has so many to do gets the rest afterwards. */
const DELIVERED_AT_ONCE = 32

/** Commands that are ready, and orders to ask for an answer; until there is a receipt, again and again, for as long as they hold. */
export async function deliver(context: CommandsContext, deviceId: string, after: number): Promise<readonly Numbered[]> {
  const { db, world, audit } = context
  const now = world.clock.now()
  const found: Numbered[] = []
  for (const record of await listOpen(context, deviceId, { after, now, limit: DELIVERED_AT_ONCE })) {
    const { id, number, state, message } = record
    if (needsNonce(record, now)) found.push({ number, octets: encodeSelect(Uint8Array.fromHex(id)) })
    if (message === undefined) continue
    const about = { actor: 'system', act: 'command.deliver', object: objectOf(id) }
    const refused = await refusalNow(context, record, message)
    if (refused !== undefined) {
      const { reason, facts } = refused
      const entry = { ...about, outcome: 'refused' as const, reason, facts: { ...facts, device: deviceId } }
      await keep(db, [stepToMove(record, 'refused', { reason }), audit.statement(entry)])
      continue
    }
    if (state === 'ready') {
      const entry = { ...about, outcome: 'done' as const, facts: { device: deviceId } }
      await keep(db, [stepToMove(record, 'delivered', { deliveredAt: now }), audit.statement(entry)])
      world.faults.reach('command delivered')
    }
    found.push({ number, octets: message })
  }
  return found
}

/** The policy of the device's area, where the device has an older one. */
export async function deliverPolicy(context: CommandsContext, deviceId: string, after: number): Promise<readonly Numbered[]> {
  const { area } = await context.device(deviceId)
  const found = await policyOf(context, area)
  return found === undefined || found.policy.version <= after ? [] : [{ number: found.policy.version, octets: found.message }]
}

const ACTOR = 'service:device-commands'

/**
 * A receipt, or a challenge that the operator has to answer.
 *
 * @throws TrustError `malformed`, `badProof`, `unauthenticated`, `forbidden`, `notFound`; `conflict` for a second receipt that says otherwise
 */
export async function takeFromDevice(context: CommandsContext, deviceId: string, octets: Uint8Array): Promise<void> {
  const { birthKey } = await context.device(deviceId)
  const said = await readFromDevice(octets, birthKey)
  await context.checkCertificate(deviceId, said.certificate)
  if (!equal(said.value.birthKey, birthKey)) throw new TrustError('badProof', 'commandReceiptOther')
  const record = await openCommand(context, said.value.command.toHex())
  if (record.deviceId !== deviceId) throw new TrustError('notFound', 'commandUnknown', { facts: { command: record.id } })
  if (said.kind === 'challenge') return takeChallenge(context, record, said.value)
  return takeReceipt(context, record, said.value, octets)
}

async function takeChallenge(context: CommandsContext, record: CommandRecord, { nonce }: Challenge): Promise<void> {
  const { db, world, audit } = context
  if (record.state !== 'challenging')
    throw new TrustError('conflict', 'commandOver', { facts: { command: record.id, state: record.state } })
  const nonceAt = world.clock.now()
  const entry = { actor: ACTOR, act: 'command.challenge', object: objectOf(record.id), outcome: 'done' as const }
  // what was asked for is in the log; a device that goes on without being asked does not fill it
  const said = needsNonce(record, nonceAt) ? [audit.statement(entry)] : []
  await keep(db, [stepToMove(record, 'challenging', { nonce, nonceAt }), ...said])
}

async function takeReceipt(context: CommandsContext, record: CommandRecord, receipt: Receipt, octets: Uint8Array): Promise<void> {
  const { db, world, audit, organizationId } = context
  const { result, counter, reason } = receipt
  const known = await receiptOf(context, record.id)
  if (known !== undefined && equal(known.octets, octets)) return // our answer was lost
  const isOfMessage = record.digest !== undefined && equal(receipt.message, record.digest)
  if (known !== undefined || !isOfMessage)
    throw await refusedReceipt(context, record, new TrustError('conflict', known ? 'commandReceiptTwice' : 'commandReceiptOther'))
  const forked = new TrustError('conflict', 'commandReceiptForked', { facts: { counter } })
  const state = result === 'refused' ? 'refused' : 'receipted'
  try {
    await keep(db, [
      {
        sql: `INSERT INTO command_receipt (command_id, organization_id, device_id, device_counter, result, message, received_at)
            VALUES (?, ?, ?, ?, ?, ?, ?)`,
        parameters: [record.id, organizationId, record.deviceId, counter, result, octets, world.clock.now()],
        refusal: () => forked,
      },
      stepToMove(record, state, reason === undefined ? {} : { reason }),
      audit.statement({
        ...{ actor: ACTOR, act: 'command.receipt', object: objectOf(record.id), outcome: 'done' },
        facts: { result, device: record.deviceId, counter, ...(reason !== undefined && { reason }) },
      }),
    ])
  } catch (error) {
    if (error === forked) throw await refusedReceipt(context, record, forked)
    // a device takes a conflict for the last word: where only the state changed meanwhile, it is looked at again
    if (!(error instanceof TrustError) || error.reason !== 'commandChanged') throw error
    await takeReceipt(context, await openCommand(context, record.id), receipt, octets)
  }
}

/** Whoever speaks for the device says two things: what does not fit is in the log, once a minute for the same device and reason. */
async function refusedReceipt({ audit, isNews }: CommandsContext, record: CommandRecord, error: TrustError): Promise<TrustError> {
  if (!isNews(`${record.deviceId} ${error.reason}`)) return error
  const about = { actor: ACTOR, act: 'command.receipt', object: objectOf(record.id) }
  await audit.refuse({ ...about, reason: error.reason, facts: { ...error.facts, device: record.deviceId } })
  return error
}

export interface KeptReceipt {
  readonly receipt: Receipt
  /** As the device signed it. */
  readonly octets: Uint8Array
  readonly receivedAt: number
}

interface ReceiptRow extends Row {
  readonly message: Uint8Array
  readonly received_at: number
}

/** @returns undefined while there is none */
export async function receiptOf(context: CommandsContext, id: string): Promise<KeptReceipt | undefined> {
  const [row] = await context.db.query<ReceiptRow>(
    'SELECT message, received_at FROM command_receipt WHERE command_id = ? AND organization_id = ?',
    ...[id, context.organizationId],
  )
  if (row === undefined) return undefined
  const { command } = await openCommand(context, id)
  const said = await readFromDevice(row.message, command.audience.birthKey)
  if (said.kind !== 'receipt') throw new TypeError('what is kept as a receipt is none')
  return { receipt: said.value, octets: row.message, receivedAt: row.received_at }
}
