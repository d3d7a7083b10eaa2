/** `sealworks trust-list`: the maker's side of what devices trust. Works without a server. @module */
import { command, flag, integer, required, some, text } from '../command.ts'

const out = { out: required(text('FILE', 'where it goes')), force: flag('replace the file if it is there') }

export const commands = [
  command({
    noun: 'trust-list',
    verb: 'create',
    summary: 'Write down whom devices trust, to be signed',
    details:
      'A device takes it when enough keys of the list before it signed it, and enough of its own. Without --after it is the first, which goes onto devices as they are made.',
    example:
      'sealworks trust-list create --name presses --signer a.pub --signer b.pub --threshold 2 --expires 2027-12-31 --anchor software=code-root.pem --out trust-1.json',
    options: {
      name: text('NAME', 'of the fleet; that of the list before unless told'),
      after: text('FILE', 'the list before'),
      signer: some('FILE', 'public key of one who signs lists, or a certificate with it: PEM'),
      threshold: required(integer('COUNT', 1, 8, 'how many of them have to sign')),
      expires: required(text('TIME', 'its end, such as 2027-12-31: a device that hears of no successor stops trusting it')),
      anchor: some(
        'PURPOSE=FILE',
        'who is trusted for what: software=code-root.pem, server=tls-root.pem; may be given more than once',
      ),
      ...out,
    },
    async run(context, values) {
      return (await import('../trust-lists.ts')).create(context, values)
    },
  }),
  command({
    noun: 'trust-list',
    verb: 'sign',
    summary: 'Sign a trust list with a key in a file; signatures of others stay',
    details:
      'Keys of signers at a server sign it too: `sign LIST --signer NAME --format jws --option content=attached --option type=trust-list+jws`, and `trust-list join`.',
    example: 'sealworks trust-list sign trust-1.json --key a.key --out trust-1.signed.json',
    operands: { file: required(text('FILE', 'the list, or the list as others signed it')) },
    options: { key: required(text('FILE', 'private key, PEM')), ...out },
    async run(context, values) {
      return (await import('../trust-lists.ts')).sign(context, values)
    },
  }),
  command({
    noun: 'trust-list',
    verb: 'join',
    summary: 'Put signatures that were made in several places together',
    example: 'sealworks trust-list join trust-1.a.json trust-1.b.jws --out trust-1.json',
    operands: { files: some('FILE', 'the same list, each with signatures of some') },
    options: out,
    async run(context, values) {
      return (await import('../trust-lists.ts')).join(context, values)
    },
  }),
]
