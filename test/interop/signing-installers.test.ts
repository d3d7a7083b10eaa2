/**
 * Authenticode over packages, cabinets and scripts with osslsigncode, both ways. The packages and cabinets are made and
 * read by msitools and gcab; scripts are also read by a second reader, for osslsigncode before 2.8 knows none.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash, verify, X509Certificate } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { encodePEM } from '#asn1/pem.ts'
import { concat, utf8 } from '#base/bytes.ts'
import { bytesSource } from '#signing/artifact/blob.ts'
import { encodeCompoundFile, parseCompoundFile } from '#signing/artifact/cfb.ts'
import {
  judged,
  octetsIn,
  root,
  signedWith,
  type TrialSigner,
  trialSigner,
  trialTimeStamps,
  verified,
} from '#signing/artifact/testing.ts'
import type { SigningFormat } from '#signing/format.ts'
import { authenticodeCAB } from '#signing/formats/authenticode-cab.ts'
import { authenticodeMSI } from '#signing/formats/authenticode-msi.ts'
import { authenticodeScript } from '#signing/formats/authenticode-script.ts'
import { find, needs } from './programs.ts'
import { scratch } from './scratch.ts'

const run = promisify(execFile)
const { fresh, keep } = scratch('installers')

const read = (path: string): Uint8Array => new Uint8Array(readFileSync(path))
const rootFile = keep(encodePEM('CERTIFICATE', root))

const packages = needs('osslsigncode', 'wixl', 'msibuild', 'msiextract')
const olefile = needs('wixl', 'python3', 'python3-olefile')
const cabinets = needs('osslsigncode', 'gcab', 'cabextract')
const signcode = needs('osslsigncode')

async function osslVersion(): Promise<number> {
  const path = find('osslsigncode')
  if (path === undefined) return 0
  const { stdout } = await run(path, ['--version'])
  const [, major = '', minor = ''] = /osslsigncode (\d+)\.(\d+)/.exec(stdout) ?? assert.fail(stdout)
  return Number(major) * 100 + Number(minor)
}
/** PowerShell came with 2.8; Debian 12 has 2.5. */
const scripts = signcode.skip || ((await osslVersion()) < 208 && 'needs osslsigncode 2.8 or later, which Debian 12 does not have')

const ossl = (...args: string[]): Promise<{ stdout: string }> => run(signcode.path('osslsigncode'), args)
const osslVerifies = (octets: Uint8Array, suffix = ''): Promise<{ stdout: string }> =>
  ossl('verify', '-in', keep(octets, suffix), '-CAfile', rootFile, '-TSA-CAfile', rootFile)

async function osslSigns(
  octets: Uint8Array,
  signer: TrialSigner,
  options: readonly string[] = [],
  suffix = '',
): Promise<Uint8Array> {
  const out = fresh(suffix)
  const certificate = keep(encodePEM('CERTIFICATE', signer.answering.certificates[0]))
  const key = keep(signer.privateKey.export({ type: 'pkcs8', format: 'pem' }))
  await ossl('sign', '-certs', certificate, '-key', key, '-ac', rootFile, ...options, '-in', keep(octets, suffix), '-out', out)
  return read(out)
}

async function osslRemoves(octets: Uint8Array, suffix = ''): Promise<Uint8Array> {
  const out = fresh(suffix)
  await ossl('remove-signature', '-in', keep(octets, suffix), '-out', out)
  return read(out)
}

const product = `<?xml version="1.0" encoding="utf-8"?>
<Wix xmlns="http://schemas.microsoft.com/wix/2006/wi">
 <Product Id="5d3fa1b0-0f5e-4d6c-9d1a-77aa00000001" Name="Press 7" Manufacturer="Example Works" Version="1.0.0" Language="1033"
   UpgradeCode="5d3fa1b0-0f5e-4d6c-9d1a-77aa00000002">
  <Package InstallerVersion="200" Compressed="yes" Comments="control of press 7"/>
  <Media Id="1" Cabinet="press.cab" EmbedCab="yes"/>
  <Directory Id="TARGETDIR" Name="SourceDir"><Directory Id="ProgramFilesFolder"><Directory Id="INSTALLDIR" Name="Press">
   <Component Id="Main" Guid="5d3fa1b0-0f5e-4d6c-9d1a-77aa00000003"><File Id="Press" Source="press.bin"/></Component>
  </Directory></Directory></Directory>
  <Feature Id="All" Level="1"><ComponentRef Id="Main"/></Feature>
 </Product>
</Wix>`
const firmware = Uint8Array.from({ length: 20_000 }, (_, i) => (i * i * 31) >>> 7)

