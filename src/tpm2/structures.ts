/**
 * The specification's structures, named as it names them.
 *
 * Source: TCG TPM 2.0 Library, Part 2, revision 1.59, 8 to 15.
 *
 * @module
 */
import { TPM_ALG, TPM_CAP, TPM_ECC, TPM_GENERATED_VALUE, TPM_NT, TPM_RH, TPM_ST } from './constants.ts'
import { hashes, hashNames, uint32 } from './hash.ts'
import {
  bits,
  constant,
  type Infer,
  malformed,
  marshal,
  octets,
  oneOf,
  Reader,
  restOctets,
  structure,
  TPM2B,
  TPM2BOf,
  TPMI_YES_NO,
  TPML,
  UINT16,
  UINT32,
  UINT64,
  UINT8,
  unknown,
  unmarshal,
  variants,
  type Wire,
} from './wire.ts'

/** SHA-512, the longest digest of the registry. */
const DIGEST_MAX_OCTETS = 64
/** A digest with its algorithm before it. */
const NAME_MAX_OCTETS = DIGEST_MAX_OCTETS + 2
/** RSA of 4096 bits. */
const RSA_MAX_OCTETS = 512
/** P-521. */
const COORDINATE_MAX_OCTETS = 66
/** The largest buffer that a TPM reads or writes at once (TPM_PT_NV_BUFFER_MAX, MAX_DIGEST_BUFFER) is 1024 in all known ones. */
export const BUFFER_MAX_OCTETS = 1024
/** Banks of one TPM; the reference code has room for as many hashes. */
const BANKS_MAX = 16
/** Digests of a list (Part 2, 10.9.3). */
const DIGESTS_MAX = 8
/** Handles, properties or commands of one answer: what fits into one message. */
const CAPABILITIES_MAX = 256

// 8: attributes

export const TPMA_OBJECT = bits('TPMA_OBJECT', UINT32, {
  fixedTPM: 1,
  stClear: 2,
  fixedParent: 4,
  sensitiveDataOrigin: 5,
  userWithAuth: 6,
  adminWithPolicy: 7,
  firmwareLimited: 8,
  svnLimited: 9,
  noDA: 10,
  encryptedDuplication: 11,
  restricted: 16,
  decrypt: 17,
  sign: 18,
  x509sign: 19,
})
export type TPMA_OBJECT = Infer<typeof TPMA_OBJECT>

export const TPMA_SESSION = bits('TPMA_SESSION', UINT8, {
  continueSession: 0,
  auditExclusive: 1,
  auditReset: 2,
  decrypt: 5,
  encrypt: 6,
  audit: 7,
})
export type TPMA_SESSION = Infer<typeof TPMA_SESSION>

/** Without the type of the index, which takes bits 4 to 7. */
const NV_BITS = {
  PPWRITE: 0,
  OWNERWRITE: 1,
  AUTHWRITE: 2,
  POLICYWRITE: 3,
  POLICY_DELETE: 10,
  WRITELOCKED: 11,
  WRITEALL: 12,
  WRITEDEFINE: 13,
  WRITE_STCLEAR: 14,
  GLOBALLOCK: 15,
  PPREAD: 16,
  OWNERREAD: 17,
  AUTHREAD: 18,
  POLICYREAD: 19,
  NO_DA: 25,
  ORDERLY: 26,
  CLEAR_STCLEAR: 27,
  READLOCKED: 28,
  WRITTEN: 29,
  PLATFORMCREATE: 30,
  READ_STCLEAR: 31,
} as const
const NVBits = bits('TPMA_NV', UINT32, NV_BITS)
const NT_MASK = 0xf0
const ntNames = new Map(Object.entries(TPM_NT).map(([name, value]) => [value as number, name as keyof typeof TPM_NT]))

export interface TPMA_NV {
  readonly TPM_NT: keyof typeof TPM_NT
  readonly bits: readonly (keyof typeof NV_BITS)[]
}

