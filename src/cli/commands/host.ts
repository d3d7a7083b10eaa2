/** `sealworks host`: the secure execution host, and what it runs. @module */
import { type Answer, command, flag, integer, required, some, text, type ValuesOf } from '../command.ts'
import { keyOptions } from '../command-keys.ts'
import { connect, connectionOptions } from '../connection.ts'

const directory = required(text('DIR', 'where the bundle and its files are'))

export const commands = [
  command({
    noun: 'host',
    verb: 'image build',
    summary: 'Build a bundle for secure hosts: images, root file systems with their hash trees, and what a TPM will say of them',
    details:
      'The same plan and files give the same octets. Without --image-key, machines with Secure Boot get unsigned images first, and the command ends with 6: sign them with "sealworks sign --format authenticode-pe" and build again with --signed.',
    example: 'sealworks host image build plan.json --out bundle-7 --image-key db.key --image-certificate db.pem',
    operands: { plan: required(text('FILE', 'the plan, JSON; names in it begin where it lies')) },
    options: {
      out: required(text('DIR', 'where all of it goes')),
      force: flag('replace the bundle that is there'),
      imageKey: text('FILE', 'private key that signs images for UEFI, PEM'),
      imageCertificate: text('FILE', 'with --image-key: its certificate, PEM'),
      signed: text('DIR', 'where the signed images are, by the names of their machines'),
    },
    async run(context, values) {
      const { buildImages } = await import('../host-image.ts')
      return buildImages(context, values)
    },
  }),

  command({
    noun: 'host',
    verb: 'image sign',
    summary: 'Add the signature of a holder of a root key to a bundle',
    details:
      'Each holder signs where their key is. A holder with a classical and a post-quantum key signs with both, one after the other, and counts then.',
    example: 'sealworks host image sign bundle-7 --key anna-ed25519.key --certificate anna-ed25519.pem',
    operands: { directory },
    options: {
      key: keyOptions.key,
      certificate: keyOptions.certificate,
      signer: text('NAME', 'instead of --key: a signer at the signing server that signs cose-sign'),
    },
    sharedOptions: connectionOptions,
    async run(context, values, shared): Promise<Answer> {
      const { signBundle } = await import('../host-image.ts')
      const own = { ...values, as: 'holder' }
      if (values.signer === undefined) return signBundle(undefined, context, values.directory, own)
      const client = await connect(context, shared as ValuesOf<typeof connectionOptions>)
      try {
        return await signBundle(client, context, values.directory, own)
      } finally {
        await client.close()
      }
    },
  }),

  command({
    noun: 'host',
    verb: 'image verify',
    summary: 'Check a bundle as a host does, and every file of it',
    details:
      'Works without a server. Each --root is one holder: all certificates in the file have to have signed. Ends with 9 when a file is not good; a bundle that a host would refuse is refused.',
    example:
      'sealworks host image verify bundle-7 --root anna.pem --root ben.pem --root cleo.pem --threshold 2 --host SEE-0042 --owner acme',
    operands: { directory },
    options: {
      root: some('FILE', 'certificates of a holder of root keys, PEM'),
      threshold: required(integer('N', 1, 16, 'how many holders have to have signed')),
      host: text('SERIAL', 'judge it for this host'),
      owner: text('NAME', 'with --host: whose it is'),
      epoch: integer('N', 0, Number.MAX_SAFE_INTEGER, 'with --owner: since which epoch; 0 unless told'),
      installed: text('FILE', 'with --host: the signed bundle that it has, which the new one has to follow'),
      at: text('TIME', 'as of then; now unless told'),
    },
    async run(context, values) {
      const { verifyBundle } = await import('../host-image.ts')
      return verifyBundle(context, values)
    },
  }),
]
