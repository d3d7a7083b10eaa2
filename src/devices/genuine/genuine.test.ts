import assert from 'node:assert/strict'
import { createPrivateKey, generateKeyPairSync, sign } from 'node:crypto'
import { test } from 'node:test'
import { utf8 } from '#base/bytes.ts'
import { asTrustError } from '#base/errors.ts'
import { changeState, setFlag } from '../change.ts'
import { checkSigned, readStatement } from '../ownership/statement.ts'
import { type TestInstallation, testInstallation, testKey, type TestKey } from '../ownership/testing.ts'
import { officer } from '../testing.ts'
import { answerGenuine, askGenuine } from './genuine.ts'
import { encodeProof, parseProof, parseQuestion, type Proof, type Question, signedText } from './messages.ts'
import { genuineMigrations } from './migrations.ts'

const stranger = 'anonymous'
const open = () => testInstallation(undefined, genuineMigrations)

const proofBy = async (key: TestKey, question: Question): Promise<Proof> => ({
  key: key.publicKey,
  signature: await key.sign(signedText(question), 'ecdsa-sha256'),
})

/** A stranger asks, and a key answers. */
async function asked({ context }: TestInstallation, productSerial: string, key: TestKey, manufacturer = 'valves') {
  const question = await askGenuine(context, { manufacturer, productSerial })
  return answerGenuine(context, question.nonce, await proofBy(key, question), stranger)
}

test('R15: a device that answers with its birth key is genuine, and the maker signs that it said so', async () => {
  await using plant = await open()
  const maker = await plant.organization('valves')
  const { key } = await plant.shipped('V2-1')
  const { verdict, statement = '', question } = await asked(plant, 'v2-1', key)
  assert.equal(verdict, 'genuine')
  const read = readStatement('verdict', statement)
  await checkSigned(read, maker.public, 'the maker')
  const { nonce, productSerial } = read.payload
  assert.deepEqual([nonce, productSerial, read.payload.verdict], [question.nonce, 'v2-1', 'genuine'])
  await assert.rejects(checkSigned(read, testKey().public, 'the maker'), { reason: 'ownershipSignature' })
})

test('R15: what has not the key learns nothing: no device, another key, another device, another maker are one word', async () => {
  await using plant = await open()
  await plant.organization('valves')
  const { device } = await plant.shipped('V2-1')
  const other = await plant.shipped('V2-2')
  await setFlag(plant.context, device.id, { flag: 'stolen', isSet: true, actor: officer })
  for (const [serial, key, maker] of [
    ['V2-9', testKey(), 'valves'],
    ['V2-1', testKey(), 'valves'],
    ['V2-1', other.key, 'valves'],
    ['V2-1', other.key, 'nobody'],
  ] as const) {
    const { verdict } = await asked(plant, serial, key, maker)
    assert.equal(verdict, 'unknown', serial)
  }
  const refusals = await plant.context.db.query("SELECT act FROM audit_entry WHERE outcome = 'refused'")
  assert.deepEqual(refusals, [], 'what strangers try in vain does not fill the audit log')
})

test('R15: a copy, what is missing, doubted, scrapped or never let out, says so to whoever holds it, and to the audit log', async () => {
  await using plant = await open()
  const { context } = plant
  await plant.organization('valves')
  const flagged = async (serial: string, flag: 'clone' | 'stolen' | 'lost') => {
    const { device, key } = await plant.shipped(serial)
    await setFlag(context, device.id, { flag, isSet: true, actor: officer })
    return (await asked(plant, serial, key)).verdict
  }
  assert.deepEqual(
    [await flagged('V2-1', 'clone'), await flagged('V2-2', 'stolen'), await flagged('V2-3', 'lost')],
    ['clone', 'stolen', 'stolen'],
  )
  const doubted = await plant.shipped('V2-4')
  await changeState(context, doubted.device.id, { act: 'quarantine', actor: officer })
  assert.equal((await asked(plant, 'V2-4', doubted.key)).verdict, 'doubted')
  await changeState(context, doubted.device.id, { act: 'scrap', actor: officer })
  assert.equal((await asked(plant, 'V2-4', doubted.key)).verdict, 'scrapped')
  const kept = await plant.shipped('V2-5', 'born')
  assert.equal((await asked(plant, 'V2-5', kept.key)).verdict, 'neverShipped')
  await changeState(context, kept.device.id, { act: 'release', actor: officer })
  assert.equal((await asked(plant, 'V2-5', kept.key)).verdict, 'neverShipped')
  const rows = await context.db.query("SELECT act, reason FROM audit_entry WHERE outcome = 'refused' ORDER BY id")
  assert.deepEqual(
    rows.map(({ reason }) => reason),
    ['deviceCloned', 'deviceMissing', 'deviceMissing', ...Array.from({ length: 4 }, () => 'deviceNotInUse')],
  )
})

