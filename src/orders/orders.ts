/**
 * The maker's side: orders, the tickets that nodes get for them, and how orders end.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { type Static, Type } from 'typebox'
import { Compile } from 'typebox/compile'
import { importPublicKey } from '#algorithms/public-key.ts'
import type { Audit } from '#audit/audit.ts'
import { TrustError } from '#base/errors.ts'
import { uuidv7, type World } from '#base/world.ts'
import type { KeyStore, Signer } from '#keys/key-store.ts'
import { keep, type Step } from '#store/batch.ts'
import type { Database, Row } from '#store/database.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { parseCertificationRequest } from '#x509/certification-request.ts'
import type { EndorsementTrust } from '#tpm2/endorsement.ts'
import { allotmentsOf } from './allotment-record.ts'
import { type Course, newCourse, termsOf } from './course.ts'
import { checkEnvelope } from './firmware.ts'
import { challengeFor, checkChallengeAnswer, type OpenedRequest } from './endorsement.ts'
import {
  emptyChain,
  type JobTicket,
  openStatement,
  orderedFields,
  peekStatement,
  QUOTA_MAX,
  type SerialBlock,
  signStatement,
  type Tier,
} from './messages.ts'
import { shownTier } from './shown-tier.ts'

/** What a maker orders. */
export const OrderTerms = Type.Object(
  {
    ...orderedFields,
    endorsementAuthorities: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 64 }), {
        maxItems: 16,
        description: 'trusted authorities of makers of TPMs, for tier N1',
      }),
    ),
    quantity: Type.Integer({ minimum: 1, maximum: QUOTA_MAX }),
    authority: Type.String({ maxLength: 64, description: 'the authority that certifies nodes' }),
    ticketKey: Type.String({ maxLength: 160, description: 'label of the key that signs tickets' }),
  },
  { additionalProperties: false },
)
export type OrderTerms = Static<typeof OrderTerms>
const compiled = Compile(OrderTerms)

export interface ProductionOrder {
  readonly id: string
  readonly name: string
  readonly version: number
  readonly terms: OrderTerms
  readonly nonce: string
  readonly state: 'open' | 'closed'
  readonly createdAt: number
}

/** `lost`: given up, since its node or its counters are gone; what it had is not given out again. */
export type JobState = 'open' | 'ended' | 'lost'

export interface Job {
  readonly id: string
  readonly orderId: string
  readonly state: JobState
  readonly tier: Tier
  /** DER SubjectPublicKeyInfo. */
  readonly nodeKey: Uint8Array
  readonly ticket: JobTicket
  readonly ticketText: string
  readonly size: number
  readonly head: string
  readonly course: Course
  readonly createdAt: number
  readonly seenAt: number | undefined
}

export interface NodeAuthority {
  /** Address of the maker's authority. */
  readonly authority: string
  /** PKCS #10. */
  readonly request: Uint8Array
  /** What every name below it begins with. */
  readonly subject: OrderTerms['subject']
}

export interface JobBirth {
  readonly productSerial: string
  readonly position: number
  readonly n: number
  /** SHA-256 of the SubjectPublicKeyInfo, in hexadecimal. */
  readonly key: string
  /** DER */
  readonly certificate: Uint8Array
  readonly evidence: string
  /** SHA-256 of the image that it got, where the node hands images out. */
  readonly firmware: string | undefined
  readonly station: string
  readonly operator: string | undefined
  readonly at: number
}

/** Devices of a job, for whoever keeps them; what it refuses becomes an alarm. The steps are kept with others. */
export interface JobDevices {
  /** @throws TrustError, now or when they are kept */
  stepsToBear(birth: JobBirth, actor: string): Promise<readonly Step[]>
  /** Nothing for a device that was not born in this job. @throws TrustError, now or when they are kept */
  stepsToJudge(productSerial: string, verdict: 'good' | 'scrap', actor: string): Promise<readonly Step[]>
}

