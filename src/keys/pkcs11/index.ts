/**
 * Keys in PKCS #11 tokens: hardware security modules, smart cards, SoftHSM.
 *
 * The database records which keys of the token are ours, with their public halves; so an authority opens while its
 * token is away, only signing waits for it, and a label is never used twice. A store may name several tokens that hold
 * copies of the same keys: a signature is made by one that is well.
 *
 * A token is believed only as far as it can be checked: its first signature with a key, and every RSA signature, is
 * verified with the public key on record before it leaves this file.
 *
 * @module
 */
import { importPublicKey, type PublicKey, verifySignature } from '#algorithms/public-key.ts'
import {
  certificateSignatureOf,
  isKeyAlgorithmId,
  keyAlgorithm,
  type KeyAlgorithmId,
  keyAlgorithms,
  signatureAlgorithm,
  type SignatureAlgorithmId,
  signaturesOf,
} from '#algorithms/table.ts'
import { equal, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { type Log, silentLog } from '#base/log.ts'
import type { Secret } from '#base/secret.ts'
import { uuidv7, type World } from '#base/world.ts'
import type { Database } from '#store/database.ts'
import { checkDigest } from '../digest.ts'
import type { KeyStore, Signer } from '../key-store.ts'
import type { GuardedKeyStore, KeyStoreState } from '../key-ring.ts'
import { verifyDigest } from '../openssl.ts'
import { algorithmsOf, kindFor, MESSAGE_MAX_OCTETS, mechanismName, type SigningPlan } from './mechanisms.ts'
import type { KeyAttributes, TokenSelector } from './messages.ts'
import { publicKeyOf } from './public-key.ts'
import { openToken, refusalIn, type Token, type TokenConnection } from './token.ts'

export interface PKCS11KeyStoreOptions {
  readonly database: Database
  readonly world: World
  readonly log: Log
  readonly organizationId: string
  /** The store's name in the configuration. */
  readonly id: string
  /** Path of the library. */
  readonly module: string
  /** One, or several that hold copies of the same keys. */
  readonly tokens: readonly TokenSelector[]
  /** Undefined while nobody gave it: the store is locked. */
  readonly pin: () => Secret | undefined
  /** Signatures that each token is asked for at once. */
  readonly sessions: number
  readonly checkEverySignature: boolean
  readonly environment: Readonly<Record<string, string | undefined>>
}

type TokenKey = {
  readonly label: string
  readonly key_algorithm: string
  /** Empty until the token has made it. */
  readonly public_key: Uint8Array
  readonly created_at: number
  readonly destroyed_at: number | null
}

/** CKR_MECHANISM_INVALID and MECHANISM_PARAM_INVALID: from a token that lists the mechanism. */
const MECHANISM_REFUSED: ReadonlySet<number> = new Set([0x70, 0x71])
const ID_OCTETS = 16
/** How soon a key that was copied to a further token is used there. */
const MISSING_KEPT_MILLISECONDS = 10_000

export function pkcs11KeyStore(options: PKCS11KeyStoreOptions): GuardedKeyStore {
  const { database, world, log, organizationId, id: store } = options
  /** Given by a person: kept in memory only, also for tokens that are away now. */
  let given: Secret | undefined
  const pin = (): Secret | undefined => given ?? options.pin()
  const tokens = options.tokens.map((selector) => openToken({ ...options, store, selector, pin, clock: world.clock }))
  /** One per key, so that destroying a key reaches every holder in this process. */
  const held = new Map<string, HeldKey>()
  const destroyed = new Set<string>()
  /** Labels that each token was seen to hold: where one is missing all at once, the token is not what it was. */
  const seen = new Map(tokens.map((token) => [token, new Set<string>()]))

  const rowOf = async (label: string): Promise<TokenKey | undefined> => {
    const [row] = await database.query<TokenKey>(
      `SELECT label, key_algorithm, public_key, created_at, destroyed_at FROM token_key
        WHERE organization_id = ? AND key_store = ? AND label = ?`,
      organizationId,
      store,
      label,
    )
    return row
  }

  /** The least loaded of those that are well, then those that may become so. */
  const inOrder = (): readonly Token[] =>
    tokens.length === 1 ? tokens : tokens.toSorted((a, b) => rank(a) - rank(b) || a.load() - b.load())

  /** Asks one token after the other until one can be reached. @throws TrustError `unavailable`, of the last */
  const withToken = async <T>(work: (connection: TokenConnection, token: Token) => Promise<T>): Promise<T> => {
    let last: unknown
    for (const token of inOrder()) {
      try {
        return await work(token.connected() ?? (await token.connection()), token)
      } catch (error) {
        if (!(error instanceof TrustError && error.code === 'unavailable')) throw error
        last = error
      }
    }
    throw last
  }

  /** What stands under the label in this token. @throws TrustError */
  const find = async (connection: TokenConnection, token: Token, label: string): Promise<KeyOnToken | undefined> => {
    const { count, key } = await connection.find(label).catch((error: unknown) => {
      throw refused(error, token)
    })
    if (count > 1) throw new TrustError('unavailable', 'tokenKeyAmbiguous', { facts: { store, label } })
    if (key === undefined) return undefined
    const publicKey = publicKeyOf(key)
    if (publicKey === undefined) throw new TrustError('unavailable', 'tokenKeyUnreadable', { facts: { store, label } })
    if (key.alwaysAuthenticate === true) throw new TrustError('unsupported', 'tokenKeyAlwaysAsks', { facts: { store, label } })
    return { ...key, publicKey }
  }

  const refused = (error: unknown, token: Token): unknown => {
    const refusal = refusalIn(error)
    if (refusal === undefined) return error
    const facts = { store, token: token.name, problem: (error as Error).message }
    return new TrustError('unsupported', 'tokenRefused', { facts, cause: error })
  }

  const keep = (label: string, publicKey: PublicKey): Signer => {
    const known = held.get(label)
    if (known !== undefined) return known.signer
    const made = heldKey(label, publicKey)
    held.set(label, made)
    return made.signer
  }

  function heldKey(label: string, publicKey: PublicKey): HeldKey {
    const { algorithm } = publicKey
    const kind = kindFor(algorithm)
    const plans = new Map<string, SigningPlan>(
      kind === undefined ? [] : signaturesOf(algorithm).map((scheme) => [scheme.id, kind.plan(scheme)]),
    )
    const isRSA = keyAlgorithm(algorithm).family === 'rsa'
    /** By connection, so that a handle ends with its session and a new one is checked anew. */
    const copies = new WeakMap<TokenConnection, Promise<CopyOfKey>>()
    let dropped = false

    const copyOn = (connection: TokenConnection, token: Token): Promise<CopyOfKey> => {
      const known = copies.get(connection)
      if (known !== undefined) return known
      const looking = find(connection, token, label).then((found) => {
        if (found === undefined) {
          if (seen.get(token)?.delete(label)) throw token.distrust('the keys that it held are not there')
          throw new TrustError('unavailable', 'tokenKeyMissing', { facts: { store, token: token.name, label } })
        }
        if (!equal(found.publicKey.spki, publicKey.spki)) {
          log.error('a token holds another key under this label', { keyStore: store, name: token.name, label })
          throw new TrustError('unavailable', 'tokenKeyOther', { facts: { store, token: token.name, label } })
        }
        seen.get(token)?.add(label)
        return { handle: found.handle, checked: new Set<string>() }
      })
      copies.set(connection, looking)
      looking.catch((error: unknown) => {
        const isMissing = error instanceof TrustError && error.reason === 'tokenKeyMissing'
        // a token without the key is not asked for it before every signature that another makes
        if (isMissing) setTimeout(() => copies.delete(connection), MISSING_KEPT_MILLISECONDS).unref()
        else copies.delete(connection)
      })
      return looking
    }

    /** @throws TrustError `unavailable` with what this token did wrong */
    const signOn = async (connection: TokenConnection, token: Token, plan: SigningPlan, job: Job): Promise<Uint8Array> => {
      const copy = await copyOn(connection, token)
      let raw: Uint8Array
      try {
        raw = await connection.sign({ ...plan.request, handle: copy.handle, data: job.data })
      } catch (error) {
        const { rv } = refusalIn(error) ?? {}
        if (rv === undefined || !MECHANISM_REFUSED.has(rv)) throw refused(error, token)
        const facts = { store, token: token.name, mechanism: mechanismName(plan.request.mechanism) }
        throw new TrustError('unavailable', 'tokenMechanism', { facts, cause: error })
      }
      const octets = plan.finish(raw)
      const trusted = !options.checkEverySignature && !isRSA && copy.checked.has(job.signature)
      // a faulty RSA signature gives away the key to whoever sees it (Boneh, DeMillo, Lipton 1997), and checking is cheap
      if (octets !== undefined && (trusted || (await job.verify(octets)))) {
        copy.checked.add(job.signature)
        return octets
      }
      log.error('a token made a signature that does not verify', { keyStore: store, name: token.name, label })
      void token.distrust('a signature did not verify')
      throw new TrustError('unavailable', 'tokenSignatureWrong', { facts: { store, token: token.name, label } })
    }

    const planFor = (signature: SignatureAlgorithmId): SigningPlan => {
      const plan = plans.get(signature)
      if (plan !== undefined) return plan
      throw new TrustError('unsupported', 'signerFamily', { facts: { keyAlgorithm: algorithm, signature } })
    }

    const signData = async (plan: SigningPlan, job: Job): Promise<Uint8Array> => {
      if (dropped) throw notFound(label)
      if (job.data.length > MESSAGE_MAX_OCTETS)
        throw new TrustError('tooLarge', 'tokenMessageTooLarge', { facts: { limit: MESSAGE_MAX_OCTETS } })
      try {
        return await withToken((connection, token) => signOn(connection, token, plan, job))
      } catch (error) {
        // where another process destroyed the key, that is what is to be said
        const isMissing = error instanceof TrustError && error.reason === 'tokenKeyMissing'
        if (isMissing && (await rowOf(label))?.destroyed_at !== null) throw notFound(label)
        throw error
      }
    }

    const sign = async (message: Uint8Array, signature: SignatureAlgorithmId): Promise<Uint8Array> => {
      const plan = planFor(signature)
      const prepared = plan.prepare(message)
      const data = prepared instanceof Promise ? await prepared : prepared
      const verify = (octets: Uint8Array) => verifySignature({ algorithm: signature, octets }, publicKey, message)
      return signData(plan, { data, signature, verify })
    }

    const signDigest = async (digest: Uint8Array, signature: SignatureAlgorithmId): Promise<Uint8Array> => {
      const plan = planFor(signature)
      const scheme = signatureAlgorithm(signature)
      checkDigest(digest, scheme)
      if (plan.fromDigest === undefined) throw new TypeError(`${signature} takes no digest`)
      const verify = (octets: Uint8Array) => verifyDigest({ spki: publicKey.spki, digest, signature: octets }, scheme)
      return signData(plan, { data: plan.fromDigest(digest), signature, verify })
    }

    return {
      signer: { label, keyAlgorithm: algorithm, publicKey: publicKey.spki, sign, signDigest },
      drop: () => void (dropped = true),
    }
  }

  const insert = async (label: string, algorithm: KeyAlgorithmId, publicKey: Uint8Array): Promise<void> => {
    const id = uuidv7(world)
    const createdAt = world.clock.now()
    const inserted = await database.transaction((tx) =>
      tx.query(
        `INSERT INTO token_key (id, organization_id, version, key_store, label, key_algorithm, public_key, created_at)
          VALUES (?, ?, 1, ?, ?, ?, ?, ?) ON CONFLICT (organization_id, key_store, label) DO NOTHING RETURNING id`,
        id,
        organizationId,
        store,
        label,
        algorithm,
        publicKey,
        createdAt,
      ),
    )
    if (inserted.length === 0) throw labelTaken(label)
  }

  const update = async (label: string, assignment: string, value: Uint8Array | number): Promise<void> => {
    await database.transaction((tx) =>
      tx.query(
        `UPDATE token_key SET ${assignment} = ?, version = version + 1
          WHERE organization_id = ? AND key_store = ? AND label = ?`,
        value,
        organizationId,
        store,
        label,
      ),
    )
  }

  // Tokens are written for one who makes keys at a time: SoftHSM now and then fails while a new key is made and used beside.
  let turn: Promise<unknown> = Promise.resolve()
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const mine = turn.then(work, work)
    turn = mine.catch(() => {})
    return mine
  }

  /** The label is free in the token and in our records: it becomes ours before the token is asked to make a key. */
  const generateOn = async (
    connection: TokenConnection,
    token: Token,
    label: string,
    algorithm: KeyAlgorithmId,
  ): Promise<Signer> => {
    const kind = algorithmsOf(connection.info).includes(algorithm) ? kindFor(algorithm) : undefined
    if (kind === undefined) {
      const offered = algorithmsOf(connection.info).join(', ')
      throw new TrustError('unsupported', 'keyStoreAlgorithm', { facts: { algorithm, offered } })
    }
    if ((await connection.find(label)).count > 0) throw labelTaken(label)
    await insert(label, algorithm, new Uint8Array(0))
    const id = world.random.octets(ID_OCTETS).toHex()
    const { key } = await connection.generate({ label, id, kind: kind.generate }).catch((error: unknown) => {
      throw refused(error, token)
    })
    const publicKey = key === undefined ? undefined : publicKeyOf(key)
    try {
      if (publicKey?.algorithm !== algorithm || key?.sensitive !== true || key.extractable !== false)
        throw new TrustError('unavailable', 'tokenKeyNotAsAsked', { facts: { store, token: token.name, label } })
      // a key pair whose halves do not belong together is found before anything relies on it
      await heldKey(label, publicKey).signer.sign(utf8('pairwise consistency'), certificateSignatureOf(algorithm))
    } catch (error) {
      await connection.destroy(label).catch(() => {})
      await update(label, 'destroyed_at', world.clock.now())
      throw error
    }
    await update(label, 'public_key', publicKey.spki)
    seen.get(token)?.add(label)
    return keep(label, publicKey)
  }

  return {
    id: store,
    /** What every token that was seen offers; nothing before the first was. */
    get algorithms() {
      const infos = tokens.flatMap((token) => token.info() ?? [])
      if (infos.length === 0) return []
      const offered = infos.map((info) => new Set(algorithmsOf(info)))
      return keyAlgorithms.map(({ id }) => id).filter((id) => offered.every((set) => set.has(id)))
    },

    async generate(label, algorithm) {
      if (!isKeyAlgorithmId(algorithm) || keyAlgorithm(algorithm).standing !== 'allowed') {
        throw new TrustError('unsupported', 'keyStoreAlgorithm', { facts: { algorithm, offered: this.algorithms.join(', ') } })
      }
      if ((await rowOf(label)) !== undefined) throw labelTaken(label)
      // not `withToken`: a key that may have been begun in one token is not begun in another
      const connection = await withToken(async (found, token) => ({ found, token }))
      return inTurn(() => generateOn(connection.found, connection.token, label, algorithm))
    },

    async open(label) {
      const row = await rowOf(label)
      if ((row !== undefined && row.destroyed_at !== null) || destroyed.has(label)) throw notFound(label)
      if (row !== undefined && row.public_key.length > 0)
        return held.get(label)?.signer ?? keep(label, importPublicKey(row.public_key))
      const found = await withToken((connection, token) => find(connection, token, label))
      if (found === undefined) throw notFound(label)
      // made in the token by other means, or by a process that died before it could say so: from now on it is ours
      if (row === undefined) await insert(label, found.publicKey.algorithm, found.publicKey.spki)
      else await update(label, 'public_key', found.publicKey.spki)
      return keep(label, found.publicKey)
    },

    async list() {
      const rows = await database.query<TokenKey>(
        `SELECT label, key_algorithm, public_key, created_at, destroyed_at FROM token_key
          WHERE organization_id = ? AND key_store = ? AND destroyed_at IS NULL ORDER BY label`,
        organizationId,
        store,
      )
      return rows
        .filter(({ public_key: publicKey }) => publicKey.length > 0)
        .map(({ label, key_algorithm: algorithm, public_key: publicKey, created_at: createdAt }) => ({
          label,
          keyAlgorithm: algorithm as KeyAlgorithmId,
          publicKey,
          createdAt: new Date(createdAt),
        }))
    },

    async destroy(label) {
      const row = await rowOf(label)
      if (row === undefined || row.destroyed_at !== null) throw notFound(label)
      // all or none: a copy that stays behind in a token that is away would not be destroyed
      const connections = await Promise.all(tokens.map((token) => token.connection()))
      for (const connection of connections) await connection.destroy(label)
      await update(label, 'destroyed_at', world.clock.now())
      destroyed.add(label)
      held.get(label)?.drop()
      held.delete(label)
    },

    async state(): Promise<KeyStoreState> {
      // a look begins what a first signature would; it waits only for what is at once
      await Promise.allSettled(tokens.filter((token) => token.state() === 'idle').map((token) => token.connection()))
      return {
        state: storeState(tokens.map((token) => token.state())),
        tokens: tokens.map(tokenState),
      }
    },

    async unlock(written) {
      let unlocked = 0
      let last: unknown
      for (const token of tokens) {
        try {
          await token.unlock(written)
          unlocked++
        } catch (error) {
          // one refusal is enough: the others would count the same wrong PIN
          if (error instanceof TrustError && error.code === 'forbidden') throw error
          last = error
        }
      }
      if (unlocked === 0) throw last
      given = written
    },

    async close() {
      await Promise.all(tokens.map((token) => token.close()))
    },
  } satisfies KeyStore & GuardedKeyStore
}

