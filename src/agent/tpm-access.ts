/**
 * The agent's keys in a TPM. Loaded only where there is one.
 *
 * Every use opens the TPM, loads the key and lets go of both: the places of a TPM are few, and others use it too.
 *
 * Source: ASN.1 Specification for TPM 2.0 Key Files, 3 (`TPMKey`).
 *
 * @module
 */
import { certificateSignatureOf } from '#algorithms/table.ts'
import { decode, encode, explicit, optional, sequence } from '#asn1/codec.ts'
import { encodePEM, parsePEM } from '#asn1/pem.ts'
import { BOOLEAN, OBJECT_IDENTIFIER, OCTET_STRING, UNSIGNED_INTEGER } from '#asn1/types.ts'
import { TrustError } from '#base/errors.ts'
import type { Random } from '#base/world.ts'
import { createKey, quote, withKey, withPrimary, type WrappedKey } from '#tpm2/keys.ts'
import { pcrSelection } from '#tpm2/pcr.ts'
import { readPCRs } from '#tpm2/platform.ts'
import { publicKeyOf } from '#tpm2/public-key.ts'
import { openSigner } from '#tpm2/signer.ts'
import { TPM2B_PRIVATE, TPM2B_PUBLIC, TPMT_PUBLIC } from '#tpm2/structures.ts'
import { attestationKey, signingKey, storageRootKey } from '#tpm2/templates.ts'
import { hierarchies, TPM } from '#tpm2/tpm.ts'
import { openDevice, openSocket, type Transport } from '#tpm2/transport.ts'
import { marshal, unmarshal } from '#tpm2/wire.ts'
import type { DeviceKey } from './device-keys.ts'
import type { Boot } from '#devices/state/messages.ts'

export interface TPMAccess {
  /** @returns PEM */
  makeKey(kind: 'signing' | 'attestation'): Promise<string>
  /** @param der TPMKey @throws TrustError `malformed` */
  keyOf(der: Uint8Array): DeviceKey
  /** What was started, by the word of an attestation key. @param key PEM */
  measure(key: string, nonce: Uint8Array): Promise<Boot>
}

const TPMKey = sequence('TPMKey', {
  type: OBJECT_IDENTIFIER,
  emptyAuth: optional(explicit(0, BOOLEAN)),
  parent: UNSIGNED_INTEGER,
  pubkey: OCTET_STRING,
  privkey: OCTET_STRING,
})
const LOADABLE_KEY = '2.23.133.10.1.3'
const OWNER = 0x40000001n

/** Firmware, its settings, boot loader, its settings, secure boot's keys: what a maker can know of a device. */
const REGISTERS = [0, 1, 2, 3, 4, 5, 6, 7] as const

/** @param where a device file, the path of a socket, or `host:port` */
export function tpmAccess(where: string | undefined, random: Random): TPMAccess {
  async function withTPM<T>(work: (tpm: TPM) => Promise<T>): Promise<T> {
    const tpm = new TPM(await transportTo(where), random)
    try {
      await tpm.startup()
      return await work(tpm)
    } finally {
      await tpm.close()
    }
  }

  return {
    makeKey: (kind) =>
      withTPM(async (tpm) => {
        const template = kind === 'signing' ? signingKey() : attestationKey()
        const made = await withPrimary(tpm, hierarchies.owner, { template: storageRootKey }, (parent) =>
          createKey(tpm, parent, { template }),
        )
        return encodePEM('TSS2 PRIVATE KEY', encodeTPMKey(made))
      }),
    keyOf(der) {
      const wrapped = parseTPMKey(der)
      const { algorithm, spki } = publicKeyOf(wrapped.outPublic)
      const signatureAlgorithm = certificateSignatureOf(algorithm)
      return {
        keyAlgorithm: algorithm,
        publicKey: spki,
        signatureAlgorithm,
        sign: (message) =>
          withTPM(async (tpm) => {
            const signer = await openSigner(tpm, { label: 'device', key: { wrapped } })
            try {
              return await signer.sign(message, signatureAlgorithm)
            } finally {
              await signer.close()
            }
          }),
      }
    },
    measure: (key, nonce) =>
      withTPM(async (tpm) => {
        const [block] = parsePEM(key)
        const wrapped = parseTPMKey(block?.der ?? new Uint8Array(0))
        const { values } = await readPCRs(tpm, 'SHA256', REGISTERS)
        const statement = await withPrimary(tpm, hierarchies.owner, { template: storageRootKey }, (parent) =>
          withKey(tpm, parent, wrapped, (by) => quote(tpm, { selection: pcrSelection('SHA256', REGISTERS), by, nonce })),
        )
        return { key: marshal(TPMT_PUBLIC, wrapped.outPublic), values, ...statement }
      }),
  }
}

function transportTo(where: string | undefined): Promise<Transport> {
  const [, host, port] = /^([^/]+):(\d{1,5})$/.exec(where ?? '') ?? []
  if (host !== undefined) return openSocket({ host, port: Number(port) })
  if (where !== undefined && !where.startsWith('/dev/')) return openSocket({ path: where })
  return openDevice(where)
}

const encodeTPMKey = ({ outPublic, outPrivate }: WrappedKey): Uint8Array =>
  encode(TPMKey, {
    type: LOADABLE_KEY,
    emptyAuth: true,
    parent: OWNER,
    pubkey: marshal(TPM2B_PUBLIC, outPublic),
    privkey: marshal(TPM2B_PRIVATE, outPrivate),
  })

function parseTPMKey(der: Uint8Array): WrappedKey {
  const { type, parent, pubkey, privkey } = decode(TPMKey, der)
  if (type !== LOADABLE_KEY || parent !== OWNER) throw new TrustError('malformed', 'agentKeyFile')
  return { outPublic: unmarshal(TPM2B_PUBLIC, pubkey), outPrivate: unmarshal(TPM2B_PRIVATE, privkey) }
}
