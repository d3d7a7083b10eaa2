/** An update from a stick that ends without warning at a named point: `node update-worker.ts DIRECTORY STICK AT NTH`. @module */
import { openAgent } from '#agent/agent.ts'
import { worldAt } from '#agent/testing.ts'
import { updateFrom } from '#agent/update-stick.ts'
import { AT } from '#signing/artifact/testing.ts'

const [directory = '', stick = '', nth = '0'] = process.argv.slice(2)
let reached = 0
const faults = {
  reach() {
    if (reached++ === Number(nth)) process.kill(process.pid, 'SIGKILL')
  },
}
await using agent = openAgent(directory, { ...worldAt(AT), faults })
await updateFrom(agent.device, stick)
