/** What a token worker is asked and what it answers; pure data, since it crosses to another process. @module */

/** Which token of a module: never a slot number, which changes when a reader is plugged in elsewhere. */
export type TokenSelector = { readonly label: string } | { readonly serialNumber: string }

export type ControlRequest =
  | { readonly op: 'open'; readonly module: string; readonly token: TokenSelector; readonly sessions: number }
  | { readonly op: 'find'; readonly label: string }
  | { readonly op: 'generate'; readonly label: string; readonly id: string; readonly kind: GeneratedKind }
  | { readonly op: 'destroy'; readonly label: string }

/** `parameters` is CKA_EC_PARAMS, hex. */
export type GeneratedKind =
  | { readonly mechanism: number; readonly parameters: string }
  | { readonly mechanism: number; readonly modulusBits: number }

export interface TokenInfo {
  readonly label: string
  readonly serialNumber: string
  readonly manufacturer: string
  readonly model: string
  /** CKF_… of CK_TOKEN_INFO. */
  readonly flags: number
  readonly mechanisms: readonly { readonly type: number; readonly flags: number; readonly min: number; readonly max: number }[]
}

/** A private key object with what its public half is made of. Octets are hex; absent where the token does not tell. */
export interface KeyAttributes {
  /** Of the private key object, as long as this worker lives. */
  readonly handle: number
  readonly keyType: number | undefined
  readonly ecParams: string | undefined
  readonly ecPoint: string | undefined
  readonly modulus: string | undefined
  readonly publicExponent: string | undefined
  readonly sensitive: boolean | undefined
  readonly extractable: boolean | undefined
  readonly alwaysAuthenticate: boolean | undefined
}

/** What there is under a label; more than one private key is not told apart. */
export interface FoundKeys {
  readonly count: number
  readonly key: KeyAttributes | undefined
}

export interface WorkerRefusal {
  /** The Cryptoki function, or what the worker itself was doing. */
  readonly call: string
  /** CK_RV; absent when no function refused. */
  readonly rv?: number
  readonly problem?: 'module' | 'platform' | 'tokenAbsent' | 'tokenAmbiguous' | 'notOpen' | 'malformed'
  /** CKF_… of the token after a refused login: they tell how near it is to locking itself. */
  readonly flags?: number
}

/** Body of a `sign` frame: handle, mechanism, PSS hash and mask generation and salt length (zeros without), then the data. */
export interface SignRequest {
  readonly handle: number
  readonly mechanism: number
  readonly hash: number
  readonly mgf: number
  readonly saltOctets: number
  readonly data: Uint8Array
}

const SIGN_HEAD_OCTETS = 24

export function encodeSignRequest({ handle, mechanism, hash, mgf, saltOctets, data }: SignRequest): Buffer {
  const body = Buffer.allocUnsafe(SIGN_HEAD_OCTETS + data.length)
  body.writeDoubleLE(handle, 0)
  body.writeUInt32LE(mechanism, 8)
  body.writeUInt32LE(hash, 12)
  body.writeUInt32LE(mgf, 16)
  body.writeUInt32LE(saltOctets, 20)
  body.set(data, SIGN_HEAD_OCTETS)
  return body
}

/** @param body of a frame; a view of it is kept @throws RangeError when it is too short */
export function parseSignRequest(body: Buffer): SignRequest & { readonly data: Buffer } {
  return {
    handle: body.readDoubleLE(0),
    mechanism: body.readUInt32LE(8),
    hash: body.readUInt32LE(12),
    mgf: body.readUInt32LE(16),
    saltOctets: body.readUInt32LE(20),
    data: body.subarray(SIGN_HEAD_OCTETS),
  }
}
