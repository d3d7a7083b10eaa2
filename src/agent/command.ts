/**
 * The device's side of commands: judges each as the policy of its area says, does it once, and signs what came of it.
 *
 * The counter and the beginning of a command are on the disk before anything is done, and how it ended before anybody is told. So
 * a command is done at most once, wherever power is cut; where it is not known how far one came, the receipt says that.
 *
 * A refusal has a receipt too, once the signatures are good and the command is for this device: what does not verify is answered
 * with silence.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import type { Reason } from '#base/sentences.ts'
import type { World } from '#base/world.ts'
import { signCOSE1 } from '#cbor/cose-signing.ts'
import {
  CHALLENGE_TYPE,
  type Command,
  encodeChallenge,
  encodeReceipt,
  externalAADFor,
  NONCE_OCTETS,
  NONCE_SECONDS,
  OUTPUT_MAX_OCTETS,
  readCommand,
  type Receipt,
  RECEIPT_TYPE,
  selectedIn,
} from '#commands/messages.ts'
import {
  type CommandedDevice,
  checkPolicyTime,
  commandRefusal,
  operatorTrust,
  type Policy,
  readPolicy,
} from '#commands/policy/messages.ts'
import type { BegunCommand, CommandJournal } from './command-journal.ts'
import type { CommandSettings, OperationProgram } from './command-settings.ts'
import type { Identity } from './enroll.ts'
import { type Ended, runWithInput } from './program.ts'

export interface Obeying {
  readonly world: World
  readonly journal: CommandJournal
  readonly settings: CommandSettings
  /** The device as commands name it. */
  readonly self: CommandedDevice
  /** Who signs what the device says: the operational key. */
  readonly identity: Identity
  /** DER: whom the device trusts for commands. */
  readonly anchors: readonly Uint8Array[]
  /** Nonces that wait for their answer, by the id of the command. They end with the process. */
  readonly nonces: Nonces
  /** Seconds that only go on, whatever the clock says. */
  uptimeSeconds(): number
  run(program: OperationProgram, ordered: Ordered): Promise<Ended>
}

export type Ordered = Pick<Command, 'operation' | 'arguments'>

/**
 * As the device's own program. What was ordered comes on its standard input as JSON, so that no argument of a command is ever taken
 * for an option of a program.
 */
export const runOperation: Obeying['run'] = ({ program, timeoutSeconds }, { operation, arguments: given }) =>
  runWithInput({
    ...{ call: program, timeoutSeconds, outputMaxOctets: OUTPUT_MAX_OCTETS },
    environment: { SEALWORKS_OPERATION: operation },
    input: JSON.stringify({
      operation,
      // octets have a prefix, so that a program can tell them from text
      arguments: Object.fromEntries(
        [...given].map(([name, value]) => [name, value instanceof Uint8Array ? `base64:${value.toBase64()}` : value]),
      ),
    }),
  })

export type Nonces = Map<string, { readonly octets: Uint8Array; readonly at: number }>

/** The server asks for one at a time for each command; a hostile one gets no more memory than this. */
const NONCES_MAX = 16

const now = ({ world }: Obeying): Date => new Date(world.clock.now())

/** @throws TrustError as `readPolicy`; `conflict` for one that is not above the one that is here, or of another area */
export async function takePolicy({ journal, anchors, self, ...obeying }: Obeying, message: Uint8Array): Promise<number> {
  const policy = await readPolicy(message, anchors, now({ journal, anchors, self, ...obeying }))
  const { area, version } = policy
  if (area !== self.area) throw new TrustError('conflict', 'commandPolicyOther', { facts: { area, here: self.area } })
  const here = journal.policy(area).version
  if (version <= here) throw new TrustError('conflict', 'commandPolicyOld', { facts: { version, here } })
  if (obeying.settings.hasClock) checkPolicyTime(policy, obeying.world.clock.now())
  journal.keepPolicy(policy, message)
  return version
}

/** The one that is held, by whoever is trusted now. @throws TrustError `notFound` before there is one */
async function heldPolicy(obeying: Obeying): Promise<Policy> {
  const { journal, anchors, self } = obeying
  const { message } = journal.policy(self.area)
  if (message === undefined) throw new TrustError('notFound', 'commandPolicyNone', { facts: { area: self.area } })
  return readPolicy(message, anchors, now(obeying))
}

