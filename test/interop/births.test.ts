/**
 * Births with devices and programs of others: swtpm and tpm2-tools prove keys, the npm package jose signs manifests and
 * receipts, OpenSSL opens the key that is delivered and reads the certificates.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { generateKeyPairSync, hash, type KeyObject } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { promisify } from 'node:util'
import { CompactSign, FlattenedSign } from 'jose'
import { encodePEM } from '#asn1/pem.ts'
import { concat, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { testRequest } from '#ca/testing.ts'
import { trustAuthority } from '#ca/trusted.ts'
import { party } from '#cms/testing.ts'
import { bear, challenge } from '#devices/birth/births.ts'
import { answerWithTPM, introduceTPM } from '#devices/birth/client.ts'
import { takeReceipt } from '#devices/birth/external-record.ts'
import { bearWithKey } from '#devices/birth/external.ts'
import type { ManifestEntry } from '#devices/birth/manifest.ts'
import type { IssuedChallenge } from '#devices/birth/messages.ts'
import { blockElement, findElements, importManifest, trustManifestSigner } from '#devices/birth/secure-elements.ts'
import { findDevices } from '#devices/register.ts'
import { type Factory, makeFactory, TEST_ARC } from '#server/births-testing.ts'
import { createKey, createPrimary, withKey } from '#tpm2/keys.ts'
import { endorsementTemplate, signingKey, storageRootKey } from '#tpm2/templates.ts'
import { hierarchies } from '#tpm2/tpm.ts'
import { fingerprint } from '#x509/certificate.ts'
import { needs } from './programs.ts'
import { makeTPM, type SoftwareTPM, tpmPrograms, tpmTools } from './swtpm.ts'

const run = promisify(execFile)
const openssl = needs('openssl')
const folder = mkdtempSync(join(tmpdir(), 'sealworks-births-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const STATION = 'service:station-1'
const officer = 'person:olga'

function keep(name: string, content: string | Uint8Array): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

/** Trusts the maker of the software TPMs, whose issuer stands between. */
async function trustMaker({ ca }: Factory, { anchors, issuers }: SoftwareTPM): Promise<readonly string[]> {
  const addresses: string[] = []
  for (const [at, certificate] of [...anchors, ...issuers].entries()) {
    const slug = `swtpm${at}`
    await trustAuthority(ca.context, ca.authorities, { slug, kind: 'foreign', certificate }, officer)
    addresses.push(slug)
  }
  return addresses
}

const refusedWith = (reason: string) => (thrown: unknown) => thrown instanceof TrustError && thrown.reason === reason

for (const id of ['L-1', 'H-3']) {
  test(
    `R4: swtpm bears a device, with an endorsement key from template ${id}`,
    { skip: tpmPrograms.skip ?? openssl.skip },
    async (t) => {
      await using plant = await makeFactory({ assuranceMin: 4 })
      const machine = await makeTPM(t)
      await plant.line('line', { endorsementAuthorities: await trustMaker(plant, machine) })
      const tpm = await machine.open()
      const templates = [endorsementTemplate(id)]
      const introduction = await introduceTPM(tpm, templates)
      const asked = await challenge(plant.births, { ...introduction, line: 'line', productSerial: 'P-1' }, STATION)
      const srk = await createPrimary(tpm, hierarchies.owner, { template: storageRootKey })
      const wrapped = await createKey(tpm, srk, { template: signingKey() })
      const evidence = await answerWithTPM(tpm, asked, (work) => withKey(tpm, srk, wrapped, work), templates)
      const born = await bear(plant.births, { line: 'line', productSerial: 'P-1', evidence }, STATION)
      const [device] = await findDevices(plant.births, { productSerial: 'P-1' }, { limit: 1 })
      assert.equal(device?.assurance, 4)

      const certificate = keep('born.pem', encodePEM('CERTIFICATE', born.certificate))
      const [issuer = new Uint8Array(), root = new Uint8Array()] = born.chain
      const { stdout } = await run(openssl.path('openssl'), [
        ...['verify', '-CAfile', keep('root.pem', encodePEM('CERTIFICATE', root))],
        ...['-untrusted', keep('issuer.pem', encodePEM('CERTIFICATE', issuer)), certificate],
      ])
      assert.match(stdout, /: OK/)
      const text = (await run(openssl.path('openssl'), ['x509', '-in', certificate, '-noout', '-text'])).stdout
      assert.match(text, new RegExp(`Policy: ${TEST_ARC.replaceAll('.', String.raw`\.`)}\\.4\\b`))
      assert.match(text, /Not After : Dec 31 23:59:59 9999 GMT/)
      assert.match(text, /serialNumber = P-1/)
    },
  )
}

