/** Getting the device's certificate, and the next one in time. @module */
import { TrustError } from '#base/errors.ts'
import { estClient } from '#protocols/est/client.ts'
import { type Device, TIMEOUT_SECONDS } from './device.ts'
import { ensureEnrolled, type Identity, type Outcome } from './enroll.ts'
import type { Part } from './part.ts'

/** When its time has come, or now. */
export async function ensureCertificate(device: Device, options: { readonly now?: boolean } = {}): Promise<Outcome> {
  const { directory, world } = device
  const settings = directory.settings()
  const keys = await device.keys()
  const connect = ({ chain, key: { privateKey } }: Identity) => {
    if (privateKey === undefined) throw new TrustError('unsupported', 'agentKeyForTLS')
    const url = `${settings.server}/.well-known/est${settings.label === undefined ? '' : `/${settings.label}`}`
    return estClient({ url, trust: device.serverTrust(), certificate: { chain, privateKey }, timeoutSeconds: TIMEOUT_SECONDS })
  }
  const outcome = await ensureEnrolled({ directory, settings, keys, world, born: await device.born(), connect }, options)
  if (keys.tpm !== undefined && directory.read('attestation-key.pem') === undefined)
    directory.write('attestation-key.pem', await keys.tpm.makeKey('attestation'), 'agent attestation key written')
  return outcome
}

export const certificate: Part = {
  name: 'certificate',
  async run(device) {
    const outcome = await ensureCertificate(device)
    if (outcome.state === 'waiting') return `waits until ${outcome.until.toISOString()}: ${outcome.why}`
    return `certificate until ${outcome.certificate.notAfter.toISOString()}`
  },
}
