/** What an administrator may say about algorithms, and what holds on which day. @module */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { type AlgorithmId, algorithmIds, algorithmPolicy, algorithmPresets, parseSchedule, tablePolicy } from './policy.ts'

const day = (text: string): number => Date.parse(`${text}T00:00:00Z`)
const policyOf = (schedules: Partial<Record<AlgorithmId, string>>, preset: 'none' | 'fips' = 'none') =>
  algorithmPolicy({
    preset,
    schedules: Object.fromEntries(Object.entries(schedules).map(([id, written]) => [id, parseSchedule(written)])),
  })
const refusal = (algorithm: AlgorithmId) => ({ code: 'policyRefused', reason: 'algorithmRefused', facts: { algorithm } })
const refuses = (run: () => unknown, algorithm: AlgorithmId): void =>
  assert.throws(run, (error: Error & { code: string; reason: string; facts: { algorithm: string } }) => {
    const { code, reason, facts } = error
    assert.deepEqual({ code, reason, facts: { algorithm: facts.algorithm } }, refusal(algorithm))
    return true
  })

describe('schedules', () => {
  const right = [
    ['allowed', 1],
    ['refused from 2031-01-01', 1],
    ['deprecated from 2028-01-01, refused from 2031-01-01', 2],
    ['deprecated,refused from 2031-01-01', 2],
    ['refused, allowed from 2027-06-30', 2],
  ] as const
  for (const [written, steps] of right) test(written, () => assert.equal(parseSchedule(written)?.length, steps))

  const wrong = [
    '',
    'forbidden',
    'Refused',
    'refused since 2031-01-01',
    'refused from 2031-02-30',
    'refused from 2031-13-01',
    'refused from 31-01-01',
    'refused from 2031-01-01T00:00:00Z',
    'refused from 2031-01-01, deprecated from 2028-01-01',
    'deprecated from 2028-01-01, refused from 2028-01-01',
    'deprecated from 2028-01-01, refused',
    'allowed,',
  ]
  for (const written of wrong)
    test(`no schedule: ${JSON.stringify(written)}`, () => assert.equal(parseSchedule(written), undefined))
})

test('an algorithm goes through its steps at midnight UTC', () => {
  const policy = policyOf({ 'rsa-2048': 'deprecated from 2028-01-01, refused from 2031-01-01' })
  assert.equal(policy.check('rsa-2048', day('2028-01-01') - 1), 'allowed')
  assert.equal(policy.check('rsa-2048', day('2028-01-01')), 'deprecated')
  assert.equal(policy.check('rsa-2048', day('2031-01-01') - 1), 'deprecated')
  refuses(() => policy.check('rsa-2048', day('2031-01-01')), 'rsa-2048')
  assert.equal(policy.check('rsa-3072', day('2031-01-01')), 'allowed')
})

test('the refusal says since when, and what to do', () => {
  const at = day('2032-05-06')
  assert.throws(() => policyOf({ ed25519: 'refused from 2031-01-01' }).check('ed25519', at), /ed25519 since 2031-01-01.*Use/)
  assert.throws(() => policyOf({ ed25519: 'refused' }).check('ed25519', at), /refuses ed25519\. Use/)
})

test('the table allows every row at every time', () => {
  const far = fc.integer({ min: day('1990-01-01'), max: day('9999-12-31') })
  fc.assert(fc.property(fc.constantFrom(...algorithmIds), far, (id, at) => tablePolicy.check(id, at) === 'allowed'))
})

test('the preset fips has the dates of the transition, and an administrator goes over them', () => {
  assert.deepEqual(algorithmPresets, ['none', 'fips'])
  const policy = policyOf({ 'ecdsa-p256': 'allowed', 'ml-dsa-44': 'refused' }, 'fips')
  for (const id of algorithmIds) if (id !== 'ml-dsa-44') assert.equal(policy.check(id, day('2026-01-01')), 'allowed', id)
  assert.equal(policy.check('rsa-2048', day('2031-01-01')), 'deprecated')
  assert.equal(policy.check('rsa-3072', day('2031-01-01')), 'allowed')
  for (const id of ['rsa-2048', 'rsa-4096', 'rsa-pss-sha256', 'ecdsa-p521', 'ecdsa-sha384', 'ed25519', 'ed448'] as const) {
    refuses(() => policy.check(id, day('2036-01-01')), id)
  }
  assert.equal(policy.check('ecdsa-p256', day('2036-01-01')), 'allowed')
  assert.equal(policy.check('ml-dsa-65', day('2036-01-01')), 'allowed')
  assert.equal(policy.check('slh-dsa-sha2-128s', day('2036-01-01')), 'allowed')
  refuses(() => policy.check('ml-dsa-44', day('2026-01-01')), 'ml-dsa-44')
})
