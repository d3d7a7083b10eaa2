/**
 * What each role may do. Both lists are closed; a permission that no role has, or a role without a row, does not compile
 * or does not pass the tests.
 *
 * Administration, the PKI and its audit are separate roles, so that no one person needs all of them (R17). Nothing stops a
 * small plant from giving one person several.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'

export const roles = [
  'administrator', // who may do what, and how the server runs
  'pki-officer', // authorities, profiles, endpoints, certificates
  'line-operator', // a production line's enrollment
  'release-engineer', // what is signed and released
  'approver', // the second person
  'auditor', // sees everything, changes nothing
  'service', // another system of ours
  'host-officer', // the secure hosts
] as const
export type Role = (typeof roles)[number]

export const permissions = [
  'user.read',
  'user.manage',
  'settings.read',
  'metrics.read',
  'audit.read',
  'ca.read',
  'ca.create',
  'ca.manage',
  'crl.issue',
  'profile.read',
  'profile.manage',
  'endpoint.read',
  'endpoint.manage',
  'endpoint.secret', // making one-time enrollment secrets
  'certificate.read',
  'certificate.issue',
  'certificate.revoke', // hold and release too
  'birth.read',
  'birth.issue', // each line says further which stations
  'birth.manage', // lines, and which TPMs and chips count
  'device.read',
  'device.register', // planning one
  'device.change', // its state, and what is said of it
  'device.manage', // organizations, models, areas
  'device.transfer', // giving devices away, and taking them
  'command.read',
  'command.send',
  'command.sign', // by the person's own key: the policy of an area says further whose counts
  'command.manage', // policies, which others sign
  'license.read',
  'license.issue', // replacing and taking back too
  'license.manage', // which signer signs for a maker, and how many there are
  'usage.read',
  'usage.manage', // letting a device begin its records anew
  'campaign.read',
  'campaign.manage', // rolling out, and the addresses at which devices ask
  'order.read',
  'order.manage', // production orders and their tickets
  'order.report', // what came of them: logs of nodes, shipments, sightings
  'key.read',
  'key.manage',
  'key.unlock', // giving the PIN of a key store, not using its keys
  'backup.read', // which backups there are
  'backup.manage', // making and fetching backups, which are encrypted
  'signer.read',
  'signer.manage',
  'approval.read', // each request says who may approve it
  'signer.use', // each signer says further who may use it
  'release.read',
  'release.manage', // releases of software; each is approved by two others
] as const
export type Permission = (typeof permissions)[number]

const READ_PKI = [
  'ca.read',
  'profile.read',
  'endpoint.read',
  'certificate.read',
  'approval.read',
  'birth.read',
  'device.read',
  'campaign.read',
  'order.read',
  'license.read',
  'usage.read',
  'release.read',
  'command.read',
] as const satisfies readonly Permission[]

export const rights = {
  administrator: [
    'user.read',
    'user.manage',
    'settings.read',
    'metrics.read',
    'key.read',
    'key.unlock',
    'signer.read',
    'backup.read',
    'backup.manage',
    ...READ_PKI,
  ],
  'pki-officer': [
    ...READ_PKI,
    'order.manage',
    'order.report',
    'ca.create',
    'ca.manage',
    'crl.issue',
    'profile.manage',
    'endpoint.manage',
    'endpoint.secret',
    'certificate.issue',
    'certificate.revoke',
    'campaign.manage',
    'device.register',
    'device.change',
    'device.manage',
    'device.transfer',
    'command.send',
    'command.sign',
    'command.manage',
    'license.issue',
    'license.manage',
    'usage.manage',
    'birth.issue',
    'birth.manage',
    'key.read',
    'key.manage',
    'key.unlock',
    'signer.read',
    'signer.manage',
    'user.read', // signers and rules name people
  ],
  'line-operator': [
    ...READ_PKI,
    'order.report',
    'device.register',
    'birth.issue',
    'endpoint.secret',
    'command.send',
    'command.sign',
  ],
  'release-engineer': [
    ...READ_PKI,
    'campaign.manage',
    'license.issue',
    'key.read',
    'signer.read',
    'signer.use',
    'release.manage',
  ],
  approver: [...READ_PKI, 'user.read', 'key.read', 'signer.read', 'command.sign'],
  auditor: [...READ_PKI, 'user.read', 'settings.read', 'metrics.read', 'audit.read', 'key.read', 'signer.read', 'backup.read'],
  service: [
    ...READ_PKI,
    'order.report',
    'metrics.read',
    'device.register',
    'device.change',
    'license.issue',
    'certificate.issue',
    'certificate.revoke',
    'birth.issue',
    'signer.read',
    'signer.use',
    'release.manage',
    'command.send',
    'command.sign',
  ],
  'host-officer': [...READ_PKI, 'metrics.read'],
} as const satisfies Record<Role, readonly Permission[]>

const permitted: Readonly<Record<Role, ReadonlySet<Permission>>> = Object.fromEntries(
  roles.map((role) => [role, new Set<Permission>(rights[role])]),
) as Record<Role, Set<Permission>>

export const isRole = (text: string): text is Role => (roles as readonly string[]).includes(text)

/** @throws TrustError `malformed` */
export function parseRole(text: string): Role {
  if (!isRole(text)) throw new TrustError('malformed', 'roleUnknown', { facts: { role: text, known: roles.join(', ') } })
  return text
}

export const isAllowed = (held: readonly Role[], permission: Permission): boolean =>
  held.some((role) => permitted[role].has(permission))

/** @throws TrustError `unauthenticated` without a principal, `forbidden` when none of its roles has the permission */
export function checkAllowed(principal: { readonly roles: readonly Role[] } | undefined, permission: Permission): void {
  if (principal === undefined) throw new TrustError('unauthenticated', 'signInNeeded')
  if (isAllowed(principal.roles, permission)) return
  const having = roles.filter((role) => permitted[role].has(permission))
  throw new TrustError('forbidden', 'permissionMissing', { facts: { permission, roles: having.join(', ') } })
}
