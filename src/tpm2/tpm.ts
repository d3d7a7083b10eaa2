/**
 * One TPM, asked one command after another: commands are written and answers read by their schema, sessions prove and
 * encrypt, and whatever the TPM refuses becomes a refusal with its name.
 *
 * Source: TCG TPM 2.0 Library, Part 1, 18 (command and response structure) and 19.6; Part 3, 4 and 5.
 *
 * @module
 */
import { setTimeout as pause } from 'node:timers/promises'
import { concat } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { equalInConstantTime } from '#base/secret.ts'
import type { Random } from '#base/world.ts'
import { type Command, commands, type Handles } from './commands.ts'
import { TPM_CC, TPM_RH, TPM_ST } from './constants.ts'
import { newSeed } from './credential.ts'
import { type Hash, hashes, hashOf, uint32 } from './hash.ts'
import { handleName } from './name.ts'
import { isTransient, refusalOf } from './response-codes.ts'
import { type Authorized, authValueOf, type Entity, Session, sessionKey } from './session.ts'
import { TPM2B_AUTH, TPM2B_NONCE, TPMA_SESSION, type TPMT_PUBLIC } from './structures.ts'
import type { Transport } from './transport.ts'
import { type Fields, marshal, MESSAGE_MAX_OCTETS, Reader, type Structure, UINT16, UINT32, type Wire, Writer } from './wire.ts'

/** A TPM that is at its own work says so; more often than this it is stuck. */
const TRIES_MAX = 12
/** Doubled after each: three seconds in all, as long as a self-test takes. */
const PAUSE_FIRST_MILLISECONDS = 1
const PAUSE_MAX_MILLISECONDS = 500

type HandleArguments<H> = { readonly [K in keyof H]: H[K] extends 'authorized' ? Authorized : Entity }
type Arguments<H, P> = HandleArguments<H> & Structure<P>

export interface RunOptions {
  /** Encrypts the first parameter of the command and of the answer, where they can be; proves both. */
  readonly encryptBy?: Session
}

export interface SessionOptions {
  readonly kind?: 'HMAC' | 'POLICY' | 'TRIAL'
  /**
   * A storage key of the TPM whose public area is known to be true: then nobody between can read or forge. Without it
   * a session is only as secret as the authorizations that it proves.
   */
  readonly salt?: Entity & { readonly publicArea: TPMT_PUBLIC }
  readonly bind?: Entity
  readonly authHash?: Hash
  readonly keyBits?: 128 | 256
}

export const hierarchies = {
  owner: { handle: TPM_RH.OWNER, name: handleName(TPM_RH.OWNER) },
  endorsement: { handle: TPM_RH.ENDORSEMENT, name: handleName(TPM_RH.ENDORSEMENT) },
  platform: { handle: TPM_RH.PLATFORM, name: handleName(TPM_RH.PLATFORM) },
  lockout: { handle: TPM_RH.LOCKOUT, name: handleName(TPM_RH.LOCKOUT) },
  null: { handle: TPM_RH.NULL, name: handleName(TPM_RH.NULL) },
} as const satisfies Record<string, Entity>

const EMPTY = new Uint8Array(0)
const [CONTINUE, DECRYPT, ENCRYPT] = [0x01, 0x20, 0x40]

interface Taking {
  readonly session: Session | undefined
  readonly entity: Entity | undefined
  readonly nonceCaller: Uint8Array
  readonly attributes: number
}

export class TPM {
  readonly #transport: Transport
  readonly #random: Random
  /** One command at a time: sessions change with each. */
  #last: Promise<unknown> = Promise.resolve()

  constructor(transport: Transport, random: Random) {
    this.#transport = transport
    this.#random = random
  }

  /**
   * @throws TrustError as `refusalOf` tells; `badProof` when an answer is not from the TPM that the session is with;
   * `unavailable` when there is none
   */
  run<H extends Handles, P extends Fields, A extends Fields, R extends Fields>(
    command: Command<H, P, A, R>,
    given: Arguments<H, P>,
    options: RunOptions = {},
  ): Promise<Structure<A> & Structure<R>> {
    const run = this.#last.then(() => this.#run(command, given, options))
    this.#last = run.catch(() => {})
    return run
  }

  /** Ready for commands after power came; a TPM of a running computer is already. */
  async startup(): Promise<void> {
    try {
      await this.run(commands.Startup, { startupType: 'CLEAR' })
    } catch (error) {
      if (!isRefusal(error, 'TPM_RC_INITIALIZE')) throw error
    }
  }

  /** Gives the session's place in the TPM back, however `work` ends. */
  async withSession<T>(options: SessionOptions, work: (session: Session) => Promise<T>): Promise<T> {
    const session = await this.startSession(options)
    return this.using(session, () => work(session))
  }

