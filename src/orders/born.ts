/** What was born for which order: entries of nodes' logs and of lines of the server stand together. @module */
import type { Row } from '#store/database.ts'
import type { OrdersContext } from './orders.ts'

/** Jobs and parts of one order; its id is a parameter twice. */
export const PARTS_OF_ORDER =
  'SELECT id FROM production_job WHERE order_id = ? UNION ALL SELECT id FROM order_allotment WHERE order_id = ?'

/** By its birth certificate. @returns the order that it was born for; undefined where no log tells of it */
export async function orderThatBore(
  { db, organizationId }: Pick<OrdersContext, 'db' | 'organizationId'>,
  { productSerial, certificate }: { readonly productSerial: string; readonly certificate: string },
): Promise<string | undefined> {
  const [row] = await db.query<{ order_id: string }>(
    `SELECT COALESCE(j.order_id, a.order_id) AS order_id FROM job_entry e
      LEFT JOIN production_job j ON j.id = e.job_id LEFT JOIN order_allotment a ON a.id = e.job_id
      WHERE e.organization_id = ? AND e.product_serial = ? AND e.type = 'issue' AND e.certificate_hash = ?`,
    ...[organizationId, productSerial, certificate],
  )
  return row?.order_id
}

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
