/** `sealworks sign`: the artifact is hashed here and stays here, or is sent to the server. @module */
import { command, flag, integer, many, required, text, type ValuesOf } from '../command.ts'
import { connect, connectionOptions } from '../connection.ts'
import { checkWritable } from '../files.ts'
import { UsageError } from '../usage.ts'

export const commands = [
  command({
    noun: 'sign',
    summary: 'Sign a file; it is hashed here and does not leave this machine, unless it is uploaded',
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
      upload: flag('send the file and have the server hash it, as a job'),
      noWait: flag('with --upload: do not wait for the job, which `job fetch` fetches later'),
      retry: integer('SECONDS', 0, 3600, 'how long to try again when the server has too much to do; 60 unless told'),
    },
    sharedOptions: connectionOptions,
    async run(context, values, shared) {
      if (values.noWait && !values.upload) throw new UsageError('--no-wait needs --upload.', ['sign'])
      const client = await connect(context, shared as ValuesOf<typeof connectionOptions>)
      try {
        const { signArtifact } = await import('../sign-artifact.ts')
        if (!values.upload) return await signArtifact(client, context, values)
        const { signByUpload } = await import('../sign-upload.ts')
        for (const result of [values.out, values.proof]) if (result !== undefined) checkWritable(context, result, values.force)
        return await signByUpload(client, context, values)
      } finally {
        await client.close()
      }
    },
  }),
]
