/**
 * A witness: it cosigns a log's checkpoint when that continues the one it cosigned before, and never anything else.
 *
 * It keeps the newest checkpoint of each log that it knows. That record is on disk before the cosignature leaves, so
 * that no crash makes it forget what it has vouched for.
 *
 * Source: C2SP tlog-witness, tlog-cosignature.
 *
 * @module
 */
import { concat } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { Clock } from '#base/world.ts'
import { parseSignedCheckpoint, parseSize } from './note.ts'
import type { NoteKey } from './note-key.ts'
import { parseHash } from './proof-file.ts'
import { isConsistent, PATH_MAX_HASHES } from './proof.ts'
import type { WitnessState } from './witness-state.ts'

export interface Witness {
  /** @param body of `add-checkpoint`, bounded by {@link REQUEST_MAX_OCTETS} */
  addCheckpoint(body: string): Promise<WitnessAnswer>
}

export interface WitnessAnswer {
  readonly status: 200 | 400 | 403 | 404 | 409 | 422
  readonly type: 'text/plain; charset=utf-8' | 'text/x.tlog.size'
  readonly body: string
}

export interface WitnessOptions {
  readonly name: string
  /** Of the witness's own key. */
  readonly keyId: Uint8Array
  /** @returns the time and the signature (C2SP tlog-cosignature) @param text of the note */
  readonly cosign: (seconds: number, text: string) => Uint8Array
  /** The logs that it knows, by their keys. */
  readonly logs: readonly NoteKey[]
  readonly state: WitnessState
  readonly clock: Clock
}

/** A note of 100,000 characters, which may be of three octets, and 63 hashes. */
export const REQUEST_MAX_OCTETS = 304_000

export function witness({ name, keyId, cosign, logs, state, clock }: WitnessOptions): Witness {
  async function answer(body: string): Promise<WitnessAnswer> {
    const { oldSize, path, note } = parseAddCheckpoint(body)
    const { text, checkpoint, signatures } = parseSignedCheckpoint(note)
    const keys = logs.filter((key) => key.name === checkpoint.origin)
    if (keys.length === 0) return said(404, 'this log is not known here')
    const checks = await Promise.all(keys.flatMap((key) => signatures.map((signature) => key.verify(signature, text))))
    if (!checks.includes(true)) return said(403, 'not signed by a key of this log')
    const { origin, size, rootHash } = checkpoint
    if (oldSize > size) return said(400, 'the old size is beyond the checkpoint')
    // from here to the record there is no waiting, so that no other request comes between
    const seen = state.seen(origin)
    if (oldSize !== (seen?.size ?? 0)) return { status: 409, type: 'text/x.tlog.size', body: `${seen?.size ?? 0}\n` }
    if (seen !== undefined) {
      const claim = { first: seen.size, second: size, firstRoot: seen.rootHash, secondRoot: rootHash, path }
      if (!isConsistent(claim)) {
        return seen.size === size && path.length === 0
          ? said(409, 'another root hash at this size was cosigned before')
          : said(422, 'the checkpoint does not continue the one cosigned before')
      }
    } else if (path.length > 0) {
      return said(422, 'from nothing the proof is empty')
    }
    state.keep({ origin, size, rootHash, note })
    const seconds = Math.floor(clock.now() / 1000)
    const octets = concat([keyId, cosign(seconds, text)])
    return { status: 200, type: 'text/plain; charset=utf-8', body: `— ${name} ${octets.toBase64()}\n` }
  }

  return {
    async addCheckpoint(body) {
      try {
        return await answer(body)
      } catch (error) {
        if (error instanceof TrustError && error.code === 'malformed') return said(400, error.message)
        throw error
      }
    },
  }
}

const said = (status: WitnessAnswer['status'], sentence: string): WitnessAnswer => ({
  status,
  type: 'text/plain; charset=utf-8',
  body: `${sentence}\n`,
})

/** The body of `add-checkpoint`: old size, consistency path, an empty line, the checkpoint. */
export const encodeAddCheckpoint = (oldSize: number, path: readonly Uint8Array[], note: string): string =>
  `${[`old ${oldSize}`, ...path.map((hash) => hash.toBase64())].join('\n')}\n\n${note}`

/** @throws TrustError `malformed` */
export function parseAddCheckpoint(body: string) {
  const split = body.indexOf('\n\n')
  if (split < 0 || body.length > REQUEST_MAX_OCTETS) throw malformed('no checkpoint after an empty line')
  const [first = '', ...hashes] = body.slice(0, split).split('\n')
  const oldSize = first.startsWith('old ') ? parseSize(first.slice('old '.length)) : undefined
  if (oldSize === undefined) throw malformed('the old size')
  if (hashes.length > PATH_MAX_HASHES) throw malformed('the length of the proof')
  return { oldSize, path: hashes.map(parseHash), note: body.slice(split + 2) }
}

const malformed = (detail: string) => new TrustError('malformed', 'notWitnessRequest', { facts: { detail } })
