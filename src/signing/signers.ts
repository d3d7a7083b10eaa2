/**
 * The signers of an installation: made, listed, enabled, disabled, and moved on to their next key.
 *
 * Records are kept in memory and believed only as far as the batch of each signature finds the same version in the
 * database, so that what another process changed holds from its commit on.
 *
 * @module
 */
import { equal } from '#base/bytes.ts'
import { type Facts, TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import type { Signer } from '#keys/key-store.ts'
import type { Row, Transaction } from '#store/database.ts'
import { isDuplicate } from '#store/duplicate.ts'
import { publish } from '#store/outbox.ts'
import type { SigningContext } from './context.ts'
import { signingFormat } from './formats/registry.ts'
import type { SigningFormat } from './format.ts'
import {
  keysOf,
  type LoneKey,
  type NextKey,
  type SignerKey,
  signerKey,
  type SignerRecord,
  type SignerTerms,
  validityOf,
  withCompanion,
} from './signer.ts'
import { isTimeStampURL } from './time-stamps.ts'
import { checkTimeStampKey, checkTimeStampTerms, TIME_STAMP_FORMAT } from './tsp/terms.ts'

export interface NewSigner extends SignerTerms {
  readonly name: string
  readonly key: NewSignerKey
}

export interface NewSignerKey extends NewLoneKey {
  /** A second key, which signs whatever the first one signs. */
  readonly companion?: NewLoneKey
}

export interface NewLoneKey {
  /** A reference into the key ring. */
  readonly label: string
  readonly chain: readonly Uint8Array[]
  readonly signatureAlgorithm?: string
}

export interface SignerUses {
  /** Signatures in all, and in the hour that began at `windowStart`. */
  readonly uses: number
  readonly windowUses: number
  readonly windowStart: number
}

/** A signer that is ready to sign: its record with what is costly to find out. */
export interface OpenSigner {
  readonly record: SignerRecord
  readonly validity: { readonly notBefore: number; readonly notAfter: number }
  readonly key: Signer
  /** The second key, where the signer has one. */
  readonly companion?: Signer
}

export interface Signers {
  /** @throws TrustError `conflict`, `notFound` for its key or a format, `policyRefused`, `unsupported` */
  create(wanted: NewSigner, actor: string): Promise<SignerRecord>
  list(): Promise<readonly SignerRecord[]>
  /** As it is in the database. @throws TrustError `notFound` */
  find(name: string): Promise<{ readonly record: SignerRecord; readonly uses: SignerUses }>
  /** Does nothing when it is so already. */
  setState(name: string, state: SignerRecord['state'], actor: string): Promise<SignerRecord>
  /** Says which key takes over, and when; replaces what was said before. */
  planNext(name: string, next: NewSignerKey & Pick<NextKey, 'at' | 'afterUses'>, actor: string): Promise<SignerRecord>
  /** The next key takes over now. Does nothing when another did it already. */
  rollOver(record: SignerRecord): Promise<void>
  /** From memory where it is there. @throws TrustError `notFound` */
  open(name: string): Promise<OpenSigner>
  /** Whether a signer has this key, or will have it. */
  needs(label: string): Promise<boolean>
  /** What is in memory is not as it is in the database. */
  forget(name: string): void
}

export function openSigners(context: SigningContext): Signers {
  const { db, keys, audit, world, organizationId } = context
  const opened = new Map<string, Promise<OpenSigner>>()

  const read = async (name: string): Promise<{ readonly record: SignerRecord; readonly uses: SignerUses }> => {
    const [row] = await db.query<SignerRow>(
      `SELECT ${COLUMNS} FROM signer s JOIN signer_use u ON u.signer_id = s.id WHERE s.organization_id = ? AND s.name = ?`,
      organizationId,
      name,
    )
    if (row === undefined) throw unknown(name)
    const { uses, window_uses: windowUses, window_start: windowStart } = row
    return { record: toRecord(row), uses: { uses, windowUses, windowStart } }
  }

  const openLone = async ({ label, chain, signatureAlgorithm }: NewLoneKey): Promise<LoneKey> =>
    signerKey({ ...(await keys.open(label)), label }, chain, signatureAlgorithm)

  const openKey = async ({ companion, ...key }: NewSignerKey): Promise<SignerKey> =>
    withCompanion(await openLone(key), companion === undefined ? undefined : await openLone(companion))

  /** @param change what of the record is another; undefined when there is nothing to do */
  const change = async (
    name: string,
    act: string,
    actor: string,
    next: (record: SignerRecord) => SignerRecord | undefined,
  ): Promise<SignerRecord> => {
    const changed = await db.transaction(async (tx) => {
      const [row] = await tx.query<SignerRow>(
        `SELECT ${COLUMNS} FROM signer s JOIN signer_use u ON u.signer_id = s.id WHERE s.organization_id = ? AND s.name = ?`,
        organizationId,
        name,
      )
      if (row === undefined) throw unknown(name)
      const record = toRecord(row)
      const wanted = next(record)
      if (wanted === undefined) return record
      const after = { ...wanted, version: record.version + 1 }
      await tx.query(
        'UPDATE signer SET record = ?, state = ?, version = ? WHERE id = ?',
        ...[recordText(after), after.state, after.version, after.id],
      )
      await audit.record(tx, {
        actor,
        act,
        object: objectOf(after),
        outcome: 'done',
        facts: { version: after.version, ...keyFacts(after.key) },
      })
      await announce(tx, after, act)
      return after
    })
    opened.delete(name)
    return changed
  }

  const announce = (tx: Transaction, { id, version }: SignerRecord, act: string): Promise<void> =>
    publish(tx, world, { topic: act, organization: organizationId, payload: { id, version } })

  const list = async (): Promise<readonly SignerRecord[]> => {
    const rows = await db.query<SignerRow>(
      `SELECT ${COLUMNS} FROM signer s JOIN signer_use u ON u.signer_id = s.id WHERE s.organization_id = ? ORDER BY s.name`,
      organizationId,
    )
    return rows.map(toRecord)
  }

  /** A key that states times signs nothing else: a bare signature could be made a token of any time (RFC 3161, 2.3). */
  const checkApart = async (key: SignerKey, isAuthority: boolean): Promise<void> => {
    const others = (await list()).filter(({ timeStamps }) => (timeStamps !== undefined) !== isAuthority)
    const taken = others.flatMap((other) => [other.key, ...(other.next === undefined ? [] : [other.next])].flatMap(keysOf))
    const shared = keysOf(key).find(({ publicKey }) => taken.some((one) => equal(one.publicKey, publicKey)))
    if (shared !== undefined) throw new TrustError('policyRefused', 'timeStampKeyShared', { facts: { label: shared.label } })
  }

  return {
    async create({ name, key: wanted, ...terms }, actor) {
      checkTimeStampTerms(terms)
      if (terms.timeStamping !== undefined && !isTimeStampURL(terms.timeStamping)) {
        const { record: authority } = await read(terms.timeStamping)
        if (authority.timeStamps === undefined)
          throw new TrustError('policyRefused', 'noTimeStamps', { facts: { name: authority.name } })
      }
      const key = await openKey(wanted)
      checkFormats(terms, key)
      if (terms.timeStamps !== undefined) checkTimeStampKey(key)
      await checkApart(key, terms.timeStamps !== undefined)
      const id = uuidv7(world)
      const record: SignerRecord = { ...terms, id, name, version: 1, state: 'enabled', key, createdAt: world.clock.now() }
      const act = 'signer.create'
      try {
        await db.transaction(async (tx) => {
          await tx.query(
            'INSERT INTO signer (id, organization_id, version, name, state, record, created_at) VALUES (?, ?, 1, ?, ?, ?, ?)',
            ...[id, organizationId, name, record.state, recordText(record), record.createdAt],
          )
          await tx.query(
            'INSERT INTO signer_use (signer_id, organization_id, uses, window_start, window_uses) VALUES (?, ?, 0, 0, 0)',
            ...[id, organizationId],
          )
          const facts = { ...keyFacts(key), signatureAlgorithm: key.signatureAlgorithm, formats: terms.formats.join(' ') }
          await audit.record(tx, { actor, act, object: objectOf(record), outcome: 'done', facts })
          await announce(tx, record, act)
        })
      } catch (error) {
        throw isDuplicate(error, 'signer') ? new TrustError('conflict', 'signerExists', { facts: { name }, cause: error }) : error
      }
      return record
    },

    list,

    find: read,

    setState: (name, state, actor) =>
      change(name, state === 'enabled' ? 'signer.enable' : 'signer.disable', actor, (record) =>
        record.state === state ? undefined : { ...record, state },
      ),

    async planNext(name, { at, afterUses, ...wanted }, actor) {
      const key = await openKey(wanted)
      await checkApart(key, (await read(name)).record.timeStamps !== undefined)
      const next: NextKey = { ...key, ...(at !== undefined && { at }), ...(afterUses !== undefined && { afterUses }) }
      return change(name, 'signer.plan', actor, (record) => {
        if (record.timeStamps !== undefined) checkTimeStampKey(next)
        checkFormats(record, key)
        if (record.key.companion !== undefined && key.companion === undefined)
          throw new TrustError('policyRefused', 'signerNextAlone', { facts: { name } })
        return { ...record, next }
      })
    },

    async rollOver({ name, version }) {
      await change(name, 'signer.roll-over', 'system', (record) => {
        const { next, ...rest } = record
        if (next === undefined || record.version !== version) return undefined
        const { at: _at, afterUses: _afterUses, ...key } = next // with its own second key
        return { ...rest, key }
      })
    },

    open(name) {
      const known = opened.get(name)
      if (known !== undefined) return known
      const opening = (async () => {
        const { record } = await read(name)
        const { label, companion } = record.key
        return {
          record,
          validity: validityOf(record),
          key: await keys.open(label),
          ...(companion !== undefined && { companion: await keys.open(companion.label) }),
        }
      })()
      opened.set(name, opening)
      opening.catch(() => {
        if (opened.get(name) === opening) opened.delete(name)
      })
      return opening
    },

    needs: async (label) =>
      (await list()).some(({ key, next }) =>
        [key, ...(next === undefined ? [] : [next])].flatMap(keysOf).some((one) => one.label === label),
      ),

    forget: (name) => void opened.delete(name),
  }
}

/** A format that is misspelled signs nothing, and one for one key signs nothing with two. @throws TrustError */
function checkFormats({ formats }: Pick<SignerRecord, 'formats'>, key: SignerKey): void {
  for (const id of formats) {
    const format: Pick<SigningFormat, 'severalKeys'> = id === TIME_STAMP_FORMAT ? {} : signingFormat(id)
    if (key.companion !== undefined && format.severalKeys !== true)
      throw new TrustError('policyRefused', 'formatOneKey', { facts: { format: id } })
  }
}

/** What the audit log says of keys. */
export const keyFacts = ({ label, companion }: SignerKey): Facts => ({
  key: label,
  ...(companion !== undefined && { companionKey: companion.label, companionAlgorithm: companion.signatureAlgorithm }),
})

export const objectOf = ({ id }: Pick<SignerRecord, 'id'>): string => `signer:${id}`

const unknown = (name: string): TrustError => new TrustError('notFound', 'signerUnknown', { facts: { name } })

const COLUMNS =
  's.id AS id, s.version AS version, s.name AS name, s.state AS state, s.record AS record, s.created_at AS created_at, u.uses AS uses, u.window_start AS window_start, u.window_uses AS window_uses'

interface SignerRow extends Row {
  readonly id: string
  readonly version: number
  readonly name: string
  readonly state: SignerRecord['state']
  readonly record: string
  readonly created_at: number
  readonly uses: number
  readonly window_start: number
  readonly window_uses: number
}

type Kept = Omit<SignerRecord, 'id' | 'name' | 'version' | 'state' | 'createdAt'>

/** Octets as base64: they are few and not searched for. */
function recordText({
  id: _id,
  name: _name,
  version: _version,
  state: _state,
  createdAt: _createdAt,
  ...kept
}: SignerRecord): string {
  return JSON.stringify(kept satisfies Kept, (_, value: unknown) =>
    value instanceof Uint8Array ? { base64: value.toBase64() } : value,
  )
}

function toRecord({ id, name, version, state, record, created_at: createdAt }: SignerRow): SignerRecord {
  const kept = JSON.parse(record, (_, value: unknown) =>
    typeof value === 'object' && value !== null && 'base64' in value ? Uint8Array.fromBase64(value.base64 as string) : value,
  ) as Kept
  return { ...kept, id, name, version, state, createdAt }
}
