/**
 * PEM: DER in base64 between two lines that name it.
 *
 * Source: RFC 7468. Text before and after a block is allowed (section 5.2 and the habit of `openssl -text`);
 * inside a block only base64 and line ends are.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'

export interface PEMBlock {
  /** `CERTIFICATE`, `CERTIFICATE REQUEST`, … */
  readonly label: string
  readonly der: Uint8Array
}

const PEM_MAX_CHARACTERS = 4 << 20
const BLOCK = /-----BEGIN ([A-Z0-9 ]{1,64})-----([\s\S]*?)-----END ([A-Z0-9 ]{1,64})-----/g

/** @returns every block in order, none when there is none @throws TrustError `malformed`, `tooLarge` */
export function parsePEM(text: string): readonly PEMBlock[] {
  if (text.length > PEM_MAX_CHARACTERS) throw new TrustError('tooLarge', 'derTooLarge', { facts: { limit: PEM_MAX_CHARACTERS } })
  return [...text.matchAll(BLOCK)].map(([, label = '', body = '', closing]) => {
    if (label !== closing) throw notPEM(`a block begins as ${label} and ends as ${closing}`)
    try {
      return { label, der: Uint8Array.fromBase64(body.replace(/[\r\n\t ]/g, ''), { lastChunkHandling: 'strict' }) }
    } catch {
      throw notPEM(`the ${label} block is not base64`)
    }
  })
}

/** @returns the one block with this label @throws TrustError `malformed` when there is none or more than one */
export function parseOnePEM(text: string, label: string): Uint8Array {
  const [only, another] = parsePEM(text).filter((block) => block.label === label)
  if (only === undefined) throw notPEM(`it has no ${label} block`)
  if (another !== undefined) throw notPEM(`it has more than one ${label} block`)
  return only.der
}

/** Lines of 64 characters, as RFC 7468 asks. */
export function encodePEM(label: string, der: Uint8Array): string {
  const lines = der.toBase64().match(/.{1,64}/g) ?? []
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}

const notPEM = (detail: string): TrustError => new TrustError('malformed', 'notPEM', { facts: { detail } })
