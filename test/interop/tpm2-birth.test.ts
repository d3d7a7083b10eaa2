/** A TPM in software proves an attestation key and a device's key to us, and forgeries fail. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemWorld } from '#base/world.ts'
import { checkCertified, checkQuote, trustedAttestationKey } from '#tpm2/attestation.ts'
import { makeCredential } from '#tpm2/credential.ts'
import { checkEndorsementCertificate, checkEndorsementKey } from '#tpm2/endorsement.ts'
import { activateCredential, certify, createKey, createPrimary, quote, withKey } from '#tpm2/keys.ts'
import { pcrSelection } from '#tpm2/pcr.ts'
import { readEndorsement, readPCRs } from '#tpm2/platform.ts'
import { attestationKey, endorsementTemplate, signingKey, storageRootKey } from '#tpm2/templates.ts'
import { hierarchies } from '#tpm2/tpm.ts'
import { makeTPM, tpmPrograms } from './swtpm.ts'

const { random } = systemWorld()
const AT = new Date('2026-12-01T00:00:00Z')

for (const template of ['L-1', 'H-3']) {
  test(`R4: a birth with an endorsement key from template ${template}`, { skip: tpmPrograms.skip }, async (t) => {
    const machine = await makeTPM(t)
    const tpm = await machine.open()
    const own = await readEndorsement(tpm, [endorsementTemplate(template)])
    const endorsed = await checkEndorsementCertificate(own.certificate, {
      at: AT,
      anchors: machine.anchors,
      intermediates: machine.issuers,
    })
    assert.equal(endorsed.tpmManufacturer, 'id:00001014')
    checkEndorsementKey(own.key.publicArea, endorsed)

    const ak = await createPrimary(tpm, hierarchies.endorsement, { template: attestationKey() })
    const trusted = trustedAttestationKey(ak.publicArea)
    const secret = random.octets(32)
    const challenge = await makeCredential(
      { endorsementKey: own.key.publicArea, objectName: trusted.name, credential: secret },
      random,
    )
    const told = await activateCredential(tpm, { object: ak, endorsementKey: own.key }, challenge)
    assert.deepEqual(told.reveal('test'), secret)
    await tpm.flush(own.key)

    const srk = await createPrimary(tpm, hierarchies.owner, { template: storageRootKey })
    const wrapped = await createKey(tpm, srk, { template: signingKey() })
    const nonce = random.octets(20)
    const statement = await withKey(tpm, srk, wrapped, (object) => certify(tpm, { object, by: ak, nonce }))
    const certified = await checkCertified(statement, trusted, { certified: wrapped.outPublic, nonce })
    assert.equal(certified.publicKey.algorithm, 'ecdsa-p256')

    const expected = await readPCRs(tpm, 'SHA256', [0, 1, 2, 3, 4, 5, 6, 7, 23])
    const quoted = await quote(tpm, { selection: pcrSelection('SHA256', expected.values.keys()), by: ak, nonce })
    assert.ok((await checkQuote(quoted, trusted, { expected, nonce })).clockInfo.clock > 0n)
  })
}
