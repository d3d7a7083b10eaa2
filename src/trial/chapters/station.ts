/** A line comes up: its station proves who it is, and is allowed to ask for this line's serial numbers. @module */
import { utf8 } from '#base/bytes.ts'
import { secret } from '#base/secret.ts'
import { fingerprint } from '#x509/certificate.ts'
import { type Identity, makeKey, requestFor } from '../device.ts'
import { connected, issued, type Proof, refused } from '../enrolling.ts'
import { checkCertificate } from '../relying-party.ts'
import { type Chapter, fact } from '../story.ts'
import { birthAuthority, endpoints } from './authorities.ts'
import { officer } from './server.ts'

export interface Line {
  readonly number: number
  /** @param position from 1 */
  productSerial(position: number): string
}

/** The line of this start; each start runs a new one. */
export const line = fact<Line>('the line')
/** Its key, and the certificate with which it may ask for devices. */
export const station = fact<Identity>('the station')

const stationSecret = fact<Exclude<Proof, undefined>>('the station’s one-time secret')
const stationName = (number: number) => [{ type: 'CN', value: `Station of line ${number}` }]

export const stationChapter: Chapter = {
  title: 'A production line comes up',
  about: 'Its station gets a certificate of its own, and with it the right to speak for the devices of this line.',
  steps: [
    {
      title: 'The officer makes a one-time secret',
      async run(scene) {
        const client = scene.known(officer)
        const { rules } = await client.call('showEndpoint', { params: { label: endpoints.births } })
        // The endpoint itself says which line was the last.
        const numbers = rules.registrationAuthorities.flatMap(({ productSerials }) => productSerials.map(lineOf))
        const number = Math.max(0, ...numbers) + 1
        const made = await client.call('createEnrollmentSecret', {
          params: { label: endpoints.stations },
          body: { validSeconds: 600 },
        })
        scene.note(line, { number, productSerial: (position) => `L${number}-${String(position).padStart(4, '0')}` })
        scene.note(stationSecret, { userName: made.userName, password: secret(utf8(made.password)) })
        return { said: `for the station of line ${number}, good for 10 minutes` }
      },
    },
    {
      title: 'The station gets its certificate with it',
      async run(scene) {
        const { number } = scene.known(line)
        const issuer = scene.known(birthAuthority)
        const key = await makeKey()
        const request = await requestFor(key, stationName(number))
        const certificate = await connected(scene, endpoints.stations, scene.known(stationSecret), async (client) =>
          issued(await client.simpleEnroll(request)),
        )
        await checkCertificate(certificate, { issuer, publicKey: key.publicKey, subject: `CN=Station of line ${number}` })
        scene.note(station, { key, certificate })
        return { said: `for “Station of line ${number}”`, tally: { what: 'station certificates', count: 1, timed: false } }
      },
    },
    {
      title: 'Somebody tries the same secret again',
      async run(scene) {
        const request = await requestFor(await makeKey(), stationName(scene.known(line).number))
        const said = await connected(scene, endpoints.stations, scene.known(stationSecret), (client) =>
          refused(() => client.simpleEnroll(request), { status: 403, reason: 'secretUsed' }),
        )
        return { said, tally: { what: 'requests refused', count: 1, timed: false } }
      },
    },
    {
      title: 'The officer lets it speak for this line only',
      async run(scene) {
        const client = scene.known(officer)
        const { number } = scene.known(line)
        const productSerials = [`L${number}-*`]
        const { rules } = await client.call('showEndpoint', { params: { label: endpoints.births } })
        const listed = { fingerprint: fingerprint(scene.known(station).certificate).toHex(), productSerials }
        await client.call('changeEndpoint', {
          params: { label: endpoints.births },
          body: { ...rules, registrationAuthorities: [listed] },
        })
        return { said: `serial numbers ${productSerials.join(', ')}` }
      },
    },
  ],
}

const lineOf = (pattern: string): number => Number(/^L(\d+)-\*$/.exec(pattern)?.[1] ?? 0)
