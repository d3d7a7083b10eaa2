/**
 * "Is it genuine?": whoever holds a device asks; the device signs a fresh number with the key that it was born with; the answer
 * says what the maker's records say of that very device, and is signed by the maker.
 *
 * Asked by strangers. Without the key they learn nothing: a serial that nobody made and one whose key did not answer are the same
 * word. With it they learn what concerns whoever holds the thing: that it is a copy, missing, scrapped, or never left the factory.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { toBase64url } from '#jose/base64url.ts'
import type { Row } from '#store/database.ts'
import { DEVICE_COLUMNS, type Device, deviceOf, objectOf } from '../device.ts'
import { findOrganization, type Organization } from '../organizations.ts'
import type { OwnershipContext } from '../ownership/context.ts'
import { openKey, partyKeys } from '../ownership/parties.ts'
import { signStatement, type Verdict } from '../ownership/statement.ts'
import type { DeviceState } from '../states.ts'
import { isSigned, type Proof, type Question } from './messages.ts'

/** Long enough for somebody who carries it to the device on a stick. */
const QUESTION_SECONDS = 600
/**
 * Of all strangers together. Each listener limits what one address may ask; this bounds the table. The oldest gives way to the newest:
 * whoever has many addresses shortens the time that others have for an answer, and keeps nobody from asking.
 */
const QUESTIONS_MAX = 10_000

/** Everybody gets a question, whether there is such a device or not. */
export async function askGenuine(
  { db, world, organizationId }: OwnershipContext,
  { manufacturer, productSerial }: Omit<Question, 'nonce'>,
): Promise<Question & { readonly expiresAt: number }> {
  const now = world.clock.now()
  const nonce = toBase64url(world.random.octets(32))
  const expiresAt = now + QUESTION_SECONDS * 1000
  await db.transaction(async (tx) => {
    await tx.query('DELETE FROM genuine_challenge WHERE expires_at < ?', now)
    const [{ open } = { open: 0 }] = await tx.query<{ open: number }>('SELECT count(*) AS open FROM genuine_challenge')
    if (open >= QUESTIONS_MAX)
      await tx.query(
        'DELETE FROM genuine_challenge WHERE nonce IN (SELECT nonce FROM genuine_challenge ORDER BY expires_at, nonce LIMIT ?)',
        open - QUESTIONS_MAX + 1,
      )
    await tx.query(
      'INSERT INTO genuine_challenge (nonce, organization_id, manufacturer, product_serial, expires_at) VALUES (?, ?, ?, ?, ?)',
      ...[nonce, organizationId, manufacturer, productSerial, expiresAt],
    )
  })
  return { manufacturer, productSerial, nonce, expiresAt }
}

export interface GenuineAnswer {
  readonly verdict: Verdict
  readonly question: Question
  /** The maker's word for it (JWS); undefined where its key is not in this installation. */
  readonly statement: string | undefined
}

/** Each question is answered once. @throws TrustError `notFound`, `malformed`, `unsupported` */
export async function answerGenuine(
  context: OwnershipContext,
  nonce: string,
  proof: Proof,
  actor: string,
): Promise<GenuineAnswer> {
  const { db, world, organizationId } = context
  const rows = await db.transaction((tx) =>
    tx.query<AskedRow>(
      'DELETE FROM genuine_challenge WHERE nonce = ? AND organization_id = ? RETURNING manufacturer, product_serial, expires_at',
      ...[nonce, organizationId],
    ),
  )
  const [row] = rows
  if (row === undefined || row.expires_at < world.clock.now()) throw new TrustError('notFound', 'genuineQuestionOver')
  const question: Question = { manufacturer: row.manufacturer, productSerial: row.product_serial, nonce }
  const maker = await makerOf(context, question)
  const device = maker && (await provenDevice(context, maker, question, proof))
  const verdict = device === undefined ? 'unknown' : verdictOn(device)
  if (device !== undefined && verdict !== 'genuine') {
    const reason = verdict === 'clone' ? 'deviceCloned' : verdict === 'stolen' ? 'deviceMissing' : 'deviceNotInUse'
    const facts = { verdict, state: device.state }
    await context.audit.refuse({ actor, act: 'device.prove', object: objectOf(device), reason, facts })
  }
  return { verdict, question, statement: maker && (await statementOf(context, maker, question, verdict)) }
}

interface AskedRow extends Row {
  readonly manufacturer: string
  readonly product_serial: string
  readonly expires_at: number
}

async function makerOf(context: OwnershipContext, { manufacturer }: Question): Promise<Organization | undefined> {
  try {
    return await findOrganization(context, context.db, manufacturer)
  } catch (error) {
    if (error instanceof TrustError && error.code === 'notFound') return undefined
    throw error
  }
}

/** The device of that serial whose birth key answered. */
async function provenDevice(
  { db, organizationId }: OwnershipContext,
  { id }: Organization,
  question: Question,
  proof: Proof,
): Promise<Device | undefined> {
  if (!(await isSigned(question, proof))) return undefined
  const [row] = await db.query(
    `SELECT ${DEVICE_COLUMNS}, b.key_hash FROM device JOIN birth_record b ON b.device_id = device.id
      WHERE lower(device.product_serial) = lower(?) AND device.manufacturer_id = ? AND device.organization_id = ?`,
    ...[question.productSerial, id, organizationId],
  )
  const isItsKey = row !== undefined && equal(row['key_hash'] as Uint8Array, new Uint8Array(hash('sha256', proof.key, 'buffer')))
  return isItsKey ? deviceOf(row) : undefined
}

const AT_ITS_MAKER: ReadonlySet<DeviceState> = new Set(['planned', 'keyed', 'born', 'released'])

/** What is worst of it. */
function verdictOn({ state, flags, givenFrom, epoch }: Device): Verdict {
  if (flags.includes('clone')) return 'clone'
  if (flags.length > 0) return 'stolen'
  if (state === 'scrapped') return 'scrapped'
  if (state === 'decommissioned') return 'ended'
  if (state === 'quarantined') return 'doubted'
  const isAtMaker = AT_ITS_MAKER.has(state) || (state === 'offered' && epoch === 0 && givenFrom === 'released')
  return isAtMaker ? 'neverShipped' : 'genuine'
}

async function statementOf(
  context: OwnershipContext,
  maker: Organization,
  { manufacturer, productSerial, nonce }: Question,
  verdict: Verdict,
): Promise<string | undefined> {
  const key = (await partyKeys(context, maker)).find(({ isCurrent, label }) => isCurrent && label !== undefined)
  if (key === undefined) return undefined
  const payload = { version: 1, nonce, manufacturer, productSerial, verdict, at: context.world.clock.now() } as const
  return (await signStatement('verdict', payload, await openKey(context, key))).statement
}
