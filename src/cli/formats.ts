/** The forms in which certificates and lists leave the command line. @module */
import { encodePEM } from '#asn1/pem.ts'
import { utf8 } from '#base/bytes.ts'
import { encodeCertsOnly } from '#cms/certs-only.ts'
import { type Answer, type Context, flag, oneOf, type Parameters, text } from './command.ts'
import { writeOutput } from './files.ts'

export const outputOptions = {
  out: text('FILE', 'where to write it; standard output unless told'),
  force: flag('replace the file if it is there'),
} satisfies Parameters

export const certificateOptions = {
  format: oneOf(
    ['pem', 'der', 'p7b', 'chain'],
    'pem unless told; chain is PEM with everything above it, p7b the same as PKCS #7',
  ),
  ...outputOptions,
} satisfies Parameters

export type CertificateFormat = 'pem' | 'der' | 'p7b' | 'chain'

/** @param chain above the certificate, the issuer first; both in base64, as REST has them */
export function encodeCertificate(format: CertificateFormat, certificate: string, chain: readonly string[]): Uint8Array {
  const der = Uint8Array.fromBase64(certificate)
  const above = chain.map((each) => Uint8Array.fromBase64(each))
  switch (format) {
    case 'der':
      return der
    case 'pem':
      return utf8(encodePEM('CERTIFICATE', der))
    case 'chain':
      return utf8([der, ...above].map((each) => encodePEM('CERTIFICATE', each)).join(''))
    case 'p7b':
      return utf8(encodePEM('PKCS7', encodeCertsOnly([der, ...above])))
  }
}

export interface OutputValues {
  readonly out: string | undefined
  readonly force: boolean
}

/** Into the file that was named, or as the answer itself. */
export function deliver(context: Context, { out, force }: OutputValues, octets: Uint8Array, value: object): Answer {
  if (out === undefined) return { value, text: octets }
  writeOutput(context, { file: out, octets, isSecret: false, force })
  return { value: { ...value, file: out }, text: `${out} is written.\n` }
}

/** A request for an authority, as PEM. */
export const deliverRequest = (context: Context, output: OutputValues, value: { readonly request: string }): Answer =>
  deliver(context, output, utf8(encodePEM('CERTIFICATE REQUEST', Uint8Array.fromBase64(value.request))), value)
