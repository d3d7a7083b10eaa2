/** Certificates are counted without reading them. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { issueForRequest } from './by-hand.ts'
import {
  COUNT_ALL,
  COUNT_OTHERS,
  countCertificates,
  holdCertificate,
  releaseCertificate,
  revokeCertificate,
} from './certificates.ts'
import { hierarchy, person, testCA, testRequest } from './testing.ts'

test('counts by state follow every change', async () => {
  await using ca = await testCA()
  assert.deepEqual(await countCertificates(ca.context), {})
  await hierarchy(ca)
  const { der } = await testRequest({ subject: [{ type: 'CN', value: 'Station' }] })
  const issue = async (): Promise<string> =>
    (await issueForRequest(ca.context, ca.authorities, { authority: 'line1', profile: 'ra' }, der, person)).certificateId
  const [a, b] = [await issue(), await issue()]
  assert.deepEqual(await countCertificates(ca.context), { active: 4 })
  await revokeCertificate(ca.context, a, 'superseded', person)
  await holdCertificate(ca.context, b, person)
  assert.deepEqual(await countCertificates(ca.context), { active: 2, held: 1, revoked: 1 })
  await releaseCertificate(ca.context, b, person)
  assert.deepEqual(await countCertificates(ca.context), { active: 3, revoked: 1 })
})

test('a count reads an index and no rows', async () => {
  await using ca = await testCA()
  for (const [sql, ...parameters] of [[COUNT_ALL], [COUNT_OTHERS, 'default']] as const) {
    const plan = await ca.context.db.query<{ detail: string }>(`EXPLAIN QUERY PLAN ${sql}`, ...parameters)
    assert.match(plan.map(({ detail }) => detail).join('; '), /^(SCAN|SEARCH) certificate USING COVERING INDEX [^;]*$/, sql)
  }
})
