/** CRLs, deltas and OCSP on PostgreSQL, as two processes on one database have them. @module */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { postgres } from '#store/postgres/index.ts'
import { postgresMissing, startPostgres, type TestServer } from '#store/postgres/testing.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { extensionOfList, parseCertificateList } from '#x509/crl.ts'
import { deltaCRLIndicator, reasonCode } from '#x509/extensions/crl-extensions.ts'
import { readExtension } from '#x509/extensions/extension.ts'
import { encodeCertID, encodeOCSPRequest, issuerHashes, parseOCSPResponse } from '#x509/ocsp.ts'
import { openAuthorities } from './authorities.ts'
import { issueForRequest } from './by-hand.ts'
import { holdCertificate, releaseCertificate, revokeCertificate } from './certificates.ts'
import { ALL_SHARDS, issueDueCRLs, latestCRL, latestCRLHead, readCRL } from './crl.ts'
import { ocsp } from './ocsp.ts'
import { changeRevocationPolicy } from './revocation-policy.ts'
import { hierarchy, onDatabase, person, testRequest } from './testing.ts'

describe('revocation on PostgreSQL', { skip: postgresMissing() }, () => {
  let server: TestServer
  before(async () => {
    server = await startPostgres({ durable: false })
  })
  after(() => server.stop())

  test('R8, R22: what one process revokes, the other lists and answers', async () => {
    const url = await server.createDatabase()
    const [one, two] = [postgres({ url }), postgres({ url })]
    try {
      const ca = await onDatabase(one)
      const authorities = await openAuthorities(ca.context)
      await hierarchy({ authorities })
      const there = { ...ca.context, db: two }
      const theirs = await openAuthorities(there)
      await changeRevocationPolicy(
        ca.context,
        authorities,
        'line1',
        { crlShards: 3, crlDeltaSeconds: 3600, ocspMode: 'preSigned' },
        person,
      )
      await theirs.refresh()
      const line = theirs.byAddress('line1')
      const { der } = await testRequest({ subject: [{ type: 'CN', value: 'Station' }] })
      const made = []
      for (let i = 0; i < 40; i++) {
        const issued = await issueForRequest(ca.context, authorities, { authority: 'line1', profile: 'ra' }, der, person)
        made.push({ id: issued.certificateId, ...parseCertificate(issued.certificate) })
      }
      const [first, second] = made
      assert.ok(first && second)

      const [here, elsewhere] = [ocsp(ca.context, authorities), ocsp(there, theirs)]
      assert.ok((await here.signAhead()) >= 40)
      const hashes = issuerHashes(line.certificate, 'sha1')
      const statusFrom = async (responder: typeof here): Promise<string> => {
        const answer = await responder.answer(encodeOCSPRequest([encodeCertID(hashes, first.serialNumber)]))
        const response = parseOCSPResponse(answer.der)
        assert.ok(response.type === 'answer')
        return response.answer.responses[0]?.status.type ?? ''
      }
      assert.equal(await statusFrom(elsewhere), 'good')
      await holdCertificate(ca.context, first.id, person)
      await revokeCertificate(ca.context, second.id, 'keyCompromise', person)
      assert.equal(await statusFrom(elsewhere), 'revoked', 'the next question of the other process')
      assert.ok((await here.signAhead()) > 0)
      assert.equal(await statusFrom(elsewhere), 'revoked')

      ca.advance(61)
      const lists = await Promise.all([issueDueCRLs(ca.context, [line]), issueDueCRLs(there, [line])])
      assert.ok(lists[0] + lists[1] >= 2)
      const reasons = (list: Uint8Array): string[] =>
        [...parseCertificateList(list).entries()]
          .map(({ extensions }) => readExtension(extensions, reasonCode)?.value ?? '')
          .toSorted()
      const deltas = async (): Promise<string[]> => {
        const all: string[] = []
        for (let shard = 0; shard < 3; shard++) {
          const head = await latestCRLHead(there, line, { shard, isDelta: true })
          const [list] = await Array.fromAsync(readCRL(there, head))
          assert.equal(
            Number(extensionOfList(parseCertificateList(list as Uint8Array), deltaCRLIndicator)?.value),
            head.baseNumber,
          )
          all.push(...reasons(list as Uint8Array))
        }
        return all.toSorted()
      }
      assert.deepEqual(await deltas(), ['certificateHold', 'keyCompromise'])
      await releaseCertificate(there, first.id, person)
      assert.equal(await statusFrom(here), 'good')
      ca.advance(61)
      await issueDueCRLs(there, [line])
      assert.deepEqual(await deltas(), ['keyCompromise', 'removeFromCRL'])
      ca.advance(4 * 86_400)
      await issueDueCRLs(there, [line])
      assert.deepEqual(reasons((await latestCRL(ca.context, line, ALL_SHARDS)).der), ['keyCompromise'])
    } finally {
      await Promise.all([one.close(), two.close()])
    }
  })
})
