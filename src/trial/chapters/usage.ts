/** What a machine counted is billed; whoever sets its counters back is found (R32). @module */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type Chapter, must, present } from '../story.ts'
import { done, drills } from './machines.ts'
import { officer, officerCommand } from './server.ts'

const HOLES = 140
const RUN_SECONDS = 5400

export const usageChapter: Chapter = {
  title: 'What was used is billed',
  about: 'A machine counts what it does, signs it, and chains each record to the one before.',
  steps: [
    {
      title: `It drills ${HOLES} holes, and says so, signed`,
      async run(scene) {
        const [drill] = scene.known(drills)
        await done(drill.agent('count', 'holes', String(HOLES)))
        await done(drill.agent('count', 'run', String(RUN_SECONDS), '--unit', 's'))
        await done(drill.agent('run', '--once'))
        const { counters } = await scene.known(officer).call('showUsage', { params: { id: drill.id } })
        const holes = present(
          counters.find(({ name }) => name === 'holes'),
          'the server has no record',
        )
        must(holes.value === HOLES, `the server has ${holes.value} holes`)
        return { said: `the server has ${holes.value} holes and ${RUN_SECONDS / 60} minutes` }
      },
    },
    {
      title: 'sealworks usage export: the bill',
      async run(scene) {
        const [drill] = scene.known(drills)
        const out = join(drill.home, 'bill.csv')
        const now = scene.world.clock.now()
        const [from, to] = [now - DAY_MILLISECONDS, now + DAY_MILLISECONDS].map((time) => new Date(time).toISOString())
        const period = ['--from', present(from, 'no time'), '--to', present(to, 'no time')]
        await scene.known(officerCommand)('usage', `export`, ...period, '--device', drill.id, '--out', out)
        const [head = '', ...lines] = readFileSync(out, 'utf8').trimEnd().split('\n')
        const [counter, amount] = ['counter', 'amount'].map((name) => head.trim().split(',').indexOf(name))
        const holes = lines.map((line) => line.split(',')).find((cells) => cells[counter ?? -1] === 'holes')
        must(holes?.[amount ?? -1] === String(HOLES), `the bill says ${lines.join('; ')}`)
        return { said: `${lines.length} lines of CSV, each with what proves it` }
      },
    },
    {
      title: 'Somebody sets the counter back',
      async run(scene) {
        const [drill] = scene.known(drills)
        setBack(join(drill.home, 'agent', 'usage.db'))
        const { value } = await drill.agent('run', '--once')
        const { lines } = value as { readonly lines: readonly string[] }
        must(
          lines.some((line) => line.startsWith('usage: ')),
          `the record was taken: ${lines.join('; ')}`,
        )
        const { alarms, counters } = await scene.known(officer).call('showUsage', { params: { id: drill.id } })
        const alarm = present(alarms[0], 'nobody was alarmed')
        must(alarm.kind === 'set-back', `the alarm is ${alarm.kind}`)
        must(
          counters.some(({ name, value: held }) => name === 'holes' && held === HOLES),
          'the server counts less',
        )
        return { said: `refused, and alarm: ${alarm.kind}; the bill stays as it is` }
      },
    },
  ],
}

const DAY_MILLISECONDS = 86_400_000

/** By whoever has the disk of the machine in hand: fewer holes, and an hour later so that the next record is due. */
function setBack(file: string): void {
  const db = new DatabaseSync(file)
  try {
    db.exec("UPDATE counter SET value = 12 WHERE name = 'holes'; UPDATE chain SET ended = ended - 3600000, is_changed = 1")
  } finally {
    db.close()
  }
}
