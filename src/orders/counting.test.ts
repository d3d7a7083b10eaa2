/**
 * R15, R24: whatever is copied, put back, cut off or run twice, no position of a job is given twice and none too many.
 *
 * The world here has one TPM, any number of disks, and programs that run on them and are stopped anywhere.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { TrustError } from '#base/errors.ts'
import { type Counting, type CountingEntry, type CountingTerms, emptyRecord, noted, startCounting } from './counting.ts'

const terms: CountingTerms = { startsAt: 41, blocksAt: 70, blockSize: 4, positionsMax: 42 }

interface TPM {
  starts: number
  blocks: number
}

type Disk = CountingEntry[]

class PulledPlug extends Error {}

/** Waits where a program does, so that others run in between. */
type Pause = () => Promise<void>

interface Program {
  readonly counting: Counting
  /** Nothing of it runs any more. */
  dead: boolean
}

function start(tpm: TPM, disk: Disk, { pause = async () => {}, cutAt = Infinity }: { pause?: Pause; cutAt?: number } = {}) {
  const program = { dead: false } as { counting: Counting; dead: boolean }
  let steps = 0
  const step = async (): Promise<void> => {
    if (program.dead) throw new PulledPlug()
    if (++steps > cutAt) {
      program.dead = true
      throw new PulledPlug()
    }
    await pause()
    if (program.dead) throw new PulledPlug()
  }
  const counter = (name: keyof TPM) => ({
    async read() {
      await step()
      return tpm[name]
    },
    async increment() {
      await step()
      tpm[name]++
      await step() // what the counter did stays, though nobody hears of it
      return tpm[name] // read by a command of its own
    },
  })
  return startCounting({
    terms,
    record: disk.reduce(noted, emptyRecord(terms)),
    counters: { starts: counter('starts'), blocks: counter('blocks') },
    async append(entry) {
      await step()
      disk.push(entry)
      await step()
    },
    faults: { reach() {} },
  }).then((counting) => Object.assign(program, { counting }))
}

const isRefusal = (reason: string, found?: string) => (error: unknown) =>
  error instanceof TrustError && error.reason === reason && (found === undefined || error.facts['found'] === found)

async function takeAll(counting: Counting): Promise<number[]> {
  const taken: number[] = []
  await assert.rejects(async () => {
    for (;;) taken.push(await counting.take())
  }, isRefusal('jobUsedUp'))
  return taken
}

const newTPM = (): TPM => ({ starts: terms.startsAt, blocks: terms.blocksAt })

describe('one program on one disk', () => {
  test('gets each position once, quota and scrap allowance and not one more', async () => {
    const { counting } = await start(newTPM(), [])
    assert.equal(counting.left(), 42)
    assert.deepEqual(
      await takeAll(counting),
      Array.from({ length: 42 }, (_, i) => i),
    )
    assert.equal(counting.left(), 0)
  })

  test('calls that overlap get positions of their own', async () => {
    const tpm = newTPM()
    const { counting } = await start(tpm, [])
    const taken = await Promise.all(Array.from({ length: 42 }, () => counting.take()))
    assert.equal(new Set(taken).size, 42)
    assert.equal(tpm.blocks, terms.blocksAt + 11)
  })

  test('goes on after a clean stop where it was, and burns a block after a crash', async () => {
    const [tpm, disk]: [TPM, Disk] = [newTPM(), []]
    const first = await start(tpm, disk)
    assert.equal(await first.counting.take(), 0)
    await first.counting.stop()
    await assert.rejects(first.counting.take(), isRefusal('nodeStopping'))
    const second = await start(tpm, disk)
    assert.equal(await second.counting.take(), 1)
    second.dead = true
    const third = await start(tpm, disk)
    assert.equal(third.counting.left(), 38)
    assert.equal(await third.counting.take(), 4)
  })

  test('an increment that was never answered burns its block and stops nothing', async () => {
    const tpm = newTPM()
    let fails = true
    const counting = await startCounting({
      terms,
      record: emptyRecord(terms),
      counters: {
        starts: { read: async () => tpm.starts, increment: async () => ++tpm.starts },
        blocks: {
          read: async () => tpm.blocks,
          increment: async () => {
            tpm.blocks++
            if (fails) throw new Error('the TPM went away')
            return tpm.blocks
          },
        },
      },
      append: async () => {},
      faults: { reach() {} },
    })
    await assert.rejects(counting.take(), /went away/)
    fails = false
    assert.equal(await counting.take(), 4)
  })
})

