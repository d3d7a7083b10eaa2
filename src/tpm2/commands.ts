/**
 * The commands, as data: handles and parameters in their order, named as Part 3 names them.
 *
 * A handle that is `authorized` gets a session, or its authorization as a password.
 *
 * Source: TCG TPM 2.0 Library, Part 3: Commands, revision 1.59.
 *
 * @module
 */
import { type TPM_CC, TPM_EO, TPM_RH, TPM_SE, TPM_SU } from './constants.ts'
import {
  TPM2B_ATTEST,
  TPM2B_AUTH,
  TPM2B_CREATION_DATA,
  TPM2B_DATA,
  TPM2B_DIGEST,
  TPM2B_ECC_POINT,
  TPM2B_ENCRYPTED_SECRET,
  TPM2B_ID_OBJECT,
  TPM2B_MAX_BUFFER,
  TPM2B_MAX_NV_BUFFER,
  TPM2B_NAME,
  TPM2B_NONCE,
  TPM2B_NV_PUBLIC,
  TPM2B_OPERAND,
  TPM2B_PRIVATE,
  TPM2B_PUBLIC,
  TPM2B_SENSITIVE_CREATE,
  TPM2B_SENSITIVE_DATA,
  TPM2B_TIMEOUT,
  TPM_CAP_NAME,
  TPMI_ALG_HASH,
  TPML_DIGEST,
  TPML_DIGEST_VALUES,
  TPML_PCR_SELECTION,
  TPMS_CAPABILITY_DATA,
  TPMS_CONTEXT,
  TPMS_TIME_INFO,
  TPMT_SIG_SCHEME,
  TPMT_SIGNATURE,
  TPMT_SYM_DEF_OBJECT,
  TPMT_TK,
} from './structures.ts'
import { type Fields, oneOf, TPM2B, TPMI_YES_NO, UINT16, UINT32, UINT8 } from './wire.ts'

type HandleKind = 'authorized' | 'plain'
export type Handles = Readonly<Record<string, HandleKind>>

export interface Command<H extends Handles, P extends Fields, A extends Fields, R extends Fields> {
  readonly name: keyof typeof TPM_CC
  readonly handles: H
  readonly parameters: P
  readonly answerHandles: A
  readonly answer: R
  readonly limitSeconds: number
}

interface Shape<H, P, A, R> {
  readonly handles?: H
  readonly parameters?: P
  readonly answerHandles?: A
  readonly answer?: R
  readonly limitSeconds?: number
}

/** The slowest parts take a second for a signature or a write; all else hangs. */
const LIMIT_SECONDS = 20
/** An RSA key takes a real part minutes at worst (Linux waits five for these). */
const KEY_LIMIT_SECONDS = 300

const NONE = {} as const
type None = typeof NONE

const command = <
  const H extends Handles = None,
  const P extends Fields = None,
  const A extends Fields = None,
  const R extends Fields = None,
>(
  name: keyof typeof TPM_CC,
  shape: Shape<H, P, A, R>,
): Command<H, P, A, R> => ({
  name,
  handles: shape.handles ?? (NONE as H),
  parameters: shape.parameters ?? (NONE as P),
  answerHandles: shape.answerHandles ?? (NONE as A),
  answer: shape.answer ?? (NONE as R),
  limitSeconds: shape.limitSeconds ?? LIMIT_SECONDS,
})

/** Empty where the parent of a key came along as a public key only (TPM2_LoadExternal). */
const NO_SENSITIVE = TPM2B('TPM2B_SENSITIVE', 0)

const TPM_EO_NAME = oneOf('TPM_EO', UINT16, TPM_EO, [
  'EQ',
  'NEQ',
  'SIGNED_GT',
  'UNSIGNED_GT',
  'SIGNED_LT',
  'UNSIGNED_LT',
  'SIGNED_GE',
  'UNSIGNED_GE',
  'SIGNED_LE',
  'UNSIGNED_LE',
  'BITSET',
  'BITCLEAR',
])
const HIERARCHY = oneOf('TPMI_RH_HIERARCHY', UINT32, TPM_RH, ['OWNER', 'PLATFORM', 'ENDORSEMENT', 'NULL'])

