/**
 * Signing at the server: the file goes there, a job signs it, and the result comes back.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { uuidv7 } from '#base/world.ts'
import { type AnswerOf, RemoteRefusal } from '#server/rest/client.ts'
import type { Answer, Context } from './command.ts'
import type { Caller } from './connection.ts'
import { exitCodes } from './exit-codes.ts'
import { writeOctets, writeOutput } from './files.ts'
import { proofOf, type SignValues } from './sign-artifact.ts'
import { sendFile } from './send-file.ts'
import { UsageError } from './usage.ts'

export type Job = AnswerOf<'showSigningJob'>

/** Soon enough for a small file, and seldom enough for a large one. */
const LOOK_MILLISECONDS = { first: 100, most: 2000 }

export async function signByUpload(client: Caller, context: Context, values: SignValues): Promise<Answer> {
  const { file, signer: name, format, option, noWait } = values
  const job = await send(client, context, { ...values, name, format, option })
  if (noWait) return { value: job, text: `Job ${job.id} signs ${file}. Look at it with "sealworks job show ${job.id}".\n` }
  const over = await waitFor(client, context, job, `signing ${file}`)
  if (over.state !== 'done') return unfinished(over)
  return fetchResult(client, context, over, { ...values, usual: file })
}

interface Sent {
  readonly file: string
  readonly name: string
  readonly format: string | undefined
  readonly option: readonly string[]
}

function send(client: Caller, context: Context, { file, name, format, option }: Sent): Promise<Job> {
  const query = { ...(format !== undefined && { format }), ...(option.length > 0 && { options: formOf(option) }) }
  return sendFile(context, file, async (content) => {
    // an answer that was lost is not signed a second time
    const input = { params: { name }, query, idempotencyKey: uuidv7(context.world) }
    const answer = await client.transfer('signArtifact', input, { ...content, prefersAsync: true })
    if (answer.content !== undefined) throw new TypeError('the server was asked for a job')
    return answer.answer
  })
}

function formOf(option: readonly string[]): string {
  const form = new URLSearchParams()
  for (const each of option) {
    const mark = each.indexOf('=')
    if (mark < 1) throw new UsageError('--option is written NAME=VALUE.', ['sign'])
    form.append(each.slice(0, mark), each.slice(mark + 1))
  }
  return form.toString()
}

async function waitFor(client: Caller, context: Context, begun: Job, label: string): Promise<Job> {
  const bar = context.progress(label, begun.octets)
  let job = begun
  for (let pause = LOOK_MILLISECONDS.first; job.state === 'queued'; pause = Math.min(pause * 2, LOOK_MILLISECONDS.most)) {
    await wait(pause)
    job = await client.call('showSigningJob', { params: { id: begun.id } })
    bar.at(job.hashed ?? 0)
  }
  bar.end()
  return job
}

/** @throws RemoteRefusal of a job that failed */
export function unfinished(job: Job): Answer {
  const { id, state, approval, problem } = job
  if (problem !== undefined) throw new RemoteRefusal(problem.code as RemoteRefusal['code'], problem.reason, problem.detail)
  if (state === 'waiting') {
    const text = `Job ${id} waits for people to agree. Approve it with "sealworks approval approve ${approval}", then "sealworks job fetch ${id}".\n`
    return { value: job, text, exitCode: exitCodes.waitsForApproval }
  }
  return { value: job, text: `Job ${id} is ${state}.\n`, exitCode: exitCodes.failed }
}

export interface FetchValues {
  readonly out: string | undefined
  readonly force: boolean
  readonly proof?: string | undefined
  /** What the artifact was called, where that is known. */
  readonly usual?: string
}

/** The server keeps the result for a while, so that nothing is lost when it cannot be written here. */
export async function fetchResult(client: Caller, context: Context, job: Job, values: FetchValues): Promise<Answer> {
  const { id, result, entry, format, signer, signatureAlgorithm } = job
  const { usual, force, proof } = values
  if (result === undefined || entry === undefined) return unfinished(job)
  const beside = usual !== undefined && result.isBeside ? `${usual}${result.suffix ?? '.signed'}` : undefined
  const out = values.out ?? beside
  if (out === undefined)
    throw new UsageError(`Say where the signed file goes: sealworks job fetch ${id} --out FILE.`, ['job', 'fetch'])
  const answer = await client.transfer('fetchSignedArtifact', { params: { id } })
  const { content } = answer
  if (content === undefined) throw new TypeError('the result of a job is octets')
  const bar = context.progress(`fetching ${out}`, content.octets)
  const hash = createHash('sha256')
  async function* read(): AsyncGenerator<Uint8Array> {
    let got = 0
    for await (const octets of content?.read() ?? []) {
      hash.update(octets)
      bar.at((got += octets.length))
      yield octets
    }
    if (hash.digest('hex') !== result?.digest)
      throw new RemoteRefusal('unreachable', 'unreachable', 'What came back is not what was signed. Fetch it again.')
  }
  await writeOctets(context, { file: out, force, octets: read(), length: result.octets })
  bar.end()
  if (proof !== undefined) writeOutput(context, { file: proof, octets: await proofOf(client, entry), isSecret: false, force })
  return {
    value: { ...job, state: 'signed', job: id, file: out, ...(proof !== undefined && { proof }) },
    text: `${out} is written: ${format}, signed by ${signer} with ${signatureAlgorithm}.\n`,
  }
}
