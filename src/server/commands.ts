/** Commands with what they need of other rooms: devices, who may command them, and whose certificate signed a receipt. @module */
import { readFileSync } from 'node:fs'
import { parsePEM } from '#asn1/pem.ts'
import { TrustError } from '#base/errors.ts'
import { seldom } from '#base/seldom.ts'
import { deliver, deliverPolicy, takeFromDevice } from '#commands/deliveries.ts'
import type { CommandsContext } from '#commands/context.ts'
import { RECEIPT_MAX_OCTETS } from '#commands/messages.ts'
import type { CommandedDevice } from '#commands/policy/messages.ts'
import type { DevicesContext } from '#devices/context.ts'
import { findArea } from '#devices/areas.ts'
import { describeDevice } from '#devices/described.ts'
import { type Device, objectOf, openDevice } from '#devices/device.ts'
import { findOrganization } from '#devices/organizations.ts'
import { checkRules, type Condition } from '#devices/rules.ts'
import { type CertificateFacts, type FindFacts, isUsable, refusedByGateway } from '#devices/usable.ts'
import type { Mailboxes } from '#protocols/device-messages/index.ts'

export interface CommandsParts {
  readonly context: DevicesContext
  readonly issuer: string
  /** Files of PEM. */
  readonly anchors: readonly (string | undefined)[]
  /** The CA's record of this very certificate. @returns undefined for one that it did not issue */
  certificate(der: Uint8Array): Promise<CertificateFacts | undefined>
  readonly facts: FindFacts
}

/** @throws TrustError `notFound`, `malformed` for files of anchors */
export function openCommands({ context, issuer, anchors, certificate, facts }: CommandsParts): CommandsContext {
  const { db, audit, world } = context
  return {
    ...context,
    issuer,
    isNews: seldom(world.clock),
    anchors: anchors.flatMap((file) => (file === undefined ? [] : certificatesIn(file))),
    device: (id) => commandedDevice(context, id),
    async checkCertificate(deviceId, der) {
      const facts = await certificate(der)
      if (facts === undefined) throw new TrustError('unauthenticated', 'certificateUnknown')
      const usable = await isUsable(db, facts, world.clock.now())
      if (!usable.isUsable) throw new TrustError('forbidden', usable.reason)
      if (usable.deviceId !== deviceId || usable.role !== 'operational') throw new TrustError('forbidden', 'commandReceiptOther')
    },
    async checkMayCommand({ actor, deviceId, command, standing }) {
      const { isSignedByOperator, roleHasOperation, isAssuranceReached, areEnoughAgreed } = standing
      const device = await openDevice(context, db, deviceId)
      const holding = new Set<Condition>()
      // behind a gateway, what it is told reaches it by the gateway's word alone
      const isHeld = (await refusedByGateway(db, deviceId, facts, world.clock.now())) !== undefined
      if (COMMANDED_IN.has(device.state) && device.flags.length === 0 && !isHeld)
        holding.add('certificate-usable').add('not-locked')
      if (roleHasOperation) holding.add('role-has-operation')
      if (isSignedByOperator) holding.add('strongly-signed-in') // a key of their own is more than a password
      if (isAssuranceReached) holding.add('assurance-reached')
      if (areEnoughAgreed) holding.add('agreed')
      await checkRules({ audit }, { actor, act: 'command', object: objectOf(device), facts: { command } }, holding)
    },
    async checkArea(name) {
      const [owner = '', area = ''] = name.split('/')
      await findArea(db, (await findOrganization(context, db, owner)).id, area)
    },
  }
}

const COMMANDED_IN: ReadonlySet<Device['state']> = new Set<Device['state']>(['active', 'area-change'])

function certificatesIn(file: string): readonly Uint8Array[] {
  try {
    return parsePEM(readFileSync(file, 'latin1')).flatMap(({ label, der }) => (label === 'CERTIFICATE' ? [der] : []))
  } catch (cause) {
    if (cause instanceof TrustError) throw cause
    const problem = (cause as NodeJS.ErrnoException).code ?? 'unknown'
    throw new TrustError('notFound', 'fileUnreadable', { facts: { file, problem }, cause })
  }
}

async function commandedDevice(context: DevicesContext, id: string): Promise<CommandedDevice> {
  const [described, { state, assurance }] = await Promise.all([describeDevice(context, id), openDevice(context, context.db, id)])
  const { manufacturer, productSerial, owner, area, epoch, birthKey } = described
  if (birthKey === undefined || area === undefined || owner === undefined)
    throw new TrustError('policyRefused', 'commandDeviceState', { facts: { state } })
  return { birthKey, name: `${manufacturer}/${productSerial}`, area: `${owner}/${area}`, epoch, assurance }
}

/** What devices fetch and send. */
export const commandMailboxes = (commands: CommandsContext): Mailboxes => ({
  command: { list: (deviceId, after) => deliver(commands, deviceId, after) },
  'command-policy': { list: (deviceId, after) => deliverPolicy(commands, deviceId, after) },
  receipt: {
    take: {
      maxOctets: RECEIPT_MAX_OCTETS,
      async run(deviceId, octets) {
        await takeFromDevice(commands, deviceId, octets)
        return undefined
      },
    },
  },
})
