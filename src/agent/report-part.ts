/** Reports to this device's server, with a quote where there is a TPM. @module */
import { sendReport } from '#protocols/device-state/client.ts'
import type { Boot } from '#devices/state/messages.ts'
import { type Device, TIMEOUT_SECONDS } from './device.ts'
import type { Part } from './part.ts'
import { reportState } from './report.ts'

/** @returns the number of the report */
export async function sendState(device: Device): Promise<number> {
  const { directory, world } = device
  const identity = await device.identity()
  const { tpm } = await device.keys()
  const attestation = directory.read('attestation-key.pem')
  const measure = async (nonce: Uint8Array): Promise<Boot> =>
    (tpm as NonNullable<typeof tpm>).measure(new TextDecoder().decode(attestation), nonce)
  return reportState({
    directory,
    world,
    identity,
    running: async () =>
      directory.read('updates.json') === undefined ? [] : (await import('./update-running.ts')).runningComponents(device),
    ...(attestation !== undefined && tpm !== undefined && { measure }),
    send: async (octets) =>
      sendReport({ server: directory.settings().server, tls: await device.tls(), timeoutSeconds: TIMEOUT_SECONDS }, octets),
  })
}

export const report: Part = { name: 'report', run: async (device) => `report ${await sendState(device)}` }