let built: Promise<Uint8Array> | undefined
/** By wixl: tables, and a cabinet in a stream. */
function installer(): Promise<Uint8Array> {
  built ??= (async () => {
    const place = fresh()
    mkdirSync(place)
    writeFileSync(join(place, 'press.bin'), firmware)
    writeFileSync(join(place, 'press.wxs'), product)
    await run(packages.path('wixl'), ['-o', 'press.msi', 'press.wxs'], { cwd: place })
    return read(join(place, 'press.msi'))
  })()
  return built
}

/** By msibuild, with a stream so large that the table of sectors goes on outside of the header. */
async function database(): Promise<Uint8Array> {
  const out = fresh('.msi')
  await run(packages.path('msibuild'), [out, '-s', 'Press 7', 'Example Works', ';1033', '{5D3FA1B0-0F5E-4D6C-9D1A-77AA00000001}'])
  await run(packages.path('msibuild'), [out, '-a', 'firmware', keep(new Uint8Array(7_400_000).fill(0x5a))])
  return read(out)
}

/** The same with a storage in it, as transforms are, and sectors of 4,096 octets. */
async function withStorage(sectorOctets: 512 | 4096): Promise<Uint8Array> {
  const source = bytesSource(await installer())
  const { root: before } = await parseCompoundFile(source)
  const inner = before.children.filter(({ type }) => type === 'stream').slice(0, 6)
  const name = new Uint8Array(Buffer.from('Transform', 'utf16le'))
  const times = new Uint8Array(16).fill(5)
  const storage = { ...before, name, times, children: inner }
  return octetsIn(source, encodeCompoundFile({ ...before, children: [...before.children, storage] }, sectorOctets))
}

/** Both ends and the middle of everything that is signed. */
async function changed(format: SigningFormat, octets: Uint8Array): Promise<readonly Uint8Array[]> {
  const { signatures } = await format.extract(bytesSource(octets))
  return (signatures[0]?.covered ?? []).flatMap(({ offset, length }) =>
    [offset, offset + (length >> 1), offset + length - 1].map((at) => octets.with(at, (octets[at] as number) ^ 0x10)),
  )
}

for (const id of ['rsa-2048', 'ecdsa-p256', 'ecdsa-p384'] as const) {
  test(`R9: osslsigncode verifies our ${id} over packages, and msiextract reads them`, { skip: packages.skip }, async () => {
    const signer = await trialSigner(id)
    for (const octets of [await installer(), await withStorage(512), await withStorage(4096)]) {
      const options = { programName: 'Press 7 – control', programUrl: 'https://press.example/7' }
      const { octets: signed } = await signedWith(authenticodeMSI, bytesSource(octets), signer, options)
      const { stdout } = await osslVerifies(signed)
      assert.match(stdout, /Signature verification: ok/)
      assert.match(stdout, /URL description: https:\/\/press\.example\/7/)
      const place = fresh()
      await run(packages.path('msiextract'), ['-C', place, keep(signed)])
      assert.deepEqual(read(join(place, 'Program Files/Press/press.bin')), firmware)
    }
  })

  test(`R9: ${id} of osslsigncode over packages verifies here`, { skip: packages.skip }, async () => {
    const signer = await trialSigner(id)
    const digest = id === 'ecdsa-p384' ? 'sha384' : 'sha256'
    for (const octets of [await installer(), await withStorage(512)]) {
      const signed = await osslSigns(octets, signer, ['-add-msi-dse', '-h', digest])
      const { valid, uncovered, signatures } = await verified(authenticodeMSI, signed)
      assert.equal(valid, true, JSON.stringify([uncovered, signatures]))
      assert.deepEqual(signatures[0]?.signer?.der, signer.answering.certificates[0])
    }
  })

  test(`R9: ${id} over cabinets verifies there and here`, { skip: cabinets.skip }, async () => {
    const signer = await trialSigner(id)
    const digest = id === 'ecdsa-p384' ? 'sha384' : 'sha256'
    for (const octets of [await cabinet(), await cabinet('-z')]) {
      const ours = (await signedWith(authenticodeCAB, bytesSource(octets), signer)).octets
      assert.match((await osslVerifies(ours)).stdout, /Signature verification: ok/)
      await run(cabinets.path('cabextract'), ['-t', keep(ours)])
      const theirs = await osslSigns(octets, signer, ['-h', digest, '-n', 'Press 7'])
      assert.equal(await judged(authenticodeCAB, theirs), 'valid')
      const [end] = [new DataView(ours.buffer).getUint32(44, true)]
      assert.deepEqual(ours.subarray(0, 48), theirs.subarray(0, 48))
      assert.deepEqual(ours.subarray(52, end), theirs.subarray(52, end)) // all but the length and the signature
    }
  })

  test(`R9: ${id} over scripts verifies there and here`, { skip: scripts }, async () => {
    const signer = await trialSigner(id)
    const digest = id === 'ecdsa-p384' ? 'sha384' : 'sha256'
    for (const [suffix, octets] of texts) {
      const ours = (await signedWith(authenticodeScript, bytesSource(octets), signer)).octets
      assert.match((await osslVerifies(ours, suffix)).stdout, /Signature verification: ok/)
      const theirs = await osslSigns(octets, signer, ['-h', digest], suffix)
      assert.equal(await judged(authenticodeScript, theirs), 'valid')
      secondReader(theirs)
    }
  })
}

