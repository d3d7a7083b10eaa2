/** `kill -9` at each step of a birth: the device has one usable certificate, or its state says what to do, and it counts once. R4, R15, R22. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { TrustError } from '#base/errors.ts'
import { recipientParty } from '#cms/testing.ts'
import { bear, challenge } from '#devices/birth/births.ts'
import { bearWithKey } from '#devices/birth/external.ts'
import { listExternalKeys } from '#devices/birth/external-record.ts'
import { testTPM } from '#devices/birth/testing.ts'
import type { LineTerms } from '#devices/birth/lines.ts'
import { officer } from '#devices/testing.ts'
import { allot } from '#orders/allotments.ts'
import { type Factory, makeFactory, orderPumps } from '#server/births-testing.ts'
import { fingerprint } from '#x509/certificate.ts'
import { type Asked, STATION } from './births-worker.ts'

const POINTS = ['birth signed', 'birth kept'] as const

async function killedAt(plant: Factory, point: string, asked: Asked): Promise<void> {
  const file = join(plant.directory, 'asked.json')
  writeFileSync(
    file,
    JSON.stringify(asked, (_, value: unknown) => (value instanceof Uint8Array ? { octets: value.toBase64() } : value)),
  )
  await plant.close()
  const worker = join(import.meta.dirname, 'births-worker.ts')
  const child = spawn(process.execPath, [worker, plant.directory, point, file], { stdio: ['ignore', 'ignore', 'inherit'] })
  const [, signal] = (await once(child, 'close')) as [number | null, string | null]
  assert.equal(signal, 'SIGKILL', `it reached "${point}"`)
}

/** For one device: one birth more would be refused. */
async function ordered(plant: Factory, terms: Partial<LineTerms> = {}): Promise<void> {
  const orders = await orderPumps(plant, { quantity: 1, scrapAllowance: 0, digits: 1, terms })
  await allot(orders, 'pumps', { line: 'line' }, officer)
}

const each = (count: number) => ({
  ...{ births: count, devices: count, certificates: count, attached: count },
  ...{ counted: count, entries: count },
})

const countOf = async ({ births: { db } }: Pick<Factory, 'births'>) => {
  const [row] = await db.query(
    `SELECT (SELECT count(*) FROM birth_record) AS births, (SELECT count(*) FROM device WHERE state = 'born') AS devices,
      (SELECT count(*) FROM certificate WHERE profile = 'idevid' AND state = 'active') AS certificates,
      (SELECT count(*) FROM device_certificate WHERE role = 'birth') AS attached,
      (SELECT issued FROM order_allotment) AS counted, (SELECT count(*) FROM job_entry) AS entries`,
  )
  return { ...row }
}

for (const point of POINTS) {
  test(`a birth from a TPM that is killed at "${point}" goes on when it is asked again`, async () => {
    await using plant = await makeFactory()
    await ordered(plant)
    const tpm = await testTPM(plant.maker)
    const at = { line: 'line', productSerial: 'P-1' }
    const evidence = tpm.answer(await challenge(plant.births, { ...tpm.introduction, ...at }, STATION))
    await killedAt(plant, point, { type: 'bear', ...at, evidence })
    await using again = await plant.reopened()
    const left = point === 'birth kept' ? 1 : 0
    assert.deepEqual(await countOf(again), each(left))
    const born = await bear(again.births, { ...at, evidence }, STATION)
    assert.equal((await bear(again.births, { ...at, evidence }, STATION)).certificateId, born.certificateId)
    assert.deepEqual(await countOf(again), each(1))
  })

  test(`a key for a device that is killed at "${point}" was never there, or its state says what to do`, async () => {
    await using plant = await makeFactory()
    const unit = await recipientParty('P-256')
    await ordered(plant, { units: [unit.certificate.toBase64()] })
    const print = fingerprint(unit.certificate).toHex()
    const wanted = { line: 'line', productSerial: 'P-1', keyAlgorithm: 'ecdsa-p256', unit: print } as const
    await killedAt(plant, point, { type: 'key', ...wanted })
    await using again = await plant.reopened()
    const open = () => listExternalKeys(again.births, { state: 'delivered', limit: 10 })
    if (point === 'birth signed') {
      assert.deepEqual(await open(), [])
      await bearWithKey(again.births, wanted, STATION)
    } else {
      await assert.rejects(
        bearWithKey(again.births, wanted, STATION),
        (thrown) => thrown instanceof TrustError && thrown.code === 'conflict' && /scrap the device/.test(thrown.message),
      )
    }
    assert.equal((await open()).length, 1)
    assert.deepEqual(await countOf(again), each(1))
  })
}
