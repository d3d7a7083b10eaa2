/** Copies and cheats: each is refused with a reason, and leaves nothing behind. @module */
import type { Client } from '#server/rest/client.ts'
import { makeKey, requestFor } from '../device.ts'
import { connected, type ExpectedRefusal, refused } from '../enrolling.ts'
import { type Chapter, fact, must, type Outcome, present, type Scene } from '../story.ts'
import { endpoints } from './authorities.ts'
import { birthSubject, type Device, devices, DEVICES } from './births.ts'
import { officer } from './server.ts'
import { line, station } from './station.ts'

const before = fact<readonly string[]>('the certificates before the attempts')

export const copiesChapter: Chapter = {
  title: 'Copies and cheats',
  about: 'What a copied device, a careless station or a stranger may try. The word after “refused” is for programs.',
  steps: [
    {
      title: 'A device’s key under another serial number',
      async run(scene) {
        const { birth } = original(scene)
        scene.note(before, await certificatesInReach(scene))
        const request = await requestFor(birth.key, birthSubject(unused(scene)))
        return fromStation(scene, request, { status: 403, reason: 'keyOfAnotherProduct' })
      },
    },
    {
      title: 'Another key under a device’s serial number',
      async run(scene) {
        const request = await requestFor(await makeKey(), birthSubject(original(scene).productSerial))
        return fromStation(scene, request, { status: 409, reason: 'productHasAnotherKey' })
      },
    },
    {
      title: 'The station asks for another line’s device',
      async run(scene) {
        const foreign = `L${scene.known(line).number + 1}-0001`
        const request = await requestFor(await makeKey(), birthSubject(foreign))
        return fromStation(scene, request, { status: 403, reason: 'productSerialNotListed' })
      },
    },
    {
      title: 'A device asks in another device’s name',
      async run(scene) {
        const { birth } = original(scene)
        const [, other] = scene.known(devices)
        const request = await requestFor(await makeKey(), birthSubject(present(other, 'there is one device only').productSerial))
        const said = await connected(scene, undefined, { identity: birth }, (client) =>
          refused(() => client.simpleEnroll(request), { status: 403, reason: 'foreignProductSerial' }),
        )
        return { said, tally: refusal }
      },
    },
    {
      title: 'A stranger asks without any proof',
      async run(scene) {
        const request = await requestFor(await makeKey(), birthSubject(unused(scene)))
        const said = await connected(scene, undefined, undefined, (client) =>
          refused(() => client.simpleEnroll(request), { status: 401, reason: 'noCredentials' }),
        )
        return { said, tally: refusal }
      },
    },
    {
      title: 'None of them left a certificate behind',
      async run(scene) {
        const [then, now] = [scene.known(before), await certificatesInReach(scene)]
        must(then.join() === now.join(), `there were ${then.length} certificates in their reach, now there are ${now.length}`)
        return { said: `${now.length} certificates before and after` }
      },
    },
  ],
}

const refusal = { what: 'requests refused', count: 1, timed: false } as const

const original = (scene: Scene): Device => present(scene.known(devices)[0], 'there are no devices')

/** A serial number of this line that no device has. */
const unused = (scene: Scene): string => scene.known(line).productSerial(DEVICES + 1)

async function fromStation(scene: Scene, request: Uint8Array, expected: ExpectedRefusal): Promise<Outcome> {
  const proof = { identity: scene.known(station) }
  const said = await connected(scene, endpoints.births, proof, (client) => refused(() => client.simpleEnroll(request), expected))
  return { said, tally: refusal }
}

/** Identifiers of all certificates with a serial number that one of the attempts was after. */
async function certificatesInReach(scene: Scene): Promise<readonly string[]> {
  const client: Client = scene.known(officer)
  const [first, second] = scene.known(devices)
  const aimedAt = [first?.productSerial, second?.productSerial, unused(scene), `L${scene.known(line).number + 1}-0001`]
  const found = await Promise.all(
    aimedAt.map((productSerial) =>
      client.call('findCertificates', { query: { productSerial: present(productSerial, 'no device') } }),
    ),
  )
  return found.flatMap(({ certificates }) => certificates.map(({ id }) => id))
}
