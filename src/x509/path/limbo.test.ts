/** x509-limbo's cases under strict verification: what diverges is written down with its reason, and checked. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parsePEM } from '#asn1/pem.ts'
import { parseIPAddress } from '../extensions/general-name.ts'
import type { PeerName } from './peer-name.ts'
import type { Purpose } from './purpose-names.ts'
import divergences from './testdata/divergences.json' with { type: 'json' }
import limbo from './testdata/limbo.json' with { type: 'json' }
import { verifyCertificate } from './verify.ts'

const purposes: Readonly<Record<string, Purpose>> = { serverAuth: 'tls-server', clientAuth: 'tls-client' }
const known: Readonly<Record<string, string>> = divergences.limbo

const ders = (pems: readonly string[]): Uint8Array[] => pems.flatMap((pem) => parsePEM(pem).map(({ der }) => der))

function peerNameOf(name: { readonly kind: string; readonly value: string } | null): PeerName | undefined {
  if (name === null) return undefined
  if (name.kind === 'DNS') return { type: 'dns', value: name.value }
  if (name.kind === 'IP') return { type: 'ip', value: parseIPAddress(name.value), text: name.value }
  return { type: 'email', value: name.value }
}

for (const one of limbo.testcases) {
  test(`R1: x509-limbo ${one.id}`, async () => {
    const [certificate = new Uint8Array()] = ders([one.peer_certificate])
    const verdict = await verifyCertificate({
      certificate,
      anchors: ders(one.trusted_certs),
      intermediates: ders(one.untrusted_intermediates),
      at: new Date(one.validation_time ?? '2026-01-01T00:00:00Z'),
      strict: true,
      purpose: purposes[one.extended_key_usage[0] ?? ''],
      peerName: peerNameOf(one.expected_peer_name),
      depthMax: one.max_chain_depth ?? undefined,
      ...(one.crls.length > 0 && { revocation: { demand: 'known', lists: ders(one.crls) } }),
    })
    const expected = (one.expected_result === 'SUCCESS') !== one.id in known
    assert.equal(verdict.valid, expected, verdict.valid ? 'accepted' : verdict.failure.reason)
  })
}

test('R1: no divergence is listed for a case that is not here', () => {
  const ids = new Set(limbo.testcases.map(({ id }) => id))
  for (const id of Object.keys(known)) assert.ok(ids.has(id), id)
})
