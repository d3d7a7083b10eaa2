/** A responder lives no longer than its authority, and nobody makes keys by asking. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { importPublicKey } from '#algorithms/public-key.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { encodeCertID, encodeOCSPRequest, issuerHashes, parseOCSPResponse, verifyResponseSignature } from '#x509/ocsp.ts'
import { type OCSP, ocsp, RESPONDERS, STATUS } from './ocsp.ts'
import { issueForRequest } from './by-hand.ts'
import { findCertificates, holdCertificate, releaseCertificate, revokeCertificate } from './certificates.ts'
import { AGED, BLOCK_ANSWERS, BLOCK_OF, findAnswer, packAnswers, unpackAnswers } from './ocsp-blocks.ts'
import { ANY_FROM, CERTIFICATES_FROM, CHANGED, signAhead } from './ocsp-ahead.ts'
import { changeRevocationPolicy } from './revocation-policy.ts'
import { hierarchy, person, type TestCA, testCA, testRequest } from './testing.ts'

const DAY_SECONDS = 86_400
const ISSUING_DAYS = 3653

test('RFC 6960: an authority answers to its last day, by a responder that ends with it, and then makes no more keys', async () => {
  await using ca = await testCA()
  await hierarchy(ca, { noExpiry: false })
  const line = ca.authorities.byAddress('line1')
  const responder = ocsp(ca.context, ca.authorities)
  const question = encodeOCSPRequest([encodeCertID(issuerHashes(line.certificate, 'sha256'), Uint8Array.of(1), 'sha256')])
  ca.advance((ISSUING_DAYS - 10) * DAY_SECONDS)
  const answer = parseOCSPResponse((await responder.answer(question)).der)
  assert.ok(answer.type === 'answer')
  const signer = parseCertificate(answer.answer.certs[0] as Uint8Array)
  assert.deepEqual(signer.notAfter, line.certificate.notAfter)
  const keys = (await ca.context.keys.list()).length
  ca.advance(11 * DAY_SECONDS)
  for (let i = 0; i < 3; i++) await assert.rejects(responder.answer(question), { code: 'unavailable' })
  assert.equal((await ca.context.keys.list()).length, keys)
})

test('an authority that cannot have a responder does not keep the others from theirs', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const [root] = ca.authorities.list()
  await ca.context.keys.destroy(root?.keyLabel ?? '')
  const responder = ocsp(ca.context, ca.authorities)
  await assert.rejects(responder.renewResponders(), { reason: 'keyNotFound' })
  const made = await findCertificates(ca.context, { profile: 'ocsp-responder' }, { limit: 9 })
  assert.deepEqual(
    made.map(({ authorityId }) => authorityId),
    [ca.authorities.byAddress('line1').id],
  )
})

interface Station {
  readonly id: string
  readonly serialNumber: Uint8Array
}

async function stations(ca: TestCA, count: number): Promise<readonly Station[]> {
  const { der } = await testRequest({ subject: [{ type: 'CN', value: 'Station' }] })
  const made: Station[] = []
  for (let i = 0; i < count; i++) {
    const issued = await issueForRequest(ca.context, ca.authorities, { authority: 'line1', profile: 'ra' }, der, person)
    made.push({ id: issued.certificateId, serialNumber: parseCertificate(issued.certificate).serialNumber })
  }
  return made
}

/** Asks as openssl does, and checks the signature. */
async function ask(
  ca: TestCA,
  responder: OCSP,
  { serialNumber }: Pick<Station, 'serialNumber'>,
  algorithm: 'sha1' | 'sha256' = 'sha1',
) {
  const line = ca.authorities.byAddress('line1').certificate
  const { der, ...times } = await responder.answer(
    encodeOCSPRequest([encodeCertID(issuerHashes(line, algorithm), serialNumber, algorithm)]),
  )
  const response = parseOCSPResponse(der)
  assert.ok(response.type === 'answer')
  const { answer } = response
  const signer = importPublicKey(parseCertificate(answer.certs[0] as Uint8Array).subjectPublicKeyInfo)
  assert.equal(await verifyResponseSignature(answer, signer), true)
  const [single] = answer.responses
  assert.deepEqual(single?.serialNumber, serialNumber)
  return { der, ...times, status: single.status, responderID: answer.responderID, thisUpdate: single.thisUpdate }
}