export const TPMA_NV: Wire<TPMA_NV> = {
  name: 'TPMA_NV',
  read(from) {
    const value = UINT32.read(from)
    const nt = (value & NT_MASK) >>> 4
    const TPM_NT = ntNames.get(nt)
    if (TPM_NT === undefined) throw unknown('TPM_NT', nt)
    return { TPM_NT, bits: unmarshal(NVBits, uint32(value & ~NT_MASK)) }
  },
  write(to, { TPM_NT: nt, bits: set }) {
    const others = new Reader(marshal(NVBits, set)).uint(4, 'TPMA_NV')
    UINT32.write(to, others + TPM_NT[nt] * 16)
  },
}

// 9 and 11: algorithms and their parameters

export const TPMI_ALG_HASH = oneOf('TPMI_ALG_HASH', UINT16, TPM_ALG, hashNames)
/** Absent where nothing is hashed. */
export const TPMI_ALG_HASH_NULL = oneOf('TPMI_ALG_HASH+', UINT16, TPM_ALG, [...hashNames, 'NULL'])
const TPMI_ALG_SYM_MODE = oneOf('TPMI_ALG_SYM_MODE', UINT16, TPM_ALG, ['CTR', 'OFB', 'CBC', 'CFB', 'ECB', 'NULL'])

const TPMS_SCHEME_HASH = structure('TPMS_SCHEME_HASH', { hashAlg: TPMI_ALG_HASH })
const hashed = { details: TPMS_SCHEME_HASH }

export const TPMT_HA = variants('TPMT_HA', { hashAlg: TPMI_ALG_HASH }, 'hashAlg', {
  SHA1: { digest: octets('TPMU_HA', hashes.SHA1.octets) },
  SHA256: { digest: octets('TPMU_HA', hashes.SHA256.octets) },
  SHA384: { digest: octets('TPMU_HA', hashes.SHA384.octets) },
  SHA512: { digest: octets('TPMU_HA', hashes.SHA512.octets) },
  SM3_256: { digest: octets('TPMU_HA', hashes.SM3_256.octets) },
  SHA3_256: { digest: octets('TPMU_HA', hashes.SHA3_256.octets) },
  SHA3_384: { digest: octets('TPMU_HA', hashes.SHA3_384.octets) },
  SHA3_512: { digest: octets('TPMU_HA', hashes.SHA3_512.octets) },
})
export type TPMT_HA = Infer<typeof TPMT_HA>

export const TPMT_SYM_DEF_OBJECT = variants(
  'TPMT_SYM_DEF_OBJECT',
  { algorithm: oneOf('TPMI_ALG_SYM_OBJECT', UINT16, TPM_ALG, ['AES', 'NULL']) },
  'algorithm',
  { AES: { keyBits: UINT16, mode: TPMI_ALG_SYM_MODE }, NULL: {} },
)
export type TPMT_SYM_DEF_OBJECT = Infer<typeof TPMT_SYM_DEF_OBJECT>

export const TPMT_KDF_SCHEME = variants(
  'TPMT_KDF_SCHEME',
  { scheme: oneOf('TPMI_ALG_KDF', UINT16, TPM_ALG, ['MGF1', 'KDF1_SP800_56A', 'KDF2', 'KDF1_SP800_108', 'NULL']) },
  'scheme',
  { MGF1: hashed, KDF1_SP800_56A: hashed, KDF2: hashed, KDF1_SP800_108: hashed, NULL: {} },
)

export const TPMT_RSA_SCHEME = variants(
  'TPMT_RSA_SCHEME',
  { scheme: oneOf('TPMI_ALG_RSA_SCHEME', UINT16, TPM_ALG, ['RSASSA', 'RSAPSS', 'RSAES', 'OAEP', 'NULL']) },
  'scheme',
  { RSASSA: hashed, RSAPSS: hashed, RSAES: {}, OAEP: hashed, NULL: {} },
)

export const TPMT_ECC_SCHEME = variants(
  'TPMT_ECC_SCHEME',
  { scheme: oneOf('TPMI_ALG_ECC_SCHEME', UINT16, TPM_ALG, ['ECDSA', 'ECDH', 'ECDAA', 'ECSCHNORR', 'NULL']) },
  'scheme',
  {
    ECDSA: hashed,
    ECDH: hashed,
    ECDAA: { details: structure('TPMS_SCHEME_ECDAA', { hashAlg: TPMI_ALG_HASH, count: UINT16 }) },
    ECSCHNORR: hashed,
    NULL: {},
  },
)

