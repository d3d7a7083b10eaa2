/**
 * A token worker: the one process that loads a vendor's PKCS #11 library, for one token of it.
 *
 * It speaks frames over descriptor 3, so that what a library prints on standard output disturbs nothing, and ends when
 * the other side does. Whatever goes wrong in the library ends this process at worst; `token.ts` starts another.
 *
 * @module
 */
import { Socket } from 'node:net'
import {
  ATTRIBUTE,
  type Cryptoki,
  CryptokiError,
  loadCryptoki,
  type Mechanism,
  mechanismOf,
  OBJECT_CLASS,
  SESSION,
  type Session,
} from './cryptoki.ts'
import { answerKinds, batchedWriter, frameReader, type ReadFrame, REQUEST_MAX_OCTETS, requestKinds } from './frames.ts'
import { type ControlRequest, type FoundKeys, parseSignRequest, type TokenInfo, type WorkerRefusal } from './messages.ts'

const CHANNEL = 3

/**
 * A signature quicker than this is made on this thread: handing it to another costs as much. Slower ones, and all of a
 * token behind a network, go to the thread pool, one session each.
 */
const DIRECT_MAX_MILLISECONDS = 0.2
/** Weight of the newest in the running mean. */
const NEWEST = 0.1
/** While the pool signs, one in so many is made here, to see whether that is quicker now. */
const PROBE_EACH = 256
/** Two are enough to see that a label is not unique. */
const FOUND_MAX = 2
/** CKR_ATTRIBUTE_TYPE_INVALID, ATTRIBUTE_VALUE_INVALID, TEMPLATE_INCONSISTENT */
const TEMPLATE_REFUSED: ReadonlySet<number> = new Set([0x12, 0x13, 0xd1])
/** Objects of one label that are destroyed together: a private key, its public key, perhaps its certificate. */
const DESTROYED_MAX = 16

interface Opened {
  readonly cryptoki: Cryptoki
  readonly slot: number
  readonly sessions: number
}

let opened: Opened | undefined
/** Read and write; finds, makes and destroys. */
let control: Session | undefined
const idle: Session[] = []
const waiting: ((session: Session) => void)[] = []

const channel = new Socket({ fd: CHANNEL, readable: true, writable: true })
const answer = batchedWriter((octets) => channel.write(octets))
channel.on('data', frameReader(REQUEST_MAX_OCTETS, take))
channel.on('end', finish)
channel.on('error', finish)

function finish(): void {
  try {
    opened?.cryptoki.finalize()
  } finally {
    process.exit(0)
  }
}

function take({ id, kind, body }: ReadFrame): void {
  if (kind === requestKinds.sign) {
    sign(id, body).catch((error: unknown) => refuse(id, error))
    return
  }
  respond(kind, body).then(
    (value) => answer({ id, kind: answerKinds.done, body: Buffer.from(JSON.stringify(value)) }),
    (error: unknown) => refuse(id, error),
  )
}

function refuse(id: number, error: unknown): void {
  const refusal: WorkerRefusal = error instanceof CryptokiError ? error.refusal : { call: String(error), problem: 'malformed' }
  answer({ id, kind: answerKinds.refused, body: Buffer.from(JSON.stringify(refusal)) })
}

async function respond(kind: number, body: Buffer): Promise<unknown> {
  if (kind === requestKinds.login) return logIn(body)
  const request = JSON.parse(body.toString()) as ControlRequest
  switch (request.op) {
    case 'open':
      return open(request)
    case 'find':
      return find(request.label)
    case 'generate':
      return generate(request)
    case 'destroy':
      return destroy(request.label)
  }
}

function open({ module, token, sessions }: Extract<ControlRequest, { op: 'open' }>): TokenInfo {
  const cryptoki = loadCryptoki(module)
  const matching = cryptoki
    .tokens()
    .filter((found) => ('label' in token ? found.label === token.label : found.serialNumber === token.serialNumber))
  const [found] = matching
  if (found === undefined) throw new CryptokiError({ call: 'open', problem: 'tokenAbsent' })
  if (matching.length > 1) throw new CryptokiError({ call: 'open', problem: 'tokenAmbiguous' })
  const { slot, ...info } = found
  opened = { cryptoki, slot, sessions }
  return { ...info, mechanisms: cryptoki.mechanisms(slot) }
}

