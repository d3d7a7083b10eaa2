/** tpm2-tools and we read each other's challenges and statements, and compute the same names and policies. @module */
import assert from 'node:assert/strict'
import { generateKeyPairSync, sign } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { concat, utf8 } from '#base/bytes.ts'
import { systemWorld } from '#base/world.ts'
import { checkCertified, checkQuote, trustedAttestationKey } from '#tpm2/attestation.ts'
import { type Credential, makeCredential } from '#tpm2/credential.ts'
import { activateCredential, createPrimary, quote } from '#tpm2/keys.ts'
import { handleName, objectName } from '#tpm2/name.ts'
import { defineCounter, readCounter } from '#tpm2/nv.ts'
import { pcrDigest, pcrSelection } from '#tpm2/pcr.ts'
import { extendPCR, readEndorsement, readPCRs } from '#tpm2/platform.ts'
import {
  policyAuthorize,
  policyAuthValue,
  policyCommandCode,
  policyCounterTimer,
  policyCpHash,
  policyDigest,
  policyLocality,
  policyNameHash,
  policyNV,
  policyNvWritten,
  policyOR,
  policyPCR,
  policySecret,
  policySigned,
  type PolicyStep,
} from '#tpm2/policy.ts'
import { subjectPublicKeyInfoOf } from '#tpm2/public-key.ts'
import { TPM2B_DIGEST, TPM2B_ENCRYPTED_SECRET, TPM2B_ID_OBJECT, TPM2B_PUBLIC, type TPMT_PUBLIC } from '#tpm2/structures.ts'
import { attestationKey, endorsementTemplate } from '#tpm2/templates.ts'
import { hierarchies } from '#tpm2/tpm.ts'
import { marshal, Reader, unmarshal } from '#tpm2/wire.ts'
import { encodePEM } from '#asn1/pem.ts'
import { makeTPM, tpmTools } from './swtpm.ts'

const { random } = systemWorld()
const { skip } = tpmTools

/** The tools' own file: a magic number, a version, then both structures. */
const FILE = Uint8Array.fromHex('badcc0de00000001')
const encodeFile = ({ credentialBlob, secret }: Credential): Uint8Array =>
  concat([FILE, marshal(TPM2B_ID_OBJECT, credentialBlob), marshal(TPM2B_ENCRYPTED_SECRET, secret)])
function parseFile(octets: Uint8Array): Credential {
  assert.deepEqual(octets.subarray(0, 8), FILE)
  const reader = new Reader(octets.subarray(8))
  const credentialBlob = TPM2B_ID_OBJECT.read(reader)
  return { credentialBlob, secret: TPM2B_ENCRYPTED_SECRET.read(reader) }
}

