/**
 * Keys in a TPM: made, loaded, kept, and used.
 *
 * A loaded key takes one of a TPM's few places: `withPrimary` and `withKey` give it back.
 *
 * Source: TCG TPM 2.0 Library, Part 3, 12, 18, 20, 24 and 28.
 *
 * @module
 */
import { equal } from '#base/bytes.ts'
import type { PublicKey } from '#algorithms/public-key.ts'
import { TrustError } from '#base/errors.ts'
import { type Secret, secret } from '#base/secret.ts'
import type { Statement } from './attestation.ts'
import { commands } from './commands.ts'
import type { Credential } from './credential.ts'
import { handleName, objectName } from './name.ts'
import { coordinate, keyPartOf } from './public-key.ts'
import { type Authorized, authValueOf, type Entity, type Session } from './session.ts'
import {
  NO_HASHCHECK,
  type TPML_PCR_SELECTION,
  TPMS_CREATION_DATA,
  type TPMT_PUBLIC,
  TPMT_SIGNATURE,
  type TPMT_TK,
} from './structures.ts'
import { hierarchies, type RunOptions, type TPM } from './tpm.ts'
import { marshal } from './wire.ts'

export interface LoadedKey extends Entity {
  readonly publicArea: TPMT_PUBLIC
}

/** How a key came to be; only the TPM that made it can certify it. */
export interface Creation {
  /** Octets of TPMS_CREATION_DATA. */
  readonly creationData: Uint8Array
  readonly creationHash: Uint8Array
  readonly creationTicket: TPMT_TK
}

/** A key outside of its TPM, wrapped by its parent: useless to every other TPM. */
export interface WrappedKey {
  readonly outPrivate: Uint8Array
  readonly outPublic: TPMT_PUBLIC
}

export interface NewKey extends RunOptions {
  readonly template: TPMT_PUBLIC
  /** Asked for at each use. */
  readonly authValue?: Secret
  /** What is sealed into an object of type KEYEDHASH. */
  readonly data?: Secret
  readonly outsideInfo?: Uint8Array
  readonly creationPCR?: TPML_PCR_SELECTION
}

const EMPTY = new Uint8Array(0)
const NO_SCHEME = { scheme: 'NULL' } as const

const creating = ({ template, authValue, data, outsideInfo = EMPTY, creationPCR = [] }: NewKey) => ({
  inSensitive: {
    userAuth: authValue === undefined ? EMPTY : authValueOf({ ...hierarchies.null, authValue }),
    data: data?.reveal('sealed into a TPM object') ?? EMPTY,
  },
  inPublic: template,
  outsideInfo,
  creationPCR,
})

const withAuthValue = (authValue: Secret | undefined): { readonly authValue?: Secret } =>
  authValue === undefined ? {} : { authValue }

/**
 * A key made from a hierarchy's seed: the same each time for the same template.
 *
 * @throws TrustError as `TPM.run`
 */
export async function createPrimary(tpm: TPM, primaryHandle: Authorized, key: NewKey): Promise<LoadedKey & Creation> {
  const made = await tpm.run(commands.CreatePrimary, { primaryHandle, ...creating(key) }, key)
  const name = checkedName(made.name, made.outPublic, 'CreatePrimary')
  const { objectHandle: handle, outPublic: publicArea, creationHash, creationTicket } = made
  const creationData = marshal(TPMS_CREATION_DATA, made.creationData)
  return { handle, name, publicArea, ...withAuthValue(key.authValue), creationData, creationHash, creationTicket }
}

export async function withPrimary<T>(
  tpm: TPM,
  primaryHandle: Authorized,
  key: NewKey,
  work: (key: LoadedKey & Creation) => Promise<T>,
): Promise<T> {
  const made = await createPrimary(tpm, primaryHandle, key)
  return tpm.using(made, () => work(made))
}

/** A new key under a parent, still wrapped. */
export async function createKey(tpm: TPM, parentHandle: Authorized, key: NewKey): Promise<WrappedKey & Creation> {
  const made = await tpm.run(commands.Create, { parentHandle, ...creating(key) }, key)
  const { outPrivate, outPublic, creationHash, creationTicket } = made
  return { outPrivate, outPublic, creationData: marshal(TPMS_CREATION_DATA, made.creationData), creationHash, creationTicket }
}

