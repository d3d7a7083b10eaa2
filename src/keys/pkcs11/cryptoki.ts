/**
 * The functions of a PKCS #11 library that a token worker calls, by way of its function list.
 *
 * Memory that crosses the border is laid out here by hand, in buffers of our own, for platforms where CK_ULONG has eight
 * octets (Linux and macOS on 64 bits). Only `main.ts` of this folder loads this file: a library that breaks takes its
 * worker with it and nothing else.
 *
 * Source: PKCS #11 v2.40 (OASIS), base specification, 3 to 5; v3.0 for the Edwards curves.
 *
 * @module
 */
import koffi from 'koffi'
import type { WorkerRefusal } from './messages.ts'

export const ATTRIBUTE = {
  CLASS: 0x0,
  TOKEN: 0x1,
  PRIVATE: 0x2,
  LABEL: 0x3,
  KEY_TYPE: 0x100,
  ID: 0x102,
  SENSITIVE: 0x103,
  DECRYPT: 0x105,
  UNWRAP: 0x107,
  SIGN: 0x108,
  SIGN_RECOVER: 0x109,
  VERIFY: 0x10a,
  DERIVE: 0x10c,
  MODULUS: 0x120,
  MODULUS_BITS: 0x121,
  PUBLIC_EXPONENT: 0x122,
  EXTRACTABLE: 0x162,
  EC_PARAMS: 0x180,
  EC_POINT: 0x181,
  ALWAYS_AUTHENTICATE: 0x202,
} as const

export const OBJECT_CLASS = { publicKey: 2, privateKey: 3 } as const
export const SESSION = { rw: 0x2, serial: 0x4 } as const

const CKR_OK = 0
const CKR_CRYPTOKI_ALREADY_INITIALIZED = 0x191
const CKR_USER_ALREADY_LOGGED_IN = 0x100
const CKF_OS_LOCKING_OK = 2n
const CKU_USER = 1
const ULONG_OCTETS = 8

/** In the order of CK_FUNCTION_LIST, which is that of the standard since v1. */
const FUNCTIONS = [
  ...['C_Initialize', 'C_Finalize', 'C_GetInfo', 'C_GetFunctionList', 'C_GetSlotList', 'C_GetSlotInfo', 'C_GetTokenInfo'],
  ...['C_GetMechanismList', 'C_GetMechanismInfo', 'C_InitToken', 'C_InitPIN', 'C_SetPIN', 'C_OpenSession', 'C_CloseSession'],
  ...['C_CloseAllSessions', 'C_GetSessionInfo', 'C_GetOperationState', 'C_SetOperationState', 'C_Login', 'C_Logout'],
  ...['C_CreateObject', 'C_CopyObject', 'C_DestroyObject', 'C_GetObjectSize', 'C_GetAttributeValue', 'C_SetAttributeValue'],
  ...['C_FindObjectsInit', 'C_FindObjects', 'C_FindObjectsFinal', 'C_EncryptInit', 'C_Encrypt', 'C_EncryptUpdate'],
  ...['C_EncryptFinal', 'C_DecryptInit', 'C_Decrypt', 'C_DecryptUpdate', 'C_DecryptFinal', 'C_DigestInit', 'C_Digest'],
  ...['C_DigestUpdate', 'C_DigestKey', 'C_DigestFinal', 'C_SignInit', 'C_Sign', 'C_SignUpdate', 'C_SignFinal'],
  ...['C_SignRecoverInit', 'C_SignRecover', 'C_VerifyInit', 'C_Verify', 'C_VerifyUpdate', 'C_VerifyFinal'],
  ...['C_VerifyRecoverInit', 'C_VerifyRecover', 'C_DigestEncryptUpdate', 'C_DecryptDigestUpdate', 'C_SignEncryptUpdate'],
  ...['C_DecryptVerifyUpdate', 'C_GenerateKey', 'C_GenerateKeyPair'],
]

export class CryptokiError extends Error {
  override readonly name = 'CryptokiError'
  readonly refusal: WorkerRefusal

  constructor(refusal: WorkerRefusal) {
    super(`${refusal.call}: ${refusal.problem ?? `0x${(refusal.rv ?? 0).toString(16)}`}`)
    this.refusal = refusal
  }
}

export type AttributeValue = boolean | number | Uint8Array
export type Template = readonly (readonly [type: number, value: AttributeValue])[]

export interface SlotInfo {
  readonly slot: number
  readonly label: string
  readonly serialNumber: string
  readonly manufacturer: string
  readonly model: string
  readonly flags: number
}

