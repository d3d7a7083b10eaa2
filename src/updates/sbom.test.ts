import assert from 'node:assert/strict'
import { test } from 'node:test'
import { utf8 } from '#base/bytes.ts'
import { parseSBOM, SBOM_MAX_OCTETS } from './sbom.ts'

const written = (value: unknown): Uint8Array => utf8(JSON.stringify(value))

const known: readonly (readonly [name: string, document: unknown, kind: string, specification: string, components: number])[] = [
  ['CycloneDX 1.6', { bomFormat: 'CycloneDX', specVersion: '1.6', components: [{}, {}] }, 'CycloneDX', '1.6', 2],
  ['CycloneDX without components', { bomFormat: 'CycloneDX', specVersion: '1.4' }, 'CycloneDX', '1.4', 0],
  ['SPDX 2.3', { spdxVersion: 'SPDX-2.3', packages: [{}] }, 'SPDX', '2.3', 1],
  [
    'SPDX 3.0, JSON-LD',
    { '@graph': [{ type: 'CreationInfo', specVersion: '3.0.1' }, { type: 'software_Package' }, { type: 'Relationship' }] },
    ...(['SPDX', '3.0.1', 1] as const),
  ],
]
for (const [name, document, kind, specification, components] of known)
  test(`R12: ${name}`, () => assert.deepEqual(parseSBOM(written(document)), { kind, specification, components }))

const refused: readonly (readonly [name: string, octets: Uint8Array])[] = [
  ['what is no JSON', utf8('<bom/>')],
  ['what is not UTF-8', Uint8Array.of(0x7b, 0xff, 0x7d)],
  ['a list', written([])],
  ['another document', written({ name: 'press' })],
  ['CycloneDX of no version', written({ bomFormat: 'CycloneDX', specVersion: 'new' })],
  ['CycloneDX whose components are none', written({ bomFormat: 'CycloneDX', specVersion: '1.6', components: {} })],
  ['SPDX of another version', written({ spdxVersion: 'SPDX-1.2' })],
  ['SPDX whose packages are none', written({ spdxVersion: 'SPDX-2.3', packages: 'all' })],
  ['a graph without its version', written({ '@graph': [{ type: 'software_Package' }] })],
]
for (const [name, octets] of refused)
  test(`refused: ${name}`, () => assert.throws(() => parseSBOM(octets), { code: 'malformed', reason: 'notSBOM' }))

test('refused: one that is too large', () => {
  assert.throws(() => parseSBOM(new Uint8Array(SBOM_MAX_OCTETS + 1)), { code: 'tooLarge' })
})
