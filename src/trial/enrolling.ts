/** EST as stations and devices of the trial speak it: connections of their own, and what they are told when refused. @module */
import { type EstClient, estClient, EstRefusal, type Enrolled } from '#protocols/est/client.ts'
import { utf8 } from '#base/bytes.ts'
import { type Secret, secret } from '#base/secret.ts'
import { officer, server } from './chapters/server.ts'
import { type Identity, makeKey, privateKeyOf, requestFor } from './device.ts'
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

const SECRET_SECONDS = 600

/** What a device is born with: its own key, certified by a secret that is good for its serial, once. */
export async function born(scene: Pick<Scene, 'known'>, label: string, productSerial: string): Promise<Identity> {
  const { userName, password } = await scene.known(officer).call('createEnrollmentSecret', {
    params: { label },
    body: { productSerial, validSeconds: SECRET_SECONDS },
  })
  const key = await makeKey()
  const proof = { userName, password: secret(utf8(password)) }
  const certificate = await connected(scene, label, proof, async (est) =>
    issued(await est.simpleEnroll(await requestFor(key, [{ type: 'serialNumber', value: productSerial }]))),
  )
  return { key, certificate }
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