/** What is hashed, by a third library and the description alone: digests of names and sizes, and of all. */
const OLEFILE_DIGESTS = `
import hashlib, sys, uuid
import olefile
SIGNATURES = ('\\x05DigitalSignature', '\\x05MsiDigitalSignatureEx')
ole = olefile.OleFileIO(sys.argv[1], raise_defects=olefile.DEFECT_POTENTIAL)
names, content = hashlib.sha256(), hashlib.sha256()
def fields(entry):
    if entry is not ole.root: names.update(entry.name_utf16)
    names.update(entry.size.to_bytes(4, 'little') if entry.entry_type == olefile.STGTY_STREAM else uuid.UUID(entry.clsid or str(uuid.UUID(int=0))).bytes_le)
    names.update(entry.dwUserFlags.to_bytes(4, 'little'))
    if entry is not ole.root: names.update(entry.createTime.to_bytes(8, 'little') + entry.modifyTime.to_bytes(8, 'little'))
def walk(storage, path, each):
    for entry in sorted(storage.kids, key=lambda one: one.name_utf16):
        if entry.name in SIGNATURES and storage is ole.root: continue
        each(entry, path + [entry.name])
def name(entry, path):
    fields(entry)
    if entry.entry_type == olefile.STGTY_STORAGE: walk(entry, path, name)
def hold(entry, path):
    if entry.entry_type == olefile.STGTY_STORAGE:
        walk(entry, path, hold)
        content.update(uuid.UUID(entry.clsid).bytes_le)
    else: content.update(ole.openstream(path).read())
fields(ole.root)
walk(ole.root, [], name)
content.update(names.digest())
walk(ole.root, [], hold)
content.update(uuid.UUID(ole.root.clsid).bytes_le)
print(names.hexdigest(), ole.openstream('\\x05MsiDigitalSignatureEx').read().hex(), content.hexdigest())
`

test('R9: a third library reads our packages, and computes the same digests', { skip: olefile.skip }, async () => {
  const signer = await trialSigner('rsa-2048')
  for (const octets of [await installer(), await withStorage(512), await withStorage(4096)]) {
    const { octets: signed } = await signedWith(authenticodeMSI, bytesSource(octets), signer)
    const { stdout } = await run(olefile.path('python3'), ['-c', OLEFILE_DIGESTS, keep(signed)])
    const [names, stated, all = ''] = stdout.trim().split(' ')
    assert.equal(names, stated)
    const [found] = (await authenticodeMSI.extract(bytesSource(signed))).signatures
    assert.ok(found?.evidence.type === 'cms')
    assert.equal(found.evidence.signedData.contentElement?.subarray(-32).toHex(), all)
  }
})

