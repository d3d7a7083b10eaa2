/** REST: whose devices are, how they change owners and areas, and what proves it to others. @module */
import { Type } from 'typebox'
import { certificateSignatureOf } from '#algorithms/table.ts'
import { TrustError } from '#base/errors.ts'
import { listAreas } from '#devices/areas.ts'
import { type Device, openDevice } from '#devices/device.ts'
import { findOrganization, listOrganizations, openOrganization } from '#devices/organizations.ts'
import type { Standing } from '#devices/ownership/messages.ts'
import { verifyChain } from '#devices/ownership/messages.ts'
import { moveDevice, stayDevice } from '#devices/ownership/moves.ts'
import type { Package } from '#devices/ownership/package.ts'
import { type PartyKey, partyKeys, setPartyKey } from '#devices/ownership/parties.ts'
import { openChain } from '#devices/ownership/records.ts'
import {
  askForRecovery,
  completeRecovery,
  listRecoveries,
  objectElsewhere,
  objectTo,
  openRecovery,
  publishRecovery,
  type Recovery,
  recoveryStates,
  withdrawRecovery,
} from '#devices/ownership/recoveries.ts'
import { writtenKey } from '#devices/ownership/statement.ts'
import {
  answerElsewhere,
  answerHere,
  carriedOf,
  checkCarried,
  completeElsewhere,
  completeHere,
  listTransfers,
  offer,
  offersOfSeller,
  openTransfer,
  packageOf,
  release,
  takeAnswer,
  type Transfer,
  transferStates,
  withdraw,
} from '#devices/ownership/transfers.ts'
import { issuerOf, signVoucher } from '#devices/ownership/voucher.ts'
import { checkSpeaks } from '#devices/speakers.ts'
import type { CAServices } from '../compose.ts'
import { type Agreed, OFFER_DEVICE, WaitingShape } from './agreed.ts'
import { CatalogName } from './device-catalog.ts'
import { belongsToInstallation, KeyLabel } from './keys.ts'
import { recordingRefusals } from './refusals.ts'
import { type Call, record, route } from './route.ts'
import { Base64, octetsOf, Time, Uuid } from './shapes.ts'

const STATEMENT_MAX = 128 << 10
const ENTRIES_MAX = 256
const Statement = Type.String({
  pattern: '^[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+$',
  maxLength: STATEMENT_MAX,
  description: 'a compact JSON Web Signature',
})
const DeviceName = Type.String({ pattern: '^[A-Za-z0-9_-]{43}$', description: 'SHA-256 of the birth key, base64url' })
const JWK = Type.Record(Type.String({ pattern: '^[a-z]{1,4}$' }), Type.String({ maxLength: 4096 }), {
  maxProperties: 8,
  description: 'a public key (RFC 7517), its own members and no others',
})
const ById = Type.Object({ id: Uuid })
const ByName = Type.Object({ name: CatalogName })
const Terms = Type.String({ maxLength: 4000, description: 'what both agreed to; it stands in the chain' })
const Chain = Type.Array(Statement, { maxItems: ENTRIES_MAX })
const Reason = Type.String({ minLength: 1, maxLength: 500 })
const DAY_SECONDS = 86_400
const OFFER_MAX_DAYS = 365
/** A package of some hundred owners. */
const PACKAGE_MAX_OCTETS = 8 << 20

const KeyShape = record({
  organization: CatalogName,
  thumbprint: Type.String({ description: 'RFC 7638' }),
  isCurrent: Type.Boolean(),
  label: Type.Optional(KeyLabel),
  jwk: JWK,
  createdAt: Time,
})

const TransferShape = record({
  id: Uuid,
  name: DeviceName,
  device: Type.Optional(Uuid),
  epoch: Type.Integer(),
  seller: Type.String(),
  buyer: Type.String(),
  sellsHere: Type.Boolean({ description: "whether the seller's key is in this installation" }),
  buysHere: Type.Boolean({ description: "whether the buyer's is" }),
  state: Type.Enum([...transferStates]),
  offer: Statement,
  answer: Type.Optional(Statement),
  expiresAt: Time,
  createdAt: Time,
  changedAt: Time,
})

