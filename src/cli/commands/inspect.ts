/** `sealworks inspect`: what is this file. Reads nothing but the file. @module */
import { basename } from 'node:path'
import { parsePEM } from '#asn1/pem.ts'
import { Reader } from '#asn1/reader.ts'
import { TrustError } from '#base/errors.ts'
import { parseCertsOnly } from '#cms/certs-only.ts'
import { describeObject, type Description } from '#x509/inspect.ts'
import { command, some } from '../command.ts'
import { readInput } from '../files.ts'
import { fields, words } from '../terminal.ts'

export const commands = [
  command({
    noun: 'inspect',
    summary: 'Say in words what a certificate, request, bundle, revocation list or OCSP message holds',
    example: 'sealworks inspect device.pem',
    operands: { files: some('FILE', 'PEM, DER or base64; - for standard input') },
    async run(context, { files }) {
      const objects: (Description & { readonly file: string })[] = []
      for (const file of files) {
        const octets = await readInput(context, file)
        for (const der of objectsIn(octets).flatMap(unbundled)) objects.push({ file, ...describeObject(der) })
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

const SEQUENCE = 0x30
const OBJECT_IDENTIFIER = 0x06

/** A P7B file, as EST answers: what is in it. CMS alone begins with the identifier of its content (RFC 5652, 3). */
function unbundled(der: Uint8Array): readonly Uint8Array[] {
  const from = new Reader(der, { maxOctets: der.length })
  from.enter(SEQUENCE, 'the object')
  if (from.peekTag() !== OBJECT_IDENTIFIER) return [der]
  const { certificates, crls } = parseCertsOnly(der)
  return [...certificates, ...crls]
}