test('R9: one changed octet of a package fails there and here', { skip: packages.skip }, async () => {
  const { octets } = await signedWith(authenticodeMSI, bytesSource(await installer()), await trialSigner('rsa-2048'))
  const broken = await changed(authenticodeMSI, octets)
  assert.ok(broken.length > 100)
  for (const one of broken) assert.notEqual(await judged(authenticodeMSI, one), 'valid')
  for (const one of broken.filter((_, i) => i % 12 === 0)) await assert.rejects(osslVerifies(one))
})

test('R9: a package without a digest of its names is valid there, and here that is named', { skip: packages.skip }, async () => {
  const signed = await osslSigns(await installer(), await trialSigner('rsa-2048'), ['-h', 'sha256'])
  const { valid, uncovered, signatures } = await verified(authenticodeMSI, signed)
  assert.deepEqual([valid, signatures[0]?.verdict], [false, 'valid'])
  assert.deepEqual(uncovered, ['names and sizes of its streams: it has no MsiDigitalSignatureEx'])
})

test('R9: a large package is read as two libraries lay it out', { skip: packages.skip }, async () => {
  const signer = await trialSigner('rsa-2048')
  const octets = await database()
  const ours = (await signedWith(authenticodeMSI, bytesSource(octets), signer)).octets
  assert.equal(new DataView(ours.buffer).getUint32(72, true), 1) // sectors of the table of the table
  assert.match((await osslVerifies(ours)).stdout, /Signature verification: ok/)
  const theirs = await osslSigns(octets, signer, ['-add-msi-dse', '-h', 'sha256']) // in sectors of 4,096 octets
  assert.equal(await judged(authenticodeMSI, theirs), 'valid')
})

test('R9: a package signed twice: replaced, nested and stripped, as osslsigncode has it', { skip: packages.skip }, async () => {
  const [first, second] = [await trialSigner('rsa-2048'), await trialSigner('ecdsa-p256')]
  const byThem = await osslSigns(await installer(), first, ['-add-msi-dse', '-h', 'sha256'])
  const replaced = (await signedWith(authenticodeMSI, bytesSource(byThem), second)).octets
  assert.match((await osslVerifies(replaced)).stdout, /Number of verified signatures: 1/)
  const nested = (await signedWith(authenticodeMSI, bytesSource(byThem), second, { existing: 'nest' })).octets
  assert.match((await osslVerifies(nested)).stdout, /Number of verified signatures: 2/)
  const byUs = (await signedWith(authenticodeMSI, bytesSource(await installer()), first)).octets
  const theirs = await osslSigns(byUs, second, ['-nest', '-add-msi-dse', '-h', 'sha256'])
  for (const one of [nested, theirs]) {
    const { valid, signatures } = await verified(authenticodeMSI, one)
    assert.deepEqual(
      [valid, ...signatures.map(({ signer }) => signer?.der)],
      [true, first.answering.certificates[0], second.answering.certificates[0]],
    )
  }
  assert.equal(await judged(authenticodeMSI, await osslRemoves(byUs)), 'unauthenticated artifactUnsigned')
})

async function cabinet(...options: string[]): Promise<Uint8Array> {
  const out = fresh('.cab')
  const members = [keep(firmware, '.bin'), keep(utf8('press 7\n'.repeat(100)), '.txt')]
  await run(cabinets.path('gcab'), ['-c', '-n', ...options, out, ...members])
  return read(out)
}

test('R9: one changed octet of a cabinet fails there and here', { skip: cabinets.skip }, async () => {
  const { octets } = await signedWith(authenticodeCAB, bytesSource(await cabinet()), await trialSigner('rsa-2048'))
  const broken = await changed(authenticodeCAB, octets)
  assert.equal(broken.length, 12)
  for (const one of broken) {
    assert.notEqual(await judged(authenticodeCAB, one), 'valid')
    await assert.rejects(osslVerifies(one))
  }
})