const tokenState = (token: Token): KeyStoreState['tokens'][number] => {
  const { manufacturer, model, serialNumber } = token.info() ?? {}
  return {
    name: token.name,
    state: token.state(),
    problem: token.problem(),
    ...(serialNumber !== undefined && { manufacturer, model, serialNumber }),
  }
}

/**
 * Whether library and tokens are there, for people who look for what is wrong. No PIN is given, so a token that is well
 * is `locked`.
 */
export async function lookAtTokens(
  options: Pick<PKCS11KeyStoreOptions, 'id' | 'module' | 'tokens' | 'world' | 'environment'>,
): Promise<KeyStoreState['tokens']> {
  const { id: store, world } = options
  const shared = { ...options, store, clock: world.clock, log: silentLog, sessions: 1, pin: () => undefined }
  const tokens = options.tokens.map((selector) => openToken({ ...shared, selector }))
  await Promise.allSettled(tokens.map((token) => token.connection()))
  const states = tokens.map(tokenState)
  await Promise.all(tokens.map((token) => token.close()))
  return states
}

interface Job {
  /** What goes to the token. */
  readonly data: Uint8Array
  readonly signature: SignatureAlgorithmId
  verify(octets: Uint8Array): boolean | Promise<boolean>
}

interface HeldKey {
  readonly signer: Signer
  /** Makes every signer of this key refuse from now on. */
  drop(): void
}

type KeyOnToken = KeyAttributes & { readonly publicKey: PublicKey }

/** One token's copy of a key. */
interface CopyOfKey {
  readonly handle: number
  /** Signature algorithms that were seen to work. */
  readonly checked: Set<string>
}

const rank = (token: Token): number =>
  ({ ready: 0, opening: 1, idle: 1, gone: 2, locked: 3, pinWrong: 3, closed: 4 })[token.state()]

/** As well as the best of its tokens. */
const storeState = (states: readonly ReturnType<Token['state']>[]): KeyStoreState['state'] =>
  states.includes('ready') ? 'ready' : states.includes('pinWrong') ? 'pinWrong' : states.includes('locked') ? 'locked' : 'gone'

const labelTaken = (label: string): TrustError => new TrustError('conflict', 'keyLabelTaken', { facts: { label } })
const notFound = (label: string): TrustError => new TrustError('notFound', 'keyNotFound', { facts: { label } })