export interface OrderedLine {
  readonly id: string
  readonly name: string
  /** As orders write it: `acme/pump`. */
  readonly model: string
  /** Whether it bears only what is ordered. */
  readonly requiresOrder: boolean
}

export interface OrdersContext {
  readonly db: Database
  readonly audit: Audit
  readonly world: World
  readonly organizationId: string
  readonly keys: Pick<KeyStore, 'open'>
  /** Certifies a node as an authority for these names and no others, with none below it. @returns DER, up to the root */
  readonly certifyNode: (wanted: NodeAuthority, actor: string) => Promise<readonly Uint8Array[]>
  /** Makers of TPMs, by the addresses of their authorities. @throws TrustError `notFound`, `policyRefused` */
  readonly endorsementTrust: (addresses: readonly string[]) => EndorsementTrust
  /** Of a model as orders write it; says nothing of one that no maker here has. @throws TrustError `forbidden` unless they speak for its maker */
  readonly checkSpeaks: (model: string, actor: string) => Promise<void>
  /** Of the server. @throws TrustError `notFound` */
  readonly birthLine: (name: string) => Promise<OrderedLine>
  /** Of a device that is born at such a line; nothing where the records know it already. */
  readonly stepsToJudge: (
    born: { readonly model: string; readonly job: string; readonly productSerial: string },
    verdict: 'good' | 'scrap',
    actor: string,
  ) => Promise<readonly Step[]>
  /** @returns undefined while the device is not known, or not found good: it is asked again */
  readonly stepsToShip: (
    shipped: { readonly model: string; readonly productSerial: string; readonly orderId: string },
    actor: string,
  ) => Promise<readonly Step[] | undefined>
  /** @returns undefined where devices do not know the model that was ordered: its births wait until they do */
  readonly devicesOf: (job: Job) => Promise<JobDevices | undefined>
}

const NAME = /^[a-z0-9][a-z0-9.-]{0,62}$/

/** @throws TrustError `malformed`, `conflict` (`orderTaken`), `notFound` when the key is not there */
export async function createOrder(
  context: OrdersContext,
  name: string,
  terms: OrderTerms,
  actor: string,
): Promise<ProductionOrder> {
  const { db, audit, world, organizationId } = context
  checkTerms(name, terms)
  await context.checkSpeaks(terms.model, actor)
  context.endorsementTrust(terms.endorsementAuthorities ?? [])
  await ticketSigner(context, terms)
  const order: ProductionOrder = {
    id: uuidv7(world),
    name,
    version: 1,
    terms,
    nonce: world.random.octets(32).toHex(),
    state: 'open',
    createdAt: world.clock.now(),
  }
  await keep(db, [
    {
      sql: `INSERT INTO production_order (id, organization_id, version, name, terms, nonce, state, created_at, closed_at)
          VALUES (?, ?, 1, ?, ?, ?, 'open', ?, NULL)`,
      parameters: [order.id, organizationId, name, JSON.stringify(terms), order.nonce, order.createdAt],
      refusal: () => new TrustError('conflict', 'orderTaken', { facts: { order: name } }),
    },
    audit.statement({
      actor,
      act: 'order.create',
      object: `order:${order.id}`,
      outcome: 'done',
      facts: { name, model: terms.model, quantity: terms.quantity, scrapAllowance: terms.scrapAllowance, tier: terms.tier },
    }),
  ])
  return order
}

