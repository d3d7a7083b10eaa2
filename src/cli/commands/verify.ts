/** `sealworks verify`: who signed a file, by which chain, when, and whether it is untouched. @module */
import { command, flag, many, oneOf, required, some, text } from '../command.ts'
import { signatureAlgorithms } from '#algorithms/table.ts'
import { purposeNames } from '#x509/path/purpose-names.ts'

export const commands = [
  command({
    noun: 'verify',
    summary: 'Say what a signed file is, who signed it, when, and whether it is untouched',
    details:
      'Works without a server. What it cannot read it never calls valid. Revocation lists and OCSP answers are fetched from the addresses in the certificates unless --offline is said. Ends with 9 when the file is not good.',
    example: 'sealworks verify firmware.bin --signature firmware.bin.p7s --trust plant-root.pem',
    operands: { file: required(text('FILE', 'the signed file; with --signature, what the signature is over')) },
    options: {
      trust: some('FILE', 'trusted roots, PEM or DER; nothing else on this machine is trusted'),
      signature: text('FILE', 'the signature, where it stands beside the file'),
      format: text(
        'FORMAT',
        'how it is signed; what the file looks like unless told. rfc3161 for a time stamp, which is never taken for a signature',
      ),
      certificates: many('FILE', "certificates that the file does not carry: the signer's for a plain signature, those above it"),
      signatureAlgorithm: oneOf(
        signatureAlgorithms.map(({ id }) => id),
        'of a plain signature; what is usual for the key unless told',
      ),
      timeTrust: many('FILE', 'roots trusted for time stamps; those of --trust unless told'),
      purpose: oneOf(
        [...purposeNames, 'any'],
        "what the signer's certificate must be for; what the format's verifiers want unless told, which for CMS, JWS, COSE, DSSE and plain is nothing",
      ),
      at: text('TIME', 'as of then, such as 2027-01-31 or 2027-01-31T12:00:00Z; now unless told'),
      crl: many('FILE', 'revocation lists, PEM or DER'),
      ocsp: many('FILE', 'OCSP answers, DER'),
      require: text(
        'WHAT',
        'both (a classical and a post-quantum signature, all valid), post-quantum (a valid one), or classical-until=TIME (a valid post-quantum one from then on)',
      ),
      requireRevocation: flag('refuse what is not known to be good'),
      offline: flag('fetch nothing'),
    },
    async run(context, values) {
      const { verifySigned } = await import('../verify-artifact.ts')
      return verifySigned(context, values)
    },
  }),
]
