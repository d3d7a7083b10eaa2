/**
 * Devices say what runs on them: a signed report in, the challenge for the next one out.
 *
 * A protocol of this product: `docs/agent.md`. The report itself is signed by the device's operational key, so it counts as
 * that device's over whatever connection it comes.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import type { Operation, Protocol } from '../protocol.ts'
import { failure } from './failures.ts'
import { ANSWER_MEDIA_TYPE, MOUNT, REPORT_MEDIA_TYPE, STATE_PATH } from './messages.ts'

/** What this protocol needs from whoever judges. */
export interface DeviceStateService {
  /** Longer ones are not read. */
  readonly reportMaxOctets: number
  /** @param report JWS @throws TrustError of any refusal */
  take(report: Uint8Array): Promise<{ readonly challenge: string; readonly again?: true }>
}

const report: Operation<DeviceStateService> = {
  method: 'POST',
  path: STATE_PATH,
  section: 'docs/agent.md',
  async handle({ headers, body, label }, service) {
    if (label !== undefined) throw new TrustError('notFound', 'unknownPath')
    const mediaType = (headers['content-type'] ?? '').split(';', 1)[0] as string
    if (mediaType.trim().toLowerCase() !== REPORT_MEDIA_TYPE)
      throw new TrustError('malformed', 'mediaType', { facts: { expected: REPORT_MEDIA_TYPE } })
    const { challenge, again } = await service.take(await body(service.reportMaxOctets))
    const answer = { 'content-type': ANSWER_MEDIA_TYPE, 'cache-control': 'no-store' }
    return { status: 200, headers: answer, body: JSON.stringify({ challenge, ...(again && { again }) }) }
  },
}

export const deviceState: Protocol<DeviceStateService> = {
  id: 'device-state',
  source: 'docs/agent.md',
  mount: MOUNT,
  listener: 'tls',
  operations: [report],
  failure,
}