/** @returns what the server answers to: signed by the device */
export async function challengeFor(obeying: Obeying, command: Uint8Array): Promise<Uint8Array> {
  const { nonces, world, self } = obeying
  const nonce = world.random.octets(NONCE_OCTETS).slice()
  const at = obeying.uptimeSeconds()
  for (const [id, given] of nonces) if (at - given.at > NONCE_SECONDS) nonces.delete(id)
  if (nonces.size >= NONCES_MAX) throw new TrustError('rateLimited', 'commandNoncesMany', { facts: { limit: NONCES_MAX } })
  nonces.set(command.toHex(), { octets: nonce, at })
  return signed(obeying, 'challenge', encodeChallenge({ command, nonce, birthKey: self.birthKey }))
}

/** Commands that a power cut left behind have their receipts from here on. @returns how many */
export async function settleCutOff(obeying: Obeying): Promise<number> {
  const found = obeying.journal.cutOff()
  for (const begun of found) await end(obeying, begun, { result: 'unknown', reason: 'powerCut' })
  return found.length
}

export type Outcome =
  | { readonly did: 'known' }
  | { readonly did: 'ended'; readonly operation: string; readonly result: Receipt['result']; readonly reason?: string }

/**
 * Judges one message, and does what it says.
 *
 * @throws TrustError of what does not verify, or is for another device: nobody gets a receipt for that
 */
export async function obey(obeying: Obeying, message: Uint8Array): Promise<Outcome> {
  const { journal, self, settings, nonces, anchors, world } = obeying
  const policy = await heldPolicy(obeying)
  const trust = operatorTrust(policy, anchors)
  const read = await readCommand(message, { trust, at: now(obeying), birthKey: self.birthKey })
  const { command, digest } = read
  if (journal.knows(digest)) return { did: 'known' }
  const name = command.id.toHex()
  const given = nonces.get(name)
  const refused = commandRefusal(read, policy, self, {
    now: settings.hasClock ? now(obeying) : undefined,
    lastSeen: journal.lastSeen,
    ...journal.counted(command.issuer),
    nonce: given && { octets: given.octets, ageSeconds: obeying.uptimeSeconds() - given.at },
  })
  const begun: BegunCommand = { id: command.id, digest }
  if (refused !== undefined) {
    const { reason, facts } = refused
    if (SILENT.has(reason)) throw new TrustError('policyRefused', reason, { facts })
    return end(obeying, begun, { result: 'refused', reason }, command)
  }
  const program = settings.operations.get(command.operation)
  if (program === undefined) return end(obeying, begun, { result: 'refused', reason: 'commandNotHere' }, command)
  nonces.delete(name) // an answer is good once, whatever comes of it
  journal.begin({ ...begun, issuer: command.issuer, counter: command.counter, notBefore: command.notBefore })
  if (!(await isMet(obeying, command))) return end(obeying, begun, { result: 'refused', reason: 'commandPrecondition' }, command)
  const { exitCode, output } = await obeying.run(program, command)
  world.faults.reach('agent command done')
  const said = output.length > 0 && { output }
  if (exitCode === undefined) return end(obeying, begun, { result: 'failed', reason: 'commandProgram', ...said }, command)
  return end(obeying, begun, { result: exitCode === 0 ? 'done' : 'failed', exitCode, ...said }, command)
}

/** Whoever sends what is not for this device, or again what it had, learns nothing from it. */
const SILENT: ReadonlySet<Reason> = new Set<Reason>(['commandOtherDevice', 'commandTwin', 'commandReplayed'])

async function isMet({ settings, run }: Obeying, command: Command): Promise<boolean> {
  if (command.precondition === undefined) return true
  const check = settings.preconditions.get(command.precondition)
  return check !== undefined && (await run(check, command)).exitCode === 0
}

async function end(
  obeying: Obeying,
  begun: BegunCommand,
  what: Pick<Receipt, 'result' | 'exitCode' | 'output' | 'reason'>,
  { operation }: Pick<Command, 'operation'> = { operation: '' },
): Promise<Outcome> {
  const { journal, self } = obeying
  const counter = journal.nextReceipt
  const receipt: Receipt = {
    command: begun.id,
    message: begun.digest,
    birthKey: self.birthKey,
    counter,
    at: now(obeying),
    ...what,
  }
  journal.end(begun, await signed(obeying, 'receipt', encodeReceipt(receipt)), counter)
  const { result, reason } = what
  return { did: 'ended', operation, result, ...(reason !== undefined && { reason }) }
}

