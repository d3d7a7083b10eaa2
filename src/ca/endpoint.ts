/**
 * Enrollment endpoints: records that bind a protocol to an issuing authority, a profile, and rules of who may ask for what.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { type Static, Type } from 'typebox'
import { Compile } from 'typebox/compile'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { equalInConstantTime, type Secret, secret } from '#base/secret.ts'
import { toWholeSeconds, uuidv7 } from '#base/world.ts'
import type { Step } from '#store/batch.ts'
import type { Row, Transaction } from '#store/database.ts'
import type { CAContext } from './context.ts'
import { lately } from './lately.ts'
import { DEFAULT_ORGANIZATION } from './tables.ts'

/** Who may ask at an endpoint, and for which names. Everything that is not named here is refused. */
export const EndpointRules = Type.Object(
  {
    /** Addresses (`slug.generation`) of the authorities whose certificates authenticate here. No other root or chain counts. */
    clientIssuers: Type.Array(Type.String(), { maxItems: 64 }),
    /** Whether one-time secrets authenticate here (HTTP Basic in EST). */
    secrets: Type.Boolean(),
    /** Stations and gateways, each with the product serials it may ask for; `*` stands for any run of characters. */
    registrationAuthorities: Type.Array(
      Type.Object(
        {
          fingerprint: Type.String({
            pattern: '^[0-9a-f]{64}$',
            description: 'the SHA-256 of a certificate in hexadecimal digits',
          }),
          productSerials: Type.Array(Type.String({ minLength: 1, maxLength: 80 }), { minItems: 1, maxItems: 256 }),
        },
        { additionalProperties: false },
      ),
      { maxItems: 1024 },
    ),
    /** Type of the hardware in hardwareModuleName, from the maker's own arc (RFC 4108, 5). */
    hardwareType: Type.Optional(Type.String({ pattern: '^[0-2](\\.\\d+)+$', description: 'an object identifier' })),
    /** Host names that may be asked for where the profile allows any; `*` stands for any run of characters. */
    names: Type.Array(Type.String({ minLength: 1, maxLength: 253 }), { maxItems: 256 }),
    /** Some clients post their first request to the renewal path (strongSwan's pki). */
    firstEnrollmentOnReenroll: Type.Boolean(),
  },
  { additionalProperties: false },
)
export type EndpointRules = Static<typeof EndpointRules>

const compiled = Compile(EndpointRules)

export const noRules: EndpointRules = {
  clientIssuers: [],
  secrets: false,
  registrationAuthorities: [],
  names: [],
  firstEnrollmentOnReenroll: false,
}

export type EndpointProtocol = 'est'

export interface Endpoint {
  readonly id: string
  readonly label: string
  readonly protocol: EndpointProtocol
  readonly authorityId: string
  readonly profile: string
  readonly rules: EndpointRules
  /** Answers on the protocol's unlabelled path too. */
  readonly isDefault: boolean
  readonly state: 'enabled' | 'disabled'
  readonly createdAt: Date
}

export interface NewEndpoint {
  readonly label: string
  readonly protocol: EndpointProtocol
  readonly authorityId: string
  readonly profile: string
  readonly rules?: Partial<EndpointRules>
  readonly isDefault?: boolean
}

const LABEL = /^[a-z0-9][a-z0-9-]{0,62}$/
/** RFC 7030, 3.2.2: operation names cannot be labels, or `/simpleenroll` could mean either. */
const RESERVED_LABELS = new Set(['cacerts', 'simpleenroll', 'simplereenroll', 'fullcmc', 'serverkeygen', 'csrattrs'])

/** @throws TrustError `malformed`, `conflict` when the label or the default is taken */
export async function createEndpoint({ db, audit, world }: CAContext, input: NewEndpoint, actor: string): Promise<Endpoint> {
  if (!LABEL.test(input.label) || RESERVED_LABELS.has(input.label)) throw new TrustError('malformed', 'endpointLabel')
  const rules = { ...noRules, ...input.rules }
  checkRules(rules)
  const id = uuidv7(world)
  const now = world.clock.now()
  await db.transaction(async (tx) => {
    const [taken] = await tx.query(
      'SELECT label FROM endpoint WHERE organization_id = ? AND protocol = ? AND (label = ? OR (is_default = 1 AND ? = 1))',
      DEFAULT_ORGANIZATION,
      input.protocol,
      input.label,
      input.isDefault === true ? 1 : 0,
    )
    if (taken !== undefined)
      throw new TrustError('conflict', taken['label'] === input.label ? 'endpointTaken' : 'endpointDefaultTaken')
    await tx.insertMany(
      'endpoint',
      [
        'id',
        'organization_id',
        'version',
        'label',
        'protocol',
        'authority_id',
        'profile',
        'rules',
        'is_default',
        'state',
        'created_at',
      ],
      [
        [
          id,
          DEFAULT_ORGANIZATION,
          1,
          input.label,
          input.protocol,
          input.authorityId,
          input.profile,
          JSON.stringify(rules),
          input.isDefault === true ? 1 : 0,
          'enabled',
          now,
        ],
      ],
    )
    await audit.record(tx, {
      actor,
      act: 'endpoint.create',
      object: `endpoint:${id}`,
      outcome: 'done',
      facts: { label: input.label, profile: input.profile },
    })
  })
  openedLately.forget(db)
  return {
    id,
    label: input.label,
    protocol: input.protocol,
    authorityId: input.authorityId,
    profile: input.profile,
    rules,
    isDefault: input.isDefault === true,
    state: 'enabled',
    createdAt: new Date(now),
  }
}