/** Counts what is signed by responders. */
function countingKeys(ca: TestCA) {
  const counted = { signatures: 0 }
  const { keys } = ca.context
  const counting = {
    ...keys,
    list: () => keys.list(),
    generate: (...given: Parameters<typeof keys.generate>) => keys.generate(...given).then(wrap),
    open: (label: string) => keys.open(label).then(wrap),
  }
  type Signer = Awaited<ReturnType<typeof keys.open>>
  function wrap(signer: Signer): Signer {
    return {
      ...signer,
      sign: (...given) => {
        counted.signatures++
        return signer.sign(...given)
      },
    }
  }
  return { counted, context: { ...ca.context, keys: counting } }
}

test('one signature serves until half of its life, and not a moment beyond a change', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const { counted, context } = countingKeys(ca)
  const responder = ocsp(context, ca.authorities)
  const [a, b] = await stations(ca, 2)
  assert.ok(a && b)
  const first = await ask(ca, responder, a)
  const signatures = counted.signatures
  for (let i = 0; i < 5; i++) assert.deepEqual((await ask(ca, responder, a)).der, first.der)
  assert.equal(counted.signatures, signatures)
  await ask(ca, responder, b)
  await ask(ca, responder, a, 'sha256')
  assert.equal(counted.signatures, signatures + 2, 'another question, another answer')
  ca.advance(1000)
  const later = await ask(ca, responder, a)
  assert.deepEqual(later.der, first.der)
  assert.ok(later.maxAgeSeconds <= 3600 - 1001 && later.maxAgeSeconds >= 3600 - 1010, 'a cache keeps it for what is left')
  ca.advance(801)
  assert.notDeepEqual((await ask(ca, responder, a)).thisUpdate, first.thisUpdate)
  for (const [change, type] of [
    [() => holdCertificate(ca.context, a.id, person), 'revoked'],
    [() => releaseCertificate(ca.context, a.id, person), 'good'],
    [() => revokeCertificate(ca.context, a.id, 'keyCompromise', person), 'revoked'],
  ] as const) {
    await change() // by other functions than those of the responder: nobody told it
    assert.equal((await ask(ca, responder, a)).status.type, type)
  }
})

test('a certificate that nobody issued is unknown, each time anew', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const { counted, context } = countingKeys(ca)
  const responder = ocsp(context, ca.authorities)
  for (let i = 0; i < 3; i++)
    assert.equal((await ask(ca, responder, { serialNumber: new Uint8Array(16).fill(0x41) })).status.type, 'unknown')
  assert.ok(counted.signatures >= 3)
})