const PackageFields = {
  chain: Chain,
  offer: Type.Optional(Statement),
  certificates: Type.Array(Base64, { maxItems: 10, description: 'the birth certificate and those above it' }),
}

const StandingShape = record({
  name: DeviceName,
  epoch: Type.Integer({ description: '0 while the device is its maker’s' }),
  owner: Type.Optional(Type.String()),
  ownerKey: Type.Optional(JWK),
  product: Type.Optional(record({ manufacturer: Type.String(), model: Type.String(), productSerial: Type.String() })),
  steps: Type.Array(
    record({
      epoch: Type.Integer(),
      kind: Type.Enum(['release', 'recovery']),
      to: Type.String(),
      terms: Type.String(),
      at: Time,
    }),
  ),
  chain: Chain,
})

const RecoveryShape = record({
  id: Uuid,
  device: Uuid,
  epoch: Type.Integer(),
  claimant: Type.String(),
  state: Type.Enum([...recoveryStates]),
  notice: Type.Optional(Statement),
  objection: Type.Optional(Statement),
  endsAt: Type.Optional(Time),
  createdAt: Time,
  changedAt: Time,
})

const MovedShape = record({
  id: Uuid,
  state: Type.String(),
  area: Type.Optional(CatalogName),
  nextArea: Type.Optional(CatalogName),
})

const timeOf = (at: number): string => new Date(at).toISOString()

const keyShape = ({ name, key, thumbprint, label, isCurrent, createdAt }: PartyKey) => ({
  ...{ organization: name, thumbprint, isCurrent, jwk: { ...writtenKey(key) } as Record<string, string> },
  ...(label !== undefined && { label }),
  createdAt: timeOf(createdAt),
})

const transferShape = ({ id, device, deviceId, answer, expiresAt, createdAt, changedAt, ...transfer }: Transfer) => ({
  ...{ id, name: device, epoch: transfer.epoch, seller: transfer.seller, buyer: transfer.buyer },
  ...{ sellsHere: transfer.sellsHere, buysHere: transfer.buysHere, state: transfer.state, offer: transfer.offer },
  ...(deviceId !== undefined && { device: deviceId }),
  ...(answer !== undefined && { answer }),
  ...{ expiresAt: timeOf(expiresAt), createdAt: timeOf(createdAt), changedAt: timeOf(changedAt) },
})

const standingShape = (name: string, standing: Standing | undefined, chain: readonly string[]) => ({
  name,
  epoch: standing?.epoch ?? 0,
  ...(standing !== undefined && {
    owner: standing.owner.name,
    ownerKey: { ...standing.owner.key } as Record<string, string>,
    product: {
      manufacturer: standing.product.manufacturer,
      model: standing.product.model,
      productSerial: standing.product.productSerial,
    },
  }),
  steps: (standing?.steps ?? []).map(({ epoch, kind, to, terms, releasedAt }) => ({
    ...{ epoch, kind, to: to.name, terms, at: timeOf(releasedAt) },
  })),
  chain: [...chain],
})

const packageShape = ({ chain, offer: statement, certificates }: Package) => ({
  chain: [...chain],
  ...(statement !== undefined && { offer: statement }),
  certificates: certificates.map((der) => der.toBase64()),
})

interface Carried {
  readonly chain: readonly string[]
  readonly offer?: string
  readonly certificates: readonly string[]
}
const packageIn = ({ chain, offer: statement, certificates }: Carried): Package => ({
  chain,
  ...(statement !== undefined && { offer: statement }),
  certificates: certificates.map(octetsOf),
})

