/**
 * The client's half of signing: reads the file, has the signer answer what the format asks, writes the result.
 *
 * @module
 */
import { setTimeout as wait } from 'node:timers/promises'
import { uuidv7 } from '#base/world.ts'
import { type AnswerOf, type InputOf, RemoteRefusal } from '#server/rest/client.ts'
import { fileSource, octetsOf, sizeOf } from '#signing/artifact/blob.ts'
import type { BlobSource, KeyChoice, SignatureRequest, SigningFormat } from '#signing/format.ts'
import { loadFormat } from '#signing/formats/load.ts'
import type { Answer, Context } from './command.ts'
import type { Caller } from './connection.ts'
import { checkWritable, openArtifact, writeOctets, writeOutput } from './files.ts'
import { beginSignedCopy, type SignedCopy } from './signed-copy.ts'
import { UsageError } from './usage.ts'
import { waitsFor } from './waiting.ts'

type Signer = AnswerOf<'showSigner'>
type SentRequest = InputOf<'sign'>['body']['requests'][number]

export interface SignValues {
  readonly file: string
  readonly signer: string
  readonly format: string | undefined
  readonly option: readonly string[]
  readonly out: string | undefined
  readonly force: boolean
  readonly proof: string | undefined
  readonly retry: number | undefined
  readonly noWait: boolean
}

const RETRY_SECONDS = 60
/** There is too much to do, the answer was lost, or the server is still at what was asked before its answer was. */
const MAY_PASS: ReadonlySet<string> = new Set(['signingBusy', 'unreachable', 'idempotencyRunning'])
/** The log is put in order within about a second; on PostgreSQL after a crash in fifteen. */
const PROOF_TRIES_MAX = 20

export async function signArtifact(client: Caller, context: Context, values: SignValues): Promise<Answer> {
  const { file, signer: name, force, proof } = values
  for (const result of [values.out, proof]) if (result !== undefined) checkWritable(context, result, force)
  const handle = await openArtifact(context, file)
  let copy: SignedCopy | undefined
  try {
    const artifact = withProgress(context, fileSource(handle, (await handle.stat()).size), `hashing ${file}`)
    const signer = await client.call('showSigner', { params: { name } })
    const format = await formatOf(values, signer, artifact.source)
    if (values.out !== undefined && format.staysInPlace === true)
      copy = beginSignedCopy(context, { file, out: values.out, force })
    const {
      requests,
      suffix: known,
      attach,
    } = await format.toBeSigned(artifact.source, {
      ...choiceOf(signer.key),
      ...(signer.key.companion !== undefined && { others: [choiceOf(signer.key.companion)] }),
      options: optionsIn(values.option),
    })
    artifact.done()
    // what could not be kept is not signed
    if (values.out === undefined && known !== undefined) checkWritable(context, `${file}${known}`, force)
    const body = {
      format: format.id,
      requests: requests.map(sent),
      signerVersion: signer.version,
      artifactOctets: artifact.source.size,
    }
    // an answer that was lost is not signed, counted and approved a second time
    const idempotencyKey = uuidv7(context.world)
    const made = await patiently(context, values.retry ?? RETRY_SECONDS, () =>
      client.call('sign', { params: { name }, body, idempotencyKey }),
    )
    if (made.state === 'waiting') return waitsFor(made)
    const { pieces, isBeside, suffix = '.signed' } = attach(made.answers.map((answer) => Uint8Array.fromBase64(answer)))
    const out = values.out ?? (isBeside ? `${file}${suffix}` : undefined)
    if (out === undefined) throw new UsageError('Say where the signed file goes: --out FILE.', ['sign'])
    if (copy !== undefined) await copy.finish(artifact.source, pieces)
    else await writeOctets(context, { file: out, force, octets: octetsOf(artifact.source, pieces), length: sizeOf(pieces) })
    if (proof !== undefined) {
      const octets = await proofOf(client, made.entry)
      writeOutput(context, { file: proof, octets, isSecret: false, force })
    }
    const { answers: _answers, ...value } = made
    return {
      value: { ...value, format: format.id, file: out, ...(proof !== undefined && { proof }) },
      text: `${out} is written: ${format.id}, signed by ${name} with ${algorithmsOf(made)}.\n`,
    }
  } finally {
    await copy?.close()
    await handle.close()
  }
}

