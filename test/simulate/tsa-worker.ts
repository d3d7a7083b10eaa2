/** One process that stamps as fast as it can, and says which tokens it gave out. Killed by `tsa-kill.test.ts`. @module */
import { parseTimeStampResponse, encodeTimeStampRequest, verifyTimeStamp } from '#cms/timestamp.ts'
import { systemWorld } from '#base/world.ts'
import { openTestSigning } from '#signing/tsp/testing.ts'
import { openDatabase } from '#store/registry.ts'

const [, , url = ''] = process.argv
const AT_ONCE = 16
const digest = new Uint8Array(32).fill(3)
const request = encodeTimeStampRequest({ imprint: { digestAlgorithm: 'sha256', digest }, certReq: true, extensions: [] })
const { signing } = await openTestSigning(openDatabase(url), systemWorld())

async function stampOn(name: string): Promise<never> {
  for (;;) {
    const { response, entry } = await signing.timeStamps.answer(name, request)
    const { info } = await verifyTimeStamp(parseTimeStampResponse(response), { digestWith: () => digest })
    process.stdout.write(`${name} ${info.serialNumber.toHex()} ${info.genTime.getTime()} ${entry}\n`)
  }
}
await Promise.all(Array.from({ length: AT_ONCE }, (_, at) => stampOn(at % 2 === 0 ? 'time' : 'ordered')))
