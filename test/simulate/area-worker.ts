/**
 * A server that moves a device to another area, and kills itself at the point it is told, as a power switch would.
 *
 * Arguments: the installation's directory, the point, the endpoint, a file with the certificate that the device shows and the one
 * with its request (DER).
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { type Endpoint, listEndpoints } from '#ca/endpoint.ts'
import type { IssuedAnswer } from '#ca/enrollment.ts'
import { factoryWorld, openFactory, type OpenedFactory } from '#server/births-testing.ts'
import { parseCertificationRequest } from '#x509/certification-request.ts'

/** The device asks where an area enrolls, and the CA is told what became of its certificates. */
export async function enrollIn(
  { ca }: OpenedFactory,
  label: string,
  shown: Uint8Array,
  request: Uint8Array,
): Promise<IssuedAnswer> {
  const endpoint = (await listEndpoints(ca.context)).find((one) => one.label === label) as Endpoint
  const identity = await ca.enrollment.authenticate(endpoint, { chain: [shown], basic: undefined })
  const asked = parseCertificationRequest(request)
  const answer = (await ca.enrollment.enroll({ endpoint, operation: 'enroll', request: asked, identity })) as IssuedAnswer
  await ca.devices.tellDue()
  return answer
}

if (import.meta.main) {
  const [directory = '', point = '', label = '', shown = '', request = ''] = process.argv.slice(2)
  const world = factoryWorld()
  world.fault.at = point
  world.fault.reach = () => void process.kill(process.pid, 'SIGKILL')
  await using plant = await openFactory(directory, world)
  await enrollIn(plant, label, readFileSync(shown), readFileSync(request))
}
