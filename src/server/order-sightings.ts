/** Devices that show themselves, and the orders that they were born for. @module */
import type { DevicesContext } from '#devices/context.ts'
import { orderedDeviceWith } from '#devices/produced.ts'
import { stepsToSee } from '#orders/sightings.ts'
import type { Step } from '#store/batch.ts'

/** What a device that shows this certificate leaves for reconciliation. @param place empty where nothing is known of it */
export async function stepsToSight(
  context: DevicesContext,
  { certificateId, place }: { readonly certificateId: string; readonly place: string },
  actor: string,
): Promise<readonly Step[]> {
  const found = await orderedDeviceWith(context, certificateId)
  if (found === undefined) return []
  const { job, productSerial, epoch, areaId = '' } = found
  return stepsToSee(context, { job, productSerial, place, stay: `${epoch} ${areaId}` }, actor)
}