const ulong = (value: number): Buffer => {
  const octets = Buffer.allocUnsafeSlow(ULONG_OCTETS)
  octets.writeBigUInt64LE(BigInt(value))
  return octets
}

/** Handles and lengths; no library is known that uses more than 32 bits of them. */
const ulongIn = (octets: Buffer, at = 0): number => Number(octets.readBigUInt64LE(at))
const addressOf = (octets: Buffer): bigint => koffi.address(octets)

/** Text of a fixed width is padded with blanks and not ended by NUL (PKCS #11, 3.1). */
const textIn = (octets: Buffer): string => octets.toString('utf8').replaceAll('\0', ' ').trimEnd()

interface NativeFunction {
  (...parameters: readonly unknown[]): unknown
  /** The same in the thread pool; what it reads must be held meanwhile. */
  async(...parametersAndDone: readonly unknown[]): unknown
}

interface TemplateMemory {
  readonly octets: Buffer
  /** What the addresses in it point to: must live as long. */
  readonly values: readonly Buffer[]
}

const ATTRIBUTE_OCTETS = 24

/** Lays out an array of CK_ATTRIBUTE. */
function templateOf(values: readonly (readonly [type: number, value: Buffer])[]): TemplateMemory {
  const octets = Buffer.allocUnsafeSlow(ATTRIBUTE_OCTETS * values.length)
  for (const [index, [type, value]] of values.entries()) {
    const at = index * ATTRIBUTE_OCTETS
    octets.writeBigUInt64LE(BigInt(type), at)
    octets.writeBigUInt64LE(value.length === 0 ? 0n : addressOf(value), at + 8)
    octets.writeBigUInt64LE(BigInt(value.length), at + 16)
  }
  return { octets, values: values.map(([, value]) => value) }
}

const encodeTemplate = (template: Template): TemplateMemory =>
  templateOf(template.map(([type, value]) => [type, octetsOf(value)]))

function octetsOf(value: AttributeValue): Buffer {
  if (typeof value === 'boolean') return Buffer.from([value ? 1 : 0])
  return typeof value === 'number' ? ulong(value) : Buffer.from(value)
}

/** Prepared once per mechanism, so that a signature lays out nothing. */
export interface Mechanism extends TemplateMemory {
  readonly type: number
}

/** CK_MECHANISM; `parameters` are CK_ULONGs, as of CK_RSA_PKCS_PSS_PARAMS. */
export function mechanismOf(type: number, parameters: readonly number[] = []): Mechanism {
  const value = Buffer.concat(parameters.map(ulong))
  return { type, ...templateOf([[type, value]]) }
}

/** Longest attribute that is read: the modulus of a key far longer than any that is offered. */
const ATTRIBUTE_MAX_OCTETS = 4096
/** An RSA-16384 signature; the longest of what is offered has 512 octets. */
const SIGNATURE_MAX_OCTETS = 2048

/** One session with what its calls write to, so that several can be under way. */
export interface Session {
  readonly handle: number
  readonly signature: Buffer
  readonly length: Buffer
  /** What a call in the thread pool reads: held here, so that it is not collected meanwhile. */
  held: unknown
}

export type Cryptoki = ReturnType<typeof loadCryptoki>