function checkTerms(name: string, terms: OrderTerms): void {
  const wrong = (detail: string): TrustError => new TrustError('malformed', 'orderMalformed', { facts: { detail } })
  if (!NAME.test(name)) throw wrong('its name has 1 to 63 lower-case letters, digits, dots and hyphens')
  if (!compiled.Check(terms)) throw wrong(`${compiled.Errors(terms)[0]?.instancePath ?? ''} is not as it must be`)
  const {
    serials,
    quantity,
    scrapAllowance,
    notBefore,
    notAfter,
    tier,
    endorsementAuthorities = [],
    firmware,
    firmwareSigners = [],
  } = terms
  if (quantity + scrapAllowance > QUOTA_MAX)
    throw wrong(`it is for more than ${QUOTA_MAX} devices with those that may be scrapped`)
  if (serials.from > serials.to || String(serials.to).length > serials.digits) throw wrong('its serial block has no numbers')
  if (serials.to - serials.from + 1 < quantity + scrapAllowance)
    throw wrong('its serial block is smaller than its quantity with those that may be scrapped')
  if (serials.prefix.length + serials.digits > 64) throw wrong('its serial numbers are longer than 64 characters')
  if (notBefore >= notAfter) throw wrong('it ends before it begins')
  for (const certificate of firmwareSigners) parseCertificate(Uint8Array.fromBase64(certificate))
  if (firmwareSigners.length > 0 && firmware.length === 0) throw wrong('it names signers of images, and no image')
  if (tier === 'N1' && endorsementAuthorities.length === 0)
    throw wrong('tier N1 needs authorities of makers of TPMs that are trusted')
}

async function ticketSigner({ keys }: OrdersContext, { ticketKey }: OrderTerms): Promise<Signer> {
  try {
    return await keys.open(ticketKey)
  } catch (cause) {
    if (!(cause instanceof TrustError) || cause.code !== 'notFound') throw cause
    throw new TrustError('notFound', 'ticketKeyMissing', { facts: { label: ticketKey }, cause })
  }
}

/** @throws TrustError `notFound` */
export async function openOrder(
  { db, organizationId }: Pick<OrdersContext, 'db' | 'organizationId'>,
  name: string,
): Promise<ProductionOrder> {
  const [row] = await db.query('SELECT * FROM production_order WHERE organization_id = ? AND name = ?', organizationId, name)
  if (row === undefined) throw new TrustError('notFound', 'orderUnknown', { facts: { order: name } })
  return orderOf(row)
}

/** For who may change it. @throws TrustError `notFound`, `forbidden` */
export async function openOwnOrder(context: OrdersContext, name: string, actor: string): Promise<ProductionOrder> {
  const order = await openOrder(context, name)
  await context.checkSpeaks(order.terms.model, actor)
  return order
}

/** Newest first. */
export async function listOrders(
  { db, organizationId }: Pick<OrdersContext, 'db' | 'organizationId'>,
  { limit, after }: { readonly limit: number; readonly after?: string | undefined },
): Promise<readonly ProductionOrder[]> {
  const rows = await db.query(
    `SELECT * FROM production_order WHERE organization_id = ? AND id < ? ORDER BY id DESC LIMIT ?`,
    organizationId,
    after ?? 'g',
    limit,
  )
  return rows.map(orderOf)
}

export const orderOf = (row: Row): ProductionOrder => ({
  id: row['id'] as string,
  name: row['name'] as string,
  version: row['version'] as number,
  terms: JSON.parse(row['terms'] as string) as OrderTerms,
  nonce: row['nonce'] as string,
  state: row['state'] as ProductionOrder['state'],
  createdAt: row['created_at'] as number,
})

export async function jobsOf({ db }: Pick<OrdersContext, 'db'>, { id }: Pick<ProductionOrder, 'id'>): Promise<readonly Job[]> {
  return (await db.query('SELECT * FROM production_job WHERE order_id = ? ORDER BY id', id)).map(jobOf)
}

export const jobOf = (row: Row): Job => ({
  id: row['id'] as string,
  orderId: row['order_id'] as string,
  state: row['state'] as JobState,
  tier: row['tier'] as Tier,
  nodeKey: row['node_key'] as Uint8Array,
  ticket: peekStatement('ticket', row['ticket'] as string), // ours, as we signed it
  ticketText: row['ticket'] as string,
  size: row['size'] as number,
  head: row['head'] as string,
  course: JSON.parse(row['course'] as string) as Course,
  createdAt: row['created_at'] as number,
  seenAt: (row['seen_at'] as number | null) ?? undefined,
})

