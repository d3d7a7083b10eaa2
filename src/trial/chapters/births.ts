/** Birth certificates: the maker says, once and for good, which device this is (IDevID). @module */
import { type DeviceKey, type Identity, makeKey, requestFor } from '../device.ts'
import { connected, issued } from '../enrolling.ts'
import { eachOf } from '../parallel.ts'
import { checkCertificate } from '../relying-party.ts'
import { type Chapter, fact, must } from '../story.ts'
import { birthAuthority, endpoints, MAKER } from './authorities.ts'
import { line, station } from './station.ts'

/** A device of the line with what it was born with. */
export interface Device {
  readonly productSerial: string
  readonly birth: Identity
}

/** The devices of this line, each with its birth certificate. */
export const devices = fact<readonly Device[]>('the devices')

const blanks = fact<readonly Blank[]>('the devices without certificates')

interface Blank {
  readonly productSerial: string
  readonly key: DeviceKey
}

export const DEVICES = 200
/** Keys are made in the threads of the pool. */
const KEYS_AT_ONCE = 4
/** RFC 5280, 4.1.2.5: the end that means none. */
const NO_EXPIRY = Date.UTC(9999, 11, 31, 23, 59, 59)

export const birthSubject = (productSerial: string) => [
  { type: 'O', value: MAKER },
  { type: 'serialNumber', value: productSerial },
]

/** RFC 4514: the other way round. */
export const birthSubjectText = (productSerial: string): string => `serialNumber=${productSerial},O=${MAKER}`

export const birthsChapter: Chapter = {
  title: 'Devices are born',
  about: 'Each device makes its own key, which never leaves it. The station asks for the certificate that names it for life.',
  steps: [
    {
      title: `${DEVICES} devices make their keys`,
      async run(scene) {
        const { productSerial } = scene.known(line)
        const serials = Array.from({ length: DEVICES }, (_, at) => productSerial(at + 1))
        const made = await eachOf(
          serials,
          KEYS_AT_ONCE,
          async (serial) => ({ productSerial: serial, key: await makeKey() }),
          (done) => scene.progress(done, DEVICES),
        )
        scene.note(blanks, made)
        return { said: `${serials[0]} to ${serials.at(-1)}` }
      },
    },
    {
      title: 'The station obtains their birth certificates',
      async run(scene) {
        const born: Device[] = []
        await connected(scene, endpoints.births, { identity: scene.known(station) }, async (client) => {
          for (const { productSerial, key } of scene.known(blanks)) {
            const certificate = issued(await client.simpleEnroll(await requestFor(key, birthSubject(productSerial))))
            born.push({ productSerial, birth: { key, certificate } })
            scene.progress(born.length, DEVICES)
          }
        })
        scene.note(devices, born)
        return {
          said: `${born.length} over one connection`,
          tally: { what: 'birth certificates', count: born.length, timed: true },
        }
      },
    },
    {
      title: 'Each certificate is checked',
      async run(scene) {
        const issuer = scene.known(birthAuthority)
        const born = scene.known(devices)
        for (const { productSerial, birth } of born) {
          const subject = birthSubjectText(productSerial)
          const certificate = await checkCertificate(birth.certificate, { issuer, publicKey: birth.key.publicKey, subject })
          must(certificate.notAfter.getTime() === NO_EXPIRY, `the birth certificate of ${productSerial} expires`)
        }
        return { said: `${born.length} signed by the maker, each for its own device, without an end` }
      },
    },
  ],
}
