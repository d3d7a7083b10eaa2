/**
 * A process that bears a device and kills itself at the point it is told, as a power switch would.
 *
 * Arguments: the factory's directory, the point, a file with what it is asked.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { bear } from '#devices/birth/births.ts'
import { bearWithKey, type ExternalKeyRequest } from '#devices/birth/external.ts'
import type { BirthEvidence } from '#devices/birth/messages.ts'
import { factoryWorld, openFactory } from '#server/births-testing.ts'

export const STATION = 'service:station-1'

export type Asked =
  | { readonly type: 'bear'; readonly line: string; readonly productSerial: string; readonly evidence: BirthEvidence }
  | ({ readonly type: 'key' } & ExternalKeyRequest)

if (import.meta.main) {
  const [directory = '', point = '', file = ''] = process.argv.slice(2)
  // octets stand as { "octets": "base64" }
  const asked = JSON.parse(readFileSync(file, 'utf8'), (_, value: unknown) =>
    typeof value === 'object' && value !== null && 'octets' in value ? Uint8Array.fromBase64(value.octets as string) : value,
  ) as Asked
  const world = factoryWorld()
  world.fault.at = point
  world.fault.reach = () => void process.kill(process.pid, 'SIGKILL')
  await using plant = await openFactory(directory, world)
  if (asked.type === 'bear') {
    const { line, productSerial, evidence } = asked
    await bear(plant.births, { line, productSerial, evidence }, STATION)
  } else {
    const { line, productSerial, keyAlgorithm, unit } = asked
    await bearWithKey(plant.births, { line, productSerial, keyAlgorithm, unit }, STATION)
  }
}