/** What the factory is given first: `sealworks node init --order`. */
export async function orderSheet(context: OrdersContext, name: string): Promise<string> {
  const { terms, nonce } = await openOrder(context, name)
  const signer = await ticketSigner(context, terms)
  const { model, factory, tier } = terms
  return signStatement(
    'order-sheet',
    { version: 1, order: name, model, factory, tier, nonce, ticketKey: signer.publicKey.toBase64() },
    signer,
  )
}

/** What an order gave to be born somewhere. */
interface Part {
  readonly state: JobState
  readonly quota: number
  readonly scrapAllowance: number
  readonly issued: number
  readonly scrap: number
}

/**
 * What is not given to a job or a line yet. What an ended job did not use comes back; what a lost one had does not. Each birth is used up,
 * by the scrap allowance as far as it goes, by the quota beyond: a node that says it scrapped more gains nothing.
 */
export function roomIn(
  { terms }: ProductionOrder,
  jobs: readonly Job[],
  allotments: readonly Part[] = [],
): { readonly quota: number; readonly scrap: number } {
  let quota = terms.quantity
  let scrap = terms.scrapAllowance
  const ofJobs = jobs.map(({ state, ticket, course: { issued, scrap: scrapped } }): Part => {
    const { quota: most, scrapAllowance } = ticket
    return { state, quota: most, scrapAllowance, issued, scrap: scrapped }
  })
  for (const part of [...ofJobs, ...allotments]) {
    const scrapped = Math.min(part.scrap, part.issued, part.scrapAllowance)
    quota -= part.state === 'ended' ? part.issued - scrapped : part.quota
    scrap -= part.state === 'ended' ? scrapped : part.scrapAllowance
  }
  return { quota: Math.max(0, quota), scrap: Math.max(0, scrap) }
}

/** The next numbers of an order's block: those of two parts do not overlap. @throws TrustError `quotaExceeded` */
export function serialsFor(
  { terms: { serials } }: ProductionOrder,
  given: readonly { readonly serials: SerialBlock }[],
  asked: number,
): SerialBlock {
  const from = Math.max(serials.from, ...given.map(({ serials: { to } }) => to + 1))
  const to = from + asked - 1
  if (to > serials.to) throw new TrustError('quotaExceeded', 'orderSerialsUsedUp', { facts: { asked } })
  return { ...serials, from, to }
}

export interface WantedTicket {
  /** The node's statement `ticket-request`. */
  readonly request: string
  /** SHA-256 of the stations' certificates. */
  readonly stations: readonly string[]
  /** All that the order has left unless told. */
  readonly quota?: number
  readonly scrapAllowance?: number
  /** The node's statement `endorsement-answer`: without it a TPM counts as one that its host keeps. */
  readonly answer?: string
}

/** @throws TrustError `badProof`; `policyRefused` (`ticketRequestOther`) for a request that answers another sheet */
async function openRequest(
  { name, nonce }: ProductionOrder,
  text: string,
): Promise<OpenedRequest & { readonly request: Uint8Array }> {
  const request = Uint8Array.fromBase64(peekStatement('ticket-request', text).request)
  const publicKey = importPublicKey(parseCertificationRequest(request).subjectPublicKeyInfo)
  const asked = await openStatement('ticket-request', text, publicKey)
  if (asked.nonce !== nonce || asked.order !== name) throw new TrustError('policyRefused', 'ticketRequestOther')
  return { asked, digest: hash('sha256', text), publicKey, request }
}

/**
 * Asks a node to show whose TPM it has.
 *
 * @param text its statement `ticket-request`
 * @returns the statement `endorsement-challenge`
 * @throws TrustError `policyRefused` for a TPM without a certificate, or of a maker who is not trusted for this order
 */