function logIn(pin: Buffer): { readonly sessions: number } {
  const { cryptoki, slot, sessions } = ready()
  control ??= cryptoki.openSession(slot, SESSION.serial | SESSION.rw)
  try {
    cryptoki.login(control, Buffer.from(pin))
  } catch (error) {
    if (!(error instanceof CryptokiError)) throw error
    throw new CryptokiError({ ...error.refusal, flags: cryptoki.tokenInfo(slot).flags })
  } finally {
    pin.fill(0)
  }
  // a token may have fewer sessions than were asked for; one is enough to work
  while (idle.length < sessions) {
    try {
      idle.push(cryptoki.openSession(slot, SESSION.serial))
    } catch (error) {
      if (idle.length === 0) throw error
      break
    }
  }
  return { sessions: idle.length }
}

function ready(): Opened {
  if (opened === undefined) throw new CryptokiError({ call: 'ready', problem: 'notOpen' })
  return opened
}

function controlSession(): Session {
  if (control === undefined) throw new CryptokiError({ call: 'login', problem: 'notOpen' })
  return control
}

const labelled = (label: string, objectClass?: number) =>
  [
    ...(objectClass === undefined ? [] : [[ATTRIBUTE.CLASS, objectClass] as const]),
    [ATTRIBUTE.LABEL, Buffer.from(label)] as const,
  ] as const

function find(label: string): FoundKeys {
  const { cryptoki } = ready()
  const session = controlSession()
  const found = cryptoki.find(session, labelled(label, OBJECT_CLASS.privateKey), FOUND_MAX)
  const [handle] = found
  if (handle === undefined || found.length > 1) return { count: found.length, key: undefined }
  const read = (object: number | undefined, type: number): Buffer | undefined =>
    object === undefined ? undefined : cryptoki.attribute(session, object, type)
  const id = read(handle, ATTRIBUTE.ID)
  const twins =
    id === undefined || id.length === 0
      ? cryptoki.find(session, labelled(label, OBJECT_CLASS.publicKey), FOUND_MAX)
      : cryptoki.find(
          session,
          [
            [ATTRIBUTE.CLASS, OBJECT_CLASS.publicKey],
            [ATTRIBUTE.ID, Buffer.from(id)],
          ],
          FOUND_MAX,
        )
  // what the private key itself says comes first: a public key object beside it may be anything
  const either = (type: number): string | undefined => hex(read(handle, type)) ?? hex(read(twins[0], type))
  const flag = (type: number): boolean | undefined => {
    const value = read(handle, type)
    return value?.length === 1 ? value[0] !== 0 : undefined
  }
  const keyType = read(handle, ATTRIBUTE.KEY_TYPE)
  const key = {
    handle,
    keyType: keyType?.length === 8 ? Number(keyType.readBigUInt64LE()) : undefined,
    ecParams: either(ATTRIBUTE.EC_PARAMS),
    ecPoint: either(ATTRIBUTE.EC_POINT),
    modulus: either(ATTRIBUTE.MODULUS),
    publicExponent: either(ATTRIBUTE.PUBLIC_EXPONENT),
    sensitive: flag(ATTRIBUTE.SENSITIVE),
    extractable: flag(ATTRIBUTE.EXTRACTABLE),
    alwaysAuthenticate: flag(ATTRIBUTE.ALWAYS_AUTHENTICATE),
  }
  return { count: 1, key }
}

const hex = (value: Buffer | undefined): string | undefined =>
  value === undefined || value.length === 0 ? undefined : value.toString('hex')

