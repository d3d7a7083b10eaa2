/** What a device takes for its provider's work: a signature whose certificate is for that, and no other of the same root. @module */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { utf8 } from '#base/bytes.ts'
import { systemWorld, type World } from '#base/world.ts'
import { testKey } from '#protocols/testing.ts'
import { bytesSource } from '#signing/artifact/blob.ts'
import { AT, root, signedWith, trialSigner, trialTimeStamps } from '#signing/artifact/testing.ts'
import { cms } from '#signing/formats/cms.ts'
import { AgentDirectory } from './directory.ts'
import { takeTrustList } from './trust.ts'
import { encodeTrustList, signTrustList } from './trust-list.ts'
import { verifyFile } from './verify.ts'

const world: World = { ...systemWorld(), clock: { now: () => AT.getTime() } }
const firmware = utf8('firmware of press 7')

async function trustList(): Promise<Uint8Array> {
  const { publicKey, sign } = testKey()
  const list = { name: 'presses', version: 1, expires: new Date('2030-01-01T00:00:00Z'), threshold: 1, keys: [publicKey] }
  return signTrustList(encodeTrustList({ ...list, anchors: { software: [root] } }), {
    keyAlgorithm: 'ecdsa-p256',
    signatureAlgorithm: 'ecdsa-sha256',
    sign: async (message) => sign(message),
  })
}

test('R11: neither another device of the same root nor its authority for time signs software', async () => {
  const at = mkdtempSync(join(tmpdir(), 'sealworks-agent-verify-'))
  const directory = new AgentDirectory(at, world.faults)
  try {
    await takeTrustList(directory, await trustList())
    const file = join(at, 'firmware.bin')
    writeFileSync(file, firmware)
    const judged = async (signature: Uint8Array): Promise<boolean> => {
      writeFileSync(join(at, 'signature'), signature)
      return (await verifyFile({ directory, world }, { file, signature: join(at, 'signature'), format: 'cms' })).valid
    }
    const by = async (purpose: 'codeSigning' | 'clientAuth') =>
      (await signedWith(cms, bytesSource(firmware), await trialSigner('ecdsa-p256', purpose))).octets
    assert.equal(await judged(await by('codeSigning')), true)
    assert.equal(await judged(await by('clientAuth')), false)
    assert.equal(await judged(await (await trialTimeStamps(AT))(firmware)), false)
  } finally {
    directory.close()
    rmSync(at, { recursive: true })
  }
})
