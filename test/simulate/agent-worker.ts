/** An agent that ends without warning at a named point: `node agent-worker.ts DIRECTORY ACT POINT SETTINGS`. @module */
import { appendFileSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { openAgent } from '#agent/agent.ts'
import type { Settings } from '#agent/directory.ts'
import { identityFrom } from '#agent/enroll.ts'
import { reportState } from '#agent/report.ts'
import { systemWorld, type World } from '#base/world.ts'

export const AGENT_ACTS = ['enroll', 'renew', 'trust', 'report'] as const
export type AgentAct = (typeof AGENT_ACTS)[number]

/** What a server would have got, one report a line. */
export const REPORTS = 'reports.txt'

/** @param list the next trust list */
export async function actAs(
  act: AgentAct,
  {
    directory,
    settings,
    world,
    list,
  }: { readonly directory: string; readonly settings: Settings; readonly world: World; readonly list: string },
): Promise<void> {
  await using agent = openAgent(directory, world)
  switch (act) {
    case 'enroll':
      await agent.enroll(settings)
      return
    case 'renew':
      await agent.renew({ now: true })
      return
    case 'trust':
      await agent.takeTrust(new Uint8Array(readFileSync(list)))
      return
    case 'report': {
      agent.directory.recover()
      const current = agent.directory.current()
      const file = (name: string): string => readFileSync(join(directory, 'keys', String(current?.number), name), 'latin1')
      await reportState({
        directory: agent.directory,
        world,
        identity: identityFrom(file('certificate.pem'), file('key.pem'), {}),
        async send(octets) {
          appendFileSync(join(directory, '..', REPORTS), `${octets.toBase64()}\n`)
          return { challenge: 'next' }
        },
      })
    }
  }
}

if (import.meta.main) {
  const [directory = '', act = '', point = '', settings = '', list = ''] = process.argv.slice(2)
  const faults = {
    reach(reached: string) {
      if (reached === point) process.kill(process.pid, 'SIGKILL')
    },
  }
  const world = { ...systemWorld(), faults }
  await actAs(act as AgentAct, { directory, settings: JSON.parse(settings) as Settings, world, list })
}
