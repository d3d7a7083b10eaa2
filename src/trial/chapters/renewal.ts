/** Devices renew what they work with, by themselves and with new keys. @module */
import { equal } from '#base/bytes.ts'
import { makeKey, requestFor } from '../device.ts'
import { connected, issued } from '../enrolling.ts'
import { eachOf } from '../parallel.ts'
import { checkCertificate } from '../relying-party.ts'
import { type Chapter, must, present } from '../story.ts'
import { ownerAuthority } from './authorities.ts'
import { birthSubject, birthSubjectText } from './births.ts'
import { CONNECTIONS_AT_ONCE, type OwnedDevice, ownedDevices } from './owners.ts'
import { officer } from './server.ts'

const RENEWALS = 20

export const renewalChapter: Chapter = {
  title: 'Certificates are renewed',
  about: 'Before its certificate ends, a device asks for the next one. It shows the old one and brings a new key.',
  steps: [
    {
      title: `${RENEWALS} devices renew with a new key`,
      async run(scene) {
        const issuer = scene.known(ownerAuthority)
        const owned = scene.known(ownedDevices)
        const renew = async (device: OwnedDevice): Promise<OwnedDevice> => {
          const { productSerial } = device
          const key = await makeKey()
          const certificate = await connected(scene, undefined, { identity: device.owner }, async (client) =>
            issued(
              await client.simpleReenroll((channelBinding) => requestFor(key, birthSubject(productSerial), { channelBinding })),
            ),
          )
          must(!equal(certificate, device.owner.certificate), `${productSerial} got its old certificate again`)
          await checkCertificate(certificate, { issuer, publicKey: key.publicKey, subject: birthSubjectText(productSerial) })
          return { ...device, owner: { key, certificate } }
        }
        const renewed = await eachOf(owned.slice(0, RENEWALS), CONNECTIONS_AT_ONCE, renew, (done) =>
          scene.progress(done, RENEWALS),
        )
        scene.note(ownedDevices, [...renewed, ...owned.slice(RENEWALS)])
        return { said: `${renewed.length} renewed`, tally: { what: 'renewals', count: renewed.length, timed: true } }
      },
    },
    {
      title: 'The old certificates are marked as replaced',
      async run(scene) {
        const client = scene.known(officer)
        const { address } = scene.known(ownerAuthority)
        for (const { productSerial, owner } of scene.known(ownedDevices).slice(0, RENEWALS)) {
          const { certificates } = await client.call('findCertificates', { query: { productSerial, authority: address } })
          const states = certificates.map(({ state }) => state)
          must(
            states.join() === 'active,superseded',
            `the certificates of ${productSerial}, newest first, are ${states.join(', ')}`,
          )
          const newest = present(certificates[0], 'no certificate').certificate
          must(newest === owner.certificate.toBase64(), `the newest certificate of ${productSerial} is not the one it received`)
        }
        return { said: `${RENEWALS} replaced, ${RENEWALS} in use` }
      },
    },
  ],
}
