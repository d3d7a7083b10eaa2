/** `kill -9` at each step of a change of area: the device always has a certificate that works, and ends with exactly one. R6, R29. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { openCertificate } from '#ca/certificates.ts'
import type { TestCA } from '#ca/testing.ts'
import { testKey, testRequest } from '#ca/testing.ts'
import { moveDevice } from '#devices/ownership/moves.ts'
import { isUsable } from '#devices/usable.ts'
import { factoryWorld, type OpenedFactory, openFactory } from '#server/births-testing.ts'
import { devicePlant } from '#server/device-testing.ts'
import { enrollIn } from './area-worker.ts'

const person = 'person:tester'
const SERIAL = 'A-1'

/** A device at work in `paint`, told to move to `press`. */
async function moving(directory: string) {
  const opened = await openFactory(directory, factoryWorld())
  try {
    const plant = await devicePlant({ ...opened.ca, context: opened.ca.context } as unknown as TestCA)
    const idevid = await plant.enroll(plant.births, SERIAL)
    await plant.act(SERIAL, 'release', 'ship', 'offer', 'claim')
    const first = await plant.enroll(plant.paint, SERIAL, { shown: idevid, key: testKey() })
    const atWork = await plant.enroll(plant.paint, SERIAL, { shown: first, key: testKey() })
    const device = await plant.device(SERIAL)
    await moveDevice(plant.devices, { deviceId: device.id, area: 'press' }, person)
    return { id: device.id, press: plant.areas[1], first: first.certificateId, atWork }
  } finally {
    await opened[Symbol.asyncDispose]()
  }
}

/** What a connection would be told of each operational certificate of the device, oldest first. */
async function usableOf({ ca }: OpenedFactory, deviceId: string): Promise<readonly string[]> {
  const { db } = ca.devices.context
  const rows = await db.query<{ certificate_id: string }>(
    "SELECT certificate_id FROM device_certificate WHERE device_id = ? AND role = 'operational' ORDER BY certificate_id",
    deviceId,
  )
  const usable: string[] = []
  for (const { certificate_id: certificateId } of rows) {
    const { state, notBefore, notAfter } = await openCertificate(ca.context, certificateId)
    const facts = {
      certificateId,
      status: state,
      isIssuerEnabled: true,
      notBefore: notBefore.getTime(),
      notAfter: notAfter.getTime(),
    }
    if ((await isUsable(db, facts, Date.now())).isUsable) usable.push(certificateId)
  }
  return usable
}

const POINTS = ['certificate signed', 'certificate kept', 'certificate state changed', 'CA told of a device'] as const

const requestOf = async () => (await testRequest({ subject: [{ type: 'serialNumber', value: SERIAL }], key: testKey() })).der

/** Set up once, before the first request and before the second; each test has a copy of the files. */
const begun = (async () => {
  const [first, second] = [1, 2].map(() => mkdtempSync(join(tmpdir(), 'sealworks-area-'))) as [string, string]
  const device = await moving(first)
  cpSync(first, second, { recursive: true })
  await using plant = await openFactory(second, factoryWorld())
  const { certificate } = await enrollIn(plant, 'press', device.atWork.certificate, await requestOf())
  return { ...device, from: { first, second }, shown: { first: device.atWork.certificate, second: certificate } }
})()
after(async () => {
  for (const directory of Object.values((await begun).from)) rmSync(directory, { recursive: true })
})

/** Two requests make the move: one for a certificate of the next area, and one that shows it. */
for (const [step, point] of [
  ['first', POINTS[0]],
  ['first', POINTS[1]],
  ['second', POINTS[0]],
  ['second', POINTS[1]],
  ['second', POINTS[2]],
  ['second', POINTS[3]],
] as const) {
  test(`R6: a move that is killed at "${point}" of its ${step} request goes on when the device asks again`, async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'sealworks-area-'))
    t.after(() => rmSync(directory, { recursive: true }))
    const { from, id, press, atWork, shown: all } = await begun
    cpSync(from[step], directory, { recursive: true })
    const shown = all[step]
    const request = await requestOf()
    const files = [join(directory, 'shown.der'), join(directory, 'request.der')] as const
    writeFileSync(files[0], shown)
    writeFileSync(files[1], request)
    const words = [join(import.meta.dirname, 'area-worker.ts'), directory, point, 'press', ...files]
    const child = spawn(process.execPath, words, { stdio: ['ignore', 'ignore', 'inherit'] })
    const [, signal] = (await once(child, 'close')) as [number | null, string | null]
    assert.equal(signal, 'SIGKILL', `it reached "${point}"`)

    await using again = await openFactory(directory, factoryWorld())
    const { db } = again.ca.devices.context
    const held = step === 'first' ? atWork : await certificateOf(again, shown)
    assert.ok((await usableOf(again, id)).includes(held.certificateId), 'what the device has in its hands works')
    const answer = await enrollIn(again, 'press', shown, request)
    const last = step === 'first' ? await enrollIn(again, 'press', answer.certificate, await requestOf()) : answer
    await again.ca.devices.tellDue()

    const [device] = await db.query<{ state: string; area_id: string }>('SELECT state, area_id FROM device WHERE id = ?', id)
    assert.deepEqual([device?.state, device?.area_id], ['active', press])
    assert.equal((await openCertificate(again.ca.context, atWork.certificateId)).revocationReason, 'affiliationChanged')
    assert.ok(!(await usableOf(again, id)).includes(atWork.certificateId))
    const current = await db.query(
      "SELECT 1 AS one FROM device_certificate WHERE device_id = ? AND standing = 'current' AND role = 'operational'",
      id,
    )
    assert.equal(current.length, 1)
    // it is the newest that it goes on with, and that one alone once it was seen
    await enrollIn(again, 'press', last.certificate, await requestOf())
    assert.ok((await usableOf(again, id)).includes(last.certificateId))
    const left = await db.query('SELECT certificate_id FROM device_certificate WHERE due IS NOT NULL')
    assert.deepEqual(left, [], 'the CA was told of everything')
  })
}

async function certificateOf({ ca }: OpenedFactory, der: Uint8Array): Promise<{ readonly certificateId: string }> {
  const [row] = await ca.context.db.query<{ id: string }>('SELECT id FROM certificate WHERE der = ?', der)
  return { certificateId: row?.id ?? assert.fail('no such certificate') }
}
