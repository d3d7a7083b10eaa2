/**
 * A node's directory: one job, from the maker's sheet to the certificate that ends it.
 *
 * There is no database: what a node knows is its log, its ticket and its counters.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { importPublicKey } from '#algorithms/public-key.ts'
import { certificateSignatureOf, type KeyAlgorithmId } from '#algorithms/table.ts'
import { equal } from '#base/bytes.ts'
import { syncDirectory, writeDurably } from '#base/durable-file.ts'
import { TrustError } from '#base/errors.ts'
import type { World } from '#base/world.ts'
import type { Signer } from '#keys/key-store.ts'
import { encodeTBSCertificate, parseCertificate } from '#x509/certificate.ts'
import { encodeCertificationRequest } from '#x509/certification-request.ts'
import { extensionWith } from '#x509/extensions/extension.ts'
import { keyUsage } from '#x509/extensions/key-usage.ts'
import { encodeName, nameOf } from '#x509/name.ts'
import { encodeSigned, signatureIdentifier } from '#x509/signed.ts'
import { burnedIn, type Course, courseAfter, newCourse, termsOf } from '../course.ts'
import {
  type Bundle,
  BUNDLE_ENTRIES_MAX,
  type ChainEnd,
  type JobTicket,
  openStatement,
  type OrderSheet,
  peekStatement,
  signStatement,
} from '../messages.ts'
import type { OpenBirthIssuer } from './births.ts'
import { type NodeImages, nodeImages } from './images.ts'
import { readLog } from './log-file.ts'
import { type Machine, makeFileMachine, openFileMachine } from './machine.ts'
import { type IssuingNode, openIssuingNode } from './node.ts'
import { makeTPMMachine, openTPMMachine, type TPMPlace } from './tpm-machine.ts'

const file = {
  sheet: 'order-sheet.jws',
  request: 'ticket-request.jws',
  ticket: 'ticket.jws',
  log: 'log.jsonl',
  heads: 'log-heads.json',
  end: 'job-end.jws',
  tpm: 'tpm.json',
} as const

const read = (directory: string, name: keyof typeof file): string | undefined => {
  const path = join(directory, file[name])
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined
}

/** Beside, then moved: it is there whole or not at all. */
function write(directory: string, name: keyof typeof file, text: string): void {
  const path = join(directory, file[name])
  rmSync(`${path}.new`, { force: true })
  writeDurably(`${path}.new`, text, 0o600)
  renameSync(`${path}.new`, path)
  syncDirectory(directory)
}

export interface NewNode {
  readonly directory: string
  /** The maker's, as it came. */
  readonly sheet: string
  readonly keyAlgorithm: KeyAlgorithmId
  /** Key and counters in this TPM, instead of in files. */
  readonly tpm?: TPMPlace
  readonly world: World
}

/** The sheet, by the key that it names: whoever brings it says who the maker is. */
async function openSheet(text: string): Promise<OrderSheet> {
  const { ticketKey } = peekStatement('order-sheet', text)
  return openStatement('order-sheet', text, importPublicKey(Uint8Array.fromBase64(ticketKey)))
}

/**
 * Makes the job's key and counters.
 *
 * @returns the request for a ticket, and who the maker is by the sheet: SHA-256 of the key that signs tickets
 * @throws TrustError `conflict` when the directory has a job
 */
