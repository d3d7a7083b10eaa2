/**
 * The witnesses that the settings name, asked over HTTP.
 *
 * @module
 */
import type { AuditLog } from '#audit/log.ts'
import { parseVerifierKey } from '#audit/note-key.ts'
import { ANSWER_MAX_OCTETS, type KnownWitness, type WitnessReply, type Witnessing, witnessing } from '#audit/witnessing.ts'
import { TrustError } from '#base/errors.ts'
import type { Log } from '#base/log.ts'
import { uuidv7, type World } from '#base/world.ts'
import type { Config } from '#config/config.ts'
import type { Database } from '#store/database.ts'

export interface WitnessingParts {
  readonly database: Database
  readonly world: World
  readonly auditLog: AuditLog
  readonly config: Config
  readonly log: Log
  /** Whoever asked them before this process is dead. */
  readonly alone: boolean
}

/** @throws TrustError `malformed`, `unsupported` for a key in the settings that is none of a witness */
export function composeWitnessing({ database, world, auditLog, config, log, alone }: WitnessingParts): Witnessing {
  const witnesses = config.audit.witnesses.map(({ verifierKey, url }): KnownWitness => {
    const key = parseVerifierKey(verifierKey)
    if (key.kind !== 'witness')
      throw new TrustError('unsupported', 'verifierKeyType', { facts: { type: `of the log ${key.name}` } })
    return { key, url }
  })
  return witnessing({
    ...{ database, world, log: auditLog, witnesses, post, holder: uuidv7(world), alone },
    // what it asserts against us is an alarm; that it is away is not
    onProblem: (witness, error) =>
      error.code === 'conflict'
        ? log.error('a witness contradicts the audit log', { witness, error })
        : log.warn('a witness did not cosign', { witness, error }),
  })
}

/** A witness that takes longer is asked again later. */
const TIMEOUT_MILLISECONDS = 5000

/** No redirects: what the settings name is who is asked. */
async function post(url: string, body: string): Promise<WitnessReply> {
  const signal = AbortSignal.timeout(TIMEOUT_MILLISECONDS)
  const response = await fetch(url, {
    method: 'POST',
    body,
    signal,
    redirect: 'error',
    headers: { 'content-type': 'text/plain' },
  })
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body ?? []) {
    size += chunk.length
    if (size > ANSWER_MAX_OCTETS) throw new Error('the answer is too long')
    chunks.push(chunk)
  }
  const type = response.headers.get('content-type') ?? ''
  return { status: response.status, type, body: Buffer.concat(chunks).toString() }
}