  /** Gives a place in the TPM back when `work` has ended; what `work` throws goes before what that throws. */
  async using<T>(place: Pick<Entity, 'handle'>, work: () => Promise<T>): Promise<T> {
    let result: T
    try {
      result = await work()
    } catch (error) {
      await this.flush(place).catch(() => {})
      throw error
    }
    await this.flush(place)
    return result
  }

  /** For one who keeps it; see {@link withSession}. */
  async startSession({ kind = 'HMAC', salt, bind, authHash = 'SHA256', keyBits = 128 }: SessionOptions = {}): Promise<Session> {
    const nonceCaller = new Uint8Array(this.#random.octets(hashes[authHash].octets))
    const seed = salt === undefined ? { seed: EMPTY, secret: EMPTY } : await newSeed(salt.publicArea, this.#random, 'SECRET')
    const { sessionHandle: handle, nonceTPM } = await this.run(commands.StartAuthSession, {
      tpmKey: salt ?? hierarchies.null,
      bind: bind ?? hierarchies.null,
      nonceCaller,
      encryptedSalt: seed.secret,
      sessionType: kind,
      symmetric: { algorithm: 'AES', keyBits, mode: 'CFB' },
      authHash,
    })
    const key = sessionKey(authHash, { bound: bind, salt: seed.seed, nonceTPM, nonceCaller })
    return new Session({ handle, kind, authHash, sessionKey: key, keyBits, bound: bind, nonceTPM })
  }

  /** Fine when nothing is there any more, as after power was lost. */
  async flush({ handle }: Pick<Entity, 'handle'>): Promise<void> {
    try {
      await this.run(commands.FlushContext, { flushHandle: handle })
    } catch (error) {
      if (!isRefusal(error, 'TPM_RC_HANDLE')) throw error
    }
  }

  close(): Promise<void> {
    return this.#transport.close()
  }

  async #run<H extends Handles, P extends Fields, A extends Fields, R extends Fields>(
    command: Command<H, P, A, R>,
    given: Arguments<H, P>,
    { encryptBy }: RunOptions,
  ): Promise<Structure<A> & Structure<R>> {
    const record = given as Readonly<Record<string, unknown>>
    const handles = Object.entries(command.handles).map(([key, kind]) => ({ kind, entity: record[key] as Authorized }))
    const parameterWires = Object.entries(command.parameters)
    const parameters = parameterWires.map(([key, wire]) => marshal(wire, record[key]))
    const answerWires = Object.entries(command.answer)
    const canEncrypt = { command: isSized(parameterWires), answer: isSized(answerWires) }

    const taking = this.#taking(handles, encryptBy, canEncrypt)
    const code = uint32(TPM_CC[command.name])
    if (encryptBy !== undefined && canEncrypt.command) {
      const by = taking.find(({ session }) => session === encryptBy) as Taking
      const [first = EMPTY] = parameters
      const hidden = encryptBy.encrypt(by.entity, [by.nonceCaller, encryptBy.nonceTPM], first.subarray(2))
      parameters[0] = concat([first.subarray(0, 2), hidden])
    }
    const parameterArea = concat(parameters)
    const names = handles.map(({ entity }) => entity.name)
    const message = concat([
      ...handles.map(({ entity }) => uint32(entity.handle)),
      ...(taking.length === 0 ? [] : [authorizationArea(taking, encryptBy, concat([code, ...names, parameterArea]))]),
      parameterArea,
    ])
    const tag = taking.length === 0 ? TPM_ST.NO_SESSIONS : TPM_ST.SESSIONS
    const answer = await this.#exchange(
      concat([marshal(UINT16, tag), uint32(10 + message.length), code, message]),
      command.name,
      command.limitSeconds,
    )

    const other = (detail: string): TrustError =>
      new TrustError('malformed', 'tpmAnswerOther', { facts: { command: command.name, detail } })
    if (answer.uint(2, 'tag') !== tag) throw other('its tag is another')
    answer.octets(8, 'header')
    const answered: Record<string, unknown> = {}
    for (const [key, wire] of Object.entries(command.answerHandles)) answered[key] = wire.read(answer)
    let area = answer.octets(taking.length === 0 ? answer.end - answer.at : UINT32.read(answer), 'parameters')
    if (taking.length > 0) {
      const proven = concat([uint32(0), code, area])
      for (const one of taking) {
        const decrypted = readAuthorization(answer, one, {
          command: command.name,
          proven,
          area,
          isEncrypted: one.session === encryptBy && canEncrypt.answer,
        })
        area = decrypted ?? area
      }
      if (answer.more) throw other('more octets follow it')
    }
    const values = new Reader(area)
    for (const [key, wire] of answerWires) answered[key] = wire.read(values)
    if (values.more) throw other('it has more parameters')
    return answered as Structure<A> & Structure<R>
  }

