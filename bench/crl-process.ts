/** `node bench/crl-process.ts ENTRIES`: one list of so many entries, with what it took. Run by `crl.ts`. @module */
import { revokeCertificate } from '#ca/certificates.ts'
import { issueCRL } from '#ca/crl.ts'
import { parseCertificateList, verifyListSignature } from '#x509/crl.ts'
import type { Made } from './crl.ts'
import { median } from './figure.ts'
import { makePlant, openPlant, world } from './plant.ts'

const ROWS_EACH = 10_000
const SERIAL_NUMBER_OCTETS = 16
const REVOKED_ONE_BY_ONE = 101
const COLUMNS = [
  'id',
  'organization_id',
  'version',
  'authority_id',
  'serial_number',
  'profile',
  'endpoint_id',
  'subject',
  'product_serial',
  'key_hash',
  'not_before',
  'not_after',
  'state',
  'revoked_at',
  'changed_at',
  'revocation_reason',
  'crl_shard',
  'der',
  'created_at',
] as const

const entries = Number(process.argv[2])
using plant = await makePlant()
await using opened = await openPlant(plant)
const { context, owner } = opened

const now = world.clock.now()
const nothing = new Uint8Array(1) // a list is made from the columns; whole certificates would only fill the disk
for (let at = 0; at < entries; at += ROWS_EACH) {
  const rows = Array.from({ length: Math.min(ROWS_EACH, entries - at) }, (_, i) => {
    const serialNumber = new Uint8Array(SERIAL_NUMBER_OCTETS).fill(0x40)
    new DataView(serialNumber.buffer).setUint32(SERIAL_NUMBER_OCTETS - 4, at + i)
    const id = `revoked-${at + i}`
    const names = [id, 'default', 1, owner.id, serialNumber, 'ldevid', null, id, null, nothing]
    return [...names, now - 1000, now + 86_400_000, 'revoked', now, now, 'keyCompromise', 0, nothing, now]
  })
  await context.db.transaction((tx) => tx.insertMany('certificate', COLUMNS, rows))
}

const idle = process.memoryUsage.rss()
let memoryPeak = idle
const watch = setInterval(() => (memoryPeak = Math.max(memoryPeak, process.memoryUsage.rss())), 5)
const start = performance.now()
const before = process.cpuUsage()
const { der } = await issueCRL(context, owner, 0, 'system')
const seconds = (performance.now() - start) / 1000
const { user, system } = process.cpuUsage(before)
clearInterval(watch)

const live = Array.from({ length: REVOKED_ONE_BY_ONE }, (_, i) => `live-${i}`)
await context.db.transaction((tx) =>
  tx.insertMany(
    'certificate',
    COLUMNS,
    live.map((id, i) => {
      const serialNumber = new Uint8Array(SERIAL_NUMBER_OCTETS).fill(0x41)
      serialNumber[0] = i
      const names = [id, 'default', 1, owner.id, serialNumber, 'ldevid', null, id, null, nothing]
      return [...names, now - 1000, now + 86_400_000, 'active', null, null, null, 0, nothing, now]
    }),
  ),
)
const revocations: number[] = []
for (const id of live) {
  const begun = performance.now()
  await revokeCertificate(context, id, 'superseded', 'system')
  revocations.push(performance.now() - begun)
}

const list = parseCertificateList(der)
let read = 0
for (const _ of list.entries()) read++
if (read !== entries || !(await verifyListSignature(list, owner.publicKey))) throw new Error('the list is wrong')
console.log(
  JSON.stringify({
    seconds,
    cpuSeconds: (user + system) / 1e6,
    octets: der.length,
    memoryAboveIdle: memoryPeak - idle,
    revokeMilliseconds: median(revocations),
  } satisfies Made),
)
