/** A device on the command line: by its id, by maker, model and serial, or by its serial where no other device has it. @module */
import { TrustError } from '#base/errors.ts'
import type { AnswerOf } from '#server/rest/client.ts'
import { required, text } from './command.ts'
import type { Caller } from './connection.ts'

export type Device = AnswerOf<'showDevice'>

export const deviceOperand = required(text('DEVICE', 'its id, its serial, or MANUFACTURER/MODEL/SERIAL'))

const OF_MODEL = /^([a-z0-9-]{1,63}\/[a-z0-9-]{1,63})\/(.+)$/
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** @throws TrustError `notFound`, `conflict` when devices of several makers have the serial */
export async function findDevice(client: Caller, written: string): Promise<string> {
  if (UUID.test(written)) return written
  const [, model, productSerial = written] = OF_MODEL.exec(written) ?? []
  const query = { productSerial, limit: 2, ...(model !== undefined && { model }) }
  const [found, other] = (await client.call('findDevices', { query })).items
  if (found === undefined) throw new TrustError('notFound', 'deviceUnknown', { facts: { device: written } })
  if (other !== undefined) throw new TrustError('conflict', 'deviceSerialTwice', { facts: { productSerial } })
  return found.id
}