test('R4: swtpm of an unknown maker, and one that reads the challenge of another', { skip: tpmPrograms.skip }, async (t) => {
  await using plant = await makeFactory()
  const [machine, other] = [await makeTPM(t), await makeTPM(t, { another: true })]
  await plant.line('line', { endorsementAuthorities: await trustMaker(plant, machine) })
  const [tpm, strange] = [await machine.open(), await other.open()]
  const [mine, theirs] = [await introduceTPM(tpm), await introduceTPM(strange)]
  const ask = (introduction: typeof mine) =>
    challenge(plant.births, { ...introduction, line: 'line', productSerial: 'P-1' }, STATION)
  await assert.rejects(ask(theirs), refusedWith('endorsementUntrusted'))
  // the attestation key of another TPM: neither can read it
  const asked = await ask({ ...mine, attestationKey: theirs.attestationKey })
  const never = () => assert.fail('it was read')
  await assert.rejects(answerWithTPM(tpm, asked, never), refusedWith('tpmProof'))
  await assert.rejects(answerWithTPM(strange, asked, never), TrustError)
})

const CHALLENGE_FILE = Uint8Array.fromHex('badcc0de00000001')
const challengeFile = ({ credentialBlob, secret }: IssuedChallenge): Uint8Array =>
  concat([CHALLENGE_FILE, credentialBlob, secret])

test('R4: a station with nothing but tpm2-tools bears a device', { skip: tpmTools.skip }, async (t) => {
  await using plant = await makeFactory({ assuranceMin: 4 })
  const machine = await makeTPM(t, { tcp: true })
  await plant.line('line', { endorsementAuthorities: await trustMaker(plant, machine) })
  const { tool, file } = machine
  const read = (name: string): Uint8Array => new Uint8Array(readFileSync(file(name)))
  const flush = () => tool('flushcontext', '-t')
  await tool('createek', '-c', 'ek.ctx', '-G', 'rsa', '-u', 'ek.pub')
  await flush()
  await tool(
    'createak',
    '-C',
    'ek.ctx',
    '-c',
    'ak.ctx',
    '-G',
    'ecc',
    '-g',
    'sha256',
    '-s',
    'ecdsa',
    '-u',
    'ak.pub',
    '-n',
    'ak.name',
  )
  await flush()
  await tool('nvread', '0x1c00002', '-o', 'ek.crt')
  const asked = await challenge(
    plant.births,
    {
      ...{ line: 'line', productSerial: 'P-1', endorsementKey: read('ek.pub'), attestationKey: read('ak.pub') },
      endorsementCertificate: read('ek.crt'),
    },
    STATION,
  )
  writeFileSync(file('challenge'), challengeFile(asked))
  await tool('startauthsession', '--policy-session', '-S', 'session.ctx')
  await tool('policysecret', '-S', 'session.ctx', '-c', 'e')
  await tool('activatecredential', '-c', 'ak.ctx', '-C', 'ek.ctx', '-i', 'challenge', '-o', 'told', '-P', 'session:session.ctx')
  await tool('flushcontext', 'session.ctx')
  await flush()
  await tool('createprimary', '-C', 'o', '-G', 'ecc', '-c', 'primary.ctx')
  await flush()
  await tool(
    ...(['create', '-C', 'primary.ctx', '-G', 'ecc', '-u', 'key.pub', '-r', 'key.priv'] as const),
    ...['-a', 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign'],
    ...['--creation-data', 'creation.data', '-d', 'creation.hash', '-t', 'creation.ticket'],
  )
  await flush()
  await tool('load', '-C', 'primary.ctx', '-u', 'key.pub', '-r', 'key.priv', '-c', 'key.ctx')
  await flush()
  await tool(
    ...(['certifycreation', '-C', 'ak.ctx', '-c', 'key.ctx', '-d', 'creation.hash', '-t', 'creation.ticket'] as const),
    ...['-g', 'sha256', '-s', 'ecdsa', '-o', 'certify.sig', '--attestation', 'certify.attest', '-q', asked.nonce.toHex()],
  )
  const evidence = {
    type: 'tpm',
    ...{ challenge: asked.id, credential: read('told'), key: read('key.pub'), attest: read('certify.attest') },
    ...{ signature: read('certify.sig'), creationData: read('creation.data') },
  } as const
  await bear(plant.births, { line: 'line', productSerial: 'P-1', evidence }, STATION)
  const [device] = await findDevices(plant.births, { productSerial: 'P-1' }, { limit: 1 })
  assert.equal(device?.assurance, 4)
})

/** As Microchip publishes its manifests: an array, each entry a JWS in the flattened form that names its signer by key and certificate. */
interface Reel {
  readonly certificate: Uint8Array
  entry(
    uniqueId: string,
    keys: readonly KeyObject[],
    more?: { readonly header?: object; readonly payload?: object },
  ): Promise<ManifestEntry>
}

async function reel(): Promise<Reel> {
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { certificate } = await party(pair, ['digitalSignature'])
  const thumbprint = Buffer.from(fingerprint(certificate)).toString('base64url')
  return {
    certificate,
    async entry(uniqueId, keys, { header = {}, payload = {} } = {}) {
      const organization = { organizationName: 'Microchip Technology Inc', organizationalUnitName: 'Secure Products Group' }
      const stated = {
        ...{ version: 1, model: 'ATECC608B', partNumber: 'ATECC608B-TFLXTLSU', uniqueId },
        ...{
          manufacturer: { organizationName: organization.organizationName },
          provisioner: organization,
          distributor: organization,
        },
        ...{ groupId: '359SCE55NV38H3CB', provisioningTimestamp: '2026-01-24T16:35:23.473Z' },
        publicKeySet: { keys: keys.map((key, slot) => ({ kid: String(slot), ...key.export({ format: 'jwk' }) })) },
        ...payload,
      }
      const signed = await new FlattenedSign(utf8(JSON.stringify(stated)))
        .setProtectedHeader({ typ: 'JWT', alg: 'ES256', 'x5t#S256': thumbprint, ...header })
        .setUnprotectedHeader({ uniqueId })
        .sign(pair.privateKey)
      return signed as ManifestEntry
    },
  }
}

const chipKey = () => generateKeyPairSync('ec', { namedCurve: 'P-256' })

async function requestOf(productSerial: string, { privateKey, publicKey }: ReturnType<typeof chipKey>): Promise<Uint8Array> {
  const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }))
  const key = { key: privateKey, spki, signatureAlgorithm: 'ecdsa-sha256' } as const
  return (await testRequest({ subject: [{ type: 'serialNumber', value: productSerial }], key })).der
}