async function generate({ label, id, kind }: Extract<ControlRequest, { op: 'generate' }>): Promise<FoundKeys> {
  const { cryptoki, slot } = ready()
  const named = [
    [ATTRIBUTE.TOKEN, true],
    [ATTRIBUTE.LABEL, Buffer.from(label)],
    [ATTRIBUTE.ID, Buffer.from(id, 'hex')],
  ] as const
  const isRSA = 'modulusBits' in kind
  const shape = isRSA
    ? ([
        [ATTRIBUTE.MODULUS_BITS, kind.modulusBits],
        [ATTRIBUTE.PUBLIC_EXPONENT, Buffer.from([1, 0, 1])],
      ] as const)
    : ([[ATTRIBUTE.EC_PARAMS, Buffer.from(kind.parameters, 'hex')]] as const)
  const publicTemplate = [...named, [ATTRIBUTE.PRIVATE, false], [ATTRIBUTE.VERIFY, true], ...shape] as const
  const privateTemplate = [
    ...named,
    [ATTRIBUTE.PRIVATE, true],
    [ATTRIBUTE.SENSITIVE, true],
    [ATTRIBUTE.EXTRACTABLE, false],
    [ATTRIBUTE.SIGN, true],
  ] as const
  const notFor = [
    [ATTRIBUTE.DECRYPT, false],
    [ATTRIBUTE.UNWRAP, false],
    [ATTRIBUTE.DERIVE, false],
  ] as const
  const mechanism = mechanismOf(kind.mechanism)
  // making a key needs a session that writes, of its own: it may take long
  const session = cryptoki.openSession(slot, SESSION.serial | SESSION.rw)
  try {
    await cryptoki.generateKeyPair(session, mechanism, publicTemplate, [...privateTemplate, ...notFor])
  } catch (error) {
    // tokens that know no such use of this kind of key refuse to be told that it is not meant
    const rv = error instanceof CryptokiError ? error.refusal.rv : undefined
    if (rv === undefined || !TEMPLATE_REFUSED.has(rv)) throw error
    await cryptoki.generateKeyPair(session, mechanism, publicTemplate, privateTemplate)
  } finally {
    cryptoki.closeSession(session)
  }
  return find(label)
}

function destroy(label: string): { readonly destroyed: number } {
  const { cryptoki } = ready()
  const session = controlSession()
  const objects = cryptoki.find(session, labelled(label), DESTROYED_MAX)
  for (const object of objects) cryptoki.destroy(session, object)
  return { destroyed: objects.length }
}

interface Prepared {
  readonly mechanism: Mechanism
  /** Of the calls on this thread. */
  meanMilliseconds: number
  signatures: number
}

const mechanisms = new Map<string, Prepared>()

async function sign(id: number, body: Buffer): Promise<void> {
  const { cryptoki } = ready()
  const { handle, mechanism: type, hash, mgf, saltOctets, data } = parseSignRequest(body)
  const name = `${type} ${hash} ${data.length} ${handle}`
  let prepared = mechanisms.get(name)
  if (prepared === undefined) {
    const mechanism = hash === 0 ? mechanismOf(type) : mechanismOf(type, [hash, mgf, saltOctets])
    mechanisms.set(name, (prepared = { mechanism, meanMilliseconds: 0, signatures: 0 }))
  }
  const session = idle.pop() ?? (await new Promise<Session>((resolve) => waiting.push(resolve)))
  try {
    const isProbe = prepared.signatures++ % PROBE_EACH === 0
    const signature =
      isProbe || prepared.meanMilliseconds < DIRECT_MAX_MILLISECONDS
        ? signHere(cryptoki, session, prepared, handle, data)
        : await cryptoki.signLater(session, prepared.mechanism, handle, data)
    answer({ id, kind: answerKinds.done, body: signature })
  } finally {
    const next = waiting.shift()
    if (next === undefined) idle.push(session)
    else next(session)
  }
}

function signHere(cryptoki: Cryptoki, session: Session, prepared: Prepared, handle: number, data: Buffer): Buffer {
  const from = performance.now()
  const signature = cryptoki.sign(session, prepared.mechanism, handle, data)
  // one that was interrupted by other programs says little: it counts as slow, not as how slow
  const took = Math.min(performance.now() - from, DIRECT_MAX_MILLISECONDS * 2)
  prepared.meanMilliseconds += (took - prepared.meanMilliseconds) * NEWEST
  return signature
}
