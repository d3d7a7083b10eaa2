/** `sealworks mqtt`: the message broker of devices. @module */
import { clientCommand } from '../connection.ts'
import { fields } from '../terminal.ts'

export const commands = [
  clientCommand({
    noun: 'mqtt',
    verb: 'status',
    summary: 'Whether the message broker runs, and who is connected',
    example: 'sealworks mqtt status',
    async run(client) {
      const value = await client.call('showBroker', {})
      return { value, text: fields(value) }
    },
  }),

  clientCommand({
    noun: 'mqtt',
    verb: 'reconcile',
    summary: 'Compare what the message broker has with what it should have, and put it right',
    details: 'The driver of Mosquitto does this by itself at its start and after a lost connection.',
    example: 'sealworks mqtt reconcile',
    async run(client) {
      const value = await client.call('reconcileBroker', { body: {} })
      return { value, text: fields(value) }
    },
  }),
]