const TYPES = { challenge: CHALLENGE_TYPE, receipt: RECEIPT_TYPE } as const

function signed({ identity: { chain, key }, self }: Obeying, kind: keyof typeof TYPES, payload: Uint8Array): Promise<Uint8Array> {
  const certificates = [chain[0] as Uint8Array] as const // an identity has at least its own
  const signer = { keyAlgorithm: key.keyAlgorithm, signatureAlgorithm: key.signatureAlgorithm, certificates, sign: key.sign }
  return signCOSE1(signer, { typ: TYPES[kind], payload, externalAAD: externalAADFor(kind, self.birthKey) })
}

/** How commands come and receipts go. */
export interface CommandChannel {
  list(
    kind: 'command' | 'command-policy',
    after: number,
  ): Promise<readonly { readonly number: number; readonly octets: Uint8Array }[]>
  send(kind: 'receipt', message: Uint8Array): Promise<unknown>
  /** Between two looks for an answer. */
  pause(seconds: number): Promise<void>
}

/** How often the answer to a challenge is looked for. */
const LOOK_SECONDS = 0.5

/** One round: the policy, what was left behind, what there is to do, and its receipts. @returns a line about the last of them */
export async function obeyCommands(obeying: Obeying, channel: CommandChannel): Promise<string | undefined> {
  const { journal, nonces, self } = obeying
  let line: string | undefined
  for (const { octets } of await channel.list('command-policy', journal.policy(self.area).version))
    line = await unlessRefused('policy', async () => `command policy ${await takePolicy(obeying, octets)}`)
  if ((await settleCutOff(obeying)) > 0) line = 'a command was cut off, and nobody knows how far it came'
  await tell(obeying, channel)
  if (journal.policy(self.area).message === undefined) return line
  const asked = await look(obeying, channel)
  line = asked.line ?? line
  const until = obeying.uptimeSeconds() + NONCE_SECONDS
  while (asked.challenges > 0 && nonces.size > 0 && obeying.uptimeSeconds() < until) {
    await channel.pause(LOOK_SECONDS)
    line = (await look(obeying, channel)).line ?? line
  }
  return line
}

async function look(
  obeying: Obeying,
  channel: CommandChannel,
): Promise<{ readonly line: string | undefined; readonly challenges: number }> {
  let line: string | undefined
  let challenges = 0
  for (const { octets } of await channel.list('command', 0)) {
    const selected = selectedIn(octets)
    const said = await unlessRefused('command', async () => {
      if (selected === undefined) return lineOf(await obey(obeying, octets))
      if (obeying.nonces.has(selected.toHex()) && !isOld(obeying, selected)) return undefined
      await channel.send('receipt', await challengeFor(obeying, selected))
      challenges++
      return undefined
    })
    line = said ?? line
    await tell(obeying, channel)
  }
  return { line, challenges }
}

/** One that does not verify does not keep those behind it. */
async function unlessRefused(what: string, work: () => Promise<string | undefined>): Promise<string | undefined> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof TrustError) || error.code === 'unavailable' || error.code === 'internal') throw error
    return `a ${what} was refused: ${error.message}`
  }
}

const isOld = ({ nonces, uptimeSeconds }: Obeying, id: Uint8Array): boolean =>
  uptimeSeconds() - (nonces.get(id.toHex())?.at ?? 0) > NONCE_SECONDS

function lineOf(outcome: Outcome): string | undefined {
  if (outcome.did === 'known') return undefined
  const { operation, result, reason } = outcome
  return `command ${operation}: ${result}${reason === undefined ? '' : ` (${reason})`}`
}

/** Until the server has them; what it will not have is not sent again. */
async function tell({ journal }: Obeying, channel: CommandChannel): Promise<void> {
  for (const { digest, receipt } of journal.untold()) {
    try {
      await channel.send('receipt', receipt)
    } catch (error) {
      if (!(error instanceof TrustError) || error.code !== 'forbidden') throw error
    }
    journal.told(digest)
  }
}
