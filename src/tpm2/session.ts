/**
 * Sessions: who may use an entity is proven by HMAC instead of telling its authorization, answers are proven to come
 * from the same TPM, and first parameters travel encrypted.
 *
 * Source: TCG TPM 2.0 Library, Part 1, 19.6 (session-based authorizations) and 21 (session-based encryption).
 *
 * @module
 */
import { concat } from '#base/bytes.ts'
import type { Secret } from '#base/secret.ts'
import { equal } from '#base/bytes.ts'
import { decryptCFB, encryptCFB, type Hash, hashes, hmacOf, kdfa } from './hash.ts'
import { handleName } from './name.ts'

/** Something that a handle names: an object, an index, a hierarchy, a register, a session. */
export interface Entity {
  readonly handle: number
  readonly name: Uint8Array
  /** Empty where there is none. */
  readonly authValue?: Secret
}

/** Authorized by a session; without one, its authorization is sent as a password. */
export interface Authorized extends Entity {
  readonly session?: Session
}

const EMPTY = new Uint8Array(0)
const IV_BITS = 128

/** Zeros at the end of an authorization do not count (Part 1, 19.6.4.3). */
export function authValueOf(entity: Entity | undefined): Uint8Array {
  const octets = entity?.authValue?.reveal('authorization of a TPM entity') ?? EMPTY
  let { length } = octets
  while (length > 0 && octets[length - 1] === 0) length--
  return octets.subarray(0, length)
}

export interface SessionState {
  readonly handle: number
  readonly kind: 'HMAC' | 'POLICY' | 'TRIAL'
  readonly authHash: Hash
  readonly sessionKey: Uint8Array
  /** Of the cipher for parameters. */
  readonly keyBits: 128 | 256
  readonly bound: Entity | undefined
  readonly nonceTPM: Uint8Array
}

/** What one command or one answer is proven with. */
interface Proof {
  readonly entity: Entity | undefined
  /** cpHash or rpHash. */
  readonly parameterHash: Uint8Array
  /** The one of whoever speaks, then the other's. */
  readonly nonces: readonly [newer: Uint8Array, older: Uint8Array]
  /** Of the sessions that only encrypt; in the first session's HMAC of a command. */
  readonly others: readonly Uint8Array[]
  readonly attributes: number
}

/** Changes with every command that it takes part in. */
export class Session implements Entity {
  readonly handle: number
  readonly name: Uint8Array
  readonly kind: SessionState['kind']
  readonly authHash: Hash
  nonceTPM: Uint8Array
  /** Whether PolicyAuthValue was run: then the policy session proves the entity's authorization too. */
  needsAuthValue = false
  readonly #sessionKey: Uint8Array
  readonly #keyBits: 128 | 256
  readonly #bound: Entity | undefined

  constructor({ handle, kind, authHash, sessionKey, keyBits, bound, nonceTPM }: SessionState) {
    this.handle = handle
    this.name = handleName(handle)
    this.kind = kind
    this.authHash = authHash
    this.nonceTPM = nonceTPM
    this.#sessionKey = sessionKey
    this.#keyBits = keyBits
    this.#bound = bound
  }

  /** Without a key there is nothing to prove, and a policy session may leave the HMAC away. */
  isBare(entity: Entity | undefined): boolean {
    return this.kind === 'POLICY' && this.#hmacKey(entity).length === 0
  }

  prove({ entity, parameterHash, nonces: [newer, older], others, attributes }: Proof): Uint8Array {
    return hmacOf(this.authHash, this.#hmacKey(entity), parameterHash, newer, older, ...others, Uint8Array.of(attributes))
  }

  encrypt(entity: Entity | undefined, nonces: Proof['nonces'], parameter: Uint8Array): Uint8Array {
    return encryptCFB(this.#cipher(entity, nonces), parameter)
  }

  decrypt(entity: Entity | undefined, nonces: Proof['nonces'], parameter: Uint8Array): Uint8Array {
    return decryptCFB(this.#cipher(entity, nonces), parameter)
  }

  /** Part 1, 19.6.5: the authorization is in the session's key already where it is bound to this very entity. */
  #hmacKey(entity: Entity | undefined): Uint8Array {
    const isBound = entity !== undefined && this.#bound !== undefined && equal(entity.name, this.#bound.name)
    if (entity === undefined || isBound || (this.kind === 'POLICY' && !this.needsAuthValue)) return this.#sessionKey
    return concat([this.#sessionKey, authValueOf(entity)])
  }

  /** Part 1, 21.3: here the authorization always counts. */
  #cipher(entity: Entity | undefined, [newer, older]: Proof['nonces']) {
    const key = kdfa(this.authHash, concat([this.#sessionKey, authValueOf(entity)]), {
      label: 'CFB',
      contextU: newer,
      contextV: older,
      bits: this.#keyBits + IV_BITS,
    })
    return { key: key.subarray(0, this.#keyBits / 8), iv: key.subarray(this.#keyBits / 8) }
  }
}

/** Part 1, 19.6.8: from the salt, and the authorization of what it is bound to. */
export function sessionKey(
  authHash: Hash,
  {
    bound,
    salt,
    nonceTPM,
    nonceCaller,
  }: {
    readonly bound: Entity | undefined
    readonly salt: Uint8Array
    readonly nonceTPM: Uint8Array
    readonly nonceCaller: Uint8Array
  },
): Uint8Array {
  if (bound === undefined && salt.length === 0) return EMPTY
  return kdfa(authHash, concat([authValueOf(bound), salt]), {
    label: 'ATH',
    contextU: nonceTPM,
    contextV: nonceCaller,
    bits: 8 * hashes[authHash].octets,
  })
}
