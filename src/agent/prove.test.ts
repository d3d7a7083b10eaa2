import assert from 'node:assert/strict'
import { verify } from 'node:crypto'
import { test } from 'node:test'
import { utf8 } from '#base/bytes.ts'
import { parseProof } from '#devices/genuine/messages.ts'
import { makeKey, openKey } from './device-keys.ts'
import { prove } from './prove.ts'

test('R15: a device signs the question with its birth key, and node:crypto finds that it did', async () => {
  const key = openKey(await makeKey('software', {}), {})
  const device = { born: () => Promise.resolve({ chain: [], key }) }
  const nonce = 'n'.repeat(43)
  const proof = parseProof(
    utf8(await prove(device, utf8(JSON.stringify({ manufacturer: 'acme', productSerial: 'A-1042', nonce })))),
  )
  const asked = `sealworks: is this device genuine? 1\nacme\nA-1042\n${nonce}\n`
  const spki = { key: Buffer.from(proof.key), format: 'der', type: 'spki' } as const
  assert.ok(verify('sha256', Buffer.from(asked), spki, proof.signature))
  assert.deepEqual(proof.key, key.publicKey)
  await assert.rejects(prove(device, utf8('{}')), { code: 'malformed', reason: 'notGenuineQuestion' })
})