for (const [kind, template] of [
  ['rsa', 'L-1'],
  ['ecc', 'L-2'],
] as const) {
  test(`R4: challenges, certified keys and quotes with tpm2-tools, ${kind}`, { skip }, async (t) => {
    const machine = await makeTPM(t, { tcp: true })
    const { tool, file } = machine
    const read = (name: string): Uint8Array => new Uint8Array(readFileSync(file(name)))
    const areaOf = (name: string): TPMT_PUBLIC => unmarshal(TPM2B_PUBLIC, read(name))
    const flush = () => tool('flushcontext', '-t')

    // theirs, checked by us
    await tool('createek', '-c', 'ek.ctx', '-G', kind, '-u', 'ek.pub')
    await flush()
    const scheme = kind === 'rsa' ? 'rsapss' : 'ecdsa'
    await tool(
      'createak',
      '-C',
      'ek.ctx',
      '-c',
      'ak.ctx',
      '-G',
      kind,
      '-g',
      'sha256',
      '-s',
      scheme,
      '-u',
      'ak.pub',
      '-n',
      'ak.name',
    )
    await flush()
    const ak = areaOf('ak.pub')
    const key = trustedAttestationKey(ak)
    assert.deepEqual(key.name, read('ak.name'))
    const credential = random.octets(32)
    writeFileSync(
      file('challenge'),
      encodeFile(await makeCredential({ endorsementKey: areaOf('ek.pub'), objectName: key.name, credential }, random)),
    )
    await tool('startauthsession', '--policy-session', '-S', 'session.ctx')
    await tool('policysecret', '-S', 'session.ctx', '-c', 'e')
    await tool('activatecredential', '-c', 'ak.ctx', '-C', 'ek.ctx', '-i', 'challenge', '-o', 'told', '-P', 'session:session.ctx')
    await tool('flushcontext', 'session.ctx')
    await flush()
    assert.deepEqual(read('told'), credential)

    await tool('createprimary', '-C', 'o', '-G', 'ecc', '-c', 'primary.ctx')
    await flush()
    await tool(
      'create',
      '-C',
      'primary.ctx',
      '-G',
      kind === 'rsa' ? 'rsa' : 'ecc',
      '-u',
      'key.pub',
      '-r',
      'key.priv',
      '-c',
      'key.ctx',
    )
    await flush()
    await tool(
      'certify',
      '-c',
      'key.ctx',
      '-C',
      'ak.ctx',
      '-g',
      'sha256',
      '--scheme',
      scheme,
      '-o',
      'certify.attest',
      '-s',
      'certify.sig',
    )
    await flush()
    const certified = areaOf('key.pub')
    const statement = { attest: read('certify.attest'), signature: read('certify.sig') }
    const { publicKey } = await checkCertified(statement, key, { certified, nonce: Uint8Array.fromHex('00ff55aa') }) // the tool's own
    await tool('readpublic', '-c', 'key.ctx', '-f', 'der', '-o', 'key.der', '-n', 'key.name')
    await flush()
    assert.deepEqual(publicKey.spki, read('key.der'))
    assert.deepEqual(objectName(certified), read('key.name'))

    const nonce = random.octets(20)
    await tool('pcrextend', `13:sha256=${random.octets(32).toHex()}`)
    await tool(
      'quote',
      '-c',
      'ak.ctx',
      '-l',
      'sha256:0,7,13',
      '-q',
      nonce.toHex(),
      '-m',
      'quote.attest',
      '-s',
      'quote.sig',
      '-g',
      'sha256',
      '--scheme',
      scheme,
    )
    await flush()
    const tpm = await machine.open()
    const expected = await readPCRs(tpm, 'SHA256', [0, 7, 13])
    await checkQuote({ attest: read('quote.attest'), signature: read('quote.sig') }, key, { expected, nonce })
    await extendPCR(tpm, 13, 'SHA256', new Uint8Array(32))
    const changed = await readPCRs(tpm, 'SHA256', [0, 7, 13])
    const old = { attest: read('quote.attest'), signature: read('quote.sig') }
    await assert.rejects(checkQuote(old, key, { expected: changed, nonce }), { reason: 'quoteDigest' })

    // ours, checked by them; for ECC with the key that swtpm has a certificate for
    const ours = kind === 'rsa' ? endorsementTemplate(template) : endorsementTemplate('H-3')
    const own = await readEndorsement(tpm, [ours])
    const mine = await createPrimary(tpm, hierarchies.endorsement, { template: attestationKey() })
    writeFileSync(file('own.pub'), marshal(TPM2B_PUBLIC, own.key.publicArea))
    writeFileSync(file('secret'), credential)
    await tool('makecredential', '-T', 'none', '-u', 'own.pub', '-s', 'secret', '-n', mine.name.toHex(), '-o', 'theirs')
    const told = await activateCredential(tpm, { object: mine, endorsementKey: own.key }, parseFile(read('theirs')))
    assert.deepEqual(told.reveal('test'), credential)

    const { attest, signature } = await quote(tpm, { selection: pcrSelection('SHA256', [0, 7, 13]), by: mine, nonce })
    writeFileSync(file('our.pem'), encodePEM('PUBLIC KEY', subjectPublicKeyInfoOf(mine.publicArea)))
    writeFileSync(file('our.attest'), attest)
    writeFileSync(file('our.sig'), signature)
    writeFileSync(file('our.pcrs'), concat([...changed.values.values()]))
    const check = (q: Uint8Array) =>
      tool(
        'checkquote',
        ...['-u', 'our.pem', '-m', 'our.attest', '-s', 'our.sig', '-g', 'sha256'],
        ...['-f', 'our.pcrs', '-F', 'values', '-l', 'sha256:0,7,13', '-q', q.toHex()],
      )
    await check(nonce)
    await assert.rejects(check(random.octets(20)))
    writeFileSync(file('our.pcrs'), concat([...expected.values.values()]))
    await assert.rejects(check(nonce))
  })
}