describe('a disk that was put back', () => {
  test('has nothing left, from whichever time it is', async () => {
    const [tpm, disk]: [TPM, Disk] = [newTPM(), []]
    const copies: Disk[] = [[]]
    for (let run = 0; run < 3; run++) {
      const { counting } = await start(tpm, disk)
      for (let i = 0; i < 3; i++) await counting.take()
      await counting.stop()
      copies.push([...disk])
    }
    for (const copy of copies.slice(0, -1)) await assert.rejects(start(tpm, copy), isRefusal('countingRolledBack', 'logIsOld'))
    await start(tpm, copies.at(-1) as Disk)
    await assert.rejects(
      start(tpm, copies.at(-1) as Disk).then(() => start(tpm, disk)),
      isRefusal('countingRolledBack'),
    )
  })

  test('on another TPM has nothing left either', async () => {
    const [tpm, disk]: [TPM, Disk] = [newTPM(), []]
    await takeAll((await start(tpm, disk)).counting)
    await assert.rejects(start(newTPM(), disk), isRefusal('countingRolledBack', 'countersAreBehind'))
  })
})

/** How many steps of programs go by before the next deed. */
const steps = fc.integer({ min: 0, max: 30 })

/** What people at a line can do to a node. */
const deeds = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        steps,
        do: fc.constant('start' as const),
        twins: fc.integer({ min: 1, max: 2 }),
        disk: fc.nat(2),
        cutAt: fc.integer({ min: 1, max: 60 }),
      }),
    },
    {
      weight: 8,
      arbitrary: fc.record({
        steps,
        do: fc.constant('take' as const),
        program: fc.nat(2),
        count: fc.integer({ min: 1, max: 9 }),
      }),
    },
    { weight: 2, arbitrary: fc.record({ steps, do: fc.constant('stop' as const), program: fc.nat(2) }) },
    { weight: 2, arbitrary: fc.record({ steps, do: fc.constant('kill' as const), program: fc.nat(2) }) },
    { weight: 3, arbitrary: fc.record({ steps, do: fc.constant('copy' as const), disk: fc.nat(2) }) },
  ),
  { minLength: 5, maxLength: 60 },
)

interface Outcome {
  readonly taken: readonly number[]
  readonly refused: number
}

/** All that is asked overlaps with what was asked before and is not done yet. */
async function play(list: typeof deeds extends fc.Arbitrary<infer T> ? T : never, scheduler: fc.Scheduler): Promise<Outcome> {
  const tpm = newTPM()
  const disks: Disk[] = [[]]
  const programs: Program[] = []
  const taken: number[] = []
  const underWay: Promise<unknown>[] = []
  let refused = 0
  const pause = (): Promise<void> => scheduler.schedule(Promise.resolve())
  // the latest more often
  const pick = <T>(from: readonly T[], at: number): T | undefined => from.at(-1 - (at % Math.max(from.length, 1)))
  const settle = (error: unknown): void => {
    if (error instanceof TrustError) refused++
    else if (!(error instanceof PulledPlug)) throw error
  }
  for (const deed of list) {
    switch (deed.do) {
      case 'start': {
        for (let i = 0; i < deed.twins; i++) {
          const started = start(tpm, pick(disks, deed.disk) as Disk, { pause, cutAt: deed.cutAt })
          underWay.push(started.then((program) => programs.push(program), settle))
        }
        break
      }
      case 'take': {
        const program = pick(programs, deed.program)
        for (let i = 0; program !== undefined && !program.dead && i < deed.count; i++)
          underWay.push(program.counting.take().then((position) => program.dead || taken.push(position), settle))
        break
      }
      case 'stop':
        underWay.push(Promise.resolve(pick(programs, deed.program)?.counting.stop()).catch(settle))
        break
      case 'kill': {
        const program = pick(programs, deed.program)
        if (program !== undefined) program.dead = true
        break
      }
      case 'copy':
        disks.push([...(pick(disks, deed.disk) as Disk)])
        break
    }
    for (let i = 0; scheduler.count() > 0 && i < deed.steps; i++) await scheduler.waitOne()
  }
  await scheduler.waitFor(Promise.all(underWay))
  return { taken, refused }
}

