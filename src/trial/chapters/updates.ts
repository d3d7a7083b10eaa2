/** Software reaches the machine that it is meant for, and no other: over the air in waves, and from a stick (R11, R12). @module */
import { hash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import type { AnswerOf, Client } from '#server/rest/client.ts'
import { exitCodes } from '#cli/exit-codes.ts'
import { runProgram } from '../programs.ts'
import type { CommandAnswer } from '../server-process.ts'
import { type Chapter, fact, must, type Outcome, present, type Scene } from '../story.ts'
import { desk } from './firmware.ts'
import { MODEL as PRESS } from './life.ts'
import {
  done,
  drills,
  FOREIGN,
  type Machine,
  machinePress,
  models,
  OTHER_REVISION,
  refusedFor,
  REVISION,
  signers,
} from './machines.ts'
import { officer, personToken, server } from './server.ts'
import { line } from './station.ts'

/** Two people who approve, and agree to orders. */
const approvers = fact<readonly [Client, Client]>('the two approvers')
/** How the press installs: by SWUpdate where the machine of this trial has it. */
const press = fact<PressWay>('how the press installs')
/** The first version for one drill, written before it had it. */
const oldStick = fact<string>('the first version, on a stick')

const cast = fact<Cast>('which drill plays what')

interface PressWay {
  readonly format: 'swupdate' | 'cms'
  /** What runs on it now. */
  running(): string | undefined
  /** A file that it can install, unsigned. */
  image(name: string, text: string): Promise<string>
}

export const updatesChapter: Chapter = {
  title: 'Software over the air',
  about:
    'A machine installs what its maker signed, what two people approved, and what its owner’s director means for this very machine.',
  steps: [
    {
      title: 'Nobody gets what two have not approved',
      async run(scene) {
        await prepare(scene)
        const { run } = scene.known(desk)
        const version = versionOf(scene, 1)
        await draft(scene, { component: 'drill-control', version, model: models.drill, revisions: [REVISION, OTHER_REVISION] })
        const early = await refusedFor(rollOut(scene, 'early', `drill-control/${version}`, scene.known(drills)), 'releaseState')
        const first = await asked(scene, `drill-control/${version}`)
        await agree(scene, first, 0)
        must((await tryApprove(scene, `drill-control/${version}`)).code === WAITS, 'one approver was enough')
        await agree(scene, first, 1)
        await run('release', 'approve', `drill-control/${version}`)
        await run('release', 'publish', `drill-control/${version}`, '--signer', signers.releases)
        return { said: `refused: ${early}; one approver is not enough; two are, and it is published` }
      },
    },
    {
      title: 'sealworks campaign: one drill first',
      async run(scene) {
        const all = scene.known(drills)
        await rollOut(scene, 'drills', `drill-control/${versionOf(scene, 1)}`, all, '--wave', '1', '--gate', '100')
        await opened(scene, 'drills')
        const taken: Machine[] = []
        for (const drill of all) if ((await overAir(drill)) !== undefined) taken.push(drill)
        const [first] = taken
        must(first !== undefined && taken.length === 1, `${taken.length} drills were offered it in the first wave`)
        const { states } = await progress(scene, 'drills')
        must(states.succeeded === 0 && states.installing === 1, 'it is believed before the machine signed a report')
        const [updated, other] = all.slice(0, 3).filter((drill) => drill !== first)
        must(updated !== undefined && other !== undefined, 'there are too few drills')
        scene.note(cast, { updated, other })
        await done(first.agent('report'))
        const { states: after } = await progress(scene, 'drills')
        must(after.succeeded === 1, 'its signed report is not believed')
        return { said: `${first.productSerial} runs it: counted once its signed report says so, and not before` }
      },
    },
    {
      title: 'The gate opens, and the other drills follow',
      async run(scene) {
        const all = scene.known(drills)
        await until(scene, async () => (await progress(scene, 'drills')).wave === 2, 'the second wave does not open')
        const { updated } = scene.known(cast)
        scene.note(oldStick, await stickOf(scene, updated, `drill-control/${versionOf(scene, 1)}`))
        for (const drill of all) {
          const result = await overAir(drill)
          must(result === undefined || result === 'installed', `${drill.productSerial}: ${result}`)
          await done(drill.agent('report'))
        }
        const { states } = await progress(scene, 'drills')
        must(states.succeeded === all.length, `${states.succeeded} drills run it`)
        const tally = { what: 'machines updated', count: all.length, timed: false }
        return { said: `${all.length} of ${all.length} run ${versionOf(scene, 1)}`, tally }
      },
    },
    {
      title: 'sealworks release stick: one bit is turned',
      async run(scene) {
        const { updated, other } = scene.known(cast)
        const [next, forPress] = await Promise.all([
          released(scene, {
            component: 'drill-control',
            version: versionOf(scene, 2),
            model: models.drill,
            revisions: [REVISION],
          }),
          released(scene, { component: 'press-control', version: versionOf(scene, 1), model: models.press }),
        ])
        await rollOut(scene, 'next', next, [updated])
        await rollOut(scene, 'press', forPress, [scene.known(machinePress)])
        await rollOut(scene, 'other-model', forPress, [other])
        await Promise.all(['next', 'press', 'other-model'].map((name) => opened(scene, name)))
        const stick = await stickOf(scene, updated, next)
        flipArtifacts(stick)
        const said = await fromStick(updated, stick)
        must(said === 'updateArtifactOther', `the machine says ${said}`)
        must((await overAir(updated)) === 'installed', 'the same as it was signed does not install')
        await done(updated.agent('report'))
        return refusal(said, `from a stick; as it was signed it installs: ${versionOf(scene, 2)}`)
      },
    },
    {
      title: 'The press is updated, the other model',
      async run(scene) {
        const machine = scene.known(machinePress)
        const { format, running } = scene.known(press)
        const result = await overAir(machine)
        must(result === 'installed', `the press says ${result}`)
        await done(machine.agent('report'))
        must((await progress(scene, 'press')).states.succeeded === 1, 'its signed report is not believed')
        must(running()?.startsWith('press') === true, 'something else runs on it')
        const by =
          format === 'swupdate'
            ? 'by SWUpdate, which checks it again'
            : 'by the agent itself; install swupdate and cpio to see it done by SWUpdate'
        return { said: `${versionOf(scene, 1)} ${by}`, tally: { what: 'machines updated', count: 1, timed: false } }
      },
    },
    {
      title: 'The wrong model: the press’s, for a drill',
      async run(scene) {
        const { other } = scene.known(cast)
        const server = await notOffered(scene, other, 'other-model')
        must(server === 'updateOtherModel', `the server says ${server}`)
        return refusal(server, 'by the server, which offers it to no drill')
      },
    },
    {
      title: 'The wrong revision',
      async run(scene) {
        const { other, updated } = scene.known(cast)
        const recorded = scene.known(drills)[3]
        const [forOther, foreign] = await Promise.all([
          released(scene, {
            component: 'drill-control',
            version: versionOf(scene, 3),
            model: models.drill,
            revisions: [OTHER_REVISION],
          }),
          released(scene, { component: 'press-control', version: versionOf(scene, 2), model: models.press, signer: FOREIGN }),
        ])
        await rollOut(scene, 'revision', forOther, [other, recorded])
        await rollOut(scene, 'older', `drill-control/${versionOf(scene, 1)}`, [updated])
        await rollOut(scene, 'foreign', foreign, [scene.known(machinePress)])
        await Promise.all(['revision', 'older', 'foreign'].map((name) => opened(scene, name)))
        const server = await notOffered(scene, other, 'revision')
        must(server === 'updateOtherRevision', `the server says ${server}`)
        const machine = await overAir(recorded)
        must(machine === 'updateOtherRevision', `the machine says ${machine}`)
        return refusal(server, 'by the server; and by a drill that is recorded wrongly, itself')
      },
    },
    {
      title: 'An older version',
      async run(scene) {
        const { updated } = scene.known(cast)
        const server = await notOffered(scene, updated, 'older')
        must(server === 'updateNotNewer', `the server says ${server}`)
        const machine = await fromStick(updated, scene.known(oldStick))
        must(machine === 'updateNotNewer' || machine === 'updateReplayed', `the machine says ${machine}`)
        return refusal(server, `by the server; from an old stick by the machine: ${machine}`)
      },
    },
    {
      title: 'A foreign signer',
      async run(scene) {
        const machine = scene.known(machinePress)
        const before = scene.known(press).running()
        const said = await overAir(machine)
        must(said === 'updateImage', `the press says ${said}`)
        must(scene.known(press).running() === before, 'something else runs on the press')
        return refusal(said, 'by the press, although the server offers it')
      },
    },
  ],
}

const WAITS = exitCodes.waitsForApproval
/** Campaigns are looked at every two seconds. */
const CAMPAIGN_MAX_SECONDS = 20
const LOOK_MILLISECONDS = 100

interface Cast {
  /** Gets the next version, and is offered the old one. */
  readonly updated: Machine
  /** Is offered what is not for it. */
  readonly other: Machine
}

const refusal = (reason: string, more: string): Outcome => ({
  said: `refused: ${reason}, ${more}`,
  tally: { what: 'wrong updates refused', count: 1, timed: false },
})

/** Versions of this start: each start releases its own. */
const versionOf = (scene: Scene, major: number): string => `${scene.known(line).number}.${major}.0`
const campaignOf = (scene: Scene, name: string): string => `${name}-${scene.known(line).number}`

async function prepare(scene: Scene): Promise<void> {
  const { client } = scene.known(server)
  const tokens = [
    await personToken(scene, 'Trial approver 1', 'approver'),
    await personToken(scene, 'Trial approver 2', 'approver'),
  ]
  const [first = '', second = ''] = tokens
  scene.note(approvers, [client(first), client(second)])
  const body = { pollingSeconds: 60, takesTokens: false, state: 'enabled' as const }
  await scene.known(officer).call('putUpdateTenant', { params: { name: 'default' }, body })
  for (const drill of scene.known(drills))
    installsInto(drill, { name: 'drill-control', installer: 'file', slots: slotsOf(drill) })
  scene.note(press, await pressWay(scene.known(machinePress)))
}

const slotsOf = ({ home }: Machine): string => join(home, 'slots')

function installsInto({ home }: Machine, component: object): void {
  mkdirSync(join(home, 'slots'), { recursive: true })
  writeFileSync(join(home, 'agent', 'updates.json'), JSON.stringify({ components: [component] }))
}

/** With SWUpdate and what packs for it, or without. */
async function pressWay(machine: Machine): Promise<PressWay> {
  const [swupdate, cpio] = await Promise.all([runProgram('swupdate', ['--version']), runProgram('cpio', ['--version'])])
  const at = (name: string): string => join(machine.home, name)
  const readOf = (file: string) => (): string | undefined => (existsSync(file) ? readFileSync(file, 'latin1') : undefined)
  const written = (name: string, text: string): string => {
    writeFileSync(at(name), text)
    return at(name)
  }
  if (swupdate.code === -1 || cpio.code === -1) {
    installsInto(machine, { name: 'press-control', installer: 'file', slots: slotsOf(machine) })
    const running = readOf(join(slotsOf(machine), 'current', 'image'))
    return { format: 'cms', running, image: async (name, text) => written(name, text) }
  }
  const target = at('installed.bin')
  mkdirSync(at('tmp'), { recursive: true })
  // its sockets and what it unpacks stay with the machine
  const program = at('swupdate')
  writeFileSync(program, `#!/bin/sh\nTMPDIR=$(mktemp -d -p '${at('tmp')}') exec swupdate "$@"\n`, { mode: 0o755 })
  installsInto(machine, { name: 'press-control', installer: 'swupdate', program, options: ['-l', '1'] })
  return {
    format: 'swupdate',
    running: readOf(target),
    async image(name, text) {
      const inside = at(`${name}.content`)
      mkdirSync(inside, { recursive: true })
      const digest = hash('sha256', text)
      const file = `{ filename = "press.bin"; path = "${target}"; sha256 = "${digest}"; }`
      const board = `${PRESS} = { hardware-compatibility: [ "${REVISION}" ]; files: ( ${file} ); };`
      writeFileSync(join(inside, 'sw-description'), `software = {\n version = "1.0";\n ${board}\n}\n`)
      writeFileSync(join(inside, 'press.bin'), text)
      const pack = 'cd "$1" && printf "sw-description\\npress.bin\\n" | cpio --quiet -o -H crc > "$2"'
      const { code, text: said } = await runProgram('/bin/sh', ['-c', pack, 'sh', inside, at(name)])
      must(code === 0, said)
      return at(name)
    },
  }
}

interface Wanted {
  readonly component: 'drill-control' | 'press-control'
  readonly version: string
  readonly model: string
  readonly revisions?: readonly string[]
  /** Signs the image; who the machines trust unless told. */
  readonly signer?: string
}

/** @returns its name */
async function draft(scene: Scene, { component, version, model, revisions, signer = signers.images }: Wanted): Promise<string> {
  const { run, directory } = scene.known(desk)
  const release = `${component}/${version}`
  await run(
    'release',
    'create',
    component,
    version,
    '--model',
    revisions === undefined ? model : `${model}:${revisions.join(',')}`,
  )
  const name = `${component}-${version}`
  const text = `${component === 'press-control' ? 'press' : 'drill'} runs ${version}`
  const { format, image } = scene.known(press)
  const [add, by] = [
    ['release', 'add-artifact', release],
    ['--signer', signer],
  ]
  if (component === 'press-control' && format === 'swupdate') {
    const file = await image(`${name}.swu`, text)
    const out = join(directory, `${name}.swu`)
    await run('sign', file, ...by, '--format', 'swupdate', '--out', out)
    await run(...add, out, ...by, '--format', 'swupdate')
    return release
  }
  const file = join(directory, `${name}.bin`)
  writeFileSync(file, text)
  await run('sign', file, ...by, '--format', 'cms')
  for (const one of [file, `${file}.p7s`]) await run(...add, one, ...by, '--format', 'cms')
  return release
}

interface Asked {
  readonly id: string
  readonly digest: string
}

/** Asks for approval. */
async function asked(scene: Scene, release: string): Promise<Asked> {
  const { code, value, errors } = await tryApprove(scene, release)
  must(code === WAITS, `the release is approved by nobody but its engineer: ${errors}`)
  return (value as { readonly approval: Asked }).approval
}

const tryApprove = (scene: Scene, release: string): Promise<CommandAnswer> =>
  scene.known(desk).attempt('release', 'approve', release)

async function agree(scene: Scene, { id, digest }: Asked, who: 0 | 1): Promise<void> {
  await scene.known(approvers)[who].call('approve', { params: { id }, body: { digest } })
}

/** Drafted, approved by two, published. @returns its name */
async function released(scene: Scene, wanted: Wanted): Promise<string> {
  const release = await draft(scene, wanted)
  const request = await asked(scene, release)
  await agree(scene, request, 0)
  await agree(scene, request, 1)
  const { run } = scene.known(desk)
  await run('release', 'approve', release)
  await run('release', 'publish', release, '--signer', signers.releases)
  return release
}

/** Planned and started, by the release engineer. */
async function rollOut(
  scene: Scene,
  name: string,
  release: string,
  to: readonly Machine[],
  ...terms: readonly string[]
): Promise<void> {
  const { run } = scene.known(desk)
  const devices = to.flatMap(({ id }) => ['--device', id])
  await run('campaign', 'create', campaignOf(scene, name), '--release', release, ...devices, ...terms)
  await run('campaign', 'start', campaignOf(scene, name))
}

const progress = (scene: Scene, name: string): Promise<AnswerOf<'campaignProgress'>> =>
  scene.known(officer).call('campaignProgress', { params: { name: campaignOf(scene, name) } })

const opened = (scene: Scene, name: string): Promise<void> =>
  until(scene, async () => (await progress(scene, name)).states.offered > 0, `the campaign ${name} does not begin`)

async function until({ world }: Scene, isSo: () => Promise<boolean>, otherwise: string): Promise<void> {
  const begun = world.clock.now()
  while (!(await isSo())) {
    must(world.clock.now() - begun < CAMPAIGN_MAX_SECONDS * 1000, `${otherwise} within ${CAMPAIGN_MAX_SECONDS} s`)
    await wait(LOOK_MILLISECONDS)
  }
}

/** @returns `installed`, why not, or undefined when there is nothing for it */
const overAir = async ({ agent }: Machine): Promise<string | undefined> => resultIn(await agent('update'))

async function fromStick({ agent }: Machine, stick: string): Promise<string | undefined> {
  return resultIn(await agent('update', '--from', stick))
}

function resultIn({ value, errors }: CommandAnswer): string | undefined {
  must(value !== undefined, errors)
  const [first] = (value as { readonly updates: readonly { readonly result: string; readonly reason: string }[] }).updates
  return first === undefined || first.reason === '' ? first?.result : first.reason
}

/** The machine asks and is offered nothing. @returns why, as the server has it */
async function notOffered(scene: Scene, machine: Machine, name: string): Promise<string> {
  const result = await overAir(machine)
  must(result === undefined, `${machine.productSerial} was offered it: ${result}`)
  const { reasons } = await progress(scene, name)
  return present(
    reasons.find(({ state }) => state === 'rejected'),
    `the campaign ${name} says nothing of it`,
  ).reason
}

/** @returns the directory, as a person would bring it */
async function stickOf(scene: Scene, { home, id }: Machine, release: string): Promise<string> {
  const stick = join(home, `stick-${release.replace('/', '-')}`)
  await scene.known(desk).run('release', 'stick', release, '--device', id, '--out', stick)
  return stick
}

function flipArtifacts(stick: string): void {
  const folder = join(stick, 'artifacts')
  for (const name of readdirSync(folder)) {
    const octets = readFileSync(join(folder, name))
    octets[0] = (octets[0] ?? 0) ^ 1
    writeFileSync(join(folder, name), octets)
  }
}
