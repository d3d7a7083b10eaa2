/**
 * Production orders with what they need of other rooms: an authority for each node, and the records of devices.
 *
 * @module
 */
import { asTrustError } from '#base/errors.ts'
import { crossSign } from '#ca/cross-sign.ts'
import { chainOf } from '#ca/authorities.ts'
import { NO_EXPIRY } from '#ca/issue.ts'
import { findLine } from '#devices/birth/lines.ts'
import type { DevicesContext } from '#devices/context.ts'
import type { AssuranceLevel } from '#devices/device.ts'
import { findModel, openModel, listRevisions, type ProductModel } from '#devices/models.ts'
import { findOrganization, openOrganization } from '#devices/organizations.ts'
import { foreignCertificateId } from '#devices/ownership/transfers.ts'
import { checkSpeaks } from '#devices/speakers.ts'
import { stepsForProduced, stepsForShipment, stepsForVerdict } from '#devices/produced.ts'
import type { Tier } from '#orders/messages.ts'
import type { Job, JobDevices, NodeAuthority, OrderedLine, OrdersContext } from '#orders/orders.ts'
import type { Step } from '#store/batch.ts'
import { fingerprint } from '#x509/certificate.ts'
import { formatName, nameOf } from '#x509/name.ts'
import { type CAServices, endorsementTrust, type Foundation } from './compose.ts'

export const openOrders = (
  { db, audit, world, organizationId }: Omit<Foundation, 'keys'>,
  ca: Pick<CAServices, 'context' | 'authorities' | 'keys'>,
): OrdersContext => ({
  db,
  audit,
  world,
  organizationId,
  keys: ca.keys,
  certifyNode: (wanted, actor) => certifyNode(ca, wanted, actor),
  endorsementTrust: endorsementTrust(ca),
  checkSpeaks: (model, actor) => checkSpeaksForMaker({ db, organizationId }, model, actor),
  birthLine: (name) => orderedLine({ db, organizationId }, name),
  stepsToJudge: ({ model, ...born }, verdict, actor) =>
    stepsToJudge({ db, audit, world, organizationId }, model, born, verdict, actor),
  stepsToShip: ({ model, productSerial, orderId }, actor) =>
    stepsToShip({ db, audit, world, organizationId }, { written: model, productSerial, orderId }, actor),
  devicesOf: (job) => devicesOf({ db, audit, world, organizationId }, job),
})

/** Also of a model that is still to come: its maker is known by then. */
async function checkSpeaksForMaker(
  context: Pick<DevicesContext, 'db' | 'organizationId'>,
  written: string,
  actor: string,
): Promise<void> {
  const [maker = '', name] = written.split('/')
  if (name === undefined) return
  const organization = await ifKnown(() => findOrganization(context, context.db, maker))
  if (organization !== undefined) await checkSpeaks(context.db, organization, actor)
}

async function orderedLine(context: Pick<DevicesContext, 'db' | 'organizationId'>, name: string): Promise<OrderedLine> {
  const { id, modelId, terms } = await findLine(context, name)
  const model = await openModel(context.db, modelId)
  const { name: maker } = await openOrganization(context.db, model.manufacturerId)
  return { id, name, model: `${maker}/${model.name}`, requiresOrder: terms.requiresOrder === true }
}

async function stepsToShip(
  context: DevicesContext,
  {
    written,
    productSerial,
    orderId: order,
  }: { readonly written: string; readonly productSerial: string; readonly orderId: string },
  actor: string,
): Promise<readonly Step[] | undefined> {
  if (!written.includes('/')) return [] // not a model of devices, and never will be
  const model = await modelNamed(context, written)
  return model && stepsForShipment(context, { model, productSerial }, { order }, actor)
}

async function stepsToJudge(
  context: DevicesContext,
  written: string,
  born: { readonly job: string; readonly productSerial: string },
  verdict: 'good' | 'scrap',
  actor: string,
): Promise<readonly Step[]> {
  const model = await modelNamed(context, written)
  if (model === undefined) return []
  return stepsForVerdict(context, { model, ...born }, verdictOf[verdict], actor)
}

const verdictOf = { good: 'release', scrap: 'scrap' } as const

const DAY_MILLISECONDS = 86_400_000

/**
 * For names below the order's, and nothing else: no authority below it, no host, no address, no mailbox. It lasts as long as
 * the authority above it does, since a birth certificate is worth no more than those above it.
 */
async function certifyNode(
  { context, authorities }: Pick<CAServices, 'context' | 'authorities'>,
  { authority: address, request, subject }: NodeAuthority,
  actor: string,
): Promise<readonly Uint8Array[]> {
  const authority = authorities.byAddress(address)
  const end = authority.certificate.notAfter.getTime()
  const days = Math.floor((end - context.world.clock.now()) / DAY_MILLISECONDS)
  const permitted = [`dir:${formatName(nameOf(subject))}`, 'dns:invalid', 'email:invalid']
  const issued = await crossSign(
    context,
    authorities,
    {
      authority: address,
      of: { request },
      profile: 'issuing',
      pathLength: 0,
      nameConstraints: { permitted, excluded: ['ip:0.0.0.0/0', 'ip:::/0'] },
      validity: end === NO_EXPIRY ? { noExpiry: true } : { days },
    },
    actor,
  )
  return [issued.der, ...chainOf(authorities, authority)]
}

/**
 * A software key that a station asked for: how well that is known is how well it is known that the node counted (decision 0009).
 * Where key and counters are files, a copy of them says the same.
 */
const assuranceAt = { N0: 1, NV: 2, N1: 2, N2: 2 } as const satisfies Record<Tier, AssuranceLevel>

/** Of a model that is ordered as devices name it: `acme/pump`. */
async function devicesOf(context: DevicesContext, { id: job, tier, ticket }: Job): Promise<JobDevices | undefined> {
  const model = await modelNamed(context, ticket.model)
  if (model === undefined) return undefined
  const revision = (await listRevisions(context, model.id)).find(({ name }) => name === ticket.hardwareRevision)
  return {
    stepsToBear: ({ productSerial, position, n, key, certificate, evidence, firmware, station, operator, at }, actor) =>
      stepsForProduced(
        context,
        { model, revisionId: revision?.id, productSerial },
        {
          variant: 'software',
          assurance: assuranceAt[tier],
          keyHash: Uint8Array.fromHex(key),
          certificateId: foreignCertificateId(fingerprint(certificate).toHex()),
          bornAt: at,
          ...{ job, node: ticket.nodeKey, station, logNumber: n },
          ...(operator !== undefined && { operator }),
          evidence: { order: ticket.order, position, tier, request: evidence, ...(firmware !== undefined && { firmware }) },
        },
        actor,
      ),
    stepsToJudge: (productSerial, verdict, actor) =>
      stepsForVerdict(context, { model, job, productSerial }, verdictOf[verdict], actor),
  }
}

async function modelNamed(context: DevicesContext, written: string): Promise<ProductModel | undefined> {
  const [maker = '', name, ...more] = written.split('/')
  if (name === undefined || more.length > 0) return undefined
  return ifKnown(async () => findModel(context.db, (await findOrganization(context, context.db, maker)).id, name))
}

async function ifKnown<T>(find: () => Promise<T>): Promise<T | undefined> {
  try {
    return await find()
  } catch (error) {
    if (asTrustError(error).code === 'notFound') return undefined
    throw error
  }
}