const isSound = ({ taken }: Outcome): boolean =>
  new Set(taken).size === taken.length && taken.every((position) => position >= 0 && position < terms.positionsMax)

describe('whatever people at a line do', () => {
  test('no position is given twice and none too many', async () => {
    let [most, refusals] = [0, 0]
    await fc.assert(
      fc.asyncProperty(deeds, fc.scheduler(), async (list, scheduler) => {
        const outcome = await play(list, scheduler)
        most = Math.max(most, outcome.taken.length)
        refusals += outcome.refused
        return isSound(outcome)
      }),
      { numRuns: 800 },
    )
    assert.ok(most > 8 && refusals > 50, `at most ${most} positions were taken, ${refusals} were refused`)
  })
})

test('two programs at once, of one disk and its copy, never get the same position', async () => {
  let [both, one, none] = [0, 0, 0]
  const asked = fc.record({ taken: fc.nat(5), stops: fc.boolean(), first: fc.nat(12), second: fc.nat(12) })
  await fc.assert(
    fc.asyncProperty(asked, fc.scheduler(), async ({ taken, stops, first, second }, scheduler) => {
      const [tpm, disk]: [TPM, Disk] = [newTPM(), []]
      let isCalm = true
      const pause = (): Promise<void> => (isCalm ? Promise.resolve() : scheduler.schedule(Promise.resolve()))
      const before = await start(tpm, disk, { pause })
      const positions: number[] = []
      for (let i = 0; i < taken; i++) positions.push(await before.counting.take())
      if (stops) await before.counting.stop()
      isCalm = false
      const run = async (program: Promise<Program>, count: number): Promise<number> => {
        try {
          const { counting } = await program
          for (let i = 0; i < count; i++) positions.push(await counting.take())
          return 1
        } catch (error) {
          if (error instanceof TrustError) return 0
          throw error
        }
      }
      const other = start(tpm, [...disk], { pause })
      const same = stops ? start(tpm, disk, { pause }) : Promise.resolve(before)
      const done = Promise.all([run(same, first), run(other, second)])
      await scheduler.waitFor(done)
      const ran = (await done)[0] + (await done)[1]
      if (ran === 2) both++
      else if (ran === 1) one++
      else none++
      return isSound({ taken: positions, refused: 0 })
    }),
    { numRuns: 800 },
  )
  assert.ok(both > 0 && one > 0 && none > 0, `${both} times both went on, ${one} times one, ${none} times neither`)
})

test('where the counters can be put back too, positions are given twice: a virtual TPM is no part of a machine', async () => {
  const [tpm, disk]: [TPM, Disk] = [newTPM(), []]
  const first = await start(tpm, disk)
  await first.counting.stop()
  const [keptTPM, keptDisk] = [{ ...tpm }, [...disk]]
  const taken = await takeAll((await start(tpm, disk)).counting)
  assert.deepEqual(await takeAll((await start(keptTPM, keptDisk)).counting), taken)
})
