/** The life of authorities on PostgreSQL, as two processes on one database have it. @module */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { postgres } from '#store/postgres/index.ts'
import { postgresMissing, startPostgres, type TestServer } from '#store/postgres/testing.ts'
import { nameOf } from '#x509/name.ts'
import { openAuthorities } from './authorities.ts'
import { importCertificate, requestAuthority } from './authority-requests.ts'
import { findCertificates, revokeCertificate } from './certificates.ts'
import { issueCRL } from './crl.ts'
import { crossSign } from './cross-sign.ts'
import { createEndpoint, openEndpoint } from './endpoint.ts'
import { destroyAuthorityKey, retireAuthority } from './retire.ts'
import { rekeyAuthority, renewAuthority } from './rotate.ts'
import { hierarchy, onDatabase, person, testCA } from './testing.ts'
import { importCRL, offlineStates, trustAuthority } from './trusted.ts'

describe('authorities on PostgreSQL', { skip: postgresMissing() }, () => {
  let server: TestServer
  before(async () => {
    server = await startPostgres({ durable: false })
  })
  after(() => server.stop())

  test('R8: what one process makes, rotates, retires or revokes, the other sees; of two rekeys at once, one is made', async () => {
    const url = await server.createDatabase()
    const [one, two] = [postgres({ url }), postgres({ url })]
    try {
      const { context } = await onDatabase(one)
      const here = await openAuthorities(context)
      const there = { ...context, db: two }
      const theirs = await openAuthorities(there)
      await hierarchy({ authorities: here }, { noExpiry: false })
      assert.equal(await theirs.refresh(), true)
      assert.equal(await theirs.refresh(), false)
      const line = theirs.byAddress('line1')
      const rules = { clientIssuers: ['line1.1'] }
      await createEndpoint(context, { label: 'gate', protocol: 'est', authorityId: line.id, profile: 'ldevid', rules }, person)
      await renewAuthority(context, here, 'line1', person)

      await theirs.refresh()
      const raced = await Promise.allSettled([
        rekeyAuthority(context, here, 'line1', {}, person),
        rekeyAuthority(there, theirs, 'line1', {}, person),
      ])
      assert.deepEqual(raced.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected'])
      for (const authorities of [here, theirs]) {
        await authorities.refresh()
        assert.equal(authorities.byAddress('line1').address, 'line1.2')
        assert.equal(authorities.byAddress('line1.1').state, 'retired')
      }
      assert.deepEqual((await openEndpoint(context, 'est', 'gate')).rules.clientIssuers, ['line1.1', 'line1.2'])

      const [record] = await findCertificates(context, { profile: 'issuing', state: 'active' }, { limit: 1 })
      await revokeCertificate(there, record?.id ?? '', 'cACompromise', person)
      await here.refresh()
      assert.equal(here.byAddress('line1.2').state, 'revoked')
      assert.equal((await destroyAuthorityKey(context, here, 'line1.2', person)).state, 'ended')
      await rekeyAuthority(context, here, 'root', {}, person)
      await retireAuthority(context, here, 'root.2', person)
      await theirs.refresh()
      assert.equal(theirs.byAddress('root.2').state, 'retired')
    } finally {
      await Promise.all([one.close(), two.close()])
    }
  })

  test('R3, R10: an offline root, its certificate and its CRL', async () => {
    await using vault = await testCA()
    const name = (value: string) => nameOf([{ type: 'CN', value }])
    await vault.authorities.create(
      { slug: 'root', name: name('Offline root'), profile: 'root', keyAlgorithm: 'ecdsa-p384' },
      person,
    )
    const root = vault.authorities.byAddress('root')
    const db = postgres({ url: await server.createDatabase() })
    try {
      const { context } = await onDatabase(db)
      const authorities = await openAuthorities(context)
      await trustAuthority(context, authorities, { slug: 'root', kind: 'offline', certificate: root.certificate.der }, person)
      const wanted = { slug: 'line1', name: name('Line 1'), profile: 'issuing', keyAlgorithm: 'ecdsa-p256' } as const
      const { request } = await requestAuthority(context, wanted, person)
      await assert.rejects(requestAuthority(context, wanted, person), { reason: 'authorityTaken' })
      const signed = await crossSign(vault.context, vault.authorities, { authority: 'root', of: { request } }, person)
      assert.equal((await importCertificate(context, authorities, 'line1', signed.der, person)).state, 'active')
      await importCRL(context, authorities, (await issueCRL(vault.context, root, 0, person)).der, person)
      await revokeCertificate(vault.context, signed.id, 'cACompromise', person)
      await importCRL(context, authorities, (await issueCRL(vault.context, root, 0, person)).der, person)
      assert.equal(authorities.byAddress('line1').state, 'revoked')
      assert.deepEqual(
        (await offlineStates(context, authorities)).map(({ state }) => state),
        ['published'],
      )
    } finally {
      await db.close()
    }
  })
})
