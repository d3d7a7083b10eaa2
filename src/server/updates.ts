/** Updates with what they need of other rooms: devices and models, licenses, and the signers. @module */
import { join } from 'node:path'
import type { Approvals } from '#approvals/approvals.ts'
import { TrustError } from '#base/errors.ts'
import type { Config } from '#config/config.ts'
import type { DevicesContext } from '#devices/context.ts'
import { type DescribedDevice, describeDevice } from '#devices/described.ts'
import { findModel, listRevisions } from '#devices/models.ts'
import { findOrganization } from '#devices/organizations.ts'
import { decide } from '#devices/rules.ts'
import type { SoftwareReports } from '#devices/state/reports.ts'
import { type FindFacts, refusedByGateway } from '#devices/usable.ts'
import type { LicensesContext } from '#licenses/context.ts'
import { isLicensed } from '#licenses/licenses.ts'
import type { Signing } from '#signing/service.ts'
import { openReleaseFiles } from '#updates/files.ts'
import { isDirected, stepsToRecord } from '#updates/installed.ts'
import { MANIFEST_FILE, STATEMENT_FILE } from '#updates/messages.ts'
import { stepsOnReport } from '#updates/campaigns/advance.ts'
import type { CampaignReleases } from '#updates/campaigns/context.ts'
import { openUpdates, type Updates } from '#updates/updates.ts'
import type { Foundation } from './compose.ts'

export interface UpdateParts {
  readonly foundation: Foundation
  readonly devices: DevicesContext
  /** What the CA knows of the certificate of a gateway. */
  readonly facts: FindFacts
  readonly licenses: LicensesContext
  readonly signing: Signing
  readonly approvals: Approvals
  readonly config: Config
  readonly dataDirectory: string
}

export function openUpdatesFor({
  foundation,
  devices,
  facts,
  licenses,
  signing,
  approvals,
  config,
  dataDirectory,
}: UpdateParts): Updates {
  const { db, audit, world, organizationId } = foundation
  const { updates: settings, signing: limits } = config
  return openUpdates({
    ...{ db, audit, world, organizationId, signing, approvals },
    files: openReleaseFiles({
      directory: settings.directory ?? join(dataDirectory, 'releases'),
      artifactMaxOctets: limits.uploadMaxBytes,
      incomingMaxOctets: limits.spoolMaxBytes,
      world,
    }),
    devices: {
      async modelNamed(manufacturer, model) {
        const { id } = await findModel(db, (await findOrganization(devices, db, manufacturer)).id, model)
        return { id, manufacturer, model, revisions: (await listRevisions(devices, id)).map(({ name }) => name) }
      },
      open: (deviceId) => directedDevice(devices, facts, deviceId),
      mayUpdate: ({ isApproved, isAgreed }) =>
        decide(
          'update',
          new Set([...(isApproved ? (['release-approved'] as const) : []), ...(isAgreed ? (['director-agrees'] as const) : [])]),
        ).isAllowed,
    },
    licenses: { isLicensed: (deviceId, feature) => isLicensed(licenses, deviceId, feature) },
    settings: {
      directorSigner: settings.directorSigner === '' ? undefined : settings.directorSigner,
      statementHours: settings.statementHours,
    },
  })
}

/** Behind a gateway it is told by the gateway, and is not in use while that is not. @throws TrustError `notFound` */
export async function directedDevice(devices: DevicesContext, facts: FindFacts, deviceId: string): Promise<DescribedDevice> {
  const device = await describeDevice(devices, deviceId)
  const refused = await refusedByGateway(devices.db, deviceId, facts, devices.world.clock.now())
  return { ...device, isInUse: device.isInUse && refused === undefined }
}

const DIRECTOR = 'service:director'

/** What campaigns roll out. */
export const campaignReleases = ({ findRelease, direct, read }: Updates): CampaignReleases => ({
  async open(id) {
    const { component, version, counter, artifacts, state } = await findRelease(id)
    if (state !== 'published') throw new TrustError('policyRefused', 'releaseState', { facts: { state } })
    return {
      ...{ id, component, version, counter },
      artifacts: artifacts.map(({ name, format, octets, digest: sha256 }) => ({ name, format, octets, sha256 })),
    }
  },
  async direct({ action, ...order }) {
    const { statement, manifest, expiresAt } = await direct({ ...order, action: String(action) }, DIRECTOR)
    const files = [
      { name: STATEMENT_FILE, octets: statement },
      { name: MANIFEST_FILE, octets: manifest },
    ]
    return { files, expiresAt }
  },
  read: ({ sha256 }, start, end) => read(sha256, start, end),
})

/** What the reports of devices say of software. */
export const softwareReports = ({ db, audit, world, organizationId }: DevicesContext): SoftwareReports => ({
  isDirected: (deviceId, component) => isDirected(db, deviceId, component),
  async stepsToRecord({ id: deviceId, modelId }, components, isAttested) {
    const source = isAttested ? 'attested' : 'signed'
    return [
      ...(await stepsToRecord({ db, world, organizationId }, { deviceId, modelId, components, source })),
      ...(await stepsOnReport({ db, audit, world }, deviceId, components)),
    ]
  },
})