/** Loads and initializes a module. @throws CryptokiError */
export function loadCryptoki(module: string) {
  const bind = functionsOf(module)
  const initialize = bind('C_Initialize', 'void *args')
  const finalize = bind('C_Finalize', 'void *reserved')
  const getSlotList = bind('C_GetSlotList', 'uint8_t present, void *list, void *count')
  const getTokenInfo = bind('C_GetTokenInfo', 'unsigned long slot, void *info')
  const getMechanismList = bind('C_GetMechanismList', 'unsigned long slot, void *list, void *count')
  const getMechanismInfo = bind('C_GetMechanismInfo', 'unsigned long slot, unsigned long type, void *info')
  const openSession = bind('C_OpenSession', 'unsigned long slot, unsigned long flags, void *a, void *n, void *session')
  const closeSession = bind('C_CloseSession', 'unsigned long session')
  const login = bind('C_Login', 'unsigned long session, unsigned long user, void *pin, unsigned long length')
  const findInit = bind('C_FindObjectsInit', 'unsigned long session, void *template, unsigned long count')
  const find = bind('C_FindObjects', 'unsigned long session, void *objects, unsigned long max, void *count')
  const findFinal = bind('C_FindObjectsFinal', 'unsigned long session')
  const getAttributes = bind('C_GetAttributeValue', 'unsigned long session, unsigned long object, void *t, unsigned long n')
  const destroyObject = bind('C_DestroyObject', 'unsigned long session, unsigned long object')
  const signInit = bind('C_SignInit', 'unsigned long session, void *mechanism, unsigned long key')
  const sign = bind('C_Sign', 'unsigned long session, void *data, unsigned long n, void *signature, void *length')
  const generateKeyPair = bind(
    'C_GenerateKeyPair',
    'unsigned long session, void *mechanism, void *public, unsigned long n, void *private, unsigned long m, void *a, void *b',
  )

  const check = (call: string, rv: unknown, fine: readonly number[] = []): void => {
    if (rv !== CKR_OK && !fine.includes(rv as number)) throw new CryptokiError({ call, rv: rv as number })
  }

  const listOf = (call: string, ask: (list: Buffer | null, count: Buffer) => unknown): readonly number[] => {
    const count = ulong(0)
    check(call, ask(null, count))
    const most = Math.min(ulongIn(count), LIST_MAX)
    const list = Buffer.alloc(Math.max(most, 1) * ULONG_OCTETS)
    count.writeBigUInt64LE(BigInt(most))
    check(call, ask(list, count))
    return Array.from({ length: Math.min(ulongIn(count), most) }, (_, index) => ulongIn(list, index * ULONG_OCTETS))
  }

  const readTokenInfo = (slot: number): SlotInfo => {
    const info = Buffer.alloc(TOKEN_INFO_OCTETS)
    check('C_GetTokenInfo', getTokenInfo(slot, info))
    return {
      slot,
      label: textIn(info.subarray(0, 32)),
      manufacturer: textIn(info.subarray(32, 64)),
      model: textIn(info.subarray(64, 80)),
      serialNumber: textIn(info.subarray(80, 96)),
      flags: ulongIn(info, 96) % 2 ** 32,
    }
  }

  const readMechanismInfo = (slot: number, type: number) => {
    const info = Buffer.alloc(3 * ULONG_OCTETS)
    check('C_GetMechanismInfo', getMechanismInfo(slot, type, info))
    return { type, min: ulongIn(info), max: ulongIn(info, 8), flags: ulongIn(info, 16) % 2 ** 32 }
  }

  const initializeArguments = Buffer.alloc(INITIALIZE_ARGUMENTS_OCTETS)
  initializeArguments.writeBigUInt64LE(CKF_OS_LOCKING_OK, 32)
  check('C_Initialize', initialize(initializeArguments), [CKR_CRYPTOKI_ALREADY_INITIALIZED])

  return {
    /** Tokens in all slots; one that cannot be read is left out. */
    tokens: (): readonly SlotInfo[] =>
      listOf('C_GetSlotList', (list, count) => getSlotList(1, list, count)).flatMap((slot) => {
        try {
          return [readTokenInfo(slot)]
        } catch {
          return []
        }
      }),
    tokenInfo: readTokenInfo,
    mechanisms: (slot: number) =>
      listOf('C_GetMechanismList', (list, count) => getMechanismList(slot, list, count)).map((type) =>
        readMechanismInfo(slot, type),
      ),

    openSession(slot: number, flags: number): Session {
      const handle = ulong(0)
      check('C_OpenSession', openSession(slot, flags, null, null, handle))
      return {
        handle: ulongIn(handle),
        signature: Buffer.allocUnsafeSlow(SIGNATURE_MAX_OCTETS),
        length: ulong(0),
        held: undefined,
      }
    },

    closeSession: ({ handle }: Session): void => void closeSession(handle),

    login: ({ handle }: Session, pin: Buffer): void =>
      check('C_Login', login(handle, CKU_USER, pin, pin.length), [CKR_USER_ALREADY_LOGGED_IN]),

    find(session: Session, template: Template, most: number): readonly number[] {
      const wanted = encodeTemplate(template)
      session.held = wanted
      check('C_FindObjectsInit', findInit(session.handle, wanted.octets, template.length))
      try {
        const objects = Buffer.alloc(most * ULONG_OCTETS)
        const count = ulong(0)
        check('C_FindObjects', find(session.handle, objects, most, count))
        const found = Math.min(ulongIn(count), most)
        return Array.from({ length: found }, (_, index) => ulongIn(objects, index * ULONG_OCTETS))
      } finally {
        findFinal(session.handle)
      }
    },

    /** @returns undefined for what this object does not have, or the token does not tell */
    attribute({ handle }: Session, object: number, type: number): Buffer | undefined {
      const value = Buffer.alloc(ATTRIBUTE_MAX_OCTETS)
      const { octets } = templateOf([[type, value]])
      if (getAttributes(handle, object, octets, 1) !== CKR_OK) return undefined
      const length = octets.readBigUInt64LE(16)
      return length > ATTRIBUTE_MAX_OCTETS ? undefined : value.subarray(0, Number(length))
    },

    destroy: ({ handle }: Session, object: number): void => check('C_DestroyObject', destroyObject(handle, object)),

    /** In the thread pool: an RSA key takes seconds. */
    async generateKeyPair(session: Session, mechanism: Mechanism, pub: Template, priv: Template): Promise<void> {
      const [publicTemplate, privateTemplate] = [encodeTemplate(pub), encodeTemplate(priv)]
      const handles = [ulong(0), ulong(0)]
      session.held = [publicTemplate, privateTemplate, mechanism, handles]
      const templates = [publicTemplate.octets, pub.length, privateTemplate.octets, priv.length]
      check('C_GenerateKeyPair', await later(generateKeyPair, session.handle, mechanism.octets, ...templates, ...handles))
    },

    /** @returns a view that the session's next signature overwrites */
    sign(session: Session, mechanism: Mechanism, key: number, data: Buffer): Buffer {
      const { handle, signature, length } = session
      check('C_SignInit', signInit(handle, mechanism.octets, key))
      length.writeBigUInt64LE(BigInt(SIGNATURE_MAX_OCTETS))
      check('C_Sign', sign(handle, data, data.length, signature, length))
      return signatureOf(session)
    },

    /** The same in the thread pool, so that other sessions go on meanwhile. */
    async signLater(session: Session, mechanism: Mechanism, key: number, data: Buffer): Promise<Buffer> {
      const { handle, signature, length } = session
      session.held = [mechanism, data]
      check('C_SignInit', await later(signInit, handle, mechanism.octets, key))
      length.writeBigUInt64LE(BigInt(SIGNATURE_MAX_OCTETS))
      check('C_Sign', await later(sign, handle, data, data.length, signature, length))
      return signatureOf(session)
    },

    finalize: (): void => void finalize(null),
  }
}

