/** A device is lost: the officer revokes what it has, and everybody who asks knows at once. @module */
import { duration } from '../teller.ts'
import { makeKey, requestFor } from '../device.ts'
import { connected, refused } from '../enrolling.ts'
import { askStanding, fetchCRL, type KnownAuthority } from '../relying-party.ts'
import { type Chapter, fact, must, present, type Scene } from '../story.ts'
import { birthAuthority, ownerAuthority } from './authorities.ts'
import { birthSubject } from './births.ts'
import { type OwnedDevice, ownedDevices } from './owners.ts'
import { officer, officerCommand } from './server.ts'

/** The device that was stolen: its certificates are revoked. */
export const lostDevice = fact<OwnedDevice>('the lost device')
/** CRL numbers by authority's address, before the device was revoked. */
const crlNumbers = fact<ReadonlyMap<string, bigint>>('the CRLs before')

export const revocationChapter: Chapter = {
  title: 'A device is stolen',
  about: 'Whoever meets it can ask whether its certificates still hold (OCSP), or fetch the list of those that do not (CRL).',
  steps: [
    {
      title: 'Before: a plant computer asks about it',
      async run(scene) {
        const device = present(scene.known(ownedDevices).at(-1), 'there are no devices')
        const numbers = new Map<string, bigint>()
        for (const [der, issuer] of papers(scene, device)) {
          const { type } = await askStanding(der, issuer, scene.world)
          must(type === 'good', `OCSP says ${type} of a certificate that was just issued`)
          const crl = await fetchCRL(der, issuer, scene.world)
          must(!crl.has(der), `the CRL of ${issuer.address} lists a certificate that was just issued`)
          numbers.set(issuer.address, crl.number)
        }
        scene.note(lostDevice, device)
        scene.note(crlNumbers, numbers)
        return { said: `${device.productSerial}: both certificates good` }
      },
    },
    {
      title: 'The officer revokes both; it asks again',
      async run(scene) {
        const { world } = scene
        const client = scene.known(officer)
        const device = scene.known(lostDevice)
        const { productSerial } = device
        const { certificates } = await client.call('findCertificates', { query: { productSerial } })
        must(certificates.length === 2, `${productSerial} has ${certificates.length} certificates instead of two`)
        let slowest = 0
        for (const [der, issuer] of papers(scene, device)) {
          const found = certificates.find(({ certificate }) => certificate === der.toBase64())
          const { id } = present(found, `the server does not find a certificate of ${productSerial}`)
          await client.call('revokeCertificate', { params: { id }, body: { reason: 'keyCompromise' } })
          const revoked = world.clock.now()
          const standing = await askStanding(der, issuer, world)
          must(standing.type === 'revoked', `OCSP says ${standing.type} of a certificate that was revoked`)
          must(standing.reason === 'keyCompromise', `OCSP gives the reason ${standing.reason}`)
          slowest = Math.max(slowest, world.clock.now() - revoked)
        }
        return {
          said: `revoked, known ${duration(slowest / 1000)} later`,
          tally: { what: 'certificates revoked', count: 2, timed: false },
        }
      },
    },
    {
      title: 'sealworks ca issue-crl: both lists name it',
      async run(scene) {
        const command = scene.known(officerCommand)
        const numbers = scene.known(crlNumbers)
        const listed: number[] = []
        for (const [der, issuer] of papers(scene, scene.known(lostDevice))) {
          const { address } = issuer
          await command('ca', 'issue-crl', address)
          const crl = await fetchCRL(der, issuer, scene.world)
          must(crl.number > (numbers.get(address) ?? 0n), `the CRL of ${address} is the old one`)
          must(crl.has(der), `the CRL of ${address} does not list the revoked certificate`)
          listed.push(crl.entries)
        }
        return { said: `they list ${listed.join(' and ')} in all` }
      },
    },
    {
      title: 'The thief lets it ask for a new certificate',
      async run(scene) {
        const { birth, productSerial } = scene.known(lostDevice)
        return attempt(scene, birth, productSerial, 'simpleEnroll')
      },
    },
    {
      title: 'The thief lets it renew the old one',
      async run(scene) {
        const { owner, productSerial } = scene.known(lostDevice)
        return attempt(scene, owner, productSerial, 'simpleReenroll')
      },
    },
  ],
}

/** What the device has to show, each with the authority that answers for it. */
const papers = (scene: Scene, { birth, owner }: OwnedDevice): readonly (readonly [Uint8Array, KnownAuthority])[] => [
  [birth.certificate, scene.known(birthAuthority)],
  [owner.certificate, scene.known(ownerAuthority)],
]

async function attempt(
  scene: Scene,
  identity: OwnedDevice['birth'],
  productSerial: string,
  operation: 'simpleEnroll' | 'simpleReenroll',
) {
  const request = await requestFor(await makeKey(), birthSubject(productSerial))
  const said = await connected(scene, undefined, { identity }, (client) =>
    refused(() => client[operation](request), { status: 403, reason: 'certificateRevoked' }),
  )
  return { said, tally: { what: 'requests refused', count: 1, timed: false } }
}