test('names of indexes and policies of tpm2-tools are ours', { skip }, async (t) => {
  const machine = await makeTPM(t, { tcp: true })
  const { tool, file } = machine
  const read = (name: string): Uint8Array => new Uint8Array(readFileSync(file(name)))
  const tpm = await machine.open()
  const counter = await defineCounter(tpm, { nvIndex: 0x01800010 })
  const value = await readCounter(tpm, counter)
  const pcrs = await readPCRs(tpm, 'SHA256', [0, 7])
  const selection = pcrSelection('SHA256', [0, 7])
  await tpm.close()
  assert.match(await tool('nvreadpublic', '0x01800010'), new RegExp(`name: ${counter.name.toHex()}`))

  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  writeFileSync(file('officer.pem'), publicKey.export({ format: 'pem', type: 'spki' }))
  await tool('loadexternal', '-C', 'o', '-G', 'ecc', '-u', 'officer.pem', '-c', 'officer.ctx', '-n', 'officer.name')
  await tool('flushcontext', '-t')
  writeFileSync(file('officer.sig'), sign('sha256', utf8('a trial looks at no signature'), privateKey))
  const officer = read('officer.name')
  const policyRef = utf8('release')
  writeFileSync(file('reference'), policyRef)
  const operandB = new Uint8Array(8)
  new DataView(operandB.buffer).setBigUint64(0, value + 7n)
  writeFileSync(file('operand'), operandB)
  const hash = random.octets(32)
  writeFileSync(file('hash'), hash)
  writeFileSync(file('hash.sized'), marshal(TPM2B_DIGEST, hash))
  const zeros = new Uint8Array(8)
  writeFileSync(file('zeros'), zeros)
  const branches = [policyDigest('SHA256', policyAuthValue), policyDigest('SHA256', policyLocality(3))]
  branches.forEach((branch, i) => writeFileSync(file(`branch${i}`), branch))

  const steps: readonly (readonly [PolicyStep, string, ...(readonly string[])])[] = [
    [policyPCR(selection, pcrDigest('SHA256', pcrs)), 'policypcr', '-l', 'sha256:0,7'],
    [policySecret(handleName(0x40000001)), 'policysecret', '-c', 'o'],
    [policyAuthValue, 'policyauthvalue'],
    [policyAuthValue, 'policypassword'],
    [policyCommandCode('Unseal'), 'policycommandcode', 'TPM2_CC_Unseal'],
    [policyLocality(1), 'policylocality', 'zero'],
    [policyNvWritten(true), 'policynvwritten', 's'],
    [policyCpHash(hash), 'policycphash', '--cphash-input', 'hash.sized'],
    [policyNameHash(hash), 'policynamehash', '-n', 'hash'],
    [policyOR(...branches), 'policyor', '-l', 'sha256:branch0,branch1'],
    [policyNV(counter.name, operandB, 0, 'UNSIGNED_LE'), 'policynv', '0x01800010', 'ule', '-i', 'operand', '-C', '0x01800010'],
    [
      policySigned(officer, policyRef),
      'policysigned',
      '-c',
      'officer.ctx',
      '-g',
      'sha256',
      '-s',
      'officer.sig',
      '-f',
      'ecdsa',
      '-q',
      'reference',
    ],
    [policyAuthorize(officer, policyRef), 'policyauthorize', '-i', 'branch0', '-n', 'officer.name', '-q', 'reference'],
    [policyCounterTimer(zeros, 8, 'UNSIGNED_GE'), 'policycountertimer', '--uge', 'clock=0'],
  ]
  for (const [step, name, ...words] of steps) {
    await tool('startauthsession', '-S', 'trial.ctx')
    await tool(name, '-S', 'trial.ctx', '-L', 'digest', ...words)
    await tool('flushcontext', 'trial.ctx')
    await tool('flushcontext', '-t')
    assert.equal(read('digest').toHex(), policyDigest('SHA256', step).toHex(), name)
  }
  // two after each other
  await tool('startauthsession', '-S', 'trial.ctx')
  await tool('policyauthvalue', '-S', 'trial.ctx', '-L', 'digest')
  await tool('policycommandcode', '-S', 'trial.ctx', '-L', 'digest', 'TPM2_CC_NV_Increment')
  assert.deepEqual(read('digest'), policyDigest('SHA256', policyAuthValue, policyCommandCode('NV_Increment')))
  await tool('flushcontext', 'trial.ctx')
})
