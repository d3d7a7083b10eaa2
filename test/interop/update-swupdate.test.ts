/** Debian's swupdate, as it is, takes its updates from this server over mutual TLS: the right board installs, the others do not. */
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { createCipheriv, createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { describe, type TestContext, test } from 'node:test'
import { encodePEM } from '#asn1/pem.ts'
import { keep } from '#store/batch.ts'
import { stepsOnReport } from '#updates/campaigns/advance.ts'
import { actionOf, type Action } from '#updates/campaigns/actions.ts'
import { needs } from './programs.ts'
import { type PlantDevice, TENANT, type UpdatePlant, updatePlant } from './update-plant.ts'

const tools = needs('swupdate', 'cpio')

const image = new Uint8Array(
  createCipheriv('aes-128-ctr', new Uint8Array(16), new Uint8Array(16)).update(new Uint8Array(200_001)),
)
const PATIENCE_MILLISECONDS = 30_000

/** Where the update goes, below the folder in which the program runs. */
const INSTALLED = 'installed.bin'
const rootOf = (plant: UpdatePlant, { serial }: PlantDevice): string => join(plant.folder, `root-${serial}`)
const placeOf = (plant: UpdatePlant, device: PlantDevice): string => join(rootOf(plant, device), INSTALLED)

/** As SWUpdate's documentation has it, for the board `pump` of revision 1.0. */
function archive(plant: UpdatePlant): Uint8Array {
  const inside = join(plant.folder, 'swu')
  mkdirSync(inside)
  const sha256 = createHash('sha256').update(image).digest('hex')
  const files = `files: ( { filename = "firmware.bin"; path = "${INSTALLED}"; sha256 = "${sha256}"; } );`
  const text = `software = { version = "2.0.0"; pump = { hardware-compatibility: [ "1.0" ]; ${files} } }\n`
  plant.write('swu/sw-description', text)
  plant.write('swu/firmware.bin', image)
  execFileSync('/bin/sh', ['-c', `printf 'sw-description\\nfirmware.bin\\n' | ${tools.path('cpio')} -o -H crc > out.swu`], {
    cwd: inside,
    stdio: 'ignore',
  })
  return new Uint8Array(readFileSync(join(inside, 'out.swu')))
}

async function keyring(plant: UpdatePlant): Promise<string> {
  const { record } = await plant.test.signing.signers.find('acme-firmware')
  const root = record.key.chain.at(-1) ?? new Uint8Array(0)
  return plant.write('keyring.pem', encodePEM('CERTIFICATE', root))
}

interface Running {
  readonly log: () => string
  stop(): Promise<void>
}

interface How {
  readonly board: string
  /** For its update client. */
  readonly suricatta?: string
  readonly options?: readonly string[]
}

async function swupdate(
  t: TestContext,
  plant: UpdatePlant,
  device: PlantDevice,
  { board, suricatta = '', options = [] }: How,
): Promise<Running> {
  const root = rootOf(plant, device)
  mkdirSync(join(root, 'tmp'), { recursive: true })
  const config = plant.write(
    `${device.serial}.cfg`,
    `globals : { public-key-file = "${await keyring(plant)}"; cert-purpose = "codeSigning"; no-transaction-marker = true; no-state-marker = true; };
suricatta : { tenant = "${TENANT}"; id = "${device.serial}"; url = "${plant.origin}/ddi"; polldelay = 1; retry = 2; retrywait = 1;
  cafile = "${plant.trustFile}"; sslcert = "${device.files.certificate}"; sslkey = "${device.files.key}"; };
identify : ( { name = "board"; value = "${board}"; }, { name = "formats"; value = "swupdate"; } );
`,
  )
  const given = ['-f', config, '-H', board, '-l', '5', ...options, '-u', suricatta]
  const child = spawn(tools.path('swupdate'), given, { cwd: root, env: { ...process.env, TMPDIR: join(root, 'tmp') } })
  let log = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (octets: Buffer) => (log += octets.toString()))
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM')
    await Promise.race([closed, wait(2000, undefined, { ref: false })])
    child.kill('SIGKILL')
  }
  t.after(stop)
  return { log: () => log, stop }
}

async function saidBy({ all }: UpdatePlant, { id }: PlantDevice): Promise<string> {
  const rows = await all.devices.db.query(
    'SELECT details FROM campaign_feedback JOIN campaign_action ON campaign_action.number = campaign_feedback.number WHERE device_id = ?',
    id,
  )
  return rows.map(({ details }) => details as string).join('\n')
}

async function actionFor({ all }: UpdatePlant, { id }: PlantDevice): Promise<Action> {
  const [row] = await all.devices.db.query('SELECT * FROM campaign_action WHERE device_id = ? ORDER BY number DESC', id)
  return row === undefined ? assert.fail('no action') : actionOf(row)
}

async function until(what: string, running: Running, isSo: () => Promise<boolean>): Promise<void> {
  for (const begun = performance.now(); !(await isSo()); await wait(50))
    if (performance.now() - begun > PATIENCE_MILLISECONDS) assert.fail(`${what} never came:\n${running.log()}`)
}

describe('R12: swupdate at the door for updates', { skip: tools.skip }, () => {
  test('the right board installs; another board, another revision and a newer device do not, and say so', async (t) => {
    const plant = await updatePlant(t)
    const [right, board, revision, newer] = [
      await plant.device('A-1'),
      await plant.device('A-2'),
      await plant.device('A-3'),
      await plant.device('A-4'),
    ]
    const octets = await plant.test.signed('swupdate', archive(plant))
    const release = await plant.release('2.0.0', { 'pump.swu': { format: 'swupdate', octets } })
    await plant.campaign('spring', release, [right, board, revision, newer], { errors: { percent: 100, least: 100 } })

    const first = await swupdate(t, plant, right, { board: 'pump:1.0' })
    const others = [
      [board, await swupdate(t, plant, board, { board: 'valve:1.0' }), /HW compatibility not found/],
      [revision, await swupdate(t, plant, revision, { board: 'pump:2.0' }), /not compatible with hardware/],
      [newer, await swupdate(t, plant, newer, { board: 'pump:1.0', options: ['-N', '3.0.0'] }), /downgrad|older/i],
    ] as const
    await until('the installation', first, async () => /All Chunks Installed/.test(await saidBy(plant, right)))
    assert.deepEqual(new Uint8Array(readFileSync(placeOf(plant, right))), image)
    await first.stop()
    assert.equal((await actionFor(plant, right)).state, 'downloading', 'it has not said that it runs')
    const second = await swupdate(t, plant, right, { board: 'pump:1.0', suricatta: '-c 2' })
    await until('its success', second, async () => (await actionFor(plant, right)).said === 'success')
    await second.stop()
    const said = await actionFor(plant, right)
    assert.equal(said.state, 'installing', 'what an update client says is noted, and nobody believes it')

    for (const [device, running, problem] of others) {
      await until(`the refusal of ${device.serial}`, running, async () => (await actionFor(plant, device)).state === 'failed')
      await running.stop()
      assert.equal((await actionFor(plant, device)).reason, 'deviceFailed')
      assert.match(running.log(), problem)
      assert.equal(existsSync(placeOf(plant, device)), false)
    }

    const { db } = plant.all.devices
    const digest = createHash('sha256').update(octets).digest('hex')
    await keep(db, await stepsOnReport(plant.campaigns.context, right.id, [{ name: 'pump-os', version: '2.0.0', digest }]))
    assert.equal((await actionFor(plant, right)).state, 'succeeded', 'its signed report shows it')
  })
})
