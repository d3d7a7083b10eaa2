/**
 * Verification of a log on a server: it reads its log and says what it found, and what it cannot talk its way out of is
 * checked here: the signature of its checkpoint, and that it continues each checkpoint that was kept elsewhere.
 *
 * @module
 */
import { isConsistent } from '#audit/proof.ts'
import { checkLogSignature } from '#audit/proof-file.ts'
import type { NoteKey } from '#audit/note-key.ts'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { AnswerOf } from '#server/rest/client.ts'
import type { Caller } from './connection.ts'

type Verification = AnswerOf<'verifyAuditLog'>

/** @param key of the log, from elsewhere; the server's own word where there is none */
export async function verifyRemoteLog(client: Caller, key: NoteKey, kept: readonly string[]): Promise<Verification> {
  const answer = await client.call('verifyAuditLog', { body: { witnessed: [...kept] } })
  const problems: Verification['problems'] = [...answer.problems]
  const newest = await client.call('showAuditCheckpoint', {})
  const { size, rootHash } = await checkLogSignature(newest.note, key)
  for (const note of kept) {
    const seen = await checkLogSignature(note, key)
    if (seen.size > size) {
      problems.push({
        kind: 'cut',
        sentence: `The server signs ${size} entries, but there were ${seen.size}: entries ${size} to ${seen.size - 1} are gone.`,
      })
    } else if (!(await continues(client, seen, { size, rootHash }))) {
      problems.push({
        kind: 'diverged',
        sentence: `The log as the server signs it does not continue the checkpoint at ${seen.size} entries: it was rewritten, or there are two of it.`,
      })
    }
  }
  const told = new Set<string>()
  const each = problems.filter(({ kind, sentence }) => !told.has(kind + sentence) && told.add(kind + sentence))
  return { ...answer, problems: each, verified: each.length === 0 }
}

interface Head {
  readonly size: number
  readonly rootHash: Uint8Array
}

async function continues(client: Caller, seen: Head, now: Head): Promise<boolean> {
  if (seen.size === 0) return true
  if (seen.size === now.size) return equal(seen.rootHash, now.rootHash)
  const { path } = await client.call('proveAuditConsistency', { query: { first: seen.size, second: now.size } })
  return isConsistent({
    first: seen.size,
    second: now.size,
    firstRoot: seen.rootHash,
    secondRoot: now.rootHash,
    path: path.map(readHash),
  })
}

function readHash(text: string): Uint8Array {
  try {
    return Uint8Array.fromBase64(text)
  } catch (cause) {
    throw new TrustError('malformed', 'notAuditProof', { facts: { detail: 'the path' }, cause })
  }
}
