/** A stick that is cut while it is written, and one that was used before. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { systemWorld } from '#base/world.ts'
import { migrate } from '#store/migrate.ts'
import { sqlite } from '#store/sqlite/index.ts'
import type { Release } from '../releases.ts'
import { engineer, openTestUpdates, testDevice, updateTestMigrations } from '../testing.ts'
import { artifactFile, folderOf, manifestFile, statementFile } from './messages.ts'
import { type StickPapers, type StickWriting, writeStick } from './write.ts'

const SERIAL = 'A/1'

async function maker(t: TestContext) {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-stick-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const world = systemWorld()
  const db = sqlite({ path: join(directory, 'updates.db') })
  await migrate(db, updateTestMigrations, world)
  const plant = await openTestUpdates(db, world)
  t.after(() => plant[Symbol.asyncDispose]())
  plant.devices.set('a-1', testDevice('a-1', { productSerial: SERIAL }))
  const stick = join(directory, 'media', 'stick')
  const papersFor = async ({ id: releaseId }: Release): Promise<StickPapers & { readonly sequence: number }> =>
    plant.updates.direct({ releaseId, deviceId: 'a-1', kind: 'install', action: 'stick' }, engineer.actor)
  const write = (papers: StickPapers, more: Partial<StickWriting> = {}) =>
    writeStick(stick, {
      papers: [papers],
      fetch: async (digest) => plant.updates.read(digest, 0, Number.MAX_SAFE_INTEGER),
      now: world.clock.now(),
      faults: world.faults,
      ...more,
    })
  return { plant, stick, papersFor, write }
}

const folder = folderOf({ productSerial: SERIAL })
const filesIn = (stick: string): readonly string[] =>
  existsSync(stick)
    ? readdirSync(stick, { recursive: true, withFileTypes: true }).flatMap((one) =>
        one.isFile() ? [join(one.parentPath, one.name)] : [],
      )
    : []

test('R12: wherever the writing of a stick is cut, a statement that stands there has all that it names', async (t) => {
  const { plant, stick, papersFor, write } = await maker(t)
  const release = await plant.published()
  const { sequence, ...papers } = await papersFor(release)
  const names = { device: { productSerial: SERIAL } as never, sequence }
  const needed = [manifestFile(names), ...release.artifacts.map(({ digest }) => artifactFile(Uint8Array.fromHex(digest)))]
  assert.equal(needed.length, 3)
  const cut = new Error('the stick is pulled')
  const points = 4 // two artifacts, manifest, statement
  let reached = 0
  for (let nth = 0; nth <= points; nth++) {
    rmSync(stick, { recursive: true, force: true })
    reached = 0
    const reach = (): void => {
      if (reached++ === nth) throw cut
    }
    await write(papers, { faults: { reach } }).catch((error: unknown) => assert.equal(error, cut))
    const isThere = existsSync(join(stick, statementFile(names)))
    if (isThere) for (const name of needed) assert.ok(existsSync(join(stick, name)), `point ${nth}: ${name}`)
    assert.equal(isThere, nth >= 3, `point ${nth}`)
    await write(papers)
    assert.deepEqual(
      filesIn(stick)
        .map((file) => file.slice(stick.length + 1))
        .toSorted(),
      [...needed, statementFile(names)].toSorted(),
    )
  }
  assert.equal(reached, points, 'it came to its end')
})

test('R12: what is not what the statement names comes onto no stick', async (t) => {
  const { plant, stick, papersFor, write } = await maker(t)
  const [papers, other] = [await papersFor(await plant.published()), await papersFor(await plant.published())]
  await assert.rejects(write({ ...papers, manifest: other.manifest }), { reason: 'stickOther' })
  for (const octets of ['', 'x', 'x'.repeat(100_000)]) {
    async function* pieces() {
      yield new TextEncoder().encode(octets)
    }
    await assert.rejects(write(papers, { fetch: async () => pieces() }), { code: 'badProof', reason: 'stickOther' })
  }
  assert.deepEqual(filesIn(stick), [], 'and nothing is left')
})

test('R12: a used stick: what is over, replaced or broken goes away, and what else there is stays', async (t) => {
  const { plant, stick, papersFor, write } = await maker(t)
  const papers = await papersFor(await plant.published())
  await write(papers)
  const [image] = readdirSync(join(stick, 'artifacts'))
  const loader = await papersFor(await plant.published({ component: 'loader', version: '9.1' }))
  await write(loader)
  writeFileSync(join(stick, folder, '3.director.cose'), 'no statement')
  writeFileSync(join(stick, folder, 'notes.txt'), 'of a person')
  writeFileSync(join(stick, 'artifacts', image ?? ''), 'broken by the stick')
  const newer = await papersFor(await plant.published())
  await write(newer)
  const numbers = (): readonly number[] =>
    readdirSync(join(stick, folder)).flatMap((name) => (name.endsWith('.director.cose') ? [Number.parseInt(name, 10)] : []))
  assert.deepEqual(numbers(), [loader.sequence, newer.sequence])
  assert.ok(existsSync(join(stick, folder, 'notes.txt')))
  assert.equal(readFileSync(join(stick, 'artifacts', image ?? ''), 'latin1'), 'broken by the stick', 'nothing names it any more')
  await write(papers)
  assert.notEqual(readFileSync(join(stick, 'artifacts', image ?? ''), 'latin1'), 'broken by the stick')

  await write(newer, { now: systemWorld().clock.now() + 200 * 3_600_000 })
  assert.deepEqual(numbers(), [newer.sequence])
})
