/** Scripts whose signature block stands where not everybody looks, and text that not everybody reads in the same way. @module */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { concat, utf8 } from '#base/bytes.ts'
import { bytesSource } from '../artifact/blob.ts'
import { judged, signedWith, trialSigner, verified } from '../artifact/testing.ts'
import { authenticodeScript } from './authenticode-script.ts'
import { sampleOf } from './samples.ts'

const signer = await trialSigner('rsa-2048')
const other = await trialSigner('ecdsa-p384')
const utf16 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'utf16le'))
const sign = async (octets: Uint8Array, by = signer, options = {}): Promise<Uint8Array> =>
  (await signedWith(authenticodeScript, bytesSource(octets), by, options)).octets

const script = sampleOf('authenticode-script')
const signed = await sign(script)
const block = Buffer.from(signed.subarray(script.length)).toString()
const lines = block.split('\r\n').slice(1, -1)
const [begin = '', firstLine = '', ...others] = lines
const end = others.at(-1) ?? ''
const text = Buffer.from(script).toString()
/** The text of the sample, and a block in another form. */
const withBlock = (other_: string): Uint8Array => utf8(`${text}${other_}`)
const joined = (all: readonly string[], lineBreak = '\r\n'): string => `${lineBreak}${all.join(lineBreak)}${lineBreak}`

const tricks: readonly (readonly [what: string, verdict: string, octets: Uint8Array])[] = [
  ['text behind the block', 'malformed badArtifact', utf8(`${text}${block}Remove-Item C:\\`)],
  ['a line break behind the block', 'malformed badArtifact', utf8(`${text}${block}\r\n`)],
  ['a space behind the block', 'malformed badArtifact', utf8(`${text}${block} `)],
  ['no line break behind the block', 'malformed badArtifact', signed.subarray(0, -2)],
  ['two blocks', 'malformed badArtifact', utf8(`${text}${block}${block}`)],
  ['a block before the text', 'malformed badArtifact', utf8(`${block}${text}${block}`)],
  ['a block begun twice', 'malformed badArtifact', withBlock(joined([begin, ...lines]))],
  ['a block that nothing begins', 'malformed badArtifact', withBlock(joined(lines.slice(1)))],
  ['a block that nothing ends', 'malformed badArtifact', withBlock(joined(lines.slice(0, -1)))],
  ['a block that ends before it begins', 'malformed badArtifact', withBlock(joined([end, ...lines.slice(1, -1), begin]))],
  ['line feeds in the block', 'malformed badArtifact', withBlock(joined(lines, '\n'))],
  ['carriage returns in the block', 'malformed badArtifact', withBlock(joined(lines, '\r'))],
  ['a line feed before the block', 'malformed badArtifact', withBlock(`\n${block.slice(2)}`)],
  [
    'a line feed before the block, which takes a character of the text',
    'malformed badArtifact',
    withBlock(`#\n${block.slice(2)}`),
  ],
  ['no line break before the block', 'malformed badArtifact', withBlock(block.slice(2))],
  ['a line break in place of that before the block', 'malformed badArtifact', withBlock(`\u2028${block.slice(2)}`)],
  ['a begin in small letters', 'malformed badArtifact', withBlock(joined([begin.toLowerCase(), ...lines.slice(1)]))],
  ['a block within a string', 'malformed badArtifact', withBlock(`\r\n$text = '${begin}'${block}`)],
  ['an end within a string', 'malformed badArtifact', withBlock(`\r\n$text = '${end}'${block}`)],
  ['a line that is no comment', 'malformed badArtifact', withBlock(joined([begin, firstLine.slice(2), ...others]))],
  ['a line of text in the block', 'malformed badArtifact', withBlock(joined([begin, firstLine, 'Remove-Item C:\\', ...others]))],
  ['an empty line in the block', 'malformed badArtifact', withBlock(joined([begin, firstLine, '', ...others]))],
  ['an empty comment in the block', 'malformed badArtifact', withBlock(joined([begin, firstLine, '# ', ...others]))],
  ['spaces in the block', 'malformed badArtifact', withBlock(joined([begin, `${firstLine} `, ...others]))],
  [
    'other lengths of lines',
    'malformed badArtifact',
    withBlock(joined([begin, firstLine.slice(0, 33), `# ${firstLine.slice(33)}`, ...others])),
  ],
  ['comments of XML', 'malformed badArtifact', withBlock(joined(lines.map((line) => `<!-- ${line.slice(2)} -->`)))],
  ['no signature in the block', 'malformed notDER', withBlock(joined([begin, end]))],
  ['a block without a text', 'malformed badArtifact', utf8(block)],
  ['a character put before the text', 'invalid artifactChanged', utf8(`\uFEFF${text}${block}`)],
  ['another line break in the text', 'invalid artifactChanged', utf8(`${text.replace('\n', '\r\n')}${block}`)],
  ['octets that are no text', 'invalid badArtifact', concat([script.with(20, 0xff), utf8(block)])],
  ['zeros in the text', 'invalid badArtifact', concat([script.with(20, 0), utf8(block)])],
]
for (const [what, verdict, octets] of tricks) {
  test(`R31: ${what}: ${verdict}`, async () => {
    assert.notDeepEqual(octets, signed)
    assert.equal(await judged(authenticodeScript, octets), verdict)
  })
}

test('the sample is what the tricks are played with', async () => {
  assert.equal(await judged(authenticodeScript, withBlock(joined(lines))), 'valid')
  assert.equal(await judged(authenticodeScript, script), 'unauthenticated artifactUnsigned')
})

