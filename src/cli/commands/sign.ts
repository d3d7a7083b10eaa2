/** `sealworks sign`: the artifact is hashed here and stays here. @module */
import { command, flag, integer, many, required, text, type ValuesOf } from '../command.ts'
import { connect, connectionOptions } from '../connection.ts'

export const commands = [
  command({
    noun: 'sign',
    summary: 'Sign a file; it is hashed here and never leaves this machine',
    details:
      'What the signer is to sign is computed here and sent, and its answer put in place here. Ends with 6 when people have to approve it first; run the same command again when they have.',
    example: 'sealworks sign firmware.bin --signer firmware --out firmware.bin.sig',
    operands: { file: required(text('FILE', 'what is signed')) },
    options: {
      signer: required(text('SIGNER', 'its name; `signer list` shows them')),
      format: text('FORMAT', 'how it is signed; what the file looks like and the signer signs unless told'),
      option: many('NAME=VALUE', 'a choice that the format offers'),
      out: text('FILE', 'where the signed file goes, or the signature where it stands alone'),
      force: flag('replace the file if it is there'),
      proof: text('FILE', 'where the proof goes that the signature is in the audit log; waits until there is one'),
      retry: integer('SECONDS', 0, 3600, 'how long to try again when the server has too much to do; 60 unless told'),
    },
    sharedOptions: connectionOptions,
    async run(context, values, shared) {
      const { signArtifact } = await import('../sign-artifact.ts')
      const client = await connect(context, shared as ValuesOf<typeof connectionOptions>)
      try {
        return await signArtifact(client, context, values)
      } finally {
        await client.close()
      }
    },
  }),
]
