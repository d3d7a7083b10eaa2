/** A license in both encodings and a list of what was taken back; for tests and fuzzing. Not part of any program. @module */
import { type License, REVOKED, type StatusList, statusEntries } from './messages.ts'

const AT = Date.UTC(2027, 5, 1)
const THUMBPRINT = 'NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs'

const shared = {
  ...{ id: '0190a000-0000-7000-8000-000000000001', sequence: 2, issuer: 'acme', productSerial: 'P-1', model: 'acme/press' },
  features: [{ name: 'drill' }, { name: 'holes', limit: 1000 }],
  ...{ issuedAt: AT, notBefore: AT, expiresAt: AT + 2_592_000_000, graceDays: 7, offlineMaxDays: 90 },
  owner: { name: 'carworks', epoch: 3 },
} as const

export const licenses: readonly [License, License] = [
  { ...shared, confirmation: { ckt: THUMBPRINT } },
  { ...shared, confirmation: { jkt: THUMBPRINT } },
]

export const statusList: StatusList = {
  ...{ issuer: 'acme', version: 3, issuedAt: AT },
  entries: statusEntries([
    { id: shared.id, leastSequence: 2 },
    { id: '0190a000-0000-7000-8000-000000000002', leastSequence: REVOKED },
  ]),
}