/** What Sign, Quote and Certify are asked for; NULL is the key's own scheme. */
export const TPMT_SIG_SCHEME = variants(
  'TPMT_SIG_SCHEME',
  { scheme: oneOf('TPMI_ALG_SIG_SCHEME', UINT16, TPM_ALG, ['RSASSA', 'RSAPSS', 'ECDSA', 'HMAC', 'NULL']) },
  'scheme',
  { RSASSA: hashed, RSAPSS: hashed, ECDSA: hashed, HMAC: hashed, NULL: {} },
)
export type TPMT_SIG_SCHEME = Infer<typeof TPMT_SIG_SCHEME>

const TPMT_KEYEDHASH_SCHEME = variants(
  'TPMT_KEYEDHASH_SCHEME',
  { scheme: oneOf('TPMI_ALG_KEYEDHASH_SCHEME', UINT16, TPM_ALG, ['HMAC', 'XOR', 'NULL']) },
  'scheme',
  {
    HMAC: hashed,
    XOR: {
      details: structure('TPMS_SCHEME_XOR', {
        hashAlg: TPMI_ALG_HASH,
        kdf: oneOf('TPMI_ALG_KDF', UINT16, TPM_ALG, ['MGF1', 'KDF1_SP800_56A', 'KDF2', 'KDF1_SP800_108', 'NULL']),
      }),
    },
    NULL: {},
  },
)

// 10: digests, names, lists

export const TPM2B_DIGEST = TPM2B('TPM2B_DIGEST', DIGEST_MAX_OCTETS)
export const TPM2B_NONCE = TPM2B('TPM2B_NONCE', DIGEST_MAX_OCTETS)
export const TPM2B_AUTH = TPM2B('TPM2B_AUTH', DIGEST_MAX_OCTETS)
export const TPM2B_OPERAND = TPM2B('TPM2B_OPERAND', DIGEST_MAX_OCTETS)
export const TPM2B_TIMEOUT = TPM2B('TPM2B_TIMEOUT', 8)
export const TPM2B_NAME = TPM2B('TPM2B_NAME', NAME_MAX_OCTETS)
/** sizeof(TPMT_HA) (Part 2, 10.4.3). */
export const TPM2B_DATA = TPM2B('TPM2B_DATA', NAME_MAX_OCTETS)
export const TPM2B_MAX_BUFFER = TPM2B('TPM2B_MAX_BUFFER', BUFFER_MAX_OCTETS)
export const TPM2B_MAX_NV_BUFFER = TPM2B('TPM2B_MAX_NV_BUFFER', BUFFER_MAX_OCTETS)
/** Data sealed into an object (MAX_SYM_DATA). */
export const TPM2B_SENSITIVE_DATA = TPM2B('TPM2B_SENSITIVE_DATA', 128)

export const TPML_DIGEST = TPML('TPML_DIGEST', TPM2B_DIGEST, DIGESTS_MAX)
export const TPML_DIGEST_VALUES = TPML('TPML_DIGEST_VALUES', TPMT_HA, BANKS_MAX)

/** 32 registers: more has no TPM of a computer. */
const PCR_SELECT_MAX = 4

const TPMS_PCR_SELECTION: Wire<{ readonly hash: Infer<typeof TPMI_ALG_HASH>; readonly pcrSelect: Uint8Array }> = {
  name: 'TPMS_PCR_SELECTION',
  read(from) {
    const hash = TPMI_ALG_HASH.read(from)
    const sizeofSelect = UINT8.read(from)
    if (sizeofSelect > PCR_SELECT_MAX) throw malformed(`TPMS_PCR_SELECTION selects from ${8 * sizeofSelect} registers`)
    return { hash, pcrSelect: from.octets(sizeofSelect, 'pcrSelect') }
  },
  write(to, { hash, pcrSelect }) {
    TPMI_ALG_HASH.write(to, hash)
    UINT8.write(to, pcrSelect.length)
    to.octets(pcrSelect)
  },
}
export type TPMS_PCR_SELECTION = Infer<typeof TPMS_PCR_SELECTION>
export const TPML_PCR_SELECTION = TPML('TPML_PCR_SELECTION', TPMS_PCR_SELECTION, BANKS_MAX)
export type TPML_PCR_SELECTION = Infer<typeof TPML_PCR_SELECTION>

