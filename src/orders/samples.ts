/** Statements and lines as makers and nodes write them: seeds of the fuzz, and of tests. Not part of any program. @module */
import { generateKeyPairSync, sign } from 'node:crypto'
import { encodeBundle, encodeEntry, follow, emptyChain, type NewEntry, signStatement, type JobTicket } from './messages.ts'

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const signer = {
  keyAlgorithm: 'ecdsa-p256',
  sign: async (message: Uint8Array) => new Uint8Array(sign('sha256', message, privateKey)),
} as const

export const sampleKey = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }))

const job = '0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b'
const hash = 'a'.repeat(64)

export const sampleTicket: JobTicket = {
  version: 1,
  id: job,
  order: 'press-7',
  model: 'Press 7',
  hardwareRevision: 'B',
  firmware: [hash],
  firmwareSigners: ['MAA='],
  envelope: 'MAA=',
  factory: 'Contract manufacturer',
  tier: 'N1',
  nodeKey: hash,
  endorsement: { key: hash, certificate: hash },
  counters: { starts: { name: 'file', value: 0 }, blocks: { name: 'file', value: 0 } },
  blockSize: 64,
  stations: [hash],
  quota: 100,
  scrapAllowance: 10,
  serials: { prefix: 'P7-', digits: 6, from: 1, to: 110 },
  profile: 'idevid',
  hardwareType: '1.3.6.1.4.1.54392.7',
  subject: [{ type: 'O', value: 'Maker' }],
  notBefore: 1,
  notAfter: 2,
  authority: ['MAA='],
}

/** Much of a line may change and still be a line. */
const PROSE = 'somebody of the second shift, who wrote down at length what she saw'
const device = { productSerial: 'P7-000001', station: hash }
const written: readonly NewEntry[] = [
  { type: 'begin', job, ticket: hash },
  { type: 'start', start: 1 },
  { type: 'lease', block: 1 },
  { type: 'load', ...device, firmware: hash, operator: PROSE },
  { type: 'issue', position: 0, ...device, key: hash, certificate: 'MAA=', evidence: hash, operator: PROSE },
  { type: 'good', ...device, operator: PROSE },
  { type: 'scrap', ...device, reason: PROSE, operator: PROSE, wasGood: true },
  { type: 'refused', reason: 'quotaUsedUp', station: hash },
  { type: 'stop', next: 1 },
  { type: 'close', issued: 1, good: 0, scrap: 1, burned: 63 },
]

/** In order, each after the one before. */
export const sampleLines: readonly string[] = written.reduce<{ lines: readonly string[]; end: typeof emptyChain }>(
  ({ lines, end }, entry) => {
    const line = encodeEntry({ n: end.size, previous: end.head, at: 7, ...entry })
    return { lines: [...lines, line], end: follow(end, line).end }
  },
  { lines: [], end: emptyChain },
).lines

export const sampleStatements = {
  ticket: await signStatement('ticket', sampleTicket, signer),
  'log-head': await signStatement('log-head', { version: 1, job, size: 10, head: hash, at: 7 }, signer),
  'job-end': await signStatement(
    'job-end',
    { version: 1, job, size: 10, head: hash, issued: 1, good: 0, scrap: 1, burned: 63, at: 7 },
    signer,
  ),
  'endorsement-challenge': await signStatement(
    'endorsement-challenge',
    { version: 1, id: job, order: 'press-7', request: hash, credentialBlob: 'MAA=', secret: 'MAA=', expiresAt: 7 },
    signer,
  ),
  'endorsement-answer': await signStatement(
    'endorsement-answer',
    { version: 1, challenge: job, request: hash, credential: 'MAA=' },
    signer,
  ),
} as const

export const sampleBundle = encodeBundle({
  head: sampleStatements['log-head'],
  from: 0,
  end: sampleStatements['job-end'],
  lines: sampleLines,
})
