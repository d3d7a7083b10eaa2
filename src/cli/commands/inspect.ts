/** `sealworks inspect`: what is this file. Reads nothing but the file. @module */
import { basename } from 'node:path'
import { parsePEM } from '#asn1/pem.ts'
import { TrustError } from '#base/errors.ts'
import { describeCMS, isCMS } from '#cms/inspect.ts'
import { describeObject, type Plain } from '#x509/inspect.ts'
import { command, some } from '../command.ts'
import { readInput } from '../files.ts'
import { fields, words } from '../terminal.ts'

export const commands = [
  command({
    noun: 'inspect',
    summary: 'Say in words what a certificate, request, revocation list, OCSP or CMS message holds',
    example: 'sealworks inspect device.pem',
    operands: { files: some('FILE', 'PEM, DER or base64; - for standard input') },
    async run(context, { files }) {
      const objects: (Described & { readonly file: string })[] = []
      for (const file of files) {
        const octets = await readInput(context, file)
        for (const bytes of objectsIn(octets)) {
          for (const one of await describe(bytes)) objects.push({ file, ...one })
        }
      }
      const text = objects.map(({ file, kind, sha256, fields: held }) => {
        const from = file === '-' ? 'standard input' : basename(file)
        return `${from}: ${words(kind)}\n${fields({ ...held, sha256 }, '  ')}`
      })
      return { value: { objects }, text: text.join('\n') }
    },
  }),
]

/** DER begins with a SEQUENCE; else it is text, with PEM blocks or base64 alone (as EST sends it). */
function objectsIn(octets: Uint8Array): readonly Uint8Array[] {
  if (octets[0] === 0x30) return [octets]
  const text = new TextDecoder().decode(octets)
  if (!text.includes('-----BEGIN ')) {
    try {
      return [Uint8Array.fromBase64(text)]
    } catch (cause) {
      throw new TrustError('malformed', 'unknownObject', { cause })
    }
  }
  const blocks = parsePEM(text).filter(({ label }) => !label.endsWith('PRIVATE KEY'))
  if (blocks.length === 0) throw new TrustError('malformed', 'onlyPrivateKey')
  return blocks.map(({ der }) => der)
}

interface Described {
  readonly kind: string
  readonly sha256: string
  readonly fields: { readonly [key: string]: Plain }
}

/** An object and, of CMS, what it carries. A bundle that nobody signed (EST answers, P7B files) is what it carries. */
async function describe(bytes: Uint8Array): Promise<readonly Described[]> {
  if (!isCMS(bytes)) return [describeObject(bytes)]
  const { carried, ...message } = await describeCMS(bytes)
  const objects = carried.map(describeObject)
  return message.kind === 'signedData' && message.fields['signatures'] === 'nobody signed' ? objects : [message, ...objects]
}