const TPMI_RH_HIERARCHY = oneOf('TPMI_RH_HIERARCHY', UINT32, TPM_RH, ['OWNER', 'PLATFORM', 'ENDORSEMENT', 'NULL'])
const TPMI_TICKET = oneOf('TPM_ST', UINT16, TPM_ST, ['CREATION', 'VERIFIED', 'AUTH_SECRET', 'HASHCHECK', 'AUTH_SIGNED'])

/** TPMT_TK_CREATION, _VERIFIED, _AUTH and _HASHCHECK: one layout, told apart by their tag. */
export const TPMT_TK = structure('TPMT_TK', { tag: TPMI_TICKET, hierarchy: TPMI_RH_HIERARCHY, digest: TPM2B_DIGEST })
export type TPMT_TK = Infer<typeof TPMT_TK>

/** What Sign takes for a digest that the TPM did not make itself: any unrestricted key signs it. */
export const NO_HASHCHECK: TPMT_TK = { tag: 'HASHCHECK', hierarchy: 'NULL', digest: new Uint8Array(0) }

export const TPMS_CLOCK_INFO = structure('TPMS_CLOCK_INFO', {
  clock: UINT64,
  resetCount: UINT32,
  restartCount: UINT32,
  safe: TPMI_YES_NO,
})
export type TPMS_CLOCK_INFO = Infer<typeof TPMS_CLOCK_INFO>
export const TPMS_TIME_INFO = structure('TPMS_TIME_INFO', { time: UINT64, clockInfo: TPMS_CLOCK_INFO })

export const TPM_CAP_NAME = oneOf('TPM_CAP', UINT32, TPM_CAP, ['ALGS', 'HANDLES', 'COMMANDS', 'PCRS', 'TPM_PROPERTIES'])
/** Algorithms and commands by number: a TPM may have some that are not in the tables here. */
export const TPMS_CAPABILITY_DATA = variants('TPMS_CAPABILITY_DATA', { capability: TPM_CAP_NAME }, 'capability', {
  ALGS: {
    data: TPML('TPML_ALG_PROPERTY', structure('TPMS_ALG_PROPERTY', { alg: UINT16, algProperties: UINT32 }), CAPABILITIES_MAX),
  },
  HANDLES: { data: TPML('TPML_HANDLE', UINT32, CAPABILITIES_MAX) },
  COMMANDS: { data: TPML('TPML_CCA', UINT32, CAPABILITIES_MAX) },
  PCRS: { data: TPML_PCR_SELECTION },
  TPM_PROPERTIES: {
    data: TPML(
      'TPML_TAGGED_TPM_PROPERTY',
      structure('TPMS_TAGGED_PROPERTY', { property: UINT32, value: UINT32 }),
      CAPABILITIES_MAX,
    ),
  },
})

// 11: keys and signatures

export const TPMI_ECC_CURVE = oneOf('TPMI_ECC_CURVE', UINT16, TPM_ECC, ['NIST_P256', 'NIST_P384', 'NIST_P521'])
const TPM2B_ECC_PARAMETER = TPM2B('TPM2B_ECC_PARAMETER', COORDINATE_MAX_OCTETS)
const TPM2B_PUBLIC_KEY_RSA = TPM2B('TPM2B_PUBLIC_KEY_RSA', RSA_MAX_OCTETS)

export const TPMS_ECC_POINT = structure('TPMS_ECC_POINT', { x: TPM2B_ECC_PARAMETER, y: TPM2B_ECC_PARAMETER })
export type TPMS_ECC_POINT = Infer<typeof TPMS_ECC_POINT>
export const TPM2B_ECC_POINT = TPM2BOf('TPM2B_ECC_POINT', TPMS_ECC_POINT)

