/** The device's side of its reports. @module */
import { TrustError } from '#base/errors.ts'
import { httpTransport } from '../http-client.ts'
import { MOUNT, REPORT_MEDIA_TYPE, STATE_PATH } from './messages.ts'

export interface DeviceStateClientOptions {
  /** `https://pki.example:8443` */
  readonly server: string
  /** PEM. */
  readonly tls: { readonly ca: readonly string[]; readonly cert?: string; readonly key?: string }
  readonly timeoutSeconds: number
}

const ANSWER_MAX_OCTETS = 64 << 10
const SENTENCE_MAX_OCTETS = 400

/**
 * @param report JWS
 * @returns what the next report has to answer; `again` when this one counted for nothing, and the next is wanted now
 * @throws TrustError `forbidden` when the server took it and holds it against the device; `unavailable` when it was not heard
 */
export async function sendReport(
  { server, tls, timeoutSeconds }: DeviceStateClientOptions,
  report: Uint8Array,
): Promise<{ readonly challenge: string; readonly again?: true }> {
  const url = new URL(`${MOUNT}${STATE_PATH}`, server)
  const transport = httpTransport(url, { ...tls, ca: [...tls.ca], minVersion: 'TLSv1.2' })
  try {
    const headers = { 'content-type': REPORT_MEDIA_TYPE }
    const limits = { timeoutSeconds, answerMaxOctets: ANSWER_MAX_OCTETS }
    const { status, body } = await transport.ask({ method: 'POST', url, headers, body: report, ...limits })
    if (status === 200) return answerIn(body)
    const detail = new TextDecoder().decode(body.subarray(0, SENTENCE_MAX_OCTETS)).trim()
    throw new TrustError(status === 401 || status === 403 ? 'forbidden' : 'unavailable', 'agentReportRefused', {
      facts: { status, detail, reason: / \((\w+)\)$/.exec(detail)?.[1] ?? '' },
    })
  } finally {
    transport.close()
  }
}

function answerIn(body: Uint8Array): { readonly challenge: string; readonly again?: true } {
  try {
    const { challenge, again } = JSON.parse(new TextDecoder().decode(body)) as Readonly<Record<string, unknown>>
    if (typeof challenge === 'string') return { challenge, ...(again === true && { again }) }
  } catch {
    // said below
  }
  throw new TrustError('unavailable', 'answerIncomplete')
}
