import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { concat } from '#base/bytes.ts'
import { nvName, objectName } from './name.ts'
import {
  TPM2B_DIGEST,
  TPM2B_ID_OBJECT,
  TPM2B_PUBLIC,
  TPMA_NV,
  TPMA_OBJECT,
  TPML_PCR_SELECTION,
  TPMS_ATTEST,
  TPMS_CAPABILITY_DATA,
  TPMS_CONTEXT,
  TPMS_CREATION_DATA,
  TPMS_NV_PUBLIC,
  TPMT_PUBLIC,
  TPMT_SIGNATURE,
  TPMT_TK,
} from './structures.ts'
import { areaOf, areas, octetsOf, statementOf, statements } from './testing.ts'
import { marshal, TPMI_YES_NO, unmarshal, type Wire } from './wire.ts'

// as a list of one unknown kind: what is read is written again, whatever it is
const samples: readonly (readonly [Wire<unknown>, Uint8Array])[] = [
  ...areas.map((name) => [TPMT_PUBLIC, octetsOf(name)] as const),
  ...statements.map((name) => [TPMS_ATTEST, statementOf(name).attest] as const),
  ...statements.map((name) => [TPMT_SIGNATURE, statementOf(name).signature] as const),
  [TPMS_CREATION_DATA, octetsOf('creationData')],
  [TPMT_TK, octetsOf('creationTicket')],
  [TPMS_NV_PUBLIC, octetsOf('index')],
  [TPMS_CONTEXT, octetsOf('context')],
  [TPMS_CAPABILITY_DATA, octetsOf('capability')],
  [TPM2B_ID_OBJECT, octetsOf('credentialBlob')],
  [TPM2B_PUBLIC, marshal(TPM2B_PUBLIC, areaOf('key'))],
] as readonly (readonly [Wire<unknown>, Uint8Array])[]

describe('what swtpm sent', () => {
  for (const [i, [wire, octets]] of samples.entries()) {
    test(`${wire.name} ${i}: is written again as it was read; cut or longer it is refused`, () => {
      assert.deepEqual(marshal(wire, unmarshal(wire, octets)), octets)
      assert.throws(() => unmarshal(wire, concat([octets, Uint8Array.of(0)])), { code: 'malformed', reason: 'notTPM' })
      for (let length = 0; length < octets.length; length++) {
        // TPMS_ID_OBJECT ends where the TPM2B around it says so, which is checked
        assert.throws(() => unmarshal(wire, octets.subarray(0, length)), { code: 'malformed', reason: 'notTPM' })
      }
    })
  }

  test('any change is refused, or is written again as it was read', () => {
    fc.assert(
      fc.property(fc.nat(samples.length - 1), fc.nat(), fc.integer({ min: 1, max: 255 }), (which, where, mask) => {
        const [wire, octets] = samples[which] as (typeof samples)[number]
        const changed = octets.map((octet, at) => (at === where % octets.length ? octet ^ mask : octet))
        try {
          assert.deepEqual(marshal(wire, unmarshal(wire, changed)), changed)
        } catch (error) {
          assert.match(String((error as { code?: string }).code), /^(malformed|unsupported|tooLarge)$/)
        }
      }),
      { numRuns: 3000 },
    )
  })

  test('the names are those that swtpm told', () => {
    assert.deepEqual(objectName(areaOf('attestationKey')), octetsOf('attestationKeyName'))
    assert.deepEqual(nvName(unmarshal(TPMS_NV_PUBLIC, octetsOf('index'))), octetsOf('indexName'))
  })
})

const refusals: readonly { name: string; wire: Wire<unknown>; hex: string; detail: RegExp; code?: string }[] = [
  { name: 'a digest longer than any', wire: TPM2B_DIGEST, hex: `0041${'00'.repeat(65)}`, detail: /65 octets, more than 64/ },
  { name: 'reserved attributes of an object', wire: TPMA_OBJECT, hex: '80000000', detail: /reserved/ },
  { name: 'the lowest reserved attribute', wire: TPMA_OBJECT, hex: '00000001', detail: /reserved/ },
  { name: 'reserved attributes of an index', wire: TPMA_NV, hex: '00000100', detail: /reserved/ },
  { name: 'an unknown type of index', wire: TPMA_NV, hex: '00000030', detail: /TPM_NT 0x0003/, code: 'unsupported' },
  { name: 'neither yes nor no', wire: TPMI_YES_NO, hex: '02', detail: /TPMI_YES_NO is 2/ },
  { name: 'a long list', wire: TPML_PCR_SELECTION, hex: '7fffffff', detail: /more than 16/ },
  { name: 'many registers', wire: TPML_PCR_SELECTION, hex: `00000001000b05${'00'.repeat(5)}`, detail: /40 registers/ },
  { name: 'an unknown hash', wire: TPML_PCR_SELECTION, hex: '0000000112340300000000', detail: /0x1234/, code: 'unsupported' },
  { name: 'a statement that no TPM made', wire: TPMS_ATTEST, hex: 'ff544348', detail: /TPM_GENERATED_VALUE is another/ },
  { name: 'an empty public area', wire: TPM2B_PUBLIC, hex: '0000', detail: /cut short/ },
]
for (const { name, wire, hex, detail, code = 'malformed' } of refusals) {
  test(`refuses ${name}`, () => {
    assert.throws(() => unmarshal(wire, Uint8Array.fromHex(hex)), { code, message: detail })
  })
}

test('a message longer than any is not looked at', () => {
  assert.throws(() => unmarshal(TPMT_PUBLIC, new Uint8Array(4097)), { code: 'tooLarge', reason: 'tpmTooLarge' })
})

test('a value of another type is a mistake in code', () => {
  assert.throws(() => marshal(TPM2B_DIGEST, new Uint8Array(65)), TypeError)
  assert.throws(() => marshal(TPMS_NV_PUBLIC, { ...unmarshal(TPMS_NV_PUBLIC, octetsOf('index')), dataSize: 65536 }), TypeError)
})