interface Offers {
  readonly agreed: Agreed
  /** How many an organization offers in a day before others have to agree. */
  readonly alone: number
}

export function ownershipRoutes(
  { devices, keys, authorities }: Pick<CAServices, 'devices' | 'keys' | 'authorities'>,
  offers: Offers,
) {
  const { ownership: context } = devices
  const { db } = context

  /** Keys of authorities and of the server itself say nothing of devices. */
  const checkFree = (label: string): void => {
    if (belongsToInstallation(authorities, label)) throw new TrustError('forbidden', 'keyInUse', { facts: { label } })
  }

  /** The authorities are told before the answer; what is refused is in the audit log. */
  const doing = <T>({ actor }: Call, act: string, object: string, work: () => Promise<T>): Promise<T> =>
    recordingRefusals(context.audit, { actor, act, object }, async () => {
      const done = await work()
      await devices.tellDue()
      return done
    })

  const acting = <Id extends string>(
    id: Id,
    verb: string,
    summary: string,
    work: (transferId: string, actor: string) => Promise<Transfer>,
  ) =>
    route({
      id,
      method: 'POST',
      path: `/api/v1/transfers/{id}/${verb}`,
      permission: 'device.transfer',
      summary,
      params: ById,
      response: TransferShape,
      handle: (call, { params }) =>
        doing(call, `ownership.${verb}`, `transfer:${params.id}`, async () => transferShape(await work(params.id, call.actor))),
    })

  const organizationNames = async (): Promise<ReadonlyMap<string, string>> =>
    new Map((await listOrganizations(context)).map(({ id, name }) => [id, name]))

  const recoveryShape = async (recovery: Recovery) => recoveryOf(recovery, await organizationNames())

  function recoveryOf(recovery: Recovery, names: ReadonlyMap<string, string>) {
    const { id, deviceId, epoch, claimantId, state, notice, objection, endsAt, createdAt, changedAt } = recovery
    return {
      ...{ id, device: deviceId, epoch, claimant: names.get(claimantId) ?? '', state },
      ...(notice !== undefined && { notice }),
      ...(objection !== undefined && { objection }),
      ...(endsAt !== undefined && { endsAt: timeOf(endsAt) }),
      ...{ createdAt: timeOf(createdAt), changedAt: timeOf(changedAt) },
    }
  }

  async function movedShape({ id, state, areaId, nextAreaId }: Device) {
    const names = new Map((await listAreas(context)).map((area) => [area.id, area.name]))
    const [area, nextArea] = [areaId, nextAreaId].map((one) => (one === undefined ? undefined : names.get(one)))
    return { id, state, ...(area !== undefined && { area }), ...(nextArea !== undefined && { nextArea }) }
  }

  return [
    route({
      id: 'setOrganizationKey',
      method: 'PUT',
      path: '/api/v1/organizations/{name}/key',
      permission: 'device.manage',
      summary:
        'Say with which key an organization speaks of ownership: one of this installation, or the public key of one elsewhere',
      params: ByName,
      body: record({ label: Type.Optional(KeyLabel), jwk: Type.Optional(JWK) }),
      response: KeyShape,
      handle: (call, { params: { name }, body: { label, jwk } }) =>
        doing(call, 'organization.key', `organization:${name}`, async () => {
          if (label !== undefined) checkFree(label)
          const key = label === undefined ? { key: { kty: '', ...jwk } } : { label }
          return keyShape(await setPartyKey(context, name, key, call.actor))
        }),
    }),
    route({
      id: 'listOrganizationKeys',
      method: 'GET',
      path: '/api/v1/organizations/{name}/keys',
      permission: 'device.read',
      summary: 'Keys with which an organization speaks of ownership, the current one first',
      params: ByName,
      response: record({ items: Type.Array(KeyShape) }),
      async handle(_, { params: { name } }) {
        return { items: (await partyKeys(context, await findOrganization(context, db, name))).map(keyShape) }
      },
    }),
    route({
      id: 'offerDevice',
      method: 'POST',
      path: '/api/v1/transfers',
      permission: 'device.transfer',
      summary: 'Offer a device to an organization',
      body: record({
        device: Uuid,
        to: CatalogName,
        terms: Type.Optional(Terms),
        days: Type.Optional(
          Type.Integer({ minimum: 1, maximum: OFFER_MAX_DAYS, description: 'how long it stands; 30 unless told' }),
        ),
      }),
      response: Type.Union([TransferShape, WaitingShape]),
      status: 201,
      isPending: ({ state }) => state === 'waiting',
      async handle(call, { body: { device: deviceId, to, terms = '', days = 30 } }) {
        const work = () =>
          doing(call, 'ownership.offer', `device:${deviceId}`, async () =>
            transferShape(await offer(context, { deviceId, to, terms, validSeconds: days * DAY_SECONDS }, call.actor)),
          )
        const { seller, offered } = await offersOfSeller(context, deviceId, DAY_SECONDS)
        if (offered < offers.alone) return work()
        const parameters = { device: deviceId, seller, to, terms, days }
        return offers.agreed({ kind: OFFER_DEVICE, object: `device:${deviceId}`, parameters }, call, work)
      },
    }),
    route({
      id: 'listTransfers',
      method: 'GET',
      path: '/api/v1/transfers',
      permission: 'device.read',
      summary: 'Transfers of devices, newest first',
      query: record({ device: Type.Optional(Uuid) }),
      response: record({ items: Type.Array(TransferShape) }),
      async handle(_, { query: { device } }) {
        return { items: (await listTransfers(context, device === undefined ? {} : { deviceId: device })).map(transferShape) }
      },
    }),
    route({
      id: 'showTransfer',
      method: 'GET',
      path: '/api/v1/transfers/{id}',
      permission: 'device.read',
      summary: 'One transfer',
      params: ById,
      response: TransferShape,
      handle: async (_, { params: { id } }) => transferShape(await openTransfer(context, id)),
    }),
    route({
      id: 'fetchTransferPackage',
      method: 'GET',
      path: '/api/v1/transfers/{id}/package',
      permission: 'device.read',
      summary: 'What goes to a buyer elsewhere: with the offer, and again when it was released',
      params: ById,
      response: record(PackageFields),
      handle: async (_, { params: { id } }) => packageShape(await packageOf(context, id)),
    }),
    acting('acceptTransfer', 'accept', 'The buyer accepts an offer', (id, actor) => answerHere(context, id, true, actor)),
    acting('rejectTransfer', 'reject', 'The buyer rejects an offer', (id, actor) => answerHere(context, id, false, actor)),
    acting('withdrawTransfer', 'withdraw', 'The seller takes an offer back', (id, actor) => withdraw(context, id, actor)),
    acting(
      'releaseTransfer',
      'release',
      'The seller lets go: its certificates are revoked, then the chain goes on',
      (id, actor) => release(context, id, actor),
    ),
    acting('completeTransfer', 'complete', 'The buyer takes what was released to it here', (id, actor) =>
      completeHere(context, id, actor),
    ),
    route({
      id: 'takeTransferAnswer',
      method: 'POST',
      path: '/api/v1/transfers/{id}/answer',
      permission: 'device.transfer',
      summary: 'Hand in what a buyer elsewhere answered',
      params: ById,
      body: record({ answer: Statement }),
      response: TransferShape,
      handle: (call, { params: { id }, body: { answer } }) =>
        doing(call, 'ownership.accept', `transfer:${id}`, async () =>
          transferShape(await takeAnswer(context, id, answer, call.actor)),
        ),
    }),
    route({
      id: 'answerIncomingOffer',
      method: 'POST',
      path: '/api/v1/incoming-transfers/answer',
      permission: 'device.transfer',
      summary: 'Accept or reject an offer from another installation; the answer goes back there',
      bodyMaxOctets: PACKAGE_MAX_OCTETS,
      body: record({ ...PackageFields, isAccepted: Type.Boolean() }),
      response: record({ transfer: TransferShape, answer: Statement }),
      handle: (call, { body: { isAccepted, ...carried } }) =>
        doing(call, 'ownership.accept', 'transfer:incoming', async () => {
          const { transfer, answer } = await answerElsewhere(context, packageIn(carried), isAccepted, call.actor)
          return { transfer: transferShape(transfer), answer }
        }),
    }),
    route({
      id: 'completeIncomingTransfer',
      method: 'POST',
      path: '/api/v1/incoming-transfers/complete',
      permission: 'device.transfer',
      summary: 'Take a device that another installation released to an organization here: the whole chain is checked',
      bodyMaxOctets: PACKAGE_MAX_OCTETS,
      body: record(PackageFields),
      response: record({ device: Uuid, state: Type.String(), epoch: Type.Integer() }),
      handle: (call, { body }) =>
        doing(call, 'ownership.complete', 'transfer:incoming', async () => {
          const { id, state, epoch } = await completeElsewhere(context, packageIn(body), call.actor)
          return { device: id, state, epoch }
        }),
    }),
    route({
      id: 'showOwnership',
      method: 'GET',
      path: '/api/v1/devices/{id}/ownership',
      permission: 'device.read',
      summary: 'Whose a device is, with the chain that proves it',
      params: ById,
      response: StandingShape,
      async handle(_, { params: { id } }) {
        const { name, standing, entries } = await openChain(context, await openDevice(context, db, id))
        return standingShape(name, standing, entries)
      },
    }),
    route({
      id: 'exportOwnership',
      method: 'GET',
      path: '/api/v1/devices/{id}/ownership/package',
      permission: 'device.read',
      summary: 'The chain with the birth certificate, for whoever is to check it elsewhere',
      params: ById,
      response: record(PackageFields),
      async handle(_, { params: { id } }) {
        await openDevice(context, db, id)
        return packageShape(await carriedOf(context, id))
      },
    }),
    route({
      id: 'verifyOwnership',
      method: 'POST',
      path: '/api/v1/ownership/verify',
      permission: 'device.read',
      summary: 'Whose a device is by a chain from elsewhere; makers count whose keys are set here',
      bodyMaxOctets: PACKAGE_MAX_OCTETS,
      body: record({
        chain: Chain,
        name: Type.Optional(DeviceName),
        epochAtLeast: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_000_000 })),
        objections: Type.Optional(Type.Array(Statement, { maxItems: 100 })),
      }),
      response: StandingShape,
      async handle(_, { body: { chain, name, epochAtLeast, objections } }) {
        const { rules } = await checkCarried(context, { chain })
        const standing = await verifyChain(chain, {
          ...rules,
          ...(name !== undefined && { device: name }),
          ...(epochAtLeast !== undefined && { epochAtLeast }),
          objections: [...(rules.objections ?? []), ...(objections ?? [])],
        })
        return standingShape(standing.device, standing, chain)
      },
    }),
    route({
      id: 'issueVoucher',
      method: 'POST',
      path: '/api/v1/devices/{id}/voucher',
      permission: 'device.transfer',
      summary: 'The maker’s word to the device whose it is: a voucher of RFC 8366',
      params: ById,
      body: record({
        key: KeyLabel,
        certificates: Type.Array(Base64, { minItems: 1, maxItems: 10, description: "the key's own first, then those above it" }),
        pinnedDomainCert: Base64,
        days: Type.Optional(
          Type.Integer({ minimum: 1, maximum: 36_500, description: 'how long it may be used; 365 unless told' }),
        ),
      }),
      response: record({ voucher: Base64 }),
      handle: (call, { params: { id }, body: { key: label, certificates, pinnedDomainCert, days = 365 } }) =>
        doing(call, 'ownership.voucher', `device:${id}`, async () => {
          const device = await openDevice(context, db, id)
          await checkSpeaks(db, await openOrganization(db, device.manufacturerId), call.actor)
          checkFree(label)
          const { certificates: births } = await carriedOf(context, id)
          const [birth] = births
          const issuer = birth === undefined ? undefined : issuerOf(birth)
          const signer = await keys.open(label)
          const now = context.world.clock.now()
          const [own = '', ...above] = certificates
          const der = await signVoucher(
            {
              createdOn: new Date(now),
              expiresOn: new Date(now + days * DAY_SECONDS * 1000),
              assertion: 'verified',
              serialNumber: device.productSerial,
              ...(issuer !== undefined && { idevidIssuer: issuer }),
              pinnedDomainCert: octetsOf(pinnedDomainCert),
              domainCertRevocationChecks: false,
            },
            { key: signer, certificate: octetsOf(own), signatureAlgorithm: certificateSignatureOf(signer.keyAlgorithm) },
            above.map(octetsOf),
          )
          await db.transaction((tx) =>
            context.audit.record(tx, {
              actor: call.actor,
              act: 'ownership.voucher',
              object: `device:${id}`,
              outcome: 'done',
              facts: { key: label, days },
            }),
          )
          return { voucher: der.toBase64() }
        }),
    }),
    route({
      id: 'moveDevice',
      method: 'POST',
      path: '/api/v1/devices/{id}/move',
      permission: 'device.change',
      summary: 'Move a device to another area of its owner: it gets and uses a new certificate, then the former is revoked',
      params: ById,
      body: record({ area: CatalogName }),
      response: MovedShape,
      handle: (call, { params: { id }, body: { area } }) =>
        doing(call, 'device.change-area', `device:${id}`, async () =>
          movedShape(await moveDevice(context, { deviceId: id, area }, call.actor)),
        ),
    }),
    route({
      id: 'stayDevice',
      method: 'POST',
      path: '/api/v1/devices/{id}/stay',
      permission: 'device.change',
      summary: 'Give up a move: what was issued for the next area is revoked',
      params: ById,
      response: MovedShape,
      handle: (call, { params: { id } }) =>
        doing(call, 'device.stay', `device:${id}`, async () => movedShape(await stayDevice(context, id, call.actor))),
    }),
    route({
      id: 'askForRecovery',
      method: 'POST',
      path: '/api/v1/devices/{id}/recoveries',
      permission: 'device.transfer',
      summary: 'Claim a device whose owner cannot be asked: the answer is what the device has to sign',
      params: ById,
      body: record({ claimant: CatalogName }),
      response: record({
        recovery: RecoveryShape,
        presence: record({
          version: Type.Literal(1),
          device: DeviceName,
          epoch: Type.Integer(),
          previous: Type.Optional(DeviceName),
          to: record({ name: Type.String(), key: JWK }),
          nonce: DeviceName,
        }),
      }),
      status: 201,
      handle: (call, { params: { id }, body: { claimant } }) =>
        doing(call, 'ownership.ask', `device:${id}`, async () => {
          const { recovery, asked } = await askForRecovery(context, { deviceId: id, claimant }, call.actor)
          const to = { name: asked.to.name, key: { ...asked.to.key } as Record<string, string> }
          return { recovery: await recoveryShape(recovery), presence: { ...asked.place, to, nonce: asked.nonce } }
        }),
    }),
    route({
      id: 'listRecoveries',
      method: 'GET',
      path: '/api/v1/recoveries',
      permission: 'public',
      summary: 'Who claims which device, and until when its owner may object; for everybody to see',
      response: record({ items: Type.Array(RecoveryShape) }),
      async handle() {
        const names = await organizationNames()
        return { items: (await listRecoveries(context)).map((recovery) => recoveryOf(recovery, names)) }
      },
    }),
    route({
      id: 'showRecovery',
      method: 'GET',
      path: '/api/v1/recoveries/{id}',
      permission: 'device.read',
      summary: 'One recovery',
      params: ById,
      response: RecoveryShape,
      handle: async (_, { params: { id } }) => recoveryShape(await openRecovery(context, id)),
    }),
    route({
      id: 'publishRecovery',
      method: 'POST',
      path: '/api/v1/recoveries/{id}/publish',
      permission: 'device.transfer',
      summary: 'The maker says in public who claims the device, which signed that it is there',
      params: ById,
      body: record({
        presence: Statement,
        reason: Reason,
        waitDays: Type.Optional(Type.Integer({ minimum: 14, maximum: 365, description: 'time to object; 30 unless told' })),
      }),
      response: RecoveryShape,
      handle: (call, { params: { id }, body: { presence, reason, waitDays = 30 } }) =>
        doing(call, 'ownership.publish', `recovery:${id}`, async () =>
          recoveryShape(await publishRecovery(context, id, { presence, reason, waitDays }, call.actor)),
        ),
    }),
    route({
      id: 'objectToRecovery',
      method: 'POST',
      path: '/api/v1/recoveries/{id}/object',
      permission: 'device.transfer',
      summary: 'The owner objects with its key, which is here',
      params: ById,
      body: record({ reason: Reason }),
      response: RecoveryShape,
      handle: (call, { params: { id }, body: { reason } }) =>
        doing(call, 'ownership.object', `recovery:${id}`, async () =>
          recoveryShape(await objectTo(context, id, { reason }, call.actor)),
        ),
    }),
    route({
      id: 'objectElsewhere',
      method: 'POST',
      path: '/api/v1/recoveries/objections',
      permission: 'device.transfer',
      summary:
        'The owner, whose key is here, objects to a recovery that is published elsewhere: kept here, and to be brought there',
      body: record({ notice: Statement, reason: Reason }),
      response: record({ device: Uuid, objection: Statement }),
      handle: (call, { body: { notice, reason } }) =>
        doing(call, 'ownership.object', 'recovery:elsewhere', async () => {
          const { deviceId: device, objection } = await objectElsewhere(context, notice, reason, call.actor)
          return { device, objection }
        }),
    }),
    route({
      id: 'handInObjection',
      method: 'POST',
      path: '/api/v1/recoveries/{id}/objection',
      permission: 'public',
      summary: 'The owner objects by a statement that it signed elsewhere; anybody may bring it',
      params: ById,
      body: record({ objection: Statement }),
      response: RecoveryShape,
      // what strangers bring in vain is not kept: it would fill the audit log
      handle: async ({ actor }, { params: { id }, body: { objection } }) =>
        recoveryShape(await objectTo(context, id, { statement: objection }, actor)),
    }),
    route({
      id: 'withdrawRecovery',
      method: 'POST',
      path: '/api/v1/recoveries/{id}/withdraw',
      permission: 'device.transfer',
      summary: 'Give up a claim',
      params: ById,
      response: RecoveryShape,
      handle: (call, { params: { id } }) =>
        doing(call, 'ownership.withdraw', `recovery:${id}`, async () =>
          recoveryShape(await withdrawRecovery(context, id, call.actor)),
        ),
    }),
    route({
      id: 'completeRecovery',
      method: 'POST',
      path: '/api/v1/recoveries/{id}/complete',
      permission: 'device.transfer',
      summary: 'After the time to object: the claimant owns the device',
      params: ById,
      body: record({ answer: Type.Optional(Statement) }),
      response: RecoveryShape,
      handle: (call, { params: { id }, body: { answer } }) =>
        doing(call, 'ownership.recover', `recovery:${id}`, async () =>
          recoveryShape(await completeRecovery(context, id, answer === undefined ? {} : { answer }, call.actor)),
        ),
    }),
  ]
}
