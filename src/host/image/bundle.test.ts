/** Bundles: who has to have signed, whom they are for, and what contradicts itself. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KeyAlgorithmId } from '#algorithms/table.ts'
import { encodeCOSE, headers, makeHeaders, parseCOSE } from '#cbor/cose.ts'
import { type COSESigner, coSign, signCOSE1 } from '#cbor/cose-signing.ts'
import { encodeCBOR, parseCBOR } from '#cbor/cbor.ts'
import { AT, root, trialSigner } from '#signing/artifact/testing.ts'
import {
  type Bundle,
  BUNDLE_TYPE,
  bundleDigest,
  checkFor,
  encodeBundle,
  type HostFacts,
  parseBundle,
  readBundle,
} from './bundle.ts'
import { machine, sampleBundle } from './samples.ts'
import { addSignature } from './signatures.ts'

async function rootKey(keyAlgorithm: KeyAlgorithmId): Promise<COSESigner> {
  const { answering } = await trialSigner(keyAlgorithm, 'documentSigning')
  const { key, certificates, signatureAlgorithm } = answering
  return {
    keyAlgorithm,
    signatureAlgorithm,
    certificates: [certificates[0]],
    sign: async (message) => key.sign(message, signatureAlgorithm),
  }
}

/** Three holders, each with a classical and a post-quantum key. */
const holders = await Promise.all([1, 2, 3].map(() => Promise.all([rootKey('ed25519'), rootKey('ml-dsa-65')] as const)))
const [anna, ben, cleo] = holders as unknown as readonly [readonly COSESigner[], readonly COSESigner[], readonly COSESigner[]]
const roots = { threshold: 2, holders: holders.map((keys) => keys.map(({ certificates: [own] }) => own)) }

async function signedBy(signers: readonly COSESigner[], bundle: Bundle = sampleBundle): Promise<Uint8Array> {
  let encoded: Uint8Array | undefined
  for (const signer of signers) encoded = (await addSignature(encodeBundle(bundle), encoded, signer)).encoded
  return encoded as Uint8Array
}

const refused = (encoded: Uint8Array, code: string, reason: string): Promise<void> =>
  assert.rejects(readBundle(encoded, roots, AT), { code, reason })

test('R16: a bundle that two of three holders signed with both their keys is read', async () => {
  const encoded = await signedBy([...anna, ...cleo])
  const { bundle, payload, holders: signed } = await readBundle(encoded, roots, AT)
  assert.deepEqual(bundle, sampleBundle)
  assert.deepEqual(signed, [0, 2])
  assert.equal(bundleDigest(payload).toHex(), bundleDigest(encodeBundle(sampleBundle)).toHex())
})

test('R16: fewer holders, one who signed with one key of two, strangers and changed octets are refused', async () => {
  const [annaClassical] = anna as unknown as readonly [COSESigner]
  const [, benQuantum] = ben as unknown as readonly [COSESigner, COSESigner]
  await refused(await signedBy(anna), 'policyRefused', 'hostBundleThreshold')
  // each key alone is half a holder: two halves are none
  await refused(await signedBy([annaClassical, benQuantum]), 'policyRefused', 'hostBundleThreshold')
  await refused(await signedBy([...anna, benQuantum]), 'policyRefused', 'hostBundleThreshold')
  const stranger = await rootKey('ed25519')
  await refused(await signedBy([...anna, ...ben, stranger]), 'unauthenticated', 'messageSignerUntrusted')
  const good = await signedBy([...anna, ...ben])
  const at = Buffer.from(good).indexOf('SEE-0042')
  await refused(good.with(at + 7, 0x33), 'badProof', 'messageSignature')
})

test('R16: a key that signs twice counts once, and does not get that far', async () => {
  const payload = encodeBundle(sampleBundle)
  const once = await signedBy(anna)
  await assert.rejects(addSignature(payload, once, anna[0] as COSESigner), { code: 'conflict', reason: 'hostBundleSigned' })
  const message = parseCOSE(once)
  assert.ok(message.type === 'sign')
  const twice = encodeCOSE({ ...message, signatures: [...message.signatures, ...message.signatures] })
  await refused(twice, 'malformed', 'messageSignerTwice')
})

test('R16: signatures over another bundle, of another type or of another form are no signatures of this one', async () => {
  const other = encodeBundle({ ...sampleBundle, version: 8 })
  await assert.rejects(addSignature(other, await signedBy(anna), ben[0] as COSESigner), {
    code: 'conflict',
    reason: 'hostBundleOther',
  })
  const payload = encodeBundle(sampleBundle)
  const body = makeHeaders([[headers.typ, 'application/sealworks-director+cbor']])
  const signatures = await Promise.all([...anna, ...ben].map((signer) => coSign(signer, { body, payload })))
  await refused(encodeCOSE({ type: 'sign', headers: body, payload, signatures }), 'badProof', 'messageTypeOther')
  await refused(await signCOSE1(anna[0] as COSESigner, { typ: BUNDLE_TYPE, payload }), 'policyRefused', 'hostBundleThreshold')
})