test('R4: chips of a signed manifest are purchased until they are mounted, and nothing else is born', async () => {
  await using plant = await makeFactory({ assuranceMin: 3 })
  await plant.line('line')
  const { births } = plant
  const [maker, stranger] = [await reel(), await reel()]
  await trustManifestSigner(births, { name: 'microchip', certificate: maker.certificate }, officer)
  const [one, two, three, outside] = [chipKey(), chipKey(), chipKey(), chipKey()]
  const entries = [
    await maker.entry('0123f1822c38dd7a01', [one.publicKey, two.publicKey]),
    await maker.entry('0123F1822C38DD7A02', [three.publicKey]),
  ]
  assert.deepEqual(await importManifest(births, entries, officer), { imported: 2, known: 0 })
  assert.deepEqual(await importManifest(births, entries, officer), { imported: 0, known: 2 })

  const give = async (productSerial: string, key: ReturnType<typeof chipKey>) => {
    const evidence = { type: 'secure-element', request: await requestOf(productSerial, key) } as const
    return bear(births, { line: 'line', productSerial, evidence }, STATION)
  }
  await give('P-1', one)
  const [device] = await findDevices(births, { productSerial: 'P-1' }, { limit: 1 })
  assert.equal(device?.assurance, 3)
  const states = async () =>
    (await findElements(births, {}, { limit: 10 })).map(({ uniqueId, state }) => `${uniqueId.at(-1)} ${state}`)
  assert.deepEqual((await states()).toSorted(), ['1 mounted', '2 purchased'])
  await assert.rejects(give('P-2', two), refusedWith('elementUsed'), 'another slot of the same chip')
  await assert.rejects(give('P-2', one), refusedWith('elementUsed'), 'the same key')
  await assert.rejects(give('P-2', outside), refusedWith('elementNotStated'))
  await assert.rejects(blockElement(births, '0123f1822c38dd7a01', officer), refusedWith('elementUsed'))
  await blockElement(births, '0123f1822c38dd7a02', officer)
  await assert.rejects(give('P-2', three), refusedWith('elementUsed'), 'a blocked chip')

  const because = (reason: string) => (thrown: unknown) =>
    thrown instanceof TrustError && thrown.reason === 'manifestRefused' && thrown.facts['because'] === reason
  const fresh = chipKey().publicKey
  const good = await maker.entry('0a', [fresh])
  const wrong: readonly [name: string, entry: ManifestEntry, because: string][] = [
    ['a foreign signer', await stranger.entry('0b', [fresh]), 'manifestSignerUnknown'],
    [
      'a signer who names another',
      await stranger.entry('0b', [fresh], {
        header: { 'x5t#S256': Buffer.from(fingerprint(maker.certificate)).toString('base64url') },
      }),
      'birthSignature',
    ],
    ['a header for another chip', { ...good, header: { uniqueId: '0b' } }, 'manifestEntry'],
    ['a changed payload', { ...good, payload: (await maker.entry('0b', [fresh])).payload }, 'birthSignature'],
    ['a key of another chip', await maker.entry('0b', [one.publicKey]), 'elementKeyKnown'],
    ['a chip stated otherwise', await maker.entry('0123f1822c38dd7a02', [fresh]), 'elementKnown'],
    ['another version', await maker.entry('0b', [fresh], { payload: { version: 2 } }), 'manifestVersion'],
    ['no keys', await maker.entry('0b', []), 'manifestEntry'],
    [
      'a private key',
      await maker.entry('0b', [fresh], {
        payload: { publicKeySet: { keys: [{ kid: '0', ...one.privateKey.export({ format: 'jwk' }) }] } },
      }),
      'notJWK',
    ],
  ]
  for (const [name, entry, reason] of wrong)
    await assert.rejects(importManifest(births, [good, entry], officer), because(reason), name)
  assert.equal((await findElements(births, {}, { limit: 10 })).length, 2, 'all or none')
})

