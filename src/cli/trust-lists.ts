/** What `sealworks trust-list` does, apart from its words. @module */
import { createPublicKey } from 'node:crypto'
import { openKey } from '#agent/device-keys.ts'
import {
  encodeTrustList,
  joinTrustLists,
  parseSignedTrustList,
  parseTrustList,
  signTrustList,
  type TrustList,
} from '#agent/trust-list.ts'
import { parsePEM } from '#asn1/pem.ts'
import { parseCertificate } from '#x509/certificate.ts'
import type { Answer, Context } from './command.ts'
import { readInput, writeOutput } from './files.ts'
import { UsageError } from './usage.ts'
import { timeOf } from './verify-certificate.ts'

interface Out {
  readonly out: string
  readonly force: boolean
}

interface CreateValues extends Out {
  readonly name: string | undefined
  readonly after: string | undefined
  readonly signer: readonly string[]
  readonly threshold: number
  readonly expires: string
  readonly anchor: readonly string[]
}

export async function create(context: Context, values: CreateValues): Promise<Answer> {
  const { signer, threshold, expires, anchor, out, force } = values
  const before = values.after === undefined ? undefined : parseSignedTrustList(await readInput(context, values.after)).list
  const name = values.name ?? before?.name
  if (name === undefined)
    throw new UsageError('--name is missing: the first list says of which fleet it is.', ['trust-list', 'create'])
  const keys: Uint8Array[] = []
  for (const file of signer) keys.push(publicKeyIn(await textOf(context, file)))
  const anchors: Record<string, Uint8Array[]> = {}
  for (const written of anchor) {
    const [purpose, file] = written.split(/=(.*)/s)
    if (purpose === undefined || file === undefined)
      throw new UsageError('--anchor is written PURPOSE=FILE.', ['trust-list', 'create'])
    const found = parsePEM(await textOf(context, file)).flatMap(({ label, der }) => (label === 'CERTIFICATE' ? [der] : []))
    anchors[purpose] = [...(anchors[purpose] ?? []), ...found]
  }
  const list: TrustList = {
    name,
    version: (before?.version ?? 0) + 1,
    expires: timeOf(expires, context, ['trust-list', 'create'], '--expires'),
    threshold,
    keys,
    anchors,
  }
  const octets = encodeTrustList(list)
  parseTrustList(octets) // what a device would refuse is not written
  writeOutput(context, { file: out, octets, isSecret: false, force })
  return { value: { file: out, name, version: list.version, keys: keys.length, threshold } }
}

const textOf = async (context: Context, file: string): Promise<string> =>
  new TextDecoder('latin1').decode(await readInput(context, file))

function publicKeyIn(pem: string): Uint8Array {
  const certificate = parsePEM(pem).find(({ label }) => label === 'CERTIFICATE')
  if (certificate !== undefined) return parseCertificate(certificate.der).subjectPublicKeyInfo
  return new Uint8Array(createPublicKey(pem).export({ type: 'spki', format: 'der' }))
}

export async function sign(context: Context, values: Out & { readonly file: string; readonly key: string }): Promise<Answer> {
  const key = openKey(await textOf(context, values.key), {})
  return write(context, values, await signTrustList(await readInput(context, values.file), key))
}

export async function join(context: Context, values: Out & { readonly files: readonly string[] }): Promise<Answer> {
  const lists: Uint8Array[] = []
  for (const file of values.files) lists.push(await readInput(context, file))
  return write(context, values, joinTrustLists(lists))
}

function write(context: Context, { out, force }: Out, octets: Uint8Array): Answer {
  writeOutput(context, { file: out, octets, isSecret: false, force })
  const { list, message } = parseSignedTrustList(octets)
  return {
    value: {
      file: out,
      name: list.name,
      version: list.version,
      signatures: message.signatures.length,
      threshold: list.threshold,
    },
  }
}