function checkRules(rules: unknown): void {
  if (compiled.Check(rules)) return
  const problems = compiled.Errors(rules).map((error) => `${error.instancePath || '/'} ${error.message}`)
  throw new TrustError('malformed', 'endpointRules', { facts: { problems: problems.join('; ') } })
}

/** Replaces the rules. @throws TrustError `notFound`, `malformed` */
export async function changeRules({ db, audit }: CAContext, id: string, rules: EndpointRules, actor: string): Promise<void> {
  checkRules(rules)
  await changeOne(
    db,
    id,
    (tx) => tx.query('UPDATE endpoint SET rules = ?, version = version + 1 WHERE id = ? RETURNING id', JSON.stringify(rules), id),
    async (tx) => audit.record(tx, { actor, act: 'endpoint.change', object: `endpoint:${id}`, outcome: 'done' }),
  )
}

/** Refuses every request from now on; certificates that were issued stay as they are. @throws TrustError `notFound` */
export async function disableEndpoint({ db, audit }: CAContext, id: string, actor: string): Promise<void> {
  await changeOne(
    db,
    id,
    (tx) =>
      tx.query("UPDATE endpoint SET state = 'disabled', is_default = 0, version = version + 1 WHERE id = ? RETURNING id", id),
    async (tx) => audit.record(tx, { actor, act: 'endpoint.disable', object: `endpoint:${id}`, outcome: 'done' }),
  )
}

/**
 * An authority got a new key: its endpoints issue with it, and whoever was let in with the former one's certificates is
 * let in with the new one's too.
 */
export async function followRekey(
  { audit }: Pick<CAContext, 'audit'>,
  tx: Transaction,
  { from, to }: Readonly<Record<'from' | 'to', { readonly id: string; readonly address: string }>>,
  actor: string,
): Promise<void> {
  const rows = await tx.query('SELECT * FROM endpoint WHERE organization_id = ?', DEFAULT_ORGANIZATION)
  for (const endpoint of rows.map(endpointOf)) {
    const { clientIssuers } = endpoint.rules
    const listed = clientIssuers.includes(from.address)
    if (endpoint.authorityId !== from.id && !listed) continue
    const rules = listed ? { ...endpoint.rules, clientIssuers: [...clientIssuers, to.address] } : endpoint.rules
    await tx.query(
      'UPDATE endpoint SET authority_id = ?, rules = ?, version = version + 1 WHERE id = ?',
      endpoint.authorityId === from.id ? to.id : endpoint.authorityId,
      JSON.stringify(rules),
      endpoint.id,
    )
    const facts = { label: endpoint.label, follows: to.address }
    await audit.record(tx, { actor, act: 'endpoint.change', object: `endpoint:${endpoint.id}`, outcome: 'done', facts })
  }
}

/** After a change to endpoints was committed. */
export const forgetEndpoints = (db: CAContext['db']): void => openedLately.forget(db)

async function changeOne(
  db: CAContext['db'],
  id: string,
  change: (tx: Transaction) => Promise<readonly Row[]>,
  then: (tx: Transaction) => Promise<void>,
): Promise<void> {
  await db.transaction(async (tx) => {
    const changed = await change(tx)
    if (changed.length === 0) throw new TrustError('notFound', 'endpointUnknown', { facts: { endpoint: id } })
    await then(tx)
  })
  openedLately.forget(db)
}

export async function listEndpoints({ db }: Pick<CAContext, 'db'>): Promise<readonly Endpoint[]> {
  return (await db.query('SELECT * FROM endpoint WHERE organization_id = ? ORDER BY label', DEFAULT_ORGANIZATION)).map(endpointOf)
}

const openedLately = lately<Endpoint>()

/** @param label undefined for the protocol's default @throws TrustError `notFound`, also for a disabled one */
export const openEndpoint = (
  context: Pick<CAContext, 'db' | 'world'>,
  protocol: EndpointProtocol,
  label: string | undefined,
): Promise<Endpoint> => openedLately.get(context, `${protocol} ${label ?? ''}`, () => readEndpoint(context, protocol, label))

async function readEndpoint(
  { db }: Pick<CAContext, 'db'>,
  protocol: EndpointProtocol,
  label: string | undefined,
): Promise<Endpoint> {
  const [row] =
    label === undefined
      ? await db.query(
          'SELECT * FROM endpoint WHERE organization_id = ? AND protocol = ? AND is_default = 1',
          DEFAULT_ORGANIZATION,
          protocol,
        )
      : await db.query(
          'SELECT * FROM endpoint WHERE organization_id = ? AND protocol = ? AND label = ?',
          DEFAULT_ORGANIZATION,
          protocol,
          label,
        )
  if (row === undefined || row['state'] !== 'enabled')
    throw new TrustError('notFound', 'endpointUnknown', { facts: { endpoint: label ?? 'default' } })
  return endpointOf(row)
}