for (const type of ['rsa', 'ec'] as const) {
  test(`R4: openssl opens the key that was made for a device, for a unit with ${type}`, { skip: openssl.skip }, async () => {
    await using plant = await makeFactory()
    const pair = type === 'rsa' ? generateKeyPairSync('rsa', { modulusLength: 2048 }) : chipKey()
    const unit = await party(pair, ['digitalSignature', type === 'rsa' ? 'keyEncipherment' : 'keyAgreement'])
    await plant.line('line', { units: [unit.certificate.toBase64()] })
    const print = fingerprint(unit.certificate).toHex()
    const wanted = { line: 'line', productSerial: 'P-1', keyAlgorithm: 'ecdsa-p256', unit: print } as const
    const born = await bearWithKey(plant.births, wanted, STATION)
    const [message, out] = [keep(`${type}.cms`, born.encryptedKey), join(folder, `${type}.p8`)]
    await run(openssl.path('openssl'), [
      ...['cms', '-decrypt', '-binary', '-inform', 'DER', '-in', message, '-out', out],
      ...['-recip', keep(`${type}.crt`, encodePEM('CERTIFICATE', unit.certificate))],
      ...['-inkey', keep(`${type}.key`, pair.privateKey.export({ type: 'pkcs8', format: 'pem' }))],
    ])
    const { stdout: opened } = await run(openssl.path('openssl'), ['pkey', '-inform', 'DER', '-in', out, '-pubout'])
    const certificate = keep(`${type}.pem`, encodePEM('CERTIFICATE', born.certificate))
    const { stdout: certified } = await run(openssl.path('openssl'), ['x509', '-in', certificate, '-noout', '-pubkey'])
    assert.equal(opened, certified)

    // nothing of it stayed: neither the key nor the message that holds it
    const key = readFileSync(out)
    const files = ['', '-wal'].map((end) => readFileSync(join(plant.directory, `sealworks.db${end}`)))
    const isStored = (part: Uint8Array): boolean => files.some((file) => file.includes(part))
    assert.ok(isStored(fingerprint(unit.certificate)) || isStored(unit.certificate), 'it can be found')
    const secretPart = key.subarray(36, 68) // the private octets of a PKCS #8 of P-256
    assert.ok(!isStored(secretPart) && !isStored(Buffer.from(secretPart.toString('hex'))))
    assert.ok(!isStored(born.encryptedKey.subarray(-64)))

    const receipt = await new CompactSign(
      utf8(
        JSON.stringify({
          certificate: hash('sha256', born.certificate),
          productSerial: 'P-1',
          destroyedAt: plant.world.clock.now(),
        }),
      ),
    )
      .setProtectedHeader({ typ: 'sealworks-key-destroyed+jwt', alg: type === 'rsa' ? 'RS256' : 'ES256' })
      .sign(pair.privateKey)
    const kept = { certificateId: born.certificateId, der: born.certificate }
    assert.equal((await takeReceipt(plant.births, kept, utf8(receipt), STATION)).state, 'destroyed')
  })
}
