/** Commands over HTTPS; what they need is loaded on devices that take any. @module */
import { setTimeout as pause } from 'node:timers/promises'
import type { Nonces } from './command.ts'
import type { Part } from './part.ts'

/** They end with the process: what a device asked before it was started again, nobody answers. */
const nonces: Nonces = new Map()

export const commands: Part = {
  name: 'commands',
  async run(device) {
    if (device.directory.read('commands.json') === undefined) return undefined
    const [{ obeyCommands, runOperation }, { openCommandJournal }, { commandSettings }, { deviceMessagesClient }] =
      await Promise.all([
        import('./command.ts'),
        import('./command-journal.ts'),
        import('./command-settings.ts'),
        import('#protocols/device-messages/client.ts'),
      ])
    const { factsOf } = await import('./facts.ts')
    const { trustedFor } = await import('./trust.ts')
    const { TIMEOUT_SECONDS } = await import('./device.ts')
    const settings = commandSettings(device)
    if (settings === undefined) return undefined
    const { directory, world } = device
    const { manufacturer, productSerial, owner, area = '', epoch, birthKey } = await factsOf(device)
    using journal = openCommandJournal(directory.path, world.faults)
    const client = deviceMessagesClient({
      server: directory.settings().server,
      tls: await device.tls(),
      timeoutSeconds: TIMEOUT_SECONDS,
    })
    try {
      return await obeyCommands(
        {
          ...{ world, journal, settings, nonces },
          self: {
            ...{ birthKey, epoch, assurance: settings.assurance },
            name: `${manufacturer}/${productSerial}`,
            area: area.includes('/') ? area : `${owner}/${area}`,
          },
          identity: await device.identity(),
          anchors: trustedFor(directory, world, 'command'),
          uptimeSeconds: () => performance.now() / 1000,
          run: runOperation,
        },
        {
          list: (kind, after) => client.list(kind, after),
          send: (kind, message) => client.send(kind, message),
          pause: async (seconds) => pause(seconds * 1000),
        },
      )
    } finally {
      client.close()
    }
  },
}