/** More slots or mechanisms than any device has. */
const LIST_MAX = 1024
const INITIALIZE_ARGUMENTS_OCTETS = 48
const TOKEN_INFO_OCTETS = 208

/** A library that says it wrote more than there was room for wrote elsewhere: nothing here can be believed any more. */
function signatureOf({ signature, length }: Session): Buffer {
  const written = ulongIn(length)
  if (written > signature.length) throw new CryptokiError({ call: 'C_Sign', problem: 'malformed' })
  return signature.subarray(0, written)
}

const later = (call: NativeFunction, ...parameters: unknown[]): Promise<number> =>
  new Promise((resolve, reject) => {
    call.async(...parameters, (error: Error | null, rv: number) => (error === null ? resolve(rv) : reject(error)))
  })

/** The library looks for its own OpenSSL first: that of Node.js exports the same names and is another version. */
const LOADING = { deep: true }

/** A library that is collected is unloaded, whoever still has the addresses of its functions. */
const loaded: unknown[] = []

function functionsOf(module: string): (name: string, parameters: string) => NativeFunction {
  if (koffi.sizeof('unsigned long') !== ULONG_OCTETS || koffi.sizeof('void *') !== ULONG_OCTETS)
    throw new CryptokiError({ call: 'load', problem: 'platform' })
  let addresses: readonly bigint[]
  try {
    const library = koffi.load(module, LOADING)
    loaded.push(library)
    const getFunctionList = library.func('unsigned long C_GetFunctionList(_Out_ void **list)')
    const list: unknown[] = [null]
    const rv = getFunctionList(list) as number
    if (rv !== CKR_OK) throw new CryptokiError({ call: 'C_GetFunctionList', rv })
    // after CK_VERSION, padded to the size of a pointer
    addresses = koffi.decode(list[0], ULONG_OCTETS, koffi.array('void *', FUNCTIONS.length)) as bigint[]
  } catch (error) {
    if (error instanceof CryptokiError) throw error
    throw new CryptokiError({ call: 'load', problem: 'module' })
  }
  return (name, parameters) => {
    const address = addresses[FUNCTIONS.indexOf(name)]
    if (address === undefined || address === null) throw new CryptokiError({ call: name, problem: 'module' })
    return koffi.decode(address, koffi.proto(`unsigned long ${name}_t(${parameters})`)) as NativeFunction
  }
}