for (const [what, octets, opening] of [
  ['UTF-8', utf8('Write-Host "größer 🏭"'), '# SIG # Begin'],
  ['UTF-8 with a mark', utf8('\uFEFFWrite-Host "größer 🏭"\r\n'), '# SIG # Begin'],
  ['UTF-16', utf16('\uFEFF<# größer 🏭 #>\n'), '# SIG # Begin'],
  ['UTF-16 with half a character', new Uint8Array([...utf16('\uFEFF# '), 0x3c, 0xd8]), '# SIG # Begin'],
  ['XML', utf8('<?xml version="1.0"?>\n<Types/>'), '<!-- SIG # Begin'],
  ['XML behind a comment', utf8(' \n<!-- types -->\n<Types/>'), '<!-- SIG # Begin'],
  ['XML in UTF-16', utf16('\uFEFF<Types/>\r\n'), '<!-- SIG # Begin'],
  ['a comment of PowerShell', utf8('<# XML: <Types/> #>\n'), '# SIG # Begin'],
] as const) {
  test(`${what} is signed as it is`, async () => {
    const out = await sign(octets)
    assert.deepEqual(out.subarray(0, octets.length), octets)
    const encoding = octets[0] === 0xff ? 'utf16le' : 'utf8'
    assert.ok(Buffer.from(out.subarray(octets.length)).toString(encoding).startsWith(`\r\n${opening}`))
    assert.equal(await judged(authenticodeScript, out), 'valid')
    assert.equal(await authenticodeScript.detect(bytesSource(out)), true)
    assert.equal(await authenticodeScript.detect(bytesSource(octets)), false)
    for (let at = 0; at < octets.length; at++)
      assert.notEqual(await judged(authenticodeScript, out.with(at, (out[at] as number) ^ 4)), 'valid')
    assert.deepEqual(await sign(out), out)
  })
}

for (const [what, code, octets] of [
  ['UTF-16 with the upper octet first', 'unsupported', Uint8Array.of(0xfe, 0xff, 0, 0x23, 0, 0x41)],
  ['UTF-32', 'unsupported', Uint8Array.of(0xff, 0xfe, 0, 0, 0x23, 0, 0, 0)],
  ['UTF-16 without a mark', 'malformed', utf16('# press 7')],
  ['Windows-1252', 'malformed', Uint8Array.of(0x23, 0x20, 0x67, 0x72, 0xf6, 0xdf, 0x65, 0x72)],
  ['text that ends within a character', 'malformed', utf8('# größ').subarray(0, -1)],
  ['UTF-16 that ends within a unit', 'malformed', utf16('\uFEFF# press 7').subarray(0, -1)],
  ['fewer than four octets', 'malformed', utf8('# a')],
  ['the mark of a block in its text', 'malformed', utf8('# SIG # Begin signature block is what it begins with')],
] as const) {
  test(`R31: ${what} is not signed: ${code}`, async () => {
    await assert.rejects(sign(octets), { code, reason: code === 'malformed' ? 'badArtifact' : 'artifactUnsupported' })
  })
}

test('marks are found wherever a read ends', async () => {
  const mark = '# SIG # End signature block'
  for (let before = (1 << 20) - mark.length - 1; before <= (1 << 20) + 1; before += 5) {
    await assert.rejects(sign(utf8(`${'#'.repeat(before)}${mark}\n`)), { code: 'malformed' })
  }
  const long = '# größer\n'.repeat(150_000)
  assert.equal(await judged(authenticodeScript, await sign(utf8(long))), 'valid')
  assert.equal(await judged(authenticodeScript, await sign(utf16(`\uFEFF${long}`))), 'valid')
})

test('a block that is too large is not read', async () => {
  const large = withBlock(joined([begin, ...Array<string>(70_000).fill(`# ${'A'.repeat(64)}`), end]))
  assert.equal(await judged(authenticodeScript, large), 'tooLarge artifactPartTooLarge')
})

test('signing again replaces or nests', async () => {
  assert.deepEqual(
    (await verified(authenticodeScript, await sign(signed, other))).signatures.map(({ signer: by }) => by?.der),
    [other.answering.certificates[0]],
  )
  const { valid, signatures } = await verified(authenticodeScript, await sign(signed, other, { existing: 'nest' }))
  assert.deepEqual(
    [valid, ...signatures.map(({ where }) => where)],
    [true, 'signature block', 'signature block, nested signature 1'],
  )
})

// osslsigncode 2.9 sign -h sha256, of a script in UTF-8 and of XML in UTF-16, by a signer of an earlier run
for (const file of ['osslsigncode.ps1', 'osslsigncode.ps1xml']) {
  test(`R9: ${file}, which another program signed, is untouched, and not once an octet changed`, async () => {
    const octets = new Uint8Array(readFileSync(join(import.meta.dirname, 'testdata', file)))
    const { valid, signatures } = await verified(authenticodeScript, octets)
    assert.deepEqual([valid, signatures[0]?.untouched, signatures[0]?.problem], [false, true, undefined]) // its root is not trusted
    const { covered = [] } = (await authenticodeScript.extract(bytesSource(octets))).signatures[0] ?? {}
    const [{ length } = assert.fail('nothing is covered')] = covered
    for (let at = 4; at < length; at++)
      assert.match(await judged(authenticodeScript, octets.with(at, (octets[at] as number) ^ 2)), /artifactChanged|badArtifact/)
  })
}