  /** The sessions of a command, in their order: of the handles, then the one that only encrypts. */
  #taking(
    handles: readonly { readonly kind: string; readonly entity: Authorized }[],
    encryptBy: Session | undefined,
    canEncrypt: { readonly command: boolean; readonly answer: boolean },
  ): readonly Taking[] {
    const flags = CONTINUE | (canEncrypt.command ? DECRYPT : 0) | (canEncrypt.answer ? ENCRYPT : 0)
    const take = (session: Session | undefined, entity: Entity | undefined): Taking => ({
      session,
      entity,
      nonceCaller: session === undefined ? EMPTY : new Uint8Array(this.#random.octets(hashes[session.authHash].octets)),
      attributes: session !== undefined && session === encryptBy ? flags : CONTINUE,
    })
    const taking = handles.filter(({ kind }) => kind === 'authorized').map(({ entity }) => take(entity.session, entity))
    if (encryptBy !== undefined && !taking.some(({ session }) => session === encryptBy)) taking.push(take(encryptBy, undefined))
    return taking
  }

  /** Sends the same octets again while the TPM asks for it. @returns at the answer's beginning */
  async #exchange(message: Uint8Array, name: keyof typeof TPM_CC, limitSeconds: number): Promise<Reader> {
    if (message.length > MESSAGE_MAX_OCTETS)
      throw new TrustError('tooLarge', 'tpmTooLarge', { facts: { limit: MESSAGE_MAX_OCTETS } })
    for (let tries = 1, milliseconds = PAUSE_FIRST_MILLISECONDS; ; tries++) {
      const answer = new Reader(await this.#transport.exchange(message, { name, limitSeconds }))
      const code = new DataView(answer.bytes.buffer, answer.bytes.byteOffset).getUint32(6)
      if (code === 0) return answer
      if (!isTransient(code) || tries === TRIES_MAX) throw refusalOf(code, name)
      await pause(milliseconds)
      milliseconds = Math.min(2 * milliseconds, PAUSE_MAX_MILLISECONDS)
    }
  }
}

/** Whether an error is the TPM's refusal with this code. @param code as `TPM_RC_HANDLE` */
export const isRefusal = (error: unknown, code: string): boolean => error instanceof TrustError && error.facts['code'] === code

const isSized = (wires: readonly (readonly [string, Wire<unknown>])[]): boolean => wires[0]?.[1].sized === true

/** @param command what cpHash is made of: code, names and parameters */
function authorizationArea(taking: readonly Taking[], encryptBy: Session | undefined, command: Uint8Array): Uint8Array {
  const to = new Writer()
  taking.forEach(({ session, entity, nonceCaller, attributes }, i) => {
    UINT32.write(to, session?.handle ?? TPM_RH.PW)
    TPM2B_NONCE.write(to, nonceCaller)
    to.uint(attributes, 1)
    if (session === undefined) return TPM2B_AUTH.write(to, authValueOf(entity))
    if (session.isBare(entity)) return TPM2B_AUTH.write(to, EMPTY)
    const others = i === 0 && encryptBy !== undefined && encryptBy !== session ? [encryptBy.nonceTPM] : []
    const parameterHash = hashOf(session.authHash, command)
    TPM2B_AUTH.write(to, session.prove({ entity, parameterHash, nonces: [nonceCaller, session.nonceTPM], others, attributes }))
  })
  return concat([uint32(to.size), to.take()])
}

/** @returns the parameters with the first one decrypted, where this session encrypts */
function readAuthorization(
  from: Reader,
  { session, entity, nonceCaller }: Taking,
  {
    command,
    proven,
    area,
    isEncrypted,
  }: { readonly command: string; readonly proven: Uint8Array; readonly area: Uint8Array; readonly isEncrypted: boolean },
): Uint8Array | undefined {
  const forged = (): TrustError => new TrustError('badProof', 'tpmAnswerForged', { facts: { command } })
  const nonceTPM = TPM2B_NONCE.read(from)
  const attributes = marshal(TPMA_SESSION, TPMA_SESSION.read(from))[0] as number
  const hmac = TPM2B_AUTH.read(from)
  if (session === undefined) {
    if (nonceTPM.length + hmac.length > 0) throw forged() // Part 1, 19.4
    return undefined
  }
  const isBare = session.isBare(entity) && hmac.length === 0
  const parameterHash = hashOf(session.authHash, proven)
  const expected = session.prove({ entity, parameterHash, nonces: [nonceTPM, nonceCaller], others: [], attributes })
  if (!isBare && !equalInConstantTime(hmac, expected)) throw forged()
  session.nonceTPM = nonceTPM
  if (session.kind === 'POLICY' && entity !== undefined) session.needsAuthValue = false // the policy begins anew
  if (!isEncrypted) return undefined
  const size = area.length < 2 ? 0 : ((area[0] as number) << 8) | (area[1] as number)
  if (size > area.length - 2) throw forged()
  const first = session.decrypt(entity, [nonceTPM, nonceCaller], area.subarray(2, 2 + size))
  return concat([area.subarray(0, 2), first, area.subarray(2 + size)])
}
