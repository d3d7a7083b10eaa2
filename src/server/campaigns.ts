/** Campaigns with what they need of other rooms: devices, who they are when they come, and releases. @module */
import type { DevicesContext } from '#devices/context.ts'
import type { DeviceConnections } from '#devices/connections.ts'
import { openDevice } from '#devices/device.ts'
import { matchingDevices, serialsOf } from '#devices/matching.ts'
import { findOrganization } from '#devices/organizations.ts'
import { findDevices } from '#devices/register.ts'
import { checkSpeaks } from '#devices/speakers.ts'
import type { DdiService } from '#protocols/ddi/index.ts'
import { type CampaignWork, campaignWork } from '#updates/campaigns/advance.ts'
import type { CampaignDevices, CampaignReleases, CampaignsContext } from '#updates/campaigns/context.ts'
import { campaignDoor } from '#updates/campaigns/door.ts'
import type { Foundation } from './compose.ts'

export interface Campaigns {
  readonly context: CampaignsContext
  readonly work: CampaignWork
  readonly door: DdiService & { writeContacts(): Promise<void> }
}

interface Devices {
  readonly context: DevicesContext
  readonly connections: Pick<DeviceConnections, 'admit'>
}

export function openCampaigns(
  { db, audit, world, organizationId }: Omit<Foundation, 'keys'>,
  devices: Devices,
  releases: CampaignReleases,
): Campaigns {
  const context: CampaignsContext = { db, audit, world, organizationId, devices: campaignDevices(devices), releases }
  const work = campaignWork(context)
  return { context, work, door: campaignDoor(context, work) }
}

/** Devices of one serial, of several makers. */
const NAMED_MAX = 16

const campaignDevices = ({ context, connections }: Devices): CampaignDevices => ({
  matching: ({ model, revision, owner, area, devices }, page) =>
    matchingDevices(
      context,
      {
        ...(model !== undefined && { model }),
        ...(revision !== undefined && { revision }),
        ...(owner !== undefined && { owner }),
        ...(area !== undefined && { area }),
        ...(devices !== undefined && { devices }),
      },
      page,
    ),
  // a device whose operational key cannot speak TLS comes with its birth certificate; what it gets is bound to its owner all the same
  async admit(chain, name) {
    const question = { protocol: 'ddi', name, roles: ['operational', 'birth'] } as const
    const { deviceId, ownerId, epoch } = await connections.admit(chain, question)
    return { deviceId, name, ownerId, epoch }
  },
  async named(name) {
    const found = await findDevices(context, { productSerial: name, state: 'active' }, { limit: NAMED_MAX })
    return found
      .filter(({ flags }) => flags.length === 0)
      .map(({ id: deviceId, ownerId, productSerial, epoch }) => ({ deviceId, ownerId, name: productSerial, epoch }))
  },
  serials: (ids) => serialsOf(context, ids),
  epochOf: async (deviceId) => (await openDevice(context, context.db, deviceId)).epoch,
  async ownerFor(name, actor) {
    const owner = await findOrganization(context, context.db, name)
    await checkSpeaks(context.db, owner, actor)
    return owner
  },
})
