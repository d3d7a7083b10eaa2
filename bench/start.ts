/** How long a start takes, from the process to the first good answer of `/health/ready`. @module */
import { type Figure, median } from './figure.ts'
import { makePlant } from './plant.ts'
import { startSealworks } from './server.ts'

const ROUNDS = 5
const MANY_AUTHORITIES = 100

export async function benchStart(): Promise<readonly Figure[]> {
  return [
    {
      name: 'start.few',
      value: await startOf(0),
      unit: 's',
      reach: { below: 1 },
      note: 'three authorities, one of them for TLS',
    },
    {
      name: 'start.hundred',
      value: await startOf(MANY_AUTHORITIES),
      unit: 's',
      reach: { below: 2 },
      note: `${MANY_AUTHORITIES} issuing authorities more, with their OCSP responders and CRLs made before`,
    },
  ]
}

async function startOf(moreAuthorities: number): Promise<number> {
  using plant = await makePlant({ moreAuthorities })
  const seconds: number[] = []
  for (let round = 0; round <= ROUNDS; round++) {
    await using server = await startSealworks(plant.dataDirectory)
    if (round > 0) seconds.push(server.readySeconds) // the first one makes what later ones find
  }
  return median(seconds)
}