/** The same artifact, with a bar for how much of it was read. */
function withProgress(context: Context, source: BlobSource, label: string) {
  const bar = context.progress(label, source.size)
  let read = 0
  return {
    source: {
      size: source.size,
      async read(offset: number, length: number) {
        const octets = await source.read(offset, length)
        bar.at(Math.min(source.size, (read += length)))
        return octets
      },
    },
    done: () => bar.end(),
  }
}

/** @throws UsageError, TrustError `notFound` */
async function formatOf(
  { format: wanted }: SignValues,
  { name, formats: signs }: Signer,
  artifact: BlobSource,
): Promise<SigningFormat> {
  const only = wanted ?? (signs.length === 1 ? signs[0] : undefined)
  if (only !== undefined) return loadFormat(only)
  const { signingFormats } = await import('#signing/formats/registry.ts')
  const offered = signingFormats.filter(({ id }) => signs.includes(id))
  for (const format of offered) if (await format.detect(artifact)) return format
  throw new UsageError(`Say how to sign it: --format ${signs.join('|')} (what ${name} signs).`, ['sign'])
}

const algorithmsOf = ({
  signatureAlgorithm,
  companionAlgorithm,
}: Extract<AnswerOf<'sign'>, { readonly state: 'signed' }>): string =>
  companionAlgorithm === undefined ? signatureAlgorithm : `${signatureAlgorithm} and ${companionAlgorithm}`

/** Formats that carry certificates find that there are none; the others do not look. */
const choiceOf = ({ signatureAlgorithm, certificates }: Omit<Signer['key'], 'companion'>): KeyChoice => ({
  signatureAlgorithm,
  certificates: certificates.map((each) => Uint8Array.fromBase64(each)) as unknown as KeyChoice['certificates'],
})

function optionsIn(written: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    written.map((each) => {
      const mark = each.indexOf('=')
      if (mark < 1) throw new UsageError('--option is written NAME=VALUE.', ['sign'])
      return [each.slice(0, mark), each.slice(mark + 1)]
    }),
  )
}

function sent(request: SignatureRequest): SentRequest {
  if (request.type === 'raw') {
    const { message, by } = request
    const which = { type: 'raw' as const, ...(by !== undefined && { by }) }
    if ('octets' in message) return { ...which, octets: message.octets.toBase64() }
    return { ...which, ...sentDigest([message.digestAlgorithm, message.digest]) }
  }
  const { form, contentType, content, attributes = [], by } = request
  const rest = {
    type: 'cms' as const,
    ...(by !== undefined && { by }),
    form,
    contentType,
    attributes: attributes.map(({ attrType, attrValues }) => ({
      type: attrType,
      values: attrValues.map((each) => each.toBase64()),
    })),
  }
  if ('attached' in content) return { ...rest, attached: content.attached.toBase64() }
  return { ...rest, digests: [...content.detached].map(sentDigest) }
}

type SentDigest = Extract<SentRequest, { readonly digest: string }>

const sentDigest = ([digestAlgorithm, digest]: readonly [string, Uint8Array]) => ({
  digestAlgorithm: digestAlgorithm as SentDigest['digestAlgorithm'], // the server knows which there are
  digest: digest.toBase64(),
})

/** Tries again where the server says that it will help, for as long as whoever asks is patient. */
async function patiently<T>({ world }: Context, seconds: number, work: () => Promise<T>): Promise<T> {
  const until = world.clock.now() + seconds * 1000
  for (let pause = 1; ; pause *= 2) {
    try {
      return await work()
    } catch (error) {
      const mayPass = error instanceof RemoteRefusal && MAY_PASS.has(error.reason)
      if (!mayPass || world.clock.now() + pause * 1000 > until) throw error
      await wait(pause * 1000)
    }
  }
}

export async function proofOf(client: Caller, id: string): Promise<string> {
  for (let tries = 1; ; tries++) {
    try {
      return (await client.call('proveSignature', { params: { id } })).proof
    } catch (error) {
      if (tries >= PROOF_TRIES_MAX || !(error instanceof RemoteRefusal) || error.code !== 'unavailable') throw error
      await wait(1000)
    }
  }
}
