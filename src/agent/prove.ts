/** The device says that it is the one that was born: by the key it was born with, to somebody who asks whether it is genuine. @module */
import { encodeProof, parseQuestion, signedText } from '#devices/genuine/messages.ts'
import type { Device } from './device.ts'

/** @param question as `device genuine ask` wrote it @returns what goes back @throws TrustError `malformed`, `notFound` before it is set up */
export async function prove({ born }: Pick<Device, 'born'>, question: Uint8Array): Promise<string> {
  const asked = parseQuestion(question)
  const { key } = await born()
  return encodeProof({ key: key.publicKey, signature: await key.sign(signedText(asked)) })
}
