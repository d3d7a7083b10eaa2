/** A feature that is paid for: licensed to one machine, checked by it with no network, worth nothing on its twin (R13). @module */
import { join } from 'node:path'
import { exitCodes } from '#cli/exit-codes.ts'
import { type Chapter, fact, must } from '../story.ts'
import { parties } from './life.ts'
import { done, drills, type Machine, refusedFor, signers } from './machines.ts'
import { officerCommand } from './server.ts'

const FEATURE = 'deep-holes'
const license = fact<string>('the license, as a file')

export const licensesChapter: Chapter = {
  title: 'A feature is licensed',
  about:
    'A license is bound to the key that one machine was born with. The machine looks at it alone; the network is only how it comes.',
  steps: [
    {
      title: 'sealworks license issue: deep holes, 14 days',
      async run(scene) {
        const run = scene.known(officerCommand)
        const [drill] = scene.known(drills)
        await run('license', 'maker', parties.maker, '--signer', signers.licenses)
        must(!(await isLicensed(drill)), 'it drills deep before it is licensed')
        const file = join(drill.home, 'license.cwt')
        const until = new Date(scene.world.clock.now() + FORTNIGHT_MILLISECONDS).toISOString()
        const terms = ['--feature', `${FEATURE}=500`, '--until', until]
        await run('license', 'issue', parties.maker, drill.id, ...terms, '--out', file)
        scene.note(license, file)
        return { said: `for ${drill.productSerial}: ${FEATURE}, up to 500`, tally: { what: 'licenses', count: 1, timed: false } }
      },
    },
    {
      title: 'The drill fetches it, and looks at it offline',
      async run(scene) {
        const [drill] = scene.known(drills)
        await done(drill.agent('run', '--once'))
        must(await isLicensed(drill), 'the drill does not take its license')
        return { said: 'sealworks agent feature deep-holes: licensed; no server was asked' }
      },
    },
    {
      title: 'Its twin is given a copy',
      async run(scene) {
        const [, twin] = scene.known(drills)
        const reason = await refusedFor(done(twin.agent('license', scene.known(license))), 'licenseOtherDevice')
        must(!(await isLicensed(twin)), 'the twin drills deep on the license of another')
        return { said: `refused: ${reason}, and it does not drill deep` }
      },
    },
  ],
}

const FORTNIGHT_MILLISECONDS = 14 * 86_400_000

/** What the machine itself says, asking nobody. */
async function isLicensed({ agent }: Machine): Promise<boolean> {
  const { code, errors } = await agent('feature', FEATURE)
  must(code === exitCodes.done || code === exitCodes.refused, errors)
  return code === exitCodes.done
}
