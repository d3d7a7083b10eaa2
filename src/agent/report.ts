/**
 * Telling the server what runs on the device.
 *
 * A report is on the disk before it is sent, and the same octets are sent until the server has them: a cut at any moment
 * makes no gap and no second report of one number.
 *
 * @module
 */
import { messageNames } from '#algorithms/message-names.ts'
import { toMessageSignature } from '#algorithms/ecdsa.ts'
import { concat, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { toBase64url } from '#jose/base64url.ts'
import { parseJSON } from '#jose/json.ts'
import { encodeHeader, encodeJWS, encodeSigningInputHead } from '#jose/jws.ts'
import type { World } from '#base/world.ts'
import type { AgentDirectory } from './directory.ts'
import type { Identity } from './enroll.ts'
import {
  type Boot,
  type Component,
  encodeReport,
  parseComponents,
  quoteNonce,
  reportDigest,
  REPORT_TYPE,
} from '#devices/state/messages.ts'

export interface Reporting {
  readonly directory: AgentDirectory
  readonly world: World
  /** Who signs: the operational key. */
  readonly identity: Identity
  /** Components that updates brought, as they are found to run: each goes before what `components.json` says of it. */
  running?(): Promise<readonly Component[]>
  /** Where there is a TPM. */
  measure?(nonce: Uint8Array): Promise<Boot>
  /** @returns what the next report answers; `again` when it is wanted now @throws TrustError `unavailable` when nobody heard it */
  send(report: Uint8Array): Promise<Answer>
}

interface Answer {
  readonly challenge: string
  readonly again?: true
}

/** Sends the one that waits, or makes the next; and one more where the server asks for it. @returns its number */
export async function reportState(reporting: Reporting): Promise<number> {
  const { number, again } = await reportOnce(reporting)
  return again === true ? (await reportOnce(reporting)).number : number
}

async function reportOnce(reporting: Reporting): Promise<{ readonly number: number; readonly again?: true }> {
  const { directory } = reporting
  const octets = directory.read('report.jws') ?? (await makeReport(reporting))
  const { challenge, again } = await sendOrDrop(reporting, octets)
  reporting.world.faults.reach('agent report taken')
  const { counter, previous } = directory.state()
  const digest = reportDigest(octets)
  const noted = previous === digest ? counter : counter + 1 // a cut came after it was noted, and it was sent again
  directory.update({ counter: noted, previous: digest, challenge }, 'agent report noted')
  directory.remove('report.jws')
  reporting.world.faults.reach('agent report removed')
  return { number: noted, ...(again && { again }) }
}

/** What the server judged and did not take is not said again: once the device is mended, it says something else under this number. */
async function sendOrDrop({ directory, send }: Reporting, octets: Uint8Array): Promise<Answer> {
  try {
    return await send(octets)
  } catch (error) {
    if (error instanceof TrustError && [error.reason, error.facts['reason']].includes('deviceStateWrong'))
      directory.remove('report.jws')
    throw error
  }
}

async function makeReport({ directory, world, identity, running, measure }: Reporting): Promise<Uint8Array> {
  const { counter, previous, challenge, trustVersion } = directory.state()
  const file = directory.read('components.json')
  const updated = (await running?.()) ?? []
  const others = file === undefined ? [] : parseComponents(parseJSON(file))
  const components = [...updated, ...others.filter(({ name }) => updated.every((one) => one.name !== name))]
  const place = { counter: counter + 1, previous, challenge }
  const boot = await measure?.(quoteNonce(place))
  const payload = encodeReport({
    ...place,
    at: new Date(world.clock.now()),
    trustVersion,
    components,
    ...(boot !== undefined && { boot }),
  })
  const report = await signReport(payload, identity)
  directory.write('report.jws', report, 'agent report written')
  return report
}

async function signReport(payload: Uint8Array, { chain, key }: Identity): Promise<Uint8Array> {
  const { jose } = messageNames(key.signatureAlgorithm, key.keyAlgorithm)
  const encodedHeader = encodeHeader({ alg: jose.usual, typ: REPORT_TYPE, x5c: chain.slice(0, 1).map((der) => der.toBase64()) })
  const encodedPayload = toBase64url(payload)
  const signature = await key.sign(concat([encodeSigningInputHead(encodedHeader), utf8(encodedPayload)]))
  return encodeJWS({
    serialization: 'compact',
    encodedPayload,
    signatures: [{ encodedHeader, signature: toMessageSignature(signature, key.keyAlgorithm) }],
  })
}
