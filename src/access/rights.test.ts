/** The table of rights as statements that must stay true. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkAllowed, isAllowed, parseRole, type Permission, permissions, rights, type Role, roles } from './rights.ts'

test('decision 8: the roles there are from the start', () => {
  assert.deepEqual([...roles].toSorted(), [
    'administrator',
    'approver',
    'auditor',
    'host-officer',
    'line-operator',
    'pki-officer',
    'release-engineer',
    'service',
  ])
})

for (const permission of permissions) {
  test(`${permission} is given to some role`, () => assert.ok(roles.some((role) => isAllowed([role], permission))))
}

test('R17: the auditor changes nothing', () => {
  for (const permission of rights.auditor) assert.match(permission, /\.read$/)
})

test('R17: who gives rights cannot issue, and who issues cannot give rights', () => {
  assert.deepEqual(
    roles.filter((role) => isAllowed([role], 'user.manage')),
    ['administrator'],
  )
  for (const permission of ['ca.create', 'certificate.issue', 'key.manage'] as const) {
    assert.ok(!isAllowed(['administrator'], permission))
    assert.ok(isAllowed(['pki-officer'], permission))
  }
})

test('R17: only the auditor reads the log', () => {
  assert.deepEqual(
    roles.filter((role) => isAllowed([role], 'audit.read')),
    ['auditor'],
  )
})

test('what is allowed is the union of the roles, and nothing else', () => {
  for (const one of roles) {
    for (const two of roles) {
      for (const permission of permissions) {
        const expected =
          (rights[one] as readonly Permission[]).includes(permission) ||
          (rights[two] as readonly Permission[]).includes(permission)
        assert.equal(isAllowed([one, two], permission), expected)
      }
    }
  }
})

test('the three answers', () => {
  checkAllowed({ roles: ['line-operator', 'auditor'] }, 'audit.read')
  assert.throws(() => checkAllowed(undefined, 'audit.read'), { code: 'unauthenticated' })
  assert.throws(() => checkAllowed({ roles: [] }, 'audit.read'), { code: 'forbidden' })
  const refusal = { code: 'forbidden', reason: 'permissionMissing', message: /audit\.read.* auditor / }
  assert.throws(() => checkAllowed({ roles: ['administrator', 'pki-officer'] }, 'audit.read'), refusal)
  assert.throws(() => checkAllowed({ roles: ['root' as Role] }, 'audit.read'))
})

test('a role is known by its exact name', () => {
  assert.equal(parseRole('pki-officer'), 'pki-officer')
  for (const text of ['', 'PKI officer', 'Administrator', 'constructor', '__proto__']) {
    assert.throws(() => parseRole(text), { code: 'malformed', reason: 'roleUnknown' })
  }
})
