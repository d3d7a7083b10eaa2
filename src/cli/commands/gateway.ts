/** `sealworks gateway`: which gateway speaks for which devices. @module */
import type { AnswerOf } from '#server/rest/client.ts'
import { integer, required, text } from '../command.ts'
import { clientCommand } from '../connection.ts'
import { deviceOperand as device, findDevice } from '../device.ts'
import { table } from '../terminal.ts'
import { waitsFor } from '../waiting.ts'

type List = AnswerOf<'listBindings'>
type Bound = List['devices'][number]

const gateway = required(text('GATEWAY', 'its id, or its serial'))

function listText({ number, devices }: List, columns: number | undefined): string {
  const shape = [
    { title: 'DEVICE', cell: ({ manufacturer, productSerial }: Bound) => `${manufacturer}/${productSerial}` },
    { title: 'PORT', cell: ({ port }: Bound) => port },
    { title: 'FINGERPRINT', cell: ({ fingerprint = '' }: Bound) => fingerprint },
    { title: 'LEVEL', cell: ({ assurance }: Bound) => String(assurance) },
    { title: 'SINCE', cell: ({ boundAt }: Bound) => boundAt.slice(0, 19) },
  ]
  return `${table(devices, shape, columns)}List ${number}\n`
}

export const commands = [
  clientCommand({
    noun: 'gateway',
    verb: 'bind',
    summary: 'Let a gateway speak for a device, as its owner signs',
    details:
      'Both have one owner, and one area or a conduit from the one of the gateway. A device that was bound to another gateway or port needs the agreement of somebody else: approve, and run the command again.',
    example: "sealworks gateway bind GW-7 PLC-12 --port 'rs485-1/unit 7' --fingerprint 'S7-300 6ES7315' --level 1",
    operands: { gateway, device },
    options: {
      port: required(text('PORT', 'where the device is')),
      fingerprint: text('TEXT', 'what it is known by there'),
      level: integer('0|1', 0, 1, '1 when the gateway vouches for it; 0 unless told'),
    },
    async run(client, { gateway: written, device: other, port, fingerprint, level = 0 }, { columns }) {
      const id = await findDevice(client, written)
      const one = {
        device: await findDevice(client, other),
        port,
        assurance: level,
        ...(fingerprint !== undefined && { fingerprint }),
      }
      const value = await client.call('bindDevices', { params: { id }, body: { devices: [one] } })
      return value.state === 'waiting' ? waitsFor(value) : { value, text: listText(value, columns) }
    },
  }),

  clientCommand({
    noun: 'gateway',
    verb: 'unbind',
    summary: 'Let a gateway speak for a device no more: what it has of it is revoked',
    example: 'sealworks gateway unbind GW-7 PLC-12',
    operands: { gateway, device },
    async run(client, { gateway: written, device: other }, { columns }) {
      const id = await findDevice(client, written)
      const value = await client.call('unbindDevices', { params: { id }, body: { devices: [await findDevice(client, other)] } })
      return { value, text: listText(value, columns) }
    },
  }),

  clientCommand({
    noun: 'gateway',
    verb: 'list',
    summary: 'For which devices a gateway speaks',
    details: 'With --json, the statement that the owner signed as well.',
    example: 'sealworks gateway list GW-7',
    operands: { gateway },
    async run(client, { gateway: written }, { columns }) {
      const value = await client.call('listBindings', { params: { id: await findDevice(client, written) } })
      return { value, text: listText(value, columns) }
    },
  }),
]