export async function initNode({ directory, sheet: text, keyAlgorithm, tpm, world }: NewNode): Promise<{
  readonly order: string
  readonly maker: string
  readonly request: string
}> {
  const sheet = await openSheet(text.trim())
  if (sheet.tier !== 'N0' && tpm === undefined)
    throw new TrustError('policyRefused', 'tierTooLow', { facts: { asked: sheet.tier, has: 'N0' } })
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  syncDirectory(dirname(directory))
  if (read(directory, 'request') !== undefined) throw new TrustError('conflict', 'nodeHasJob', { facts: { directory } })
  if (tpm === undefined) await makeFileMachine(directory, keyAlgorithm)
  else write(directory, 'tpm', JSON.stringify(await makeTPMMachine(tpm, world)))
  const machine = await openMachine(directory, world)
  try {
    const { signer } = machine
    const algorithm = certificateSignatureOf(signer.keyAlgorithm)
    const fingerprint = hash('sha256', signer.publicKey)
    const request = await encodeCertificationRequest(
      // a name of its own: two authorities with one name would be one to whoever checks certificates
      { subject: nameOf([{ type: 'CN', value: `Issuing node ${fingerprint.slice(0, 16)}` }]), publicKey: signer.publicKey },
      { signatureAlgorithm: algorithm, sign: (message) => signer.sign(message, algorithm) },
    )
    const envelope = machine.envelopeKey && (await certifyEnvelope(signer, machine.envelopeKey.publicKey, world))
    const attestation = await machine.attest(Uint8Array.fromHex(sheet.nonce))
    const { starts, blocks } = machine.counters
    const signed = await signStatement(
      'ticket-request',
      {
        version: 1,
        nonce: sheet.nonce,
        order: sheet.order,
        request: request.toBase64(),
        counters: {
          starts: { name: machine.counterNames.starts, value: await starts.read() },
          blocks: { name: machine.counterNames.blocks, value: await blocks.read() },
        },
        ...(attestation !== undefined && { attestation }),
        ...(envelope !== undefined && { envelope: envelope.toBase64() }),
      },
      signer,
    )
    write(directory, 'sheet', text.trim())
    write(directory, 'request', signed) // last: it says that all the rest is there
    return { order: sheet.order, maker: hash('sha256', Uint8Array.fromBase64(sheet.ticketKey)), request: signed }
  } finally {
    await machine.close()
  }
}

/** From one who signs to a key that does not: only the node's word, which the request is as well. */
async function certifyEnvelope(signer: Signer, publicKey: Uint8Array, world: World): Promise<Uint8Array> {
  const algorithm = certificateSignatureOf(signer.keyAlgorithm)
  const name = (what: string) => encodeName(nameOf([{ type: 'CN', value: `${what} ${hash('sha256', publicKey).slice(0, 16)}` }]))
  const signatureAlgorithm = signatureIdentifier(algorithm)
  const tbs = encodeTBSCertificate({
    serialNumber: Uint8Array.of(1),
    signatureAlgorithm,
    issuer: name('Issuing node of'),
    validity: { notBefore: new Date(world.clock.now() - 86_400_000), notAfter: NO_END },
    subject: name('Images for'),
    subjectPublicKeyInfo: publicKey,
    extensions: [extensionWith(keyUsage, ['keyAgreement'], true)],
  })
  return encodeSigned(tbs, signatureAlgorithm, await signer.sign(tbs, algorithm))
}

/** RFC 5280, 4.1.2.5: it has none that is known. */
const NO_END = new Date('9999-12-31T23:59:59Z')

async function openMachine(directory: string, world: World): Promise<Machine> {
  const place = read(directory, 'tpm')
  return place === undefined ? openFileMachine(directory) : openTPMMachine(place, world)
}

/**
 * Shows the maker whose TPM this node has.
 *
 * @param text the maker's statement `endorsement-challenge`
 * @returns the statement `endorsement-answer`
 * @throws TrustError `badProof` for a challenge of somebody else, or of another TPM; `policyRefused` (`challengeOfAnotherNode`)
 */
export async function answerChallenge(directory: string, text: string, world: World): Promise<string> {
  const sheet = await openSheet(present(directory, 'sheet'))
  const makerKey = importPublicKey(Uint8Array.fromBase64(sheet.ticketKey))
  const challenge = await openStatement('endorsement-challenge', text.trim(), makerKey)
  const request = hash('sha256', read(directory, 'request') ?? '')
  if (challenge.order !== sheet.order || challenge.request !== request)
    throw new TrustError('policyRefused', 'challengeOfAnotherNode')
  const machine = await openMachine(directory, world)
  try {
    const credential = (await machine.activate(challenge)).reveal('answer the challenge of a maker').toBase64()
    return await signStatement('endorsement-answer', { version: 1, challenge: challenge.id, request, credential }, machine.signer)
  } finally {
    await machine.close()
  }
}