export async function challengeNode(context: OrdersContext, name: string, text: string, actor: string): Promise<string> {
  const { db, audit } = context
  const order = await openOwnOrder(context, name, actor)
  if (order.state !== 'open') throw new TrustError('conflict', 'orderClosed', { facts: { order: name } })
  const opened = await openRequest(order, text)
  await shownTier(opened.asked, opened.publicKey)
  const { challenge, facts, steps } = await challengeFor(context, order, opened)
  const signed = await signStatement('endorsement-challenge', challenge, await ticketSigner(context, order.terms))
  const object = `order:${order.id}`
  await keep(db, [
    ...steps,
    audit.statement({ actor, act: 'order.challenge', object, outcome: 'done', facts: { challenge: challenge.id, ...facts } }),
  ])
  return signed
}

/** @throws TrustError `badProof`, `policyRefused` for a node below the order's tier, `quotaExceeded`, `conflict` */
export async function issueTicket(context: OrdersContext, name: string, wanted: WantedTicket, actor: string): Promise<Job> {
  const { db, audit, world, organizationId } = context
  const order = await openOwnOrder(context, name, actor)
  const { terms } = order
  if (order.state !== 'open') throw new TrustError('conflict', 'orderClosed', { facts: { order: name } })
  const opened = await openRequest(order, wanted.request)
  const { asked, publicKey, request } = opened
  const shown = await shownTier(asked, publicKey)
  if (asked.envelope !== undefined) await checkEnvelope(asked.envelope, publicKey)
  else if (terms.firmwareSigners !== undefined) throw new TrustError('policyRefused', 'envelopeMissing')
  const endorsed = wanted.answer === undefined ? undefined : await checkChallengeAnswer(context, order, opened, wanted.answer)
  const tier = endorsed === undefined ? shown : 'N1'
  if (tierRank[tier] < tierRank[terms.tier])
    throw new TrustError('policyRefused', 'attestationMissing', { facts: { asked: terms.tier, shown: tier } })
  const [known] = await db.query('SELECT id FROM production_job WHERE node_key = ?', publicKey.spki)
  if (known !== undefined) throw new TrustError('conflict', 'nodeKeyUsed')

  const jobs = await jobsOf(context, order)
  const allotments = await allotmentsOf(context, order)
  const room = roomIn(order, jobs, allotments)
  const quota = wanted.quota ?? room.quota
  const scrapAllowance = wanted.scrapAllowance ?? room.scrap
  if (quota < 1 || quota > room.quota || scrapAllowance > room.scrap)
    throw new TrustError('quotaExceeded', 'orderUsedUp', { facts: { asked: quota + scrapAllowance, left: room.quota } })
  const serials = serialsFor(order, [...jobs.map(({ ticket }) => ticket), ...allotments], quota + scrapAllowance)

  const signer = await ticketSigner(context, terms)
  const chain = await context.certifyNode({ authority: terms.authority, request, subject: terms.subject }, actor)
  const { model, hardwareRevision, firmware, factory, blockSize, hardwareType, subject, notBefore, notAfter } = terms
  const ticket: JobTicket = {
    version: 1,
    id: uuidv7(world),
    order: name,
    ...{ model, hardwareRevision, firmware, factory, tier },
    ...(terms.firmwareSigners !== undefined && { firmwareSigners: terms.firmwareSigners }),
    ...(asked.envelope !== undefined && { envelope: asked.envelope }),
    nodeKey: hash('sha256', publicKey.spki),
    ...(endorsed !== undefined && { endorsement: endorsed.endorsement }),
    counters: asked.counters,
    blockSize,
    stations: [...wanted.stations],
    ...{ quota, scrapAllowance },
    serials,
    profile: 'idevid',
    ...{ hardwareType, subject, notBefore, notAfter },
    authority: chain.map((der) => der.toBase64()),
  }
  const text = await signStatement('ticket', ticket, signer)
  const course = newCourse(termsOf(ticket))
  const createdAt = world.clock.now()
  await keep(db, [
    nextVersion(order),
    ...(endorsed?.steps ?? []),
    {
      sql: `INSERT INTO production_job (id, organization_id, version, order_id, state, tier, node_key, ticket, serial_next, size, head, course,
          job_end, created_at, seen_at) VALUES (?, ?, 1, ?, 'open', ?, ?, ?, ?, 0, ?, ?, NULL, ?, NULL)`,
      parameters: [
        ...[ticket.id, organizationId, order.id, tier, publicKey.spki, text, serials.to + 1],
        ...[emptyChain.head, JSON.stringify(course), createdAt],
      ],
      refusal: () => new TrustError('conflict', 'nodeKeyUsed'),
    },
    audit.statement({
      actor,
      act: 'order.ticket',
      object: `order:${order.id}`,
      outcome: 'done',
      facts: {
        job: ticket.id,
        tier,
        quota,
        scrapAllowance,
        nodeKey: ticket.nodeKey,
        ticket: hash('sha256', text),
        ...blockFacts(ticket),
        ...endorsed?.facts,
      },
    }),
  ])
  const { id } = ticket
  const state = { size: 0, head: emptyChain.head, course, createdAt, seenAt: undefined }
  return { id, orderId: order.id, state: 'open', tier, nodeKey: publicKey.spki, ticket, ticketText: text, ...state }
}

