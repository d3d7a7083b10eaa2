/** Following the trust list, step by step, from where the settings say its successors are. @module */
import { encodePEM } from '#asn1/pem.ts'
import { TrustError } from '#base/errors.ts'
import { httpTransport } from '#protocols/http-client.ts'
import { type Device, TIMEOUT_SECONDS } from './device.ts'
import type { Part } from './part.ts'
import { takeTrustList } from './trust.ts'

const LIST_MAX_OCTETS = 4 << 20
/** Steps in one go: more than any maker has in the life of a device. */
const STEPS_MAX = 1000
const STATUS_NOT_FOUND = 404

/** @returns how many steps it went */
export async function followTrust(device: Device, signal?: AbortSignal): Promise<number> {
  const { directory } = device
  const settings = directory.settings()
  if (settings.trustLists === undefined) return 0
  const base = new URL(settings.trustLists.replace(/\/*$/, '/'))
  const transport = httpTransport(base, { ca: device.serverTrust().map((der) => encodePEM('CERTIFICATE', der)) })
  try {
    for (let steps = 0; steps < STEPS_MAX; steps++) {
      if (steps > 0 && signal?.aborted === true) throw new TrustError('unavailable', 'agentLater')
      const url = new URL(`${directory.state().trustVersion + 1}.json`, base)
      const limits = { timeoutSeconds: TIMEOUT_SECONDS, answerMaxOctets: LIST_MAX_OCTETS }
      const answer = await transport.ask({ method: 'GET', url, headers: {}, ...limits })
      if (answer.status === STATUS_NOT_FOUND) return steps
      if (answer.status !== 200) throw new TrustError('unavailable', 'answerIncomplete')
      await takeTrustList(directory, answer.body)
    }
    return STEPS_MAX
  } finally {
    transport.close()
  }
}

export const trustList: Part = {
  name: 'trust list',
  run: async (device, signal) =>
    (await followTrust(device, signal)) > 0 ? `trust list ${device.directory.state().trustVersion}` : undefined,
}