test('a question is answered once, in its time, and for what was asked', async () => {
  await using plant = await open()
  const { context } = plant
  await plant.organization('valves')
  const [one, two] = [await plant.shipped('V2-1'), await plant.shipped('V2-2')]
  const question = await askGenuine(context, { manufacturer: 'valves', productSerial: 'V2-1' })
  const proof = await proofBy(one.key, question)
  assert.equal((await answerGenuine(context, question.nonce, proof, stranger)).verdict, 'genuine')
  const over = (nonce: string, given: Proof) =>
    assert.rejects(answerGenuine(context, nonce, given, stranger), { code: 'notFound', reason: 'genuineQuestionOver' })
  await over(question.nonce, proof)
  const next = await askGenuine(context, { manufacturer: 'valves', productSerial: 'V2-1' })
  assert.equal((await answerGenuine(context, next.nonce, proof, stranger)).verdict, 'unknown', 'an old answer is none')
  const relayed = await askGenuine(context, { manufacturer: 'valves', productSerial: 'V2-1' })
  const forOther = await proofBy(one.key, { ...relayed, productSerial: 'V2-2' })
  assert.equal((await answerGenuine(context, relayed.nonce, forOther, stranger)).verdict, 'unknown')
  const late = await askGenuine(context, { manufacturer: 'valves', productSerial: 'V2-2' })
  plant.time.ahead += 601_000
  await over(late.nonce, await proofBy(two.key, late))
})

test('strangers who only ask are many at most, and keep nobody from asking', async () => {
  await using plant = await open()
  const { db } = plant.context
  await askGenuine(plant.context, { manufacturer: 'valves', productSerial: 'V2-1' })
  const fill = `INSERT INTO genuine_challenge (nonce, organization_id, manufacturer, product_serial, expires_at)
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)
    SELECT 'n' || i, 'default', 'valves', 'x', (SELECT max(expires_at) FROM genuine_challenge) - 1 FROM n`
  await db.transaction((tx) => tx.query(fill))
  const ask = () => askGenuine(plant.context, { manufacturer: 'valves', productSerial: 'V2-1' })
  const { nonce } = await ask()
  const left = await db.query<{ nonce: string }>('SELECT nonce FROM genuine_challenge ORDER BY expires_at, nonce')
  assert.equal(left.length, 10_000)
  assert.ok(left.some((row) => row.nonce === nonce))
  assert.notEqual(left[0]?.nonce, 'n1', 'the oldest gave way')
  plant.time.ahead += 601_000
  await ask()
  assert.equal((await db.query('SELECT nonce FROM genuine_challenge')).length, 1, 'those that are over are gone')
})

test('the text and its proof survive their files, and nothing else is taken for them', () => {
  const question: Question = { manufacturer: 'valves', productSerial: 'V2/1 – Ü', nonce: 'A'.repeat(43) }
  const written = parseQuestion(utf8(JSON.stringify({ ...question, expiresAt: '2027-01-01T00:00:00.000Z' })))
  assert.deepEqual(written, question)
  const text = new TextDecoder().decode(signedText(question))
  assert.equal(text, `sealworks: is this device genuine? 1\nvalves\nV2/1 – Ü\n${'A'.repeat(43)}\n`)
  for (const wrong of [
    { ...question, productSerial: 'V2\n1' },
    { ...question, manufacturer: 'Valves' },
    { ...question, nonce: 'A' },
    { ...question, productSerial: '' },
  ]) {
    assert.throws(
      () => parseQuestion(utf8(JSON.stringify(wrong))),
      (thrown) => asTrustError(thrown).reason === 'notGenuineQuestion',
    )
  }
  const pair = generateKeyPairSync('ed25519')
  const key = new Uint8Array(pair.publicKey.export({ type: 'spki', format: 'der' }))
  const proof = {
    key,
    signature: new Uint8Array(
      sign(null, signedText(question), createPrivateKey(pair.privateKey.export({ type: 'pkcs8', format: 'pem' }))),
    ),
  }
  assert.deepEqual(parseProof(utf8(encodeProof(proof))), proof)
  assert.throws(() => parseProof(utf8('{"key":"="}')), { code: 'malformed' })
})
