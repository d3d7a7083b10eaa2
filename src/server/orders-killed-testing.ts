/**
 * A node that kills itself at a point: `DIR POINT SERIAL...`; `close` instead of serials ends the job. For tests, in a process of
 * its own. Writes each certificate that anybody got.
 *
 * @module
 */
import { writeSync } from 'node:fs'
import { parseCertificationRequest } from '#x509/certification-request.ts'
import { systemWorld, type World } from '#base/world.ts'
import { closeNode, startNode } from '#orders/node/directory.ts'
import { STATION } from './orders-testing.ts'
import { nodeBirthIssuer } from './node-issuer.ts'

const [directory = '', point = '', ...requests] = process.argv.slice(2)

const world: World = {
  ...systemWorld(),
  faults: {
    reach(at) {
      if (at === point) process.kill(process.pid, 'SIGKILL')
    },
  },
}

if (requests[0] === 'close') {
  await closeNode(directory, nodeBirthIssuer(world), world)
} else {
  const node = await startNode(directory, nodeBirthIssuer(world), world)
  for (const request of requests) {
    const certificate = await node.issue(parseCertificationRequest(Uint8Array.fromBase64(request)), { station: STATION })
    writeSync(1, `${certificate.toBase64()}\n`)
  }
  await node.stop()
}