test('R8: answers signed ahead serve without a key, change at once, and are made again when changed, issued or aged', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const { counted, context } = countingKeys(ca)
  const responder = ocsp(context, ca.authorities)
  const before = await stations(ca, BLOCK_ANSWERS * 2 + 5)
  await revokeCertificate(ca.context, before[3]?.id ?? '', 'superseded', person)
  assert.equal(await responder.signAhead(), 0, 'only where it is wanted')
  await changeRevocationPolicy(ca.context, ca.authorities, 'line1', { ocspMode: 'preSigned' }, person)
  const first = await responder.signAhead()
  assert.ok(first >= before.length)
  assert.equal(await responder.signAhead(), 0)

  const signatures = counted.signatures
  const fresh = ocsp(context, ca.authorities) // as another process: nothing in memory
  for (const [i, station] of before.entries())
    assert.equal((await ask(ca, fresh, station)).status.type, i === 3 ? 'revoked' : 'good')
  assert.equal(counted.signatures, signatures, 'every answer was signed ahead')

  const changed = before[40] as Station
  await holdCertificate(ca.context, changed.id, person)
  assert.equal((await ask(ca, fresh, changed)).status.type, 'revoked')
  assert.equal(counted.signatures, signatures + 1)
  assert.equal(await responder.signAhead(), BLOCK_ANSWERS, 'its block is made again')
  const again = ocsp(context, ca.authorities)
  const held = await ask(ca, again, changed)
  assert.ok(held.status.type === 'revoked' && held.status.reason === 'certificateHold')
  assert.equal(counted.signatures, signatures + 1 + BLOCK_ANSWERS)

  const added = await stations(ca, BLOCK_ANSWERS)
  await responder.signAhead()
  const then = counted.signatures
  for (const station of [...before, ...added]) await ask(ca, ocsp(context, ca.authorities), station)
  assert.equal(counted.signatures, then)
  const blocks = await ca.context.db.query<{ entries: number }>('SELECT entries FROM ocsp_block ORDER BY first_serial')
  assert.ok(
    blocks.slice(0, -1).every(({ entries }) => entries === BLOCK_ANSWERS),
    'full but the last',
  )

  ca.advance(43_201) // half of a day
  const all = blocks.reduce((sum, { entries }) => sum + entries, 0)
  assert.equal(await responder.signAhead(), all, 'all are aged')
  assert.equal(await responder.signAhead(), 0)
})

test('the responder changes its key: answers that the old one signed stay good, and new ones come from the new one', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const responder = ocsp(ca.context, ca.authorities)
  const [a] = await stations(ca, 1)
  assert.ok(a)
  await changeRevocationPolicy(ca.context, ca.authorities, 'line1', { ocspMode: 'preSigned' }, person)
  await responder.renewResponders()
  await responder.signAhead()
  const first = await ask(ca, responder, a)
  ca.advance(16 * DAY_SECONDS)
  assert.ok((await responder.renewResponders()) > 0)
  await responder.signAhead()
  const second = await ask(ca, responder, a)
  assert.notDeepEqual(second.responderID, first.responderID)
  ca.advance(13 * DAY_SECONDS) // the first one is about to end: nothing of it is served
  assert.deepEqual((await ask(ca, ocsp(ca.context, ca.authorities), a)).responderID, second.responderID)
})

test('two processes: either goes over to the responder that the other made, and leaves one that was revoked', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const [here, there] = [ocsp(ca.context, ca.authorities), ocsp(ca.context, ca.authorities)]
  const [station] = (await stations(ca, 1)) as [Station]
  const responderOf = async (): Promise<string> => {
    const { responderID } = await ask(ca, there, station)
    return responderID.type === 'byKey' ? responderID.value.toHex() : assert.fail()
  }
  const first = await responderOf()
  ca.advance(16 * DAY_SECONDS)
  await here.renewResponders()
  const second = await responderOf()
  assert.notEqual(second, first)
  const line = ca.authorities.byAddress('line1')
  const [newest] = await findCertificates(ca.context, { profile: 'ocsp-responder', authorityId: line.id }, { limit: 1 })
  await revokeCertificate(ca.context, newest?.id ?? '', 'keyCompromise', person)
  ca.advance(2 * 3600)
  const third = await responderOf()
  assert.notEqual(third, second)
})

test('two processes: one signs ahead, and either answers with what the other signed', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const [one, two] = [ocsp(ca.context, ca.authorities), ocsp(ca.context, ca.authorities)]
  const made = await stations(ca, 3)
  await changeRevocationPolicy(ca.context, ca.authorities, 'line1', { ocspMode: 'preSigned' }, person)
  assert.ok((await one.signAhead()) > 0)
  assert.equal(await two.signAhead(), 0, 'the other one holds the lease')
  const station = made[1] as Station
  assert.deepEqual((await ask(ca, one, station)).der, (await ask(ca, two, station)).der)
})

