/**
 * Numbers of the specification, by its own names without their prefixes.
 *
 * Source: TCG TPM 2.0 Library, Part 2, revision 1.59, 6 to 8 and 13; TCG Algorithm Registry.
 *
 * @module
 */

/** TPM_ALG_ID */
export const TPM_ALG = {
  RSA: 0x0001,
  SHA1: 0x0004,
  HMAC: 0x0005,
  AES: 0x0006,
  MGF1: 0x0007,
  KEYEDHASH: 0x0008,
  XOR: 0x000a,
  SHA256: 0x000b,
  SHA384: 0x000c,
  SHA512: 0x000d,
  NULL: 0x0010,
  SM3_256: 0x0012,
  RSASSA: 0x0014,
  RSAES: 0x0015,
  RSAPSS: 0x0016,
  OAEP: 0x0017,
  ECDSA: 0x0018,
  ECDH: 0x0019,
  ECDAA: 0x001a,
  ECSCHNORR: 0x001c,
  KDF1_SP800_56A: 0x0020,
  KDF2: 0x0021,
  KDF1_SP800_108: 0x0022,
  ECC: 0x0023,
  SYMCIPHER: 0x0025,
  SHA3_256: 0x0027,
  SHA3_384: 0x0028,
  SHA3_512: 0x0029,
  CTR: 0x0040,
  OFB: 0x0041,
  CBC: 0x0042,
  CFB: 0x0043,
  ECB: 0x0044,
} as const

/** TPM_ECC_CURVE, those that X.509 here knows */
export const TPM_ECC = { NIST_P256: 0x0003, NIST_P384: 0x0004, NIST_P521: 0x0005 } as const

/** TPM_ST */
export const TPM_ST = {
  NO_SESSIONS: 0x8001,
  SESSIONS: 0x8002,
  ATTEST_NV: 0x8014,
  ATTEST_CERTIFY: 0x8017,
  ATTEST_QUOTE: 0x8018,
  ATTEST_TIME: 0x8019,
  ATTEST_CREATION: 0x801a,
  ATTEST_NV_DIGEST: 0x801c,
  CREATION: 0x8021,
  VERIFIED: 0x8022,
  AUTH_SECRET: 0x8023,
  HASHCHECK: 0x8024,
  AUTH_SIGNED: 0x8025,
} as const

/** TPM_GENERATED_VALUE: what a restricted key signs only when the TPM itself made it. */
export const TPM_GENERATED_VALUE = 0xff544347

/** TPM_RH, and TPM_RS_PW */
export const TPM_RH = {
  OWNER: 0x4000_0001,
  NULL: 0x4000_0007,
  PW: 0x4000_0009,
  LOCKOUT: 0x4000_000a,
  ENDORSEMENT: 0x4000_000b,
  PLATFORM: 0x4000_000c,
} as const

/** TPM_EO: how PolicyNV and PolicyCounterTimer compare. */
export const TPM_EO = {
  EQ: 0x0000,
  NEQ: 0x0001,
  SIGNED_GT: 0x0002,
  UNSIGNED_GT: 0x0003,
  SIGNED_LT: 0x0004,
  UNSIGNED_LT: 0x0005,
  SIGNED_GE: 0x0006,
  UNSIGNED_GE: 0x0007,
  SIGNED_LE: 0x0008,
  UNSIGNED_LE: 0x0009,
  BITSET: 0x000a,
  BITCLEAR: 0x000b,
} as const

/** TPM_SE */
export const TPM_SE = { HMAC: 0x00, POLICY: 0x01, TRIAL: 0x03 } as const

/** TPM_SU */
export const TPM_SU = { CLEAR: 0x0000, STATE: 0x0001 } as const

/** TPM_NT: what an NV index is, bits 4 to 7 of its attributes. */
export const TPM_NT = { ORDINARY: 0, COUNTER: 1, BITS: 2, EXTEND: 4, PIN_FAIL: 8, PIN_PASS: 9 } as const

/** TPM_CAP */
export const TPM_CAP = { ALGS: 0, HANDLES: 1, COMMANDS: 2, PCRS: 5, TPM_PROPERTIES: 6 } as const

/** TPM_PT, as far as they are asked for */
export const TPM_PT = {
  REVISION: 0x102,
  MANUFACTURER: 0x105,
  VENDOR_STRING_1: 0x106,
  FIRMWARE_VERSION_1: 0x10b,
  NV_BUFFER_MAX: 0x12c,
} as const

/** TPM_CC */
export const TPM_CC = {
  EvictControl: 0x120,
  NV_UndefineSpace: 0x122,
  Clear: 0x126,
  NV_DefineSpace: 0x12a,
  CreatePrimary: 0x131,
  NV_Increment: 0x134,
  NV_Write: 0x137,
  PCR_Reset: 0x13d,
  Startup: 0x144,
  Shutdown: 0x145,
  ActivateCredential: 0x147,
  Certify: 0x148,
  PolicyNV: 0x149,
  CertifyCreation: 0x14a,
  NV_Read: 0x14e,
  PolicySecret: 0x151,
  Create: 0x153,
  ECDH_ZGen: 0x154,
  Load: 0x157,
  Quote: 0x158,
  Sign: 0x15d,
  Unseal: 0x15e,
  PolicySigned: 0x160,
  ContextLoad: 0x161,
  ContextSave: 0x162,
  FlushContext: 0x165,
  LoadExternal: 0x167,
  NV_ReadPublic: 0x169,
  PolicyAuthorize: 0x16a,
  PolicyAuthValue: 0x16b,
  PolicyCommandCode: 0x16c,
  PolicyCounterTimer: 0x16d,
  PolicyCpHash: 0x16e,
  PolicyLocality: 0x16f,
  PolicyNameHash: 0x170,
  PolicyOR: 0x171,
  ReadPublic: 0x173,
  StartAuthSession: 0x176,
  VerifySignature: 0x177,
  GetCapability: 0x17a,
  GetRandom: 0x17b,
  Hash: 0x17d,
  PCR_Read: 0x17e,
  PolicyPCR: 0x17f,
  ReadClock: 0x181,
  PCR_Extend: 0x182,
  NV_Certify: 0x184,
  PolicyPassword: 0x18c,
  PolicyNvWritten: 0x18f,
  PolicyGetDigest: 0x189,
  PolicyAuthorizeNV: 0x192,
} as const
