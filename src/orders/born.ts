/** Birth certificates of an order's devices, which are kept in the logs of their nodes. @module */
import type { Row } from '#store/database.ts'
import type { OrdersContext } from './orders.ts'

/** @param keyHash SHA-256 of the SubjectPublicKeyInfo @returns DER; undefined for a device of no order here */
export async function birthCertificateOf(
  { db, organizationId }: Pick<OrdersContext, 'db' | 'organizationId'>,
  keyHash: Uint8Array,
): Promise<Uint8Array | undefined> {
  const [row] = await db.query<Row & { readonly certificate: Uint8Array | null }>(
    "SELECT certificate FROM job_entry WHERE organization_id = ? AND key_hash = ? AND type = 'issue'",
    ...[organizationId, keyHash.toHex()],
  )
  return row?.certificate ?? undefined
}