const blockFacts = ({ serials: { prefix, from, to } }: JobTicket) => ({ serials: `${prefix}${from} to ${to}` })

/** N2 is not shown by anything yet: the secure host will. */
const tierRank = { N0: 0, NV: 1, N1: 2, N2: 3 } as const satisfies Record<Tier, number>

/** Two who change an order at once: the second begins anew. */
export const nextVersion = ({ id, version }: ProductionOrder): Step => ({
  sql: `UPDATE production_order SET version = version + 1 WHERE id = ? AND version = ? AND state = 'open' RETURNING state`,
  parameters: [id, version],
  expects: { state: 'open' },
  refusal: () => new TrustError('conflict', 'orderChanged'),
})

/** A node that is gone: its job is over, and what it had is not given out again. @throws TrustError `notFound`, `conflict` */
export async function giveUpJob(
  context: OrdersContext,
  name: string,
  jobId: string,
  reason: string,
  actor: string,
): Promise<void> {
  const { db, audit } = context
  const order = await openOwnOrder(context, name, actor)
  await keep(db, [
    {
      sql: `UPDATE production_job SET version = version + 1, state = 'lost' WHERE id = ? AND order_id = ? AND state = 'open' RETURNING state`,
      parameters: [jobId, order.id],
      expects: { state: 'lost' },
      refusal: () => new TrustError('conflict', 'jobNotOpen'),
    },
    audit.statement({ actor, act: 'order.give-up', object: `order:${order.id}`, outcome: 'done', facts: { job: jobId, reason } }),
  ])
}

/** No more tickets. @throws TrustError `conflict` while jobs are open */
export async function closeOrder(context: OrdersContext, name: string, actor: string): Promise<void> {
  const { db, audit, world } = context
  const order = await openOwnOrder(context, name, actor)
  if (order.state !== 'open') throw new TrustError('conflict', 'orderClosed', { facts: { order: name } })
  const open = (await jobsOf(context, order)).filter(({ state }) => state === 'open')
  const allotted = (await allotmentsOf(context, order)).filter(({ state }) => state === 'open')
  if (allotted.length > 0)
    throw new TrustError('conflict', 'orderHasAllotments', { facts: { lines: allotted.map(({ line }) => line).join(', ') } })
  if (open.length > 0) throw new TrustError('conflict', 'orderHasJobs', { facts: { jobs: open.map(({ id }) => id).join(', ') } })
  await keep(db, [
    nextVersion(order), // a ticket that is issued meanwhile makes this fail
    {
      sql: "UPDATE production_order SET state = 'closed', closed_at = ? WHERE id = ?",
      parameters: [world.clock.now(), order.id],
    },
    audit.statement({ actor, act: 'order.close', object: `order:${order.id}`, outcome: 'done', facts: { name } }),
  ])
}
