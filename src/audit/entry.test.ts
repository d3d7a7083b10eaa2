/** The text that is hashed: fixed for good, and only one row can have it. @module */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { type EntryContent, entryText, factsText, leafHashOf } from './entry.ts'

const row: EntryContent = {
  id: '0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b',
  organization_id: 'default',
  at: 1_720_000_000_000,
  actor: 'person:0190a1b2-0000-7000-8000-000000000001',
  act: 'certificate.issue',
  object: 'certificate:0190a1b2-0000-7000-8000-000000000002',
  outcome: 'done',
  reason: null,
  facts: '{}',
}

// Written down in docs/reference/audit-entry.md. If one of these fails, logs that exist no longer verify: make a new form instead.
test('the text of an act that was done', () => {
  assert.equal(
    entryText({ ...row, facts: factsText({ serialNumber: '7f', days: 90, first: true }) }),
    '{"act":"certificate.issue","actor":"person:0190a1b2-0000-7000-8000-000000000001","at":1720000000000,' +
      '"facts":{"days":90,"first":true,"serialNumber":"7f"},"id":"0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b",' +
      '"object":"certificate:0190a1b2-0000-7000-8000-000000000002","organization":"default","outcome":"done","v":1}',
  )
  assert.equal(leafHashOf(row).toHex(), '7d7b5c7de5f026d5181dd6890b10d5c1981b635083644e6db638f5f00ef3c3ae')
})

test('the text of a refusal', () => {
  assert.equal(
    entryText({ ...row, outcome: 'refused', reason: 'keyTooShort', facts: factsText({ note: 'é "quoted"\n\u2028' }) }),
    '{"act":"certificate.issue","actor":"person:0190a1b2-0000-7000-8000-000000000001","at":1720000000000,' +
      '"facts":{"note":"é \\"quoted\\"\\n\u2028"},"id":"0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b",' +
      '"object":"certificate:0190a1b2-0000-7000-8000-000000000002","organization":"default","outcome":"refused",' +
      '"reason":"keyTooShort","v":1}',
  )
})

test('the leaf hash is over UTF-8 behind the octet 0x00', () => {
  const entry = { ...row, facts: factsText({ note: 'é 🔏 \u2028' }) }
  const octets = Buffer.concat([Buffer.of(0), Buffer.from(entryText(entry), 'utf8')])
  assert.equal(leafHashOf(entry).toHex(), createHash('sha256').update(octets).digest('hex'))
})

const text = fc.string({ unit: 'binary', maxLength: 12 })
const fact = fc.oneof(text, fc.boolean(), fc.double({ noNaN: true, noDefaultInfinity: true }), fc.integer())
const content = fc.record({
  id: text,
  organization_id: text,
  at: fc.nat(),
  actor: text,
  act: text,
  object: text,
  outcome: fc.constantFrom('done', 'refused'),
  reason: fc.option(text),
  facts: fc.dictionary(text, fact, { maxKeys: 4 }).map(factsText),
})

test('the text is JSON that gives the row back, so no two rows share one', () => {
  fc.assert(
    fc.property(content, (entry) => {
      const value = JSON.parse(entryText(entry)) as Record<string, unknown>
      const { organization, v, facts, reason, ...rest } = value
      assert.equal(v, 1)
      const back = { ...rest, organization_id: organization, reason: reason ?? null, facts: factsText(facts as never) }
      assert.deepEqual(back, { ...entry })
      assert.deepEqual(Object.keys(value), Object.keys(value).toSorted())
    }),
  )
})

test('facts have one text', () => {
  fc.assert(
    fc.property(fc.dictionary(text, fact, { maxKeys: 6 }), (facts) => {
      const written = factsText(facts)
      assert.deepEqual(JSON.parse(written), JSON.parse(JSON.stringify(facts)))
      const reordered = Object.fromEntries(Object.entries(facts).toReversed())
      assert.equal(factsText(reordered), written)
    }),
  )
})

test('a number that JSON cannot write is a mistake of ours', () => {
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) assert.throws(() => factsText({ value }), TypeError)
})
