/** How many licenses a device checks in a second, from their octets: signature, claims and what the device remembers. @module */
import { setImmediate as turn } from 'node:timers/promises'
import { createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto'
import { importPublicKey } from '#algorithms/public-key.ts'
import {
  checkLicense,
  encodeLicense,
  formOf,
  type License,
  LICENSE_TYPES,
  readLicense,
  type StatusList,
  statusEntries,
  thumbprintsOf,
} from '#licenses/messages.ts'
import { licenses } from '#licenses/samples.ts'
import { trialSigner } from '#signing/artifact/testing.ts'
import { messageTrust } from '#signing/messages.ts'
import { trialMessage } from '#signing/messages-testing.ts'
import { uuidv7 } from '#base/world.ts'
import type { Figure } from './figure.ts'
import { world } from './plant.ts'

const SECONDS = 1
const REVOKED = 10_000

export async function benchLicense(): Promise<readonly Figure[]> {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const keys = thumbprintsOf(importPublicKey(new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }))))
  const maker = await trialSigner('ecdsa-p256', 'documentSigning')
  const trust = messageTrust([maker.answering.certificates[0]])
  const entries = statusEntries(Array.from({ length: REVOKED }, () => ({ id: uuidv7(world), leastSequence: 1 })))
  const status: StatusList = { issuer: 'acme', version: 1, issuedAt: licenses[0].issuedAt, entries }
  const device = { keys, model: 'acme/press', epoch: 3 }
  const options = { now: licenses[0].issuedAt + 1000, lastSeen: 0, storedSequence: 2, status }

  const message = new Uint8Array(300)
  const signature = sign('sha256', message, privateKey)
  const spki = createPublicKey(privateKey)
  const bare = await rate(async () => verify('sha256', message, spki, signature))
  const figures: Figure[] = []
  for (const license of licenses) {
    const form = formOf(license)
    const own: License = { ...license, confirmation: form === 'cwt' ? { ckt: keys.ckt } : { jkt: keys.jkt } }
    const typ = LICENSE_TYPES[form]
    const octets = await trialMessage(maker, { form: form === 'cwt' ? 'cose' : 'jws', typ, payload: encodeLicense(own) })
    const perSecond = await rate(async () => {
      checkLicense(await readLicense(octets, trust), device, options)
      return true
    })
    figures.push({
      name: `license.check.${form}`,
      value: Math.round(perSecond),
      unit: '/s',
      reach: { atLeast: 5000 },
      note: `${octets.length} octets, ${REVOKED} taken back; ${(perSecond / bare).toFixed(2)} of ${Math.round(bare)} bare ECDSA P-256 verifications/s`,
    })
  }
  return figures
}

async function rate(work: () => Promise<boolean>): Promise<number> {
  for (let i = 0; i < 200; i++) await work()
  const start = performance.now()
  let done = 0
  while (performance.now() - start < SECONDS * 1000) {
    if (!(await work())) throw new Error('what was measured does not hold')
    done++
    await turn() // each comes by itself; of many in one turn the thread pool checks some
  }
  return done / ((performance.now() - start) / 1000)
}
