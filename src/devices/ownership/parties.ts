/**
 * The keys with which organizations speak of ownership: of those here, the key ring has the private half; of others, somebody
 * here said that the public key is theirs.
 *
 * @module
 */
import { importPublicKey, type PublicKey } from '#algorithms/public-key.ts'
import { TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import { jwkThumbprint } from '#jose/jwk.ts'
import { keep } from '#store/batch.ts'
import type { Row } from '#store/database.ts'
import { findOrganization, type Organization } from '../organizations.ts'
import { checkSpeaks } from '../speakers.ts'
import type { OwnershipContext } from './context.ts'
import type { StatementKey } from './messages.ts'
import { keyOf, type Party } from './statement.ts'

export interface PartyKey {
  readonly partyId: string
  /** The organization's. */
  readonly name: string
  readonly key: PublicKey
  readonly thumbprint: string
  /** Of the private half; undefined where it is not here. */
  readonly label: string | undefined
  readonly isCurrent: boolean
  readonly createdAt: number
}

const SELECT = `SELECT k.party_id, o.name, k.public_key, k.thumbprint, k.key_label, k.state, k.created_at
  FROM ownership_key k JOIN organization o ON o.id = k.party_id`

const partyKeyOf = (row: Row): PartyKey => ({
  partyId: row['party_id'] as string,
  name: row['name'] as string,
  key: importPublicKey(row['public_key'] as Uint8Array),
  thumbprint: row['thumbprint'] as string,
  label: (row['key_label'] as string | null) ?? undefined,
  isCurrent: row['state'] === 'current',
  createdAt: row['created_at'] as number,
})

/**
 * Says which key is an organization's; the one before stays good for what it signed and owns.
 *
 * @param source a key of this installation's key ring, or the public key of an organization elsewhere
 * @throws TrustError `notFound`, `conflict` when another organization has the key
 */
export async function setPartyKey(
  context: OwnershipContext,
  organization: string,
  source: { readonly label: string } | { readonly key: Party['key'] },
  actor: string,
): Promise<PartyKey> {
  const { db, world, audit, organizationId, keys } = context
  const { id: partyId, name } = await findOrganization(context, db, organization)
  await checkSpeaks(db, { id: partyId, name }, actor)
  const key = 'label' in source ? importPublicKey((await keys.open(source.label)).publicKey) : keyOf(source.key)
  const label = 'label' in source ? source.label : undefined
  const thumbprint = jwkThumbprint(key)
  const known = await findKey(context, thumbprint)
  if (known !== undefined && known.partyId !== partyId)
    throw new TrustError('conflict', 'ownershipKeyTaken', { facts: { organization: known.name } })
  if (known !== undefined && known.isCurrent && known.label === label) return known
  await keep(db, [
    {
      sql: "UPDATE ownership_key SET state = 'former', version = version + 1 WHERE party_id = ? AND state = 'current'",
      parameters: [partyId],
    },
    {
      sql: `INSERT INTO ownership_key (id, organization_id, version, party_id, thumbprint, public_key, key_label, state, created_at)
          VALUES (?, ?, 1, ?, ?, ?, ?, 'current', ?)
          ON CONFLICT (organization_id, thumbprint) DO UPDATE SET
            state = 'current', key_label = excluded.key_label, version = ownership_key.version + 1`,
      parameters: [uuidv7(world), organizationId, partyId, thumbprint, key.spki, label ?? null, world.clock.now()],
    },
    audit.statement({
      actor,
      act: 'organization.key',
      object: `organization:${partyId}`,
      outcome: 'done',
      facts: { thumbprint, isHere: label !== undefined },
    }),
  ])
  return (await findKey(context, thumbprint)) as PartyKey
}

/** Newest first. */
export async function partyKeys(
  { db }: Pick<OwnershipContext, 'db'>,
  { id }: Pick<Organization, 'id'>,
): Promise<readonly PartyKey[]> {
  return (await db.query(`${SELECT} WHERE k.party_id = ? ORDER BY k.state, k.created_at DESC`, id)).map(partyKeyOf)
}

/** @throws TrustError `notFound` when nobody said which it is */
export async function currentKey(context: OwnershipContext, { id, name }: Pick<Organization, 'id' | 'name'>): Promise<PartyKey> {
  const found = (await partyKeys(context, { id })).find(({ isCurrent }) => isCurrent)
  if (found === undefined) throw new TrustError('notFound', 'ownershipKeyNone', { facts: { organization: name } })
  return found
}

export async function findKey(
  { db, organizationId }: Pick<OwnershipContext, 'db' | 'organizationId'>,
  thumbprint: string,
): Promise<PartyKey | undefined> {
  const [row] = await db.query(`${SELECT} WHERE k.organization_id = ? AND k.thumbprint = ?`, organizationId, thumbprint)
  return row && partyKeyOf(row)
}

/** @throws TrustError `forbidden` when its private half is not here, `notFound`, `unavailable` */
export async function openKey(
  { keys }: Pick<OwnershipContext, 'keys'>,
  { name, label }: Pick<PartyKey, 'name' | 'label'>,
): Promise<StatementKey> {
  if (label === undefined) throw new TrustError('forbidden', 'ownershipKeyElsewhere', { facts: { organization: name } })
  return keys.open(label)
}
