/** `sealworks timestamp`: the file is hashed here and stays here. @module */
import { command, flag, oneOf, required, text, type ValuesOf } from '../command.ts'
import { connectionOptions } from '../connection.ts'

export const commands = [
  command({
    noun: 'timestamp',
    summary: 'Have an authority state that a file is there now (RFC 3161)',
    details:
      'Only the digest of the file is sent: to a time-stamping signer of the installation, or to an authority anywhere with --url. What comes back is looked at before it is written: it is for this file and this question. Whether its authority is to be trusted says `verify`.',
    example: 'sealworks timestamp release.bin --signer time --out release.bin.tsr',
    operands: { file: required(text('FILE', 'what is there')) },
    options: {
      signer: text('SIGNER', 'a signer of the format rfc3161'),
      url: text('URL', 'instead: an authority anywhere, such as http://pki.example:8080/tsa/time'),
      digest: oneOf(['sha256', 'sha384', 'sha512', 'sha3-256', 'sha3-384', 'sha3-512'], 'sha256 unless told'),
      policy: text('OID', 'refuse a time stamp under another policy'),
      out: text('FILE', 'where the answer goes; FILE.tsr unless told'),
      force: flag('replace it if it is there'),
      proof: text('FILE', 'where the proof goes that the time stamp is in the audit log; with --signer'),
    },
    sharedOptions: connectionOptions,
    async run(context, values, shared) {
      const { timeStampFile } = await import('../time-stamp-file.ts')
      return timeStampFile(context, values, shared as ValuesOf<typeof connectionOptions>)
    },
  }),
]
