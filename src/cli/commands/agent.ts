/** `sealworks agent`: the device's side. Loads neither server nor database. @module */
import { resolve } from 'node:path'
import { command, type Context, flag, integer, oneOf, required, some, text } from '../command.ts'

const directory = { directory: text('DIR', 'where the agent keeps what it has; ./agent unless told (SEALWORKS_AGENT)') }
type Shared = { readonly directory?: string | undefined }

const placeOf = ({ environment, directory: base }: Context, { directory: given }: Shared): string =>
  resolve(base, given ?? environment['SEALWORKS_AGENT'] ?? 'agent')

/** Loaded when it is used. */
const work = () => import('../device-agent.ts')
const licensing = () => import('../agent-licenses.ts')

export const commands = [
  command({
    noun: 'agent',
    verb: 'enroll',
    summary: 'Get a certificate for a key of this device, by what it was born with',
    details:
      'Done once; a second time says how it stands. The key is made here and never leaves: in a file for its owner only, or in a TPM. Ends with 6 while a person has to approve it, with 8 while the server is away, with 7 when it was refused; run it again, or leave it to `agent run`.',
    example:
      'sealworks agent enroll --server https://pki.example:8443 --trust plant-root.pem --certificate idevid.pem --key idevid.key',
    options: {
      server: required(text('URL', 'of the owner’s server')),
      label: text('LABEL', 'the enrollment endpoint; the default one unless told'),
      trust: some('FILE', 'roots that the server is known by, PEM or DER; a trust list that names servers goes before them'),
      certificate: required(text('FILE', 'the birth certificate, PEM')),
      key: required(text('FILE', 'its private key, PEM')),
      keys: oneOf(['software', 'tpm'], 'where the new key lies; software unless told'),
      tpm: text('PLACE', 'device file, path of a socket, or HOST:PORT; /dev/tpmrm0 unless told'),
      trustList: text('FILE', 'the first trust list, which must be signed by enough of its own keys'),
      trustLists: text('URL', 'where its successors are: URL/VERSION.json'),
    },
    sharedOptions: directory,
    run: async (context, values, shared: Shared) => (await work()).enroll(context, placeOf(context, shared), values),
  }),
  command({
    noun: 'agent',
    verb: 'renew',
    summary: 'Get the next certificate, with a new key, when the time for it has come',
    example: 'sealworks agent renew --now',
    options: { now: flag('do not wait for the time') },
    sharedOptions: directory,
    run: async (context, values, shared: Shared) => (await work()).renew(context, placeOf(context, shared), values),
  }),
  command({
    noun: 'agent',
    verb: 'status',
    summary: 'Say how this device stands: its certificate, its trust list, and what went wrong last',
    example: 'sealworks agent status --json',
    sharedOptions: directory,
    run: async (context, _, shared: Shared) => (await work()).status(context, placeOf(context, shared)),
  }),
  command({
    noun: 'agent',
    verb: 'trust',
    summary: 'Take over trust lists, one after the other',
    details: 'Each must be the next of the one before: signed by enough of its keys, and by enough of its own.',
    example: 'sealworks agent trust trust-7.json trust-8.json',
    operands: { files: some('FILE', 'signed trust lists, the oldest first') },
    sharedOptions: directory,
    run: async (context, { files }, shared: Shared) => (await work()).trust(context, placeOf(context, shared), files),
  }),
  command({
    noun: 'agent',
    verb: 'verify',
    summary: 'Say whether a file is the unaltered work of whom the trust list names for software',
    details: 'Asks no network. Ends with 9 when the file is not good.',
    example: 'sealworks agent verify firmware.bin --signature firmware.bin.p7s',
    operands: { file: required(text('FILE', 'the signed file; with --signature, what the signature is over')) },
    options: {
      signature: text('FILE', 'the signature, where it stands beside the file'),
      format: text('FORMAT', 'how it is signed; what the file looks like unless told'),
    },
    sharedOptions: directory,
    run: async (context, values, shared: Shared) => (await work()).verify(context, placeOf(context, shared), values),
  }),
  command({
    noun: 'agent',
    verb: 'report',
    summary: 'Tell the server, signed, what runs on this device',
    details:
      'What runs here is read from components.json in the agent’s directory: a list of name, version and digest (SHA-256).',
    example: 'sealworks agent report',
    sharedOptions: directory,
    run: async (context, _, shared: Shared) => (await work()).report(context, placeOf(context, shared)),
  }),
  command({
    noun: 'agent',
    verb: 'update',
    summary: 'Install what is meant for this very device: from its server, or from a stick',
    details:
      'Nothing is installed without a director’s statement for this device, a release signed by its maker, and an artifact that says the same of itself. Goes on with an update that was cut. Ends with 7 when an update was refused or went back.',
    example: 'sealworks agent update --from /media/stick',
    options: {
      from: text('DIR', 'a stick, as docs/agent.md says what is on one'),
      confirm: flag('agree to the update that waits for it'),
      deny: flag('have nothing of the update that waits for an agreement'),
    },
    sharedOptions: directory,
    run: async (context, values, shared: Shared) => (await work()).update(context, placeOf(context, shared), values),
  }),
  command({
    noun: 'agent',
    verb: 'prove',
    summary: 'Sign, with the key that the device was born with, that it is the one that somebody asks about',
    example: 'sealworks agent prove question.json --out proof.json',
    operands: { file: required(text('FILE', 'what `device genuine ask` wrote')) },
    options: { out: required(text('FILE', 'where to write what goes back')), force: flag('replace the file if it is there') },
    sharedOptions: directory,
    run: async (context, values, shared: Shared) => (await work()).prove(context, placeOf(context, shared), values),
  }),
  command({
    noun: 'agent',
    verb: 'feature',
    summary: 'Say whether this device is licensed for a feature now, and for how much of it',
    details:
      'Asks no network, and works beside `agent run`. Proves that the birth key is here. Ends with 7 when it is not licensed.',
    example: 'sealworks agent feature drill',
    operands: { name: required(text('FEATURE', 'what is to be used')) },
    sharedOptions: directory,
    run: async (context, values, shared: Shared) => (await licensing()).feature(context, placeOf(context, shared), values),
  }),
  command({
    noun: 'agent',
    verb: 'license',
    summary: 'Take licenses, and lists of what was taken back, from files',
    details: '`agent run` fetches them from the server by itself.',
    example: 'sealworks agent license A-1042.license acme.status',
    operands: { files: some('FILE', 'licenses and status lists') },
    sharedOptions: directory,
    run: async (context, values, shared: Shared) => (await licensing()).license(context, placeOf(context, shared), values),
  }),
  command({
    noun: 'agent',
    verb: 'count',
    summary: 'Count what this device did; it is on the disk before the command ends',
    details: 'Works beside `agent run`, which sends what was counted, signed, once an hour at most.',
    example: 'sealworks agent count holes 12',
    operands: {
      name: required(text('COUNTER', 'what is counted')),
      amount: required(integer('N', 0, Number.MAX_SAFE_INTEGER, 'how much was added')),
    },
    options: { unit: text('UNIT', 'of the counter, such as h or kW.h; 1 unless told, and always the same') },
    sharedOptions: directory,
    run: async (context, values, shared: Shared) => (await licensing()).count(context, placeOf(context, shared), values),
  }),
  command({
    noun: 'agent',
    verb: 'usage',
    summary: 'Show what this device counted',
    example: 'sealworks agent usage',
    options: {
      beginAnew: flag('forget what was counted and not sent, and begin at nothing; the server takes it after "usage begin-anew"'),
    },
    sharedOptions: directory,
    run: async (context, values, shared: Shared) => (await licensing()).usage(context, placeOf(context, shared), values),
  }),
  command({
    noun: 'agent',
    verb: 'run',
    summary:
      'Do all that a device does again and again: its certificate, licenses, commands, updates, reports; until it is stopped',
    details:
      'With --once it looks once and ends, for devices that something else wakes; with 1 where a part did not get through.',
    example: 'sealworks agent run --poll 3600',
    options: {
      poll: integer('SECONDS', 1, 86_400, 'between two looks; 3600 unless told'),
      once: flag('look once, and end'),
    },
    sharedOptions: directory,
    stopsItself: true,
    run: async (context, { poll, once }, shared: Shared) => {
      const [agent, place] = [await work(), placeOf(context, shared)]
      return once ? agent.round(context, place) : agent.run(context, place, poll ?? 3600)
    },
  }),
]