/** @throws TrustError `badProof` when the maker did not sign it; `policyRefused` (`ticketOfAnotherNode`); `conflict` when there is one */
export async function takeTicket(directory: string, text: string, world: World): Promise<JobTicket> {
  const sheet = await openSheet(present(directory, 'sheet'))
  const ticket = await openStatement('ticket', text.trim(), importPublicKey(Uint8Array.fromBase64(sheet.ticketKey)))
  const machine = await openMachine(directory, world)
  try {
    checkTicketIsFor(ticket, sheet, machine)
  } finally {
    await machine.close()
  }
  const former = read(directory, 'ticket')
  if (former !== undefined && former !== text.trim()) throw new TrustError('conflict', 'nodeHasTicket')
  write(directory, 'ticket', text.trim())
  return ticket
}

function checkTicketIsFor(ticket: JobTicket, { order }: OrderSheet, { signer, counterNames }: Machine): void {
  const { counters, authority } = ticket
  const isForUs =
    ticket.order === order &&
    ticket.nodeKey === hash('sha256', signer.publicKey) &&
    counters.starts.name === counterNames.starts &&
    counters.blocks.name === counterNames.blocks &&
    equal(parseCertificate(Uint8Array.fromBase64(authority[0] as string)).subjectPublicKeyInfo, signer.publicKey)
  if (!isForUs) throw new TrustError('policyRefused', 'ticketOfAnotherNode')
}

function present(directory: string, name: 'sheet' | 'ticket'): string {
  const text = read(directory, name)
  if (text !== undefined) return text
  throw new TrustError('unavailable', name === 'sheet' ? 'nodeNotInitialized' : 'nodeHasNoTicket')
}

async function openTicket(directory: string): Promise<{ readonly text: string; readonly ticket: JobTicket }> {
  const sheet = await openSheet(present(directory, 'sheet'))
  const text = present(directory, 'ticket')
  return { text, ticket: await openStatement('ticket', text, importPublicKey(Uint8Array.fromBase64(sheet.ticketKey))) }
}

export interface RunningNode extends IssuingNode {
  readonly directory: string
  readonly images: NodeImages
}

/**
 * Takes an image that the node is to hand out.
 *
 * @param sealed as `sealworks order image` made it, with the detached signature over what is in it
 * @returns its SHA-256
 */
export async function takeImage(
  directory: string,
  { sealed, signature }: { readonly sealed: AsyncIterable<Uint8Array>; readonly signature: Uint8Array },
  world: World,
): Promise<string> {
  const { ticket } = await openTicket(directory)
  const machine = await openMachine(directory, world)
  try {
    return await nodeImages(directory, { ticket, machine, world }).add(sealed, signature)
  } finally {
    await machine.close()
  }
}

/** The caller holds the directory's lock. */
export async function startNode(directory: string, openIssuer: OpenBirthIssuer, world: World): Promise<RunningNode> {
  const { text, ticket } = await openTicket(directory)
  if (read(directory, 'end') !== undefined) throw new TrustError('conflict', 'jobClosed')
  const sheet = await openSheet(present(directory, 'sheet'))
  const machine = await openMachine(directory, world)
  try {
    checkTicketIsFor(ticket, sheet, machine)
    const node = await openIssuingNode({
      ticket,
      ticketText: text,
      machine,
      issuer: openIssuer(ticket, machine.signer),
      logPath: join(directory, file.log),
      world,
    })
    const closing = async <T>(work: Promise<T>): Promise<T> => {
      const done = await work
      await machine.close()
      return done
    }
    const images = nodeImages(directory, { ticket, machine, world })
    return { ...node, directory, images, stop: () => closing(node.stop()), end: () => closing(node.end()) }
  } catch (error) {
    await machine.close()
    throw error
  }
}

export interface NodeReport {
  readonly ticket: JobTicket
  readonly course: Course
  readonly burned: number
  readonly chain: ChainEnd
  readonly state: 'open' | 'closed'
}

/** From the directory alone, also while the node runs. */
export async function nodeReport(directory: string): Promise<NodeReport> {
  const { ticket } = await openTicket(directory)
  const terms = termsOf(ticket)
  let course = newCourse(terms)
  const chain = readLog(join(directory, file.log), (_, entry) => (course = courseAfter(terms, course, entry)))
  return {
    ticket,
    course,
    burned: burnedIn(terms, course),
    chain,
    state: read(directory, 'end') === undefined ? 'open' : 'closed',
  }
}

