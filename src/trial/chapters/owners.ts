/** The owner’s certificates: what a device works with, and renews by itself (LDevID). @module */
import { type Identity, makeKey, requestFor } from '../device.ts'
import { connected, issued } from '../enrolling.ts'
import { eachOf } from '../parallel.ts'
import { checkCertificate } from '../relying-party.ts'
import { type Chapter, fact, must } from '../story.ts'
import { ownerAuthority } from './authorities.ts'
import { birthSubject, birthSubjectText, type Device, devices } from './births.ts'

/** A device at work in its owner's plant. */
export interface OwnedDevice extends Device {
  readonly owner: Identity
}

export const ownedDevices = fact<readonly OwnedDevice[]>('the owned devices')

/** Handshakes at once: devices do not wait for each other, and two cores have enough of these. */
export const CONNECTIONS_AT_ONCE = 8

export const ownersChapter: Chapter = {
  title: 'Their owner takes them over',
  about:
    'Each device shows its birth certificate on a connection of its own, and gets one for the plant. Nobody types a password.',
  steps: [
    {
      title: 'A device asks whom it is to trust',
      async run(scene) {
        const [chain, offered] = [
          scene.known(ownerAuthority).chain,
          await connected(scene, undefined, undefined, (client) => client.caCertificates()),
        ]
        const missing = chain.filter((der) => !offered.some((one) => Buffer.compare(one, der) === 0))
        must(missing.length === 0, 'the owner’s authorities are not among what the server offers')
        return { said: `the owner’s ${offered.length} authorities` }
      },
    },
    {
      title: 'Each device gets its owner’s certificate',
      async run(scene) {
        const born = scene.known(devices)
        const takeOver = async (device: Device): Promise<OwnedDevice> => {
          const key = await makeKey()
          const subject = birthSubject(device.productSerial)
          const certificate = await connected(scene, undefined, { identity: device.birth }, async (client) =>
            issued(await client.simpleEnroll((channelBinding) => requestFor(key, subject, { channelBinding }))),
          )
          return { ...device, owner: { key, certificate } }
        }
        const owned = await eachOf(born, CONNECTIONS_AT_ONCE, takeOver, (done) => scene.progress(done, born.length))
        scene.note(ownedDevices, owned)
        const tally = { what: 'owner’s certificates', count: owned.length, timed: true }
        return { said: `${owned.length} over ${owned.length} connections`, tally }
      },
    },
    {
      title: 'Each certificate is checked',
      async run(scene) {
        const issuer = scene.known(ownerAuthority)
        const owned = scene.known(ownedDevices)
        for (const { productSerial, owner } of owned) {
          const subject = birthSubjectText(productSerial)
          await checkCertificate(owner.certificate, { issuer, publicKey: owner.key.publicKey, subject })
        }
        return { said: `${owned.length} signed by the owner, each for its own device` }
      },
    },
  ],
}