const endpointOf = (row: Row): Endpoint => ({
  id: row['id'] as string,
  label: row['label'] as string,
  protocol: row['protocol'] as EndpointProtocol,
  authorityId: row['authority_id'] as string,
  profile: row['profile'] as string,
  rules: JSON.parse(row['rules'] as string) as EndpointRules,
  isDefault: row['is_default'] === 1,
  state: row['state'] as Endpoint['state'],
  createdAt: new Date(row['created_at'] as number),
})

/** `*` stands for any run of characters; everything else for itself. */
export function matchesPattern(pattern: string, text: string): boolean {
  const [head = '', ...rest] = pattern.split('*')
  if (rest.length === 0) return text === pattern
  const tail = rest.pop() as string
  if (text.length < head.length + tail.length || !text.startsWith(head) || !text.endsWith(tail)) return false
  let at = head.length
  const end = text.length - tail.length
  for (const part of rest) {
    const found = text.indexOf(part, at)
    if (found < 0 || found + part.length > end) return false
    at = found + part.length
  }
  return true
}

/** 160 bits: nobody guesses it, so that one plain hash protects it at rest. */
const SECRET_OCTETS = 20
const SECRET_MAX_SECONDS = 90 * 86400

export interface NewEnrollmentSecret {
  readonly endpointId: string
  /** The device that the secret is for. */
  readonly productSerial?: string
  readonly validSeconds: number
}

/** @returns the name and the password to give to the device; the password is not kept and cannot be shown again */
export async function createEnrollmentSecret(
  { db, audit, world }: CAContext,
  { endpointId, productSerial, validSeconds }: NewEnrollmentSecret,
  actor: string,
): Promise<{ readonly userName: string; readonly password: Secret; readonly expiresAt: Date }> {
  if (validSeconds < 60 || validSeconds > SECRET_MAX_SECONDS)
    throw new TrustError('malformed', 'secretLifetime', { facts: { most: SECRET_MAX_SECONDS } })
  const id = uuidv7(world)
  const userName = world.random.octets(6).toHex()
  const password = world.random.octets(SECRET_OCTETS).toHex()
  const now = world.clock.now()
  const expiresAt = toWholeSeconds(now) + validSeconds * 1000
  await db.transaction(async (tx) => {
    const [known] = await tx.query("SELECT id FROM endpoint WHERE id = ? AND state = 'enabled'", endpointId)
    if (known === undefined) throw new TrustError('notFound', 'endpointUnknown', { facts: { endpoint: endpointId } })
    await tx.insertMany(
      'enrollment_secret',
      [
        'id',
        'organization_id',
        'version',
        'endpoint_id',
        'user_name',
        'hash',
        'product_serial',
        'expires_at',
        'used_at',
        'used_request_hash',
        'created_at',
      ],
      [[id, DEFAULT_ORGANIZATION, 1, endpointId, userName, hashOf(password), productSerial ?? null, expiresAt, null, null, now]],
    )
    await audit.record(tx, {
      actor,
      act: 'endpoint.secret',
      object: `secret:${id}`,
      outcome: 'done',
      facts: { endpoint: endpointId },
    })
  })
  return { userName, password: secret(utf8(password)), expiresAt: new Date(expiresAt) }
}

export interface EnrollmentSecret {
  readonly id: string
  readonly productSerial: string | undefined
  readonly isUsed: boolean
}

/** @throws TrustError `unauthenticated` for an unknown name, a wrong password and an expired secret alike */
export async function openEnrollmentSecret(
  { db, world }: CAContext,
  endpointId: string,
  userName: string,
  password: Secret,
): Promise<EnrollmentSecret> {
  const [row] = await db.query(
    'SELECT * FROM enrollment_secret WHERE organization_id = ? AND endpoint_id = ? AND user_name = ?',
    DEFAULT_ORGANIZATION,
    endpointId,
    userName,
  )
  const given = hashOf(password.reveal('compare with the stored hash'))
  const matches = equalInConstantTime(given, (row?.['hash'] as Uint8Array | undefined) ?? new Uint8Array(given.length))
  if (row === undefined || !matches || (row['expires_at'] as number) <= world.clock.now())
    throw new TrustError('unauthenticated', 'secretWrong')
  return {
    id: row['id'] as string,
    productSerial: (row['product_serial'] as string | null) ?? undefined,
    isUsed: row['used_at'] !== null,
  }
}

/** Uses the secret up, and refuses when another request was faster. */
export const secretUse = (id: string, requestHash: string, now: number): Step => ({
  sql: 'UPDATE enrollment_secret SET used_at = ?, used_request_hash = ?, version = version + 1 WHERE id = ? AND used_at IS NULL RETURNING id',
  parameters: [now, requestHash, id],
  expects: { id },
  refusal: () => new TrustError('forbidden', 'secretUsed'),
})

const hashOf = (password: string | Uint8Array): Uint8Array => new Uint8Array(createHash('sha256').update(password).digest())
