/**
 * Signatures over a digest that was made elsewhere, by the OpenSSL that Node.js itself is linked with.
 *
 * `node:crypto` hashes whatever it signs, so that it cannot sign a digest; its OpenSSL can, and exports the functions. No
 * second library is loaded and the arithmetic is the very same, constant in time where OpenSSL's is.
 *
 * Source: EVP_PKEY_sign(3), d2i_PrivateKey(3); RFC 8017, 8.1 and 8.2; FIPS 186-5, 6.4.
 *
 * @module
 */
import koffi from 'koffi'
import type { SignatureAlgorithm } from '#algorithms/table.ts'
import type { Secret } from '#base/secret.ts'

interface NativeFunction {
  (...parameters: readonly unknown[]): unknown
  /** The same in the thread pool; what it reads and writes must be held meanwhile. */
  async(...parametersAndDone: readonly unknown[]): unknown
}

interface Functions {
  readonly parseKey: NativeFunction
  readonly freeKey: NativeFunction
  readonly newContext: NativeFunction
  readonly freeContext: NativeFunction
  readonly beginSign: NativeFunction
  readonly set: NativeFunction
  readonly sign: NativeFunction
  readonly parsePublicKey: NativeFunction
  readonly beginVerify: NativeFunction
  readonly verify: NativeFunction
  readonly clearErrors: NativeFunction
}

/** A private key that signs digests. */
export interface DigestKey {
  /** @param digest as long as the algorithm's digest is */
  sign(digest: Uint8Array, scheme: SignatureAlgorithm): Uint8Array | Promise<Uint8Array>
  /** Signatures under way are finished; afterwards it signs no more. */
  close(): void
}

/** An RSA-4096 signature has 512 octets, an ECDSA one at most 141. */
const SIGNATURE_MAX_OCTETS = 512
const SIZE_OCTETS = 8
const OK = 1

let loaded: Functions | undefined

/** Loaded when the first digest is signed: it costs some 20 ms that most commands never need. */
function functions(): Functions {
  if (loaded !== undefined) return loaded
  const program = koffi.load(null)
  const bind = (signature: string): NativeFunction => program.func(signature)
  loaded = {
    parseKey: bind('void *d2i_AutoPrivateKey(void *a, void *at, long length)'),
    freeKey: bind('void EVP_PKEY_free(void *key)'),
    newContext: bind('void *EVP_PKEY_CTX_new(void *key, void *engine)'),
    freeContext: bind('void EVP_PKEY_CTX_free(void *context)'),
    beginSign: bind('int EVP_PKEY_sign_init(void *context)'),
    set: bind('int EVP_PKEY_CTX_ctrl_str(void *context, const char *name, const char *value)'),
    sign: bind('int EVP_PKEY_sign(void *context, void *signature, void *length, void *digest, size_t octets)'),
    parsePublicKey: bind('void *d2i_PUBKEY(void *a, void *at, long length)'),
    beginVerify: bind('int EVP_PKEY_verify_init(void *context)'),
    verify: bind('int EVP_PKEY_verify(void *context, void *signature, size_t length, void *digest, size_t octets)'),
    clearErrors: bind('void ERR_clear_error()'),
  }
  return loaded
}

/**
 * @param pkcs8 DER PrivateKeyInfo of an RSA or EC key, erased here
 * @param slow what the key's row says; quick signatures are made at once, since handing a call to the pool costs more here
 */
export function openDigestKey(pkcs8: Secret, slow: boolean): DigestKey {
  const { parseKey, freeKey, newContext, freeContext, beginSign, set, sign, clearErrors } = functions()
  const octets = pkcs8.reveal('open a key for digests')
  const key = parseKey(null, addressIn(octets), octets.length)
  octets.fill(0)
  let open = true
  const refused = (call: string): Error => {
    clearErrors() // or Node.js would take what is left there for a failure of its own
    return new Error(`OpenSSL refused ${call}`)
  }
  if (key === null) throw refused('d2i_AutoPrivateKey')

  /** @returns a context that holds the key, however long the signature takes */
  function contextFor(scheme: SignatureAlgorithm): unknown {
    if (!open) throw new Error('the key is closed')
    const context = newContext(key, null)
    const begun = context !== null && beginSign(context) === OK
    if (begun && settingsOf(scheme).every(([name, value]) => set(context, name, value) === OK)) return context
    freeContext(context)
    throw refused('EVP_PKEY_sign_init')
  }

  return {
    sign(digest, scheme) {
      const context = contextFor(scheme)
      const signature = Buffer.allocUnsafeSlow(SIGNATURE_MAX_OCTETS)
      const length = Buffer.alloc(SIZE_OCTETS)
      length.writeBigUInt64LE(BigInt(SIGNATURE_MAX_OCTETS))
      const finish = (result: unknown): Uint8Array => {
        freeContext(context)
        if (result !== OK) throw refused('EVP_PKEY_sign')
        return new Uint8Array(signature.buffer, 0, Number(length.readBigUInt64LE()))
      }
      if (!slow) return finish(sign(context, signature, length, digest, digest.length))
      return later(sign, context, signature, length, digest, digest.length).then(finish, (cause: unknown) => {
        freeContext(context)
        throw cause
      })
    },
    close() {
      if (!open) return
      open = false
      freeKey(key) // contexts under way hold it themselves
    },
  }
}

/** ECDSA signs whatever octets it is given; RSA says in the padding which digest they are. */
function settingsOf({ family, digest, saltOctets }: SignatureAlgorithm): readonly (readonly [name: string, value: string])[] {
  if (family !== 'rsa') return []
  const padding = [
    ['rsa_padding_mode', saltOctets === undefined ? 'pkcs1' : 'pss'],
    ['digest', digest ?? ''],
  ] as const
  return saltOctets === undefined ? padding : [...padding, ['rsa_pss_saltlen', String(saltOctets)]]
}

/** Whether the signature is this key's over the message with this digest. @param spki DER, of a key that was imported before */
export function verifyDigest(
  { spki, digest, signature }: { readonly spki: Uint8Array; readonly digest: Uint8Array; readonly signature: Uint8Array },
  scheme: SignatureAlgorithm,
): boolean {
  const { parsePublicKey, freeKey, newContext, freeContext, beginVerify, set, verify, clearErrors } = functions()
  const key = parsePublicKey(null, addressIn(spki), spki.length)
  const context = key === null ? null : newContext(key, null)
  const begun = context !== null && beginVerify(context) === OK
  const ready = begun && settingsOf(scheme).every(([name, value]) => set(context, name, value) === OK)
  const good = ready && verify(context, signature, signature.length, digest, digest.length) === OK
  freeContext(context)
  freeKey(key)
  if (!good) clearErrors() // or Node.js would take what is left there for a failure of its own
  return good
}

/** What d2i functions take: where the address of the octets stands, which they move on. */
function addressIn(octets: Uint8Array): Uint8Array {
  const at = Buffer.alloc(SIZE_OCTETS)
  at.writeBigUInt64LE(koffi.address(octets))
  return at
}

/** In the thread pool, which reads and writes what the parameters point to: they are held until it has. */
const later = (call: NativeFunction, ...parameters: unknown[]): Promise<unknown> =>
  new Promise((resolve, reject) => {
    call.async(...parameters, (error: Error | null, result: unknown) => (error === null ? resolve(result) : reject(error)))
  })
