/** A plant whose devices come for updates: real authorities, devices, releases, director and campaigns behind a real listener. For tests only. @module */
import type { TestContext } from 'node:test'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { IssuedAnswer } from '#ca/enrollment.ts'
import { person, testCA, type TestCA, testKey } from '#ca/testing.ts'
import { silentLog } from '#base/log.ts'
import { deviceChanges } from '#devices/changes.ts'
import { deviceConnections } from '#devices/connections.ts'
import { describeDevice } from '#devices/described.ts'
import { findModel } from '#devices/models.ts'
import { findOrganization } from '#devices/organizations.ts'
import { dispatcher, mount } from '#protocols/dispatch.ts'
import { protocols } from '#protocols/registry.ts'
import { type Campaigns, openCampaigns } from '#server/campaigns.ts'
import { certificateFacts } from '#server/compose.ts'
import { type DevicePlant, devicePlant } from '#server/device-testing.ts'
import { face, listenFor, testdata } from '#server/testing.ts'
import { campaignReleases } from '#server/updates.ts'
import { createCampaign, startCampaign } from '#updates/campaigns/campaigns.ts'
import { putTenant } from '#updates/campaigns/tenants.ts'
import { plainTerms } from '#updates/campaigns/testing.ts'
import type { CampaignTerms } from '#updates/campaigns/terms.ts'
import type { UpdatesContext } from '#updates/context.ts'
import { addArtifact, approveRelease, createRelease, publishRelease, type Release } from '#updates/releases.ts'
import { engineer, once, openTestUpdates, type TestUpdates } from '#updates/testing.ts'
import { openUpdates } from '#updates/updates.ts'
import { pemOf } from './plant.ts'

export interface UpdatePlant {
  readonly ca: TestCA
  readonly all: DevicePlant
  readonly test: TestUpdates
  readonly campaigns: Campaigns
  readonly port: number
  /** `https://localhost:PORT` */
  readonly origin: string
  readonly folder: string
  /** PEM of what devices trust to serve them, as a file. */
  readonly trustFile: string
  /** Born, owned, with a certificate of its area. */
  device(serial: string): Promise<PlantDevice>
  /** A release of `pump-os` for the model, that is out. */
  release(
    version: string,
    artifacts: Readonly<Record<string, { readonly format: string; readonly octets: Uint8Array }>>,
  ): Promise<Release>
  campaign(name: string, release: Release, devices: readonly PlantDevice[], terms?: Partial<CampaignTerms>): Promise<void>
  write(name: string, content: string | Uint8Array): string
}

export interface PlantDevice {
  readonly id: string
  readonly serial: string
  readonly issued: IssuedAnswer
  /** PEM. */
  readonly certificate: string
  readonly key: string
  readonly files: { readonly certificate: string; readonly key: string }
}

export const TENANT = 'plant2'

export async function updatePlant(t: TestContext): Promise<UpdatePlant> {
  const folder = mkdtempSync(join(tmpdir(), 'sealworks-update-plant-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const ca = await testCA()
  t.after(() => ca[Symbol.asyncDispose]())
  const all = await devicePlant(ca)
  const { db, world, audit, organizationId } = all.devices
  const test = await openTestUpdates(db, world)
  const context: UpdatesContext = {
    ...test.context,
    devices: {
      async modelNamed(manufacturer, model) {
        const maker = await findOrganization(all.devices, db, manufacturer)
        const { id } = await findModel(db, maker.id, model)
        return { id, manufacturer, model, revisions: [] }
      },
      open: (id) => describeDevice(all.devices, id),
      mayUpdate: ({ isApproved, isAgreed }) => isApproved && isAgreed,
    },
  }
  const connections = deviceConnections({
    ...all.devices,
    changes: deviceChanges(all.devices),
    certificate: (der) => certificateFacts(ca, der),
    refreshIssuers: () => ca.authorities.refresh(),
  })
  const releases = campaignReleases(openUpdates(context))
  const campaigns = openCampaigns({ db, audit, world, organizationId }, { context: all.devices, connections }, releases)
  await putTenant(campaigns.context, { name: TENANT, pollingSeconds: 1, takesTokens: false, state: 'enabled' }, person)
  const limits = {
    bodyMaxBytes: 1 << 20,
    requestTimeoutSeconds: 10,
    headersTimeoutSeconds: 5,
    idleTimeoutSeconds: 30,
    keepAliveSeconds: 30,
  }
  const listener = await listenFor(t, [dispatcher([mount(protocols.ddi, campaigns.door)], 'tls', silentLog)], {
    tls: true,
    limits,
  })
  listener.present({ ...face(), clientAuthorities: ca.authorities.list().map(({ certificate }) => certificate.der) })

  const write = (name: string, content: string | Uint8Array): string => {
    const path = join(folder, name)
    writeFileSync(path, content)
    return path
  }
  return {
    ...{ ca, all, test, campaigns, folder, write, port: listener.address.port },
    origin: `https://localhost:${listener.address.port}`,
    trustFile: write('server-root.pem', testdata('server-root.pem')),
    async device(serial) {
      const birth = await all.enroll(all.births, serial)
      await all.act(serial, 'release', 'ship', 'offer', 'claim')
      const key = testKey()
      const issued = await all.enroll(all.paint, serial, { shown: birth, key })
      const [certificate, pem] = [pemOf(issued.certificate), key.key.export({ type: 'pkcs8', format: 'pem' })]
      const files = { certificate: write(`${serial}.pem`, certificate), key: write(`${serial}.key`, pem) }
      return { id: (await all.device(serial)).id, serial, issued, certificate, key: pem, files }
    },
    async release(version, artifacts) {
      const models = [{ manufacturer: 'maker', model: 'pump' }]
      const { id } = await createRelease(context, { component: 'pump-os', version, models }, engineer.actor)
      for (const [name, { format, octets }] of Object.entries(artifacts)) {
        const artifact = { name, format, signer: 'acme-firmware', octets: octets.length, pieces: once(octets) }
        await addArtifact(context, id, artifact, engineer.actor)
      }
      await approveRelease(context, id, engineer)
      await test.approveAll()
      await approveRelease(context, id, engineer)
      const outcome = await publishRelease(context, id, 'acme-releases', engineer)
      if (outcome.state !== 'done') throw new TypeError('nobody has to agree')
      return outcome.release
    },
    async campaign(name, release, devices, terms = {}) {
      const who = { model: 'maker/pump', devices: devices.map(({ id }) => id) }
      await createCampaign(campaigns.context, name, { ...plainTerms, who, release: release.id, ...terms }, person)
      await startCampaign(campaigns.context, name, person)
    },
  }
}