/**
 * Ends the job: the log closes, the certificate that says how it ended is signed, and the key is destroyed. Broken off
 * anywhere, it goes on where it was when it is asked again.
 *
 * @returns the statement `job-end`
 */
export async function closeNode(directory: string, openIssuer: OpenBirthIssuer, world: World): Promise<string> {
  const known = read(directory, 'end')
  if (known === undefined) {
    const { course } = await nodeReport(directory)
    if (!course.closed) await (await startNode(directory, openIssuer, world)).end()
  }
  const machine = await openMachine(directory, world).catch((error: unknown) => {
    if (known !== undefined && error instanceof TrustError && error.reason === 'jobKeyGone') return undefined
    throw error
  })
  if (machine === undefined) return known as string
  const end = known ?? (await signEnd(directory, machine, world))
  if (read(directory, 'tpm') !== undefined) {
    rmSync(join(directory, file.tpm)) // the wrapped key: without it the TPM has nothing to load
    syncDirectory(directory)
  }
  await machine.destroy()
  await machine.close()
  world.faults.reach('key destroyed')
  return end
}

async function signEnd(directory: string, { signer }: Machine, world: World): Promise<string> {
  const { ticket, course, burned, chain } = await nodeReport(directory)
  const heads: string[] = []
  const ends: ChainEnd[] = []
  readLog(join(directory, file.log), (_, __, end) => {
    if (end.size % BUNDLE_ENTRIES_MAX === 0 || end.size === chain.size) ends.push(end)
  })
  const at = Math.trunc(world.clock.now())
  for (const { size, head } of ends)
    heads.push(await signStatement('log-head', { version: 1, job: ticket.id, size, head, at }, signer))
  write(directory, 'heads', JSON.stringify(heads))
  const { issued, good, scrap } = course
  const { size, head } = chain
  const counts = { issued, good, scrap, burned }
  const end = await signStatement('job-end', { version: 1, job: ticket.id, size, head, ...counts, tier: ticket.tier, at }, signer)
  write(directory, 'end', end)
  world.faults.reach('end signed')
  return end
}

/**
 * What the maker has not seen, in as many bundles as it takes.
 *
 * @param from the first entry; where the maker's knowledge ends
 */
export async function exportLog(
  directory: string,
  { from, world }: { readonly from: number; readonly world: World },
  take: (bundle: Bundle) => void,
): Promise<ChainEnd> {
  const { ticket } = await openTicket(directory)
  const end = read(directory, 'end')
  const kept = end === undefined ? [] : (JSON.parse(read(directory, 'heads') ?? '[]') as readonly string[])
  const keptHeads = new Map(kept.map((text) => [peekStatement('log-head', text).size, text]))
  const path = join(directory, file.log)
  const ends: ChainEnd[] = []
  let last: ChainEnd | undefined
  const chain = readLog(path, (_, __, at) => {
    last = at
    if (at.size > from && at.size % BUNDLE_ENTRIES_MAX === 0) ends.push(at)
  })
  if (ends.at(-1)?.size !== chain.size) ends.push(last ?? chain)
  const heads = new Map<number, string>()
  const machine = end === undefined ? await openMachine(directory, world) : undefined
  try {
    const at = Math.trunc(world.clock.now())
    for (const { size, head } of ends) {
      const statement = { version: 1 as const, job: ticket.id, size, head, at }
      const signed = machine === undefined ? keptHeads.get(size) : await signStatement('log-head', statement, machine.signer)
      if (signed === undefined) throw new TrustError('unavailable', 'jobKeyGone')
      heads.set(size, signed)
    }
  } finally {
    await machine?.close()
  }
  // the log may be too long to be held, so it is read once more
  let lines: string[] = []
  const takeUntil = (size: number): void => {
    take({ head: heads.get(size) as string, from: size - lines.length, end: size === chain.size ? end : undefined, lines })
    lines = []
  }
  readLog(path, (line, _, { size }) => {
    if (size <= from || size > chain.size) return
    lines.push(line)
    if (heads.has(size)) takeUntil(size)
  })
  if (chain.size <= from) takeUntil(chain.size) // nothing new, but how far it goes and perhaps its end
  return chain
}