export async function loadKey(
  tpm: TPM,
  parentHandle: Authorized,
  { outPrivate, outPublic }: WrappedKey,
  authValue?: Secret,
): Promise<LoadedKey> {
  const loaded = await tpm.run(commands.Load, { parentHandle, inPrivate: outPrivate, inPublic: outPublic })
  const name = checkedName(loaded.name, outPublic, 'Load')
  return { handle: loaded.objectHandle, name, publicArea: outPublic, ...withAuthValue(authValue) }
}

export async function withKey<T>(
  tpm: TPM,
  parentHandle: Authorized,
  wrapped: WrappedKey & { readonly authValue?: Secret },
  work: (key: LoadedKey) => Promise<T>,
): Promise<T> {
  const key = await loadKey(tpm, parentHandle, wrapped, wrapped.authValue)
  return tpm.using(key, () => work(key))
}

/** A public key of others, so that the TPM checks signatures with it. */
export async function loadExternal(tpm: TPM, inPublic: TPMT_PUBLIC): Promise<LoadedKey> {
  const loaded = await tpm.run(commands.LoadExternal, { inPrivate: EMPTY, inPublic, hierarchy: 'OWNER' })
  return { handle: loaded.objectHandle, name: checkedName(loaded.name, inPublic, 'LoadExternal'), publicArea: inPublic }
}

/** What lies under a handle; for keys that stay in the TPM. @throws TrustError `notFound` */
export async function openKey(tpm: TPM, handle: number, authValue?: Secret): Promise<LoadedKey> {
  const { outPublic, name } = await tpm.run(commands.ReadPublic, { objectHandle: { handle, name: handleName(handle) } })
  return { handle, name: checkedName(name, outPublic, 'ReadPublic'), publicArea: outPublic, ...withAuthValue(authValue) }
}

/**
 * Keeps a loaded key in the TPM's own memory. The loaded one stays where it is.
 *
 * @param persistentHandle 0x81000000 to 0x817FFFFF for the owner
 * @throws TrustError `conflict` when something lies there
 */
export async function keepKey(tpm: TPM, auth: Authorized, key: LoadedKey, persistentHandle: number): Promise<LoadedKey> {
  await tpm.run(commands.EvictControl, { auth, objectHandle: key, persistentHandle })
  return { ...key, handle: persistentHandle }
}

/** Takes a kept key out of the TPM for good, unless it can be made again or its blob is elsewhere. */
export async function removeKey(tpm: TPM, auth: Authorized, kept: Entity): Promise<void> {
  await tpm.run(commands.EvictControl, { auth, objectHandle: kept, persistentHandle: kept.handle })
}

/** A TPM that names an object otherwise than its public area does is none, or somebody sits in between. */
function checkedName(name: Uint8Array, publicArea: TPMT_PUBLIC, command: string): Uint8Array {
  const computed = objectName(publicArea)
  if (equal(name, computed)) return computed
  throw new TrustError('malformed', 'tpmAnswerOther', { facts: { command, detail: 'its name is not that of its public area' } })
}

/**
 * Reads a challenge that `makeCredential` made for an object of this TPM.
 *
 * @param endorsement authorization of the endorsement hierarchy, where it is not empty
 * @throws TrustError `badProof` when it was made for another object or another TPM
 */
export async function activateCredential(
  tpm: TPM,
  {
    object,
    endorsementKey,
    endorsement = hierarchies.endorsement,
  }: { readonly object: Authorized; readonly endorsementKey: LoadedKey; readonly endorsement?: Authorized },
  { credentialBlob, secret: encrypted }: Credential,
): Promise<Secret> {
  const activate = async (keyHandle: Authorized): Promise<Secret> => {
    const answer = await tpm.run(commands.ActivateCredential, {
      activateHandle: object,
      keyHandle,
      credentialBlob,
      secret: encrypted,
    })
    return secret(answer.certInfo)
  }
  // the high range opens with its (empty) authorization; the low range only by PolicyA
  const { objectAttributes, nameAlg } = endorsementKey.publicArea
  if (objectAttributes.includes('userWithAuth')) return activate(endorsementKey)
  return tpm.withSession({ kind: 'POLICY', authHash: nameAlg }, async (session) => {
    await satisfySecret(tpm, session, endorsement)
    return activate({ ...endorsementKey, session })
  })
}