test('R16, R17: a bundle that is good for one host and moment is refused by another', async () => {
  const verified = await readBundle(await signedBy([...anna, ...ben]), roots, AT)
  const host: HostFacts = { productSerial: 'SEE-0042', owner: { name: 'acme', epoch: 2 } }
  const digest = bundleDigest(verified.payload)
  checkFor(verified, host, AT)
  checkFor(verified, { ...host, installed: { version: 6, digest: new Uint8Array(32) } }, AT)
  checkFor(verified, { ...host, installed: { version: 7, digest } }, AT) // the same again
  const table: readonly (readonly [string, HostFacts, Date?])[] = [
    ['hostBundleForeign', { ...host, productSerial: 'SEE-0001' }],
    ['hostBundleOwner', { ...host, owner: { name: 'other', epoch: 2 } }],
    ['hostBundleOwner', { ...host, owner: { name: 'acme', epoch: 3 } }],
    ['hostBundleEarly', host, new Date('2027-04-30T23:59:59Z')],
    ['hostBundleExpired', host, new Date('2027-12-01T00:00:00Z')],
    ['hostBundleOlder', { ...host, installed: { version: 8, digest } }],
    ['hostBundleOlder', { ...host, installed: { version: 7, digest: new Uint8Array(32) } }],
  ]
  for (const [reason, facts, at = AT] of table)
    assert.throws(() => checkFor(verified, facts, at), { code: 'policyRefused', reason }, reason)
})

test('R17: a bundle that contradicts itself is none', () => {
  const [network] = machine.networks
  const { root: rootFile, boot } = machine
  assert.ok(network !== undefined && rootFile !== undefined)
  const { image: _image, ...withoutImage } = boot
  const direct = {
    profile: 'direct',
    kernel: { name: 'node.kernel', octets: 1, sha256: new Uint8Array(32) },
    initrd: { name: 'node.initrd', octets: 1, sha256: new Uint8Array(32) },
    commandLine: 'console=ttyS0',
  } as const
  const withMachine = (changes: Partial<typeof machine>): Bundle => ({ ...sampleBundle, machines: [{ ...machine, ...changes }] })
  const bad: readonly Bundle[] = [
    { ...sampleBundle, expiresAt: sampleBundle.issuedAt },
    { ...sampleBundle, targets: ['SEE-0042', 'SEE-0042'] },
    { ...sampleBundle, targets: [] },
    { ...sampleBundle, interfaces: ['serial'] },
    { ...sampleBundle, interfaces: ['ethernet'] },
    { ...sampleBundle, machines: [machine, { ...machine, networks: [] }] },
    { ...sampleBundle, machines: [machine, { ...machine, name: 'other' }] }, // its MAC address
    {
      ...sampleBundle,
      machines: [
        machine,
        { ...machine, name: 'other', networks: [], root: { ...rootFile, file: { ...rootFile.file, sha256: rootFile.salt } } },
      ],
    },
    withMachine({ boot: withoutImage }),
    withMachine({ boot: { ...boot, commandLine: 'init=/bin/sh' } }),
    withMachine({ boot: direct }), // does not name the hash of its root
    withMachine({ root: { ...rootFile, blocks: 127 } }),
    withMachine({ root: { ...rootFile, file: { ...rootFile.file, name: '../node.root' } } }),
    withMachine({ serial: ['console', 'console'] }),
    withMachine({ networks: [{ ...network, address: '10.20.0.256' }] }),
    withMachine({ networks: [{ ...network, allow: [{ direction: 'in', protocol: 'tcp', peer: '10.20.0.1', port: 0 }] }] }),
  ]
  for (const [at, bundle] of bad.entries())
    assert.throws(() => parseBundle(encodeBundle(bundle)), { code: 'malformed' }, `number ${at}`)
  parseBundle(encodeBundle(withMachine({ boot: { ...direct, commandLine: `root=${rootFile.rootHash.toHex()}` } })))
  const widened = new Map(parseCBOR(encodeBundle(sampleBundle)) as ReadonlyMap<number, never>)
  widened.set(6, ['ethernet', 'serial', 'usb'] as never)
  assert.throws(() => parseBundle(encodeCBOR(widened)), { code: 'malformed' })
})

test('the root of the certificates stands for no holder', async () => {
  // a certificate of an authority is no root key, even where the authority of all root keys is listed
  const listed = { threshold: 1, holders: [[root]] }
  await assert.rejects(readBundle(await signedBy([anna[0] as COSESigner]), listed, AT), {
    code: 'policyRefused',
    reason: 'hostBundleThreshold',
  })
})
