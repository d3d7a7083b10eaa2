/**
 * Who signs a command or a policy: a person's own key in a file, or their signer at the signing server.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { openKey } from '#agent/device-keys.ts'
import { importPublicKey } from '#algorithms/public-key.ts'
import { parsePEM } from '#asn1/pem.ts'
import { TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import type { COSESigner } from '#commands/signing.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { attributeOf, parseName } from '#x509/name.ts'
import { type Context, text } from './command.ts'
import type { Caller } from './connection.ts'
import { readInput } from './files.ts'
import { UsageError } from './usage.ts'

export const keyOptions = {
  key: text('FILE', 'your own private key, PEM'),
  certificate: text('FILE', 'with --key: your certificate and those above it, PEM'),
  signer: text('NAME', 'instead of --key: your signer at the signing server, which signs cose-sign1 and cose-sign'),
  as: text('NAME', 'how the policy names you; the CN of your certificate unless told'),
}

export interface KeyValues {
  readonly key: string | undefined
  readonly certificate: string | undefined
  readonly signer: string | undefined
  readonly as: string | undefined
}

export interface OwnSigner extends COSESigner {
  /** As the policy names them. */
  readonly name: string
}

/** @throws UsageError, TrustError */
export async function ownSigner(client: Caller | undefined, context: Context, values: KeyValues): Promise<OwnSigner> {
  const { key, certificate, signer } = values
  if ((key === undefined) === (signer === undefined))
    throw new UsageError('Say who signs: --key FILE --certificate FILE, or --signer NAME.')
  if (signer !== undefined) {
    if (client === undefined) throw new UsageError('--signer needs a server.')
    return atServer(client, context, signer, values)
  }
  if (key === undefined || certificate === undefined) throw new UsageError('--key needs --certificate.')
  const { keyAlgorithm, signatureAlgorithm, publicKey, sign } = openKey(await textOf(context, key), {})
  const chain = parsePEM(await textOf(context, certificate)).flatMap(({ label, der }) => (label === 'CERTIFICATE' ? [der] : []))
  const [own, ...above] = chain
  if (own === undefined || Buffer.compare(parseCertificate(own).subjectPublicKeyInfo, publicKey) !== 0)
    throw new TrustError('malformed', 'commandKeyOther', { facts: { file: certificate } })
  return { name: nameOf(own, values), keyAlgorithm, signatureAlgorithm, certificates: [own, ...above], sign }
}

const textOf = async (context: Context, file: string): Promise<string> =>
  new TextDecoder('latin1').decode(await readInput(context, file))

function nameOf(own: Uint8Array, { as: told }: KeyValues): string {
  const name = told ?? attributeOf(parseName(parseCertificate(own).subject), 'CN')
  if (name === undefined) throw new UsageError('Say how the policy names you: --as NAME.')
  return name
}

async function atServer(client: Caller, context: Context, name: string, values: KeyValues): Promise<OwnSigner> {
  const { key, version, formats } = await client.call('showSigner', { params: { name } })
  const [own, ...above] = key.certificates.map((each) => Uint8Array.fromBase64(each))
  const format = formats.find((each) => each === 'cose-sign1' || each === 'cose-sign')
  if (own === undefined || format === undefined)
    throw new TrustError('policyRefused', 'messageSignerForm', { facts: { name, format: 'cose-sign1' } })
  return {
    name: nameOf(own, values),
    keyAlgorithm: importPublicKey(parseCertificate(own).subjectPublicKeyInfo).algorithm,
    signatureAlgorithm: key.signatureAlgorithm,
    certificates: [own, ...above],
    async sign(message) {
      const made = await client.call('sign', {
        params: { name },
        body: {
          format,
          requests: [{ type: 'raw', octets: message.toBase64() }],
          signerVersion: version,
          artifactOctets: message.length,
        },
        idempotencyKey: uuidv7(context.world),
      })
      if (made.state === 'waiting')
        throw new TrustError('policyRefused', 'commandSignerWaits', { facts: { name, approval: made.approval.id } })
      return Uint8Array.fromBase64(made.answers[0] as string) // as many as were asked
    },
  }
}

/** SHA-256 of a certificate in a file, or as it was written. */
export async function certificateDigest(context: Context, written: string): Promise<Uint8Array> {
  if (/^[0-9a-f]{64}$/.test(written)) return Uint8Array.fromHex(written)
  const certificate = parsePEM(await textOf(context, written)).find(({ label }) => label === 'CERTIFICATE')
  if (certificate === undefined) throw new TrustError('malformed', 'commandKeyOther', { facts: { file: written } })
  return new Uint8Array(createHash('sha256').update(certificate.der).digest())
}
