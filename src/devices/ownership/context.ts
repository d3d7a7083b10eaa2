/** What ownership works with beside what devices do: handed down once, from `server/compose.ts`. @module */
import type { KeyStore } from '#keys/key-store.ts'
import type { DevicesContext } from '../context.ts'
import type { CertificateStates } from '../due.ts'

export interface OwnershipContext extends DevicesContext {
  /** Of the organizations that are here. */
  readonly keys: Pick<KeyStore, 'open'>
  /** The CA, as far as former owners' certificates go. */
  readonly certificates: Pick<CertificateStates, 'revoke'>
  /** @returns the certificate and those above it, DER @throws TrustError `notFound` */
  birthChain(certificateId: string): Promise<readonly Uint8Array[]>
}