/** OAEP octets, or a TPMS_ECC_POINT. */
export const TPM2B_ENCRYPTED_SECRET = TPM2B('TPM2B_ENCRYPTED_SECRET', RSA_MAX_OCTETS)

const TPMS_SIGNATURE_RSA = structure('TPMS_SIGNATURE_RSA', { hash: TPMI_ALG_HASH, sig: TPM2B_PUBLIC_KEY_RSA })
const TPMS_SIGNATURE_ECC = structure('TPMS_SIGNATURE_ECC', {
  hash: TPMI_ALG_HASH,
  signatureR: TPM2B_ECC_PARAMETER,
  signatureS: TPM2B_ECC_PARAMETER,
})

export const TPMT_SIGNATURE = variants(
  'TPMT_SIGNATURE',
  { sigAlg: oneOf('TPMI_ALG_SIG_SCHEME', UINT16, TPM_ALG, ['RSASSA', 'RSAPSS', 'ECDSA']) },
  'sigAlg',
  {
    RSASSA: { signature: TPMS_SIGNATURE_RSA },
    RSAPSS: { signature: TPMS_SIGNATURE_RSA },
    ECDSA: { signature: TPMS_SIGNATURE_ECC },
  },
)
export type TPMT_SIGNATURE = Infer<typeof TPMT_SIGNATURE>

// 12: objects

/** Types of objects, and what each says of itself. The parameters stand before the unique part (Part 2, 12.2.4). */
export const TPMT_PUBLIC = variants(
  'TPMT_PUBLIC',
  {
    type: oneOf('TPMI_ALG_PUBLIC', UINT16, TPM_ALG, ['RSA', 'ECC', 'KEYEDHASH', 'SYMCIPHER']),
    nameAlg: TPMI_ALG_HASH,
    objectAttributes: TPMA_OBJECT,
    authPolicy: TPM2B_DIGEST,
  },
  'type',
  {
    RSA: {
      parameters: structure('TPMS_RSA_PARMS', {
        symmetric: TPMT_SYM_DEF_OBJECT,
        scheme: TPMT_RSA_SCHEME,
        keyBits: UINT16,
        exponent: UINT32,
      }),
      unique: TPM2B_PUBLIC_KEY_RSA,
    },
    ECC: {
      parameters: structure('TPMS_ECC_PARMS', {
        symmetric: TPMT_SYM_DEF_OBJECT,
        scheme: TPMT_ECC_SCHEME,
        curveID: TPMI_ECC_CURVE,
        kdf: TPMT_KDF_SCHEME,
      }),
      unique: TPMS_ECC_POINT,
    },
    KEYEDHASH: {
      parameters: structure('TPMS_KEYEDHASH_PARMS', { scheme: TPMT_KEYEDHASH_SCHEME }),
      unique: TPM2B_DIGEST,
    },
    SYMCIPHER: { parameters: structure('TPMS_SYMCIPHER_PARMS', { sym: TPMT_SYM_DEF_OBJECT }), unique: TPM2B_DIGEST },
  },
)
export type TPMT_PUBLIC = Infer<typeof TPMT_PUBLIC>
export const TPM2B_PUBLIC = TPM2BOf('TPM2B_PUBLIC', TPMT_PUBLIC)

/** Encrypted by the parent; only the TPM that has it can read it. */
export const TPM2B_PRIVATE = TPM2B('TPM2B_PRIVATE', 2048)

export const TPM2B_SENSITIVE_CREATE = TPM2BOf(
  'TPM2B_SENSITIVE_CREATE',
  structure('TPMS_SENSITIVE_CREATE', { userAuth: TPM2B_AUTH, data: TPM2B_SENSITIVE_DATA }),
)

export const TPMS_ID_OBJECT = structure('TPMS_ID_OBJECT', {
  integrityHMAC: TPM2B_DIGEST,
  encIdentity: restOctets('encIdentity'),
})
export const TPM2B_ID_OBJECT = TPM2BOf('TPM2B_ID_OBJECT', TPMS_ID_OBJECT)
export type TPMS_ID_OBJECT = Infer<typeof TPMS_ID_OBJECT>