test('a look that is cut short leaves nothing out: the next one goes on where it ended', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const authority = ca.authorities.byAddress('line1')
  const { der } = await testRequest({ subject: [{ type: 'CN', value: 'Station' }] })
  const where = { authority: 'line1', profile: 'ra' }
  const { certificate } = await issueForRequest(ca.context, ca.authorities, where, der, person)
  const row = await ca.context.db.query(
    'SELECT * FROM certificate WHERE serial_number = ?',
    parseCertificate(certificate).serialNumber,
  )
  const count = BLOCK_ANSWERS * 64 + 10 // one more than goes to the disk together
  await ca.context.db.transaction((tx) =>
    tx.insertMany(
      'certificate',
      Object.keys(row[0] ?? {}),
      Array.from({ length: count }, (_, i) => {
        const serialNumber = new Uint8Array(16).fill(0x41)
        new DataView(serialNumber.buffer).setUint32(12, i)
        return Object.values({ ...row[0], id: `planted-${i}`, serial_number: serialNumber })
      }),
    ),
  )
  let signatures = 0
  const signer = { ...authority.signer, sign: () => Promise.resolve(Uint8Array.of(signatures++ & 0xff)) }
  const fields = { responderID: new Uint8Array(), signatureAlgorithm: new Uint8Array(), certs: new Uint8Array() }
  const responder = { id: 'x', fields, signer, signatureAlgorithm: authority.signatureAlgorithm, notBefore: 0, notAfter: 2 ** 43 }
  const ahead = { authority, responder, hashes: issuerHashes(authority.certificate, 'sha1'), validSeconds: 3600 }
  const looked = { changesUntil: ca.context.world.clock.now(), issuedUntil: 0 }
  const first = await signAhead(ca.context, ahead, looked, () => Promise.resolve(false))
  assert.equal(first, BLOCK_ANSWERS * 64)
  ca.advance(3600 / 4)
  const rest = await signAhead(ca.context, ahead, looked, () => Promise.resolve(true))
  assert.equal(first + rest, count + 1)
  assert.equal(await signAhead(ca.context, ahead, looked, () => Promise.resolve(true)), 0)
})

test('what was packed comes out', () => {
  const answer = fc.record(
    {
      serialNumber: fc.uint8Array({ minLength: 1, maxLength: 20 }),
      version: fc.integer({ min: 1, max: 2 ** 32 - 1 }),
      signature: fc.uint8Array({ maxLength: 400 }),
    },
    { noNullPrototype: true },
  )
  fc.assert(
    fc.property(fc.uniqueArray(answer, { maxLength: 8, selector: ({ serialNumber }) => serialNumber.toHex() }), (answers) => {
      const packed = packAnswers(answers)
      assert.deepEqual([...unpackAnswers(packed)], answers)
      for (const { serialNumber, version, signature } of answers) {
        assert.deepEqual(findAnswer(packed, serialNumber, version), signature)
        assert.equal(findAnswer(packed, serialNumber, version - 1), undefined)
      }
      assert.equal(findAnswer(packed, new Uint8Array(21), 1), undefined)
    }),
  )
})

test('no question, and no look for what is due, goes through the table', async () => {
  await using ca = await testCA()
  const serial = new Uint8Array(16)
  for (const [sql, ...parameters] of [
    [STATUS, serial, 'x'],
    [RESPONDERS, 'x', 0],
    [BLOCK_OF, 'x', serial],
    [AGED, 'x', 0],
    [CHANGED, 'x', 0, 0, 0],
    [ANY_FROM, 'x', serial, 0],
    [CERTIFICATES_FROM, 'x', serial, 0],
  ] as const) {
    const plan = await ca.context.db.query<{ detail: string }>(`EXPLAIN QUERY PLAN ${sql}`, ...parameters)
    const steps = plan.map(({ detail }) => detail).join('; ')
    assert.match(steps, /^SEARCH \w+ USING (COVERING )?INDEX \w+ \([^;]*\)$/, sql)
  }
})