test('R9: a cabinet signed twice: replaced, nested and stripped, as osslsigncode has it', { skip: cabinets.skip }, async () => {
  const [first, second] = [await trialSigner('rsa-2048'), await trialSigner('ecdsa-p256')]
  const unsigned = await cabinet()
  const byThem = await osslSigns(unsigned, first, ['-h', 'sha256'])
  const nested = (await signedWith(authenticodeCAB, bytesSource(byThem), second, { existing: 'nest' })).octets
  assert.match((await osslVerifies(nested)).stdout, /Number of verified signatures: 2/)
  const byUs = (await signedWith(authenticodeCAB, bytesSource(byThem), second)).octets
  assert.match((await osslVerifies(byUs)).stdout, /Number of verified signatures: 1/)
  const theirs = await osslSigns(byUs, first, ['-nest', '-h', 'sha256'])
  for (const one of [nested, theirs]) assert.deepEqual((await verified(authenticodeCAB, one)).signatures.length, 2)
  assert.equal(await judged(authenticodeCAB, theirs), 'valid')
  assert.deepEqual(await osslRemoves(byUs), unsigned)
})

test(
  'R28: osslsigncode believes our time stamps in a package and a cabinet',
  { skip: packages.skip || cabinets.skip },
  async () => {
    const signer = await trialSigner('rsa-2048')
    const timeStamp = await trialTimeStamps(new Date('2026-05-02T00:00:00Z'))
    const stamped = { ...signer, answering: { ...signer.answering, signingTime: new Date('2026-05-01T00:00:00Z'), timeStamp } }
    for (const [format, artifact] of [
      [authenticodeMSI, await installer()],
      [authenticodeCAB, await cabinet()],
    ] as const) {
      const { octets } = await signedWith(format, bytesSource(artifact), stamped)
      const { stdout } = await osslVerifies(octets)
      assert.match(stdout, /May {2}2 00:00:00 2026 GMT/)
      assert.match(stdout, /Signature verification: ok/)
      assert.equal((await verified(format, octets)).signatures[0]?.provenTime?.toISOString(), '2026-05-02T00:00:00.000Z')
    }
  },
)

const utf16 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'utf16le'))
const script = '<#\n press 7\n#>\nparam([string]$Name)\r\nWrite-Host "größer 🏭 $Name"'
const texts: readonly (readonly [suffix: string, octets: Uint8Array])[] = [
  ['.ps1', utf8(script)],
  ['.psm1', utf8(`\uFEFF${script}\r\n`)],
  ['.psd1', utf16(`\uFEFF${script}\n`)],
  ['.ps1xml', utf8('<?xml version="1.0"?>\n<Types>größer 🏭</Types>\n')],
  ['.ps1xml', utf16('\uFEFF<Types>größer 🏭</Types>\r\n')],
]

/** DER, an element at a time: for the few that a signature has. */
function elements(der: Uint8Array): readonly { readonly tag: number; readonly whole: Uint8Array; readonly value: Uint8Array }[] {
  const found = []
  for (let at = 0; at < der.length;) {
    const first = der[at + 1] as number
    const count = first < 0x80 ? 0 : first & 0x7f
    const length = count === 0 ? first : Number.parseInt(der.subarray(at + 2, at + 2 + count).toHex(), 16)
    const end = at + 2 + count + length
    found.push({ tag: der[at] as number, whole: der.subarray(at, end), value: der.subarray(end - length, end) })
    at = end
  }
  return found
}
const inside = (der: Uint8Array, ...path: readonly number[]): Uint8Array =>
  path.reduce((value, i) => elements(value)[i]?.value ?? assert.fail(`no element ${i}`), der)