// 13: non-volatile memory

export const TPMS_NV_PUBLIC = structure('TPMS_NV_PUBLIC', {
  nvIndex: UINT32,
  nameAlg: TPMI_ALG_HASH,
  attributes: TPMA_NV,
  authPolicy: TPM2B_DIGEST,
  dataSize: UINT16,
})
export type TPMS_NV_PUBLIC = Infer<typeof TPMS_NV_PUBLIC>
export const TPM2B_NV_PUBLIC = TPM2BOf('TPM2B_NV_PUBLIC', TPMS_NV_PUBLIC)

// 14: saved contexts

/** An object or a session that left the TPM's memory for a while, encrypted by it. */
export const TPMS_CONTEXT = structure('TPMS_CONTEXT', {
  sequence: UINT64,
  savedHandle: UINT32,
  hierarchy: TPMI_RH_HIERARCHY,
  contextBlob: TPM2B('TPM2B_CONTEXT_DATA', 3500),
})

// 15: creation

export const TPMS_CREATION_DATA = structure('TPMS_CREATION_DATA', {
  pcrSelect: TPML_PCR_SELECTION,
  pcrDigest: TPM2B_DIGEST,
  locality: UINT8,
  parentNameAlg: TPMI_ALG_HASH_NULL,
  parentName: TPM2B_NAME,
  parentQualifiedName: TPM2B_NAME,
  outsideInfo: TPM2B_DATA,
})
export type TPMS_CREATION_DATA = Infer<typeof TPMS_CREATION_DATA>
export const TPM2B_CREATION_DATA = TPM2BOf('TPM2B_CREATION_DATA', TPMS_CREATION_DATA)

// 10.12: what a TPM says and signs

export const TPMS_ATTEST = variants(
  'TPMS_ATTEST',
  {
    magic: constant('TPM_GENERATED_VALUE', TPM_GENERATED_VALUE),
    type: oneOf('TPMI_ST_ATTEST', UINT16, TPM_ST, [
      'ATTEST_NV',
      'ATTEST_CERTIFY',
      'ATTEST_QUOTE',
      'ATTEST_TIME',
      'ATTEST_CREATION',
      'ATTEST_NV_DIGEST',
    ]),
    qualifiedSigner: TPM2B_NAME,
    extraData: TPM2B_DATA,
    clockInfo: TPMS_CLOCK_INFO,
    firmwareVersion: UINT64,
  },
  'type',
  {
    ATTEST_NV: {
      attested: structure('TPMS_NV_CERTIFY_INFO', {
        indexName: TPM2B_NAME,
        offset: UINT16,
        nvContents: TPM2B_MAX_NV_BUFFER,
      }),
    },
    ATTEST_CERTIFY: { attested: structure('TPMS_CERTIFY_INFO', { name: TPM2B_NAME, qualifiedName: TPM2B_NAME }) },
    ATTEST_QUOTE: { attested: structure('TPMS_QUOTE_INFO', { pcrSelect: TPML_PCR_SELECTION, pcrDigest: TPM2B_DIGEST }) },
    ATTEST_TIME: {
      attested: structure('TPMS_TIME_ATTEST_INFO', { time: TPMS_TIME_INFO, firmwareVersion: UINT64 }),
    },
    ATTEST_CREATION: {
      attested: structure('TPMS_CREATION_INFO', { objectName: TPM2B_NAME, creationHash: TPM2B_DIGEST }),
    },
    ATTEST_NV_DIGEST: {
      attested: structure('TPMS_NV_DIGEST_CERTIFY_INFO', { indexName: TPM2B_NAME, nvDigest: TPM2B_DIGEST }),
    },
  },
)
export type TPMS_ATTEST = Infer<typeof TPMS_ATTEST>
/** Kept as octets, since these are what is signed. */
export const TPM2B_ATTEST = TPM2B('TPM2B_ATTEST', 2048)
