/** Updates over the air; what they need is loaded on devices that are updated. @module */
import type { Part } from './part.ts'

export const updates: Part = {
  name: 'updates',
  async run(device, signal) {
    if (device.directory.read('updates.json') === undefined) return undefined
    const { sentenceOf, updateOverAir } = await import('./update-ddi.ts')
    const progress = await updateOverAir(device, signal)
    return progress && sentenceOf(progress)
  },
}