/** Of a script in UTF-8 or UTF-16: by the description of the block and RFC 2315 alone. @returns who signed @throws when it is not so */
function secondReader(octets: Uint8Array): X509Certificate {
  const isUTF16 = octets[0] === 0xff && octets[1] === 0xfe
  const text = new TextDecoder(isUTF16 ? 'utf-16le' : 'utf-8', { ignoreBOM: true }).decode(octets)
  const [, content = '', block = ''] =
    /^([^]*)\r\n(?:#|<!--) SIG # Begin signature block(?: -->)?\r\n([^]*)\r\n(?:#|<!--) SIG # End signature block(?: -->)?\r\n$/.exec(
      text,
    ) ?? assert.fail('no block')
  const der = new Uint8Array(Buffer.from(block.replaceAll(/^(?:#|<!--) | -->$/gm, '').replaceAll('\r\n', ''), 'base64'))

  const signedData = inside(der, 0, 1, 0) // ContentInfo, [0], SignedData
  const [, , contentInfo, certificates, signerInfos] = elements(signedData)
  const statement = inside(contentInfo?.value ?? assert.fail(), 1) // [0]
  const [data, digestInfo] = elements(inside(statement, 0))
  const [type, sipInfo] = elements(data?.value ?? assert.fail())
  assert.equal(type?.value.toHex(), '2b06010401823702011e')
  assert.equal(inside(sipInfo?.value ?? assert.fail(), 1).toHex(), '1fcc3b60594b084eb724d2c6297ef351')
  const digest = elements(digestInfo?.value ?? assert.fail())[1]?.value ?? assert.fail()
  const algorithm = digest.length === 48 ? 'sha384' : 'sha256'
  assert.equal(digest.toHex(), createHash(algorithm).update(Buffer.from(content, 'utf16le')).digest('hex'))

  const [, , , attributes, , signature] = elements(inside(signerInfos?.value ?? assert.fail(), 0))
  const messageDigest = elements(attributes?.value ?? assert.fail()).find(
    ({ value }) => elements(value)[0]?.value.toHex() === '2a864886f70d010904',
  )
  const signedDigest = inside(messageDigest?.value ?? assert.fail(), 1, 0)
  assert.equal(signedDigest.toHex(), createHash(algorithm).update(inside(statement, 0)).digest('hex'))
  const set = concat([Uint8Array.of(0x31), attributes?.whole.subarray(1) ?? assert.fail()])
  const signers = elements(certificates?.value ?? assert.fail()).map(({ whole }) => new X509Certificate(whole))
  const signer = signers.find(({ publicKey }) => verify(algorithm, set, publicKey, signature?.value ?? assert.fail()))
  return signer ?? assert.fail('nobody signed it')
}

test('R9: a second reader verifies our scripts, and none of which one octet changed', async () => {
  for (const id of ['rsa-2048', 'ecdsa-p256', 'ecdsa-p384'] as const) {
    const signer = await trialSigner(id)
    for (const [, octets] of texts) {
      const { octets: signed } = await signedWith(authenticodeScript, bytesSource(octets), signer)
      assert.deepEqual(new Uint8Array(secondReader(signed).raw), signer.answering.certificates[0])
      for (const one of await changed(authenticodeScript, signed)) {
        assert.throws(() => secondReader(one))
        assert.notEqual(await judged(authenticodeScript, one), 'valid')
      }
    }
  }
})

test(
  'R9: scripts signed twice: replaced, nested, stripped and time-stamped, as osslsigncode has it',
  { skip: scripts },
  async () => {
    const [first, second] = [await trialSigner('rsa-2048'), await trialSigner('ecdsa-p256')]
    const timeStamp = await trialTimeStamps(new Date('2026-05-02T00:00:00Z'))
    const stamped = { ...second, answering: { ...second.answering, signingTime: new Date('2026-05-01T00:00:00Z'), timeStamp } }
    for (const [suffix, octets] of texts) {
      const byThem = await osslSigns(octets, first, ['-h', 'sha256'], suffix)
      const replaced = (await signedWith(authenticodeScript, bytesSource(byThem), stamped)).octets
      const { stdout } = await osslVerifies(replaced, suffix)
      assert.match(stdout, /May {2}2 00:00:00 2026 GMT[^]*Number of verified signatures: 1/)
      const nested = (await signedWith(authenticodeScript, bytesSource(byThem), second, { existing: 'nest' })).octets
      assert.match((await osslVerifies(nested, suffix)).stdout, /Number of verified signatures: 2/)
      const theirs = await osslSigns(replaced, first, ['-nest', '-h', 'sha256'], suffix)
      for (const one of [nested, theirs]) {
        const { valid, signatures } = await verified(authenticodeScript, one)
        assert.deepEqual([valid, signatures.length], [true, 2])
      }
      assert.deepEqual(await osslRemoves(replaced, suffix), octets)
      for (const one of await changed(authenticodeScript, replaced)) {
        assert.notEqual(await judged(authenticodeScript, one), 'valid')
        await assert.rejects(osslVerifies(one, suffix))
      }
    }
  },
)
