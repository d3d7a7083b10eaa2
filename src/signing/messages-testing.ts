/** Messages by a key of a test, without a signing server; for tests. Not part of any program. @module */
import { answer } from './artifact/answer.ts'
import { bytesSource } from './artifact/blob.ts'
import { messageSignatures, messageSigners, rawRequests } from './artifact/message-signers.ts'
import type { TrialSigner } from './artifact/testing.ts'
import { formOf, type OwnMessage } from './message-signing.ts'

export async function trialMessage({ answering }: TrialSigner, message: OwnMessage): Promise<Uint8Array> {
  const { certificates, signatureAlgorithm } = answering
  const [signer] = messageSigners('cose-sign1', { certificates, signatureAlgorithm })
  const form = formOf(signer, message)
  const requests = await rawRequests([signer], () => bytesSource(form.signed))
  const [{ signature }] = messageSignatures([signer], [await answer(requests[0], answering)])
  return form.encode(signature)
}