/** PolicySecret: whoever runs it knows the authorization of this entity. */
export async function satisfySecret(tpm: TPM, policySession: Session, authHandle: Authorized): Promise<void> {
  const empty = { nonceTPM: EMPTY, cpHashA: EMPTY, policyRef: EMPTY, expiration: 0 }
  await tpm.run(commands.PolicySecret, { authHandle, policySession, ...empty })
}

/** PolicyAuthValue: the key is opened by its policy and its own authorization. */
export async function satisfyAuthValue(tpm: TPM, policySession: Session): Promise<void> {
  await tpm.run(commands.PolicyAuthValue, { policySession })
  policySession.needsAuthValue = true
}

/** The TPM's word that a key is in it; checked by `checkCertified`. */
export async function certify(
  tpm: TPM,
  { object, by, nonce }: { readonly object: Authorized; readonly by: Authorized; readonly nonce: Uint8Array },
): Promise<Statement> {
  const said = await tpm.run(commands.Certify, {
    objectHandle: object,
    signHandle: by,
    qualifyingData: nonce,
    inScheme: NO_SCHEME,
  })
  return { attest: said.attest, signature: marshal(TPMT_SIGNATURE, said.signature) }
}

/** The TPM's word how a key was made, for as long as nothing was cleared; checked by `checkCreation`. */
export async function certifyCreation(
  tpm: TPM,
  {
    object,
    creation: { creationHash, creationTicket },
    by,
    nonce,
  }: { readonly object: Entity; readonly creation: Creation; readonly by: Authorized; readonly nonce: Uint8Array },
): Promise<Statement> {
  const said = await tpm.run(commands.CertifyCreation, {
    signHandle: by,
    objectHandle: object,
    qualifyingData: nonce,
    creationHash,
    inScheme: NO_SCHEME,
    creationTicket,
  })
  return { attest: said.attest, signature: marshal(TPMT_SIGNATURE, said.signature) }
}

/** The TPM's word what was measured; checked by `checkQuote`. */
export async function quote(
  tpm: TPM,
  { selection, by, nonce }: { readonly selection: TPML_PCR_SELECTION; readonly by: Authorized; readonly nonce: Uint8Array },
): Promise<Statement> {
  const said = await tpm.run(commands.Quote, {
    signHandle: by,
    qualifyingData: nonce,
    inScheme: NO_SCHEME,
    PCRselect: selection,
  })
  return { attest: said.attest, signature: marshal(TPMT_SIGNATURE, said.signature) }
}

/** By the key's own scheme. @throws TrustError `unsupported` when the digest is of another length, or the key is restricted */
export async function signDigest(tpm: TPM, keyHandle: Authorized, digest: Uint8Array): Promise<TPMT_SIGNATURE> {
  const { signature } = await tpm.run(commands.Sign, { keyHandle, digest, inScheme: NO_SCHEME, validation: NO_HASHCHECK })
  return signature
}

/**
 * What a key of the TPM and another's key agree on: the coordinate x, as ECDH has it.
 *
 * @throws TrustError `unsupported` for a key of another curve; as `TPM.run` for a point that is not on it
 */
export async function agree(tpm: TPM, key: LoadedKey, others: PublicKey): Promise<Uint8Array> {
  const part = keyPartOf(others)
  const { publicArea } = key
  if (part.type !== 'ECC' || publicArea.type !== 'ECC' || part.curveID !== publicArea.parameters.curveID)
    throw new TrustError('unsupported', 'tpmUnsupported', { facts: { what: 'an agreement with a key of another curve' } })
  const { outPoint } = await tpm.run(commands.ECDH_ZGen, { keyHandle: key, inPoint: part.unique })
  return coordinate(part.curveID, outPoint.x)
}
