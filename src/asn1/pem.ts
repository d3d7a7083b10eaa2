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

/** A chain or a trust store of a plant; each block's DER has a limit of its own where it is read. */
const PEM_MAX_CHARACTERS = 4 << 20

const BEGIN = '-----BEGIN '
const END = '-----END '
const LABEL = /([A-Z0-9 ]{1,64})-----/y

/**
 * Looks at each character a bounded number of times, whatever the text.
 *
 * @returns every block in order, none when there is none
 * @throws TrustError `malformed`, `tooLarge`
 */
export function parsePEM(text: string): readonly PEMBlock[] {
  if (text.length > PEM_MAX_CHARACTERS) throw new TrustError('tooLarge', 'derTooLarge', { facts: { limit: PEM_MAX_CHARACTERS } })
  const blocks: PEMBlock[] = []
  for (let begin = text.indexOf(BEGIN); begin >= 0;) {
    LABEL.lastIndex = begin + BEGIN.length
    const found = LABEL.exec(text)
    if (found === null) throw notPEM('a block has no label')
    const [line, label = ''] = found
    const bodyAt = LABEL.lastIndex
    const end = text.indexOf(END, bodyAt)
    if (end === -1) throw notPEM(`the ${label} block does not end`)
    if (!text.startsWith(line, end + END.length)) throw notPEM(`the ${label} block ends as another`)
    blocks.push({ label, der: fromBase64(label, text.slice(bodyAt, end)) })
    begin = text.indexOf(BEGIN, end)
  }
  return blocks
}

function fromBase64(label: string, body: string): Uint8Array {
  try {
    return Uint8Array.fromBase64(body, { lastChunkHandling: 'strict' })
  } catch {
    throw notPEM(`the ${label} block is not base64`)
  }
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
