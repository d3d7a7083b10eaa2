/**
 * The client's half of a time stamp: hashes the file, asks, and looks at what comes back before it is kept.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { digestContent, type DigestId } from '#cms/digests.ts'
import { encodeGrantedTimeStamp, encodeTimeStampRequest, verifyTimeStamp } from '#cms/timestamp.ts'
import { chunksOf, fileSource } from '#signing/artifact/blob.ts'
import { askAuthority } from '#signing/time-stamps.ts'
import { formatName, parseName } from '#x509/name.ts'
import type { Answer, Context, ValuesOf } from './command.ts'
import { type Caller, connect, type connectionOptions } from './connection.ts'
import { checkWritable, openArtifact, writeOutput } from './files.ts'
import { proofOf } from './sign-artifact.ts'
import { UsageError } from './usage.ts'

export interface TimeStampValues {
  readonly file: string
  readonly signer: string | undefined
  readonly url: string | undefined
  readonly digest: DigestId | undefined
  readonly policy: string | undefined
  readonly out: string | undefined
  readonly force: boolean
  readonly proof: string | undefined
}

type Connection = ValuesOf<typeof connectionOptions>
const NONCE_OCTETS = 16

export async function timeStampFile(context: Context, values: TimeStampValues, connection: Connection): Promise<Answer> {
  const { file, signer, url, policy, force, proof, digest: digestAlgorithm = 'sha256', out = `${file}.tsr` } = values
  if ((signer === undefined) === (url === undefined))
    throw new UsageError('Say who states the time: --signer or --url.', ['timestamp'])
  if (proof !== undefined && signer === undefined)
    throw new UsageError('Only a signer of the installation has a proof: --proof goes with --signer.', ['timestamp'])
  for (const result of [out, proof]) if (result !== undefined) checkWritable(context, result, force)
  const digest = await digestOfFile(context, file, digestAlgorithm)
  const nonce = new Uint8Array(context.world.random.octets(NONCE_OCTETS))
  nonce[0] = ((nonce[0] ?? 0) & 0x3f) | 0x40 // positive, and no octet too many
  const imprint = { digestAlgorithm, digest }
  const request = encodeTimeStampRequest({ imprint, reqPolicy: policy, nonce, certReq: true, extensions: [] })
  const client = signer === undefined ? undefined : await connect(context, connection)
  try {
    const { token, entry } = await ask(client, values, request)
    const { info, signer: authority } = await verifyTimeStamp(token, {
      digestWith: (id) => (id === digestAlgorithm ? digest : new Uint8Array()),
      nonce,
    })
    if (policy !== undefined && info.policy !== policy)
      throw new TrustError('policyRefused', 'timeStampPolicy', { facts: { policy: info.policy } })
    writeOutput(context, { file: out, octets: encodeGrantedTimeStamp(token), isSecret: false, force })
    if (proof !== undefined && client !== undefined && entry !== undefined)
      writeOutput(context, { file: proof, octets: await proofOf(client, entry), isSecret: false, force })
    const time = info.genTime.toISOString()
    const name = formatName(parseName(authority.certificate.subject))
    return {
      value: {
        file: out,
        time,
        policy: info.policy,
        serialNumber: info.serialNumber.toHex(),
        authority: name,
        digest: `${digestAlgorithm}:${digest.toHex()}`,
        ...(proof !== undefined && { proof }),
      },
      text: `${out} is written: ${file} was there at ${time}, says ${name}.\n`,
    }
  } finally {
    await client?.close()
  }
}

interface Answered {
  readonly token: Uint8Array
  /** The audit entry, where the authority is of the installation. */
  readonly entry?: string
}

async function ask(client: Caller | undefined, { signer, url }: TimeStampValues, request: Uint8Array): Promise<Answered> {
  if (client === undefined || signer === undefined) return { token: await askAuthority(url ?? '', request) }
  const body = { request: request.toBase64() }
  const { token, entry } = await client.call('timeStamp', { params: { name: signer }, body })
  return { token: Uint8Array.fromBase64(token), entry }
}

async function digestOfFile(context: Context, file: string, id: DigestId): Promise<Uint8Array> {
  const handle = await openArtifact(context, file)
  try {
    const source = fileSource(handle, (await handle.stat()).size)
    const bar = context.progress(`hashing ${file}`, source.size)
    let read = 0
    const chunks = async function* () {
      for await (const chunk of chunksOf(source)) {
        bar.at((read += chunk.length))
        yield chunk
      }
    }
    const digests = await digestContent(chunks(), [id])
    bar.end()
    return digests.get(id) as Uint8Array
  } finally {
    await handle.close()
  }
}
