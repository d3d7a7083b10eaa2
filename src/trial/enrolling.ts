/** EST as stations and devices of the trial speak it: connections of their own, and what they are told when refused. @module */
import { type EstClient, estClient, EstRefusal, type Enrolled } from '#protocols/est/client.ts'
import type { Secret } from '#base/secret.ts'
import { server } from './chapters/server.ts'
import { type Identity, privateKeyOf } from './device.ts'
import { must, NotAsExpected, type Scene } from './story.ts'

export type Proof = { readonly identity: Identity } | { readonly userName: string; readonly password: Secret } | undefined

/** @param label undefined for the default endpoint @param work on a connection that ends with it */
export async function connected<T>(
  scene: Pick<Scene, 'known'>,
  label: string | undefined,
  proof: Proof,
  work: (client: EstClient) => Promise<T>,
): Promise<T> {
  const { process, tlsRoot } = scene.known(server)
  const client = estClient({
    url: `${process.tls}/.well-known/est${label === undefined ? '' : `/${label}`}`,
    trust: [tlsRoot],
    ...credentialsOf(proof),
  })
  try {
    return await work(client)
  } finally {
    client.close()
  }
}

function credentialsOf(proof: Proof) {
  if (proof === undefined) return {}
  if (!('identity' in proof)) return { basic: proof }
  const { certificate, key } = proof.identity
  return { certificate: { chain: [certificate], privateKey: privateKeyOf(key) } }
}

/** @returns DER @throws NotAsExpected when a person has to act first */
export function issued(answer: Enrolled): Uint8Array {
  must(answer.state === 'issued', 'the request waits for a person, which nobody asked for')
  return answer.certificate
}

/** What a refusal must look like: anything else, and the step fails. */
export interface ExpectedRefusal {
  readonly status: number
  /** The stable word. */
  readonly reason: string
}

/** @returns what to say of it @throws NotAsExpected when the request was honored, or refused for another reason */
export async function refused(ask: () => Promise<unknown>, { status, reason }: ExpectedRefusal): Promise<string> {
  try {
    await ask()
  } catch (error) {
    if (!(error instanceof EstRefusal)) throw error
    const as = `${error.status} ${error.reason ?? ''}`
    must(
      error.status === status && error.reason === reason,
      `refused with ${as} instead of ${status} ${reason}: ${error.message}`,
    )
    return `refused: ${as}`
  }
  throw new NotAsExpected(`it was honored; ${status} ${reason} was expected`)
}
