/** Licenses from the server; what they need is loaded where the trust list names somebody for them. @module */
import { asTrustError, type TrustErrorCode } from '#base/errors.ts'
import type { Part } from './part.ts'
import { heldTrustList, trustedFor } from './trust.ts'

/** What is said about the message itself. */
const JUDGED: ReadonlySet<TrustErrorCode> = new Set([
  'malformed',
  'tooLarge',
  'unsupported',
  'unauthenticated',
  'badProof',
  'policyRefused',
])

export const licenses: Part = {
  name: 'licenses',
  async run(device) {
    const { directory } = device
    if (heldTrustList(directory)?.anchors['license'] === undefined) return undefined
    const [{ openLicenses }, { deviceMessagesClient }, { TIMEOUT_SECONDS }] = await Promise.all([
      import('./license.ts'),
      import('#protocols/device-messages/client.ts'),
      import('./device.ts'),
    ])
    trustedFor(directory, device.world, 'license') // not once its end is past
    using held = await openLicenses(device)
    const { server } = directory.settings()
    const client = deviceMessagesClient({ server, tls: await device.tls(), timeoutSeconds: TIMEOUT_SECONDS })
    try {
      const said: string[] = []
      let isTrusted = true
      for (const { number, octets } of await client.list('license', held.store.fetched)) {
        try {
          said.push(await held.take(octets))
        } catch (thrown) {
          const error = asTrustError(thrown)
          if (!JUDGED.has(error.code)) throw thrown
          said.push(error.message)
          // the next trust list may name its signer
          if (error.code === 'unauthenticated') isTrusted = false
        }
        // what does not hold here is not asked for again, and keeps no other
        if (isTrusted) held.store.keepFetched(number)
      }
      return said.length === 0 ? undefined : said.join('; ')
    } finally {
      client.close()
    }
  },
}