const create = {
  inSensitive: TPM2B_SENSITIVE_CREATE,
  inPublic: TPM2B_PUBLIC,
  outsideInfo: TPM2B_DATA,
  creationPCR: TPML_PCR_SELECTION,
}
const created = { creationData: TPM2B_CREATION_DATA, creationHash: TPM2B_DIGEST, creationTicket: TPMT_TK }
const attested = { attest: TPM2B_ATTEST, signature: TPMT_SIGNATURE }

export const commands = {
  Startup: command('Startup', { parameters: { startupType: oneOf('TPM_SU', UINT16, TPM_SU, ['CLEAR', 'STATE']) } }),
  Shutdown: command('Shutdown', { parameters: { shutdownType: oneOf('TPM_SU', UINT16, TPM_SU, ['CLEAR', 'STATE']) } }),
  GetCapability: command('GetCapability', {
    parameters: { capability: TPM_CAP_NAME, property: UINT32, propertyCount: UINT32 },
    answer: { moreData: TPMI_YES_NO, capabilityData: TPMS_CAPABILITY_DATA },
  }),
  GetRandom: command('GetRandom', { parameters: { bytesRequested: UINT16 }, answer: { randomBytes: TPM2B_DIGEST } }),
  Hash: command('Hash', {
    parameters: { data: TPM2B_MAX_BUFFER, hashAlg: TPMI_ALG_HASH, hierarchy: HIERARCHY },
    answer: { outHash: TPM2B_DIGEST, validation: TPMT_TK },
  }),
  ReadClock: command('ReadClock', { answer: { currentTime: TPMS_TIME_INFO } }),
  Clear: command('Clear', { handles: { authHandle: 'authorized' }, limitSeconds: KEY_LIMIT_SECONDS }),

  CreatePrimary: command('CreatePrimary', {
    handles: { primaryHandle: 'authorized' },
    parameters: create,
    answerHandles: { objectHandle: UINT32 },
    answer: { outPublic: TPM2B_PUBLIC, ...created, name: TPM2B_NAME },
    limitSeconds: KEY_LIMIT_SECONDS,
  }),
  Create: command('Create', {
    handles: { parentHandle: 'authorized' },
    parameters: create,
    answer: { outPrivate: TPM2B_PRIVATE, outPublic: TPM2B_PUBLIC, ...created },
    limitSeconds: KEY_LIMIT_SECONDS,
  }),
  Load: command('Load', {
    handles: { parentHandle: 'authorized' },
    parameters: { inPrivate: TPM2B_PRIVATE, inPublic: TPM2B_PUBLIC },
    answerHandles: { objectHandle: UINT32 },
    answer: { name: TPM2B_NAME },
  }),
  LoadExternal: command('LoadExternal', {
    parameters: { inPrivate: NO_SENSITIVE, inPublic: TPM2B_PUBLIC, hierarchy: HIERARCHY },
    answerHandles: { objectHandle: UINT32 },
    answer: { name: TPM2B_NAME },
  }),
  ReadPublic: command('ReadPublic', {
    handles: { objectHandle: 'plain' },
    answer: { outPublic: TPM2B_PUBLIC, name: TPM2B_NAME, qualifiedName: TPM2B_NAME },
  }),
  ActivateCredential: command('ActivateCredential', {
    handles: { activateHandle: 'authorized', keyHandle: 'authorized' },
    parameters: { credentialBlob: TPM2B_ID_OBJECT, secret: TPM2B_ENCRYPTED_SECRET },
    answer: { certInfo: TPM2B_DIGEST },
  }),
  ECDH_ZGen: command('ECDH_ZGen', {
    handles: { keyHandle: 'authorized' },
    parameters: { inPoint: TPM2B_ECC_POINT },
    answer: { outPoint: TPM2B_ECC_POINT },
  }),
  Unseal: command('Unseal', { handles: { itemHandle: 'authorized' }, answer: { outData: TPM2B_SENSITIVE_DATA } }),
  EvictControl: command('EvictControl', {
    handles: { auth: 'authorized', objectHandle: 'plain' },
    parameters: { persistentHandle: UINT32 },
  }),
  FlushContext: command('FlushContext', { parameters: { flushHandle: UINT32 } }),
  ContextSave: command('ContextSave', { handles: { saveHandle: 'plain' }, answer: { context: TPMS_CONTEXT } }),
  ContextLoad: command('ContextLoad', { parameters: { context: TPMS_CONTEXT }, answerHandles: { loadedHandle: UINT32 } }),

  Certify: command('Certify', {
    handles: { objectHandle: 'authorized', signHandle: 'authorized' },
    parameters: { qualifyingData: TPM2B_DATA, inScheme: TPMT_SIG_SCHEME },
    answer: attested,
  }),
  CertifyCreation: command('CertifyCreation', {
    handles: { signHandle: 'authorized', objectHandle: 'plain' },
    parameters: { qualifyingData: TPM2B_DATA, creationHash: TPM2B_DIGEST, inScheme: TPMT_SIG_SCHEME, creationTicket: TPMT_TK },
    answer: attested,
  }),
  Quote: command('Quote', {
    handles: { signHandle: 'authorized' },
    parameters: { qualifyingData: TPM2B_DATA, inScheme: TPMT_SIG_SCHEME, PCRselect: TPML_PCR_SELECTION },
    answer: attested,
  }),
  Sign: command('Sign', {
    handles: { keyHandle: 'authorized' },
    parameters: { digest: TPM2B_DIGEST, inScheme: TPMT_SIG_SCHEME, validation: TPMT_TK },
    answer: { signature: TPMT_SIGNATURE },
  }),
  VerifySignature: command('VerifySignature', {
    handles: { keyHandle: 'plain' },
    parameters: { digest: TPM2B_DIGEST, signature: TPMT_SIGNATURE },
    answer: { validation: TPMT_TK },
  }),

  PCR_Read: command('PCR_Read', {
    parameters: { pcrSelectionIn: TPML_PCR_SELECTION },
    answer: { pcrUpdateCounter: UINT32, pcrSelectionOut: TPML_PCR_SELECTION, pcrValues: TPML_DIGEST },
  }),
  PCR_Extend: command('PCR_Extend', { handles: { pcrHandle: 'authorized' }, parameters: { digests: TPML_DIGEST_VALUES } }),
  PCR_Reset: command('PCR_Reset', { handles: { pcrHandle: 'authorized' } }),

  NV_DefineSpace: command('NV_DefineSpace', {
    handles: { authHandle: 'authorized' },
    parameters: { auth: TPM2B_AUTH, publicInfo: TPM2B_NV_PUBLIC },
  }),
  NV_UndefineSpace: command('NV_UndefineSpace', { handles: { authHandle: 'authorized', nvIndex: 'plain' } }),
  NV_ReadPublic: command('NV_ReadPublic', {
    handles: { nvIndex: 'plain' },
    answer: { nvPublic: TPM2B_NV_PUBLIC, nvName: TPM2B_NAME },
  }),
  NV_Increment: command('NV_Increment', { handles: { authHandle: 'authorized', nvIndex: 'plain' } }),
  NV_Write: command('NV_Write', {
    handles: { authHandle: 'authorized', nvIndex: 'plain' },
    parameters: { data: TPM2B_MAX_NV_BUFFER, offset: UINT16 },
  }),
  NV_Read: command('NV_Read', {
    handles: { authHandle: 'authorized', nvIndex: 'plain' },
    parameters: { size: UINT16, offset: UINT16 },
    answer: { data: TPM2B_MAX_NV_BUFFER },
  }),
  NV_Certify: command('NV_Certify', {
    handles: { signHandle: 'authorized', authHandle: 'authorized', nvIndex: 'plain' },
    parameters: { qualifyingData: TPM2B_DATA, inScheme: TPMT_SIG_SCHEME, size: UINT16, offset: UINT16 },
    answer: attested,
  }),

  StartAuthSession: command('StartAuthSession', {
    handles: { tpmKey: 'plain', bind: 'plain' },
    parameters: {
      nonceCaller: TPM2B_NONCE,
      encryptedSalt: TPM2B_ENCRYPTED_SECRET,
      sessionType: oneOf('TPM_SE', UINT8, TPM_SE, ['HMAC', 'POLICY', 'TRIAL']),
      symmetric: TPMT_SYM_DEF_OBJECT,
      authHash: TPMI_ALG_HASH,
    },
    answerHandles: { sessionHandle: UINT32 },
    answer: { nonceTPM: TPM2B_NONCE },
  }),
  PolicyPCR: command('PolicyPCR', {
    handles: { policySession: 'plain' },
    parameters: { pcrDigest: TPM2B_DIGEST, pcrs: TPML_PCR_SELECTION },
  }),
  PolicySigned: command('PolicySigned', {
    handles: { authObject: 'plain', policySession: 'plain' },
    parameters: {
      nonceTPM: TPM2B_NONCE,
      cpHashA: TPM2B_DIGEST,
      policyRef: TPM2B_NONCE,
      expiration: UINT32,
      auth: TPMT_SIGNATURE,
    },
    answer: { timeout: TPM2B_TIMEOUT, policyTicket: TPMT_TK },
  }),
  PolicySecret: command('PolicySecret', {
    handles: { authHandle: 'authorized', policySession: 'plain' },
    parameters: { nonceTPM: TPM2B_NONCE, cpHashA: TPM2B_DIGEST, policyRef: TPM2B_NONCE, expiration: UINT32 },
    answer: { timeout: TPM2B_TIMEOUT, policyTicket: TPMT_TK },
  }),
  PolicyOR: command('PolicyOR', { handles: { policySession: 'plain' }, parameters: { pHashList: TPML_DIGEST } }),
  PolicyNV: command('PolicyNV', {
    handles: { authHandle: 'authorized', nvIndex: 'plain', policySession: 'plain' },
    parameters: { operandB: TPM2B_OPERAND, offset: UINT16, operation: TPM_EO_NAME },
  }),
  PolicyCounterTimer: command('PolicyCounterTimer', {
    handles: { policySession: 'plain' },
    parameters: { operandB: TPM2B_OPERAND, offset: UINT16, operation: TPM_EO_NAME },
  }),
  PolicyCommandCode: command('PolicyCommandCode', { handles: { policySession: 'plain' }, parameters: { code: UINT32 } }),
  PolicyCpHash: command('PolicyCpHash', { handles: { policySession: 'plain' }, parameters: { cpHashA: TPM2B_DIGEST } }),
  PolicyNameHash: command('PolicyNameHash', { handles: { policySession: 'plain' }, parameters: { nameHash: TPM2B_DIGEST } }),
  PolicyLocality: command('PolicyLocality', { handles: { policySession: 'plain' }, parameters: { locality: UINT8 } }),
  PolicyNvWritten: command('PolicyNvWritten', { handles: { policySession: 'plain' }, parameters: { writtenSet: TPMI_YES_NO } }),
  PolicyAuthValue: command('PolicyAuthValue', { handles: { policySession: 'plain' } }),
  PolicyAuthorize: command('PolicyAuthorize', {
    handles: { policySession: 'plain' },
    parameters: { approvedPolicy: TPM2B_DIGEST, policyRef: TPM2B_NONCE, keySign: TPM2B_NAME, checkTicket: TPMT_TK },
  }),
  PolicyAuthorizeNV: command('PolicyAuthorizeNV', {
    handles: { authHandle: 'authorized', nvIndex: 'plain', policySession: 'plain' },
  }),
  PolicyGetDigest: command('PolicyGetDigest', { handles: { policySession: 'plain' }, answer: { policyDigest: TPM2B_DIGEST } }),
} as const
