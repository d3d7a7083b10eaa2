/** `sealworks release`: software for models of devices, from draft over two people to those who may have it. @module */
import { basename } from 'node:path'
import type { AnswerOf } from '#server/rest/client.ts'
import { type Answer, command, type Context, flag, integer, many, required, some, text } from '../command.ts'
import { type Caller, clientCommand } from '../connection.ts'
import { deviceOperand, findDevice } from '../device.ts'
import { readInput, writeOctets } from '../files.ts'
import { findRelease, releaseOperand } from '../release.ts'
import { decryptUpdate, encryptUpdate, makeArchiveKey } from '../release-encrypt.ts'
import { sendFile } from '../send-file.ts'
import { fields, table } from '../terminal.ts'
import { UsageError } from '../usage.ts'
import { waitsFor } from '../waiting.ts'

type Release = AnswerOf<'showRelease'>
type Outcome = AnswerOf<'approveRelease'>
type Software = AnswerOf<'listDeviceSoftware'>['items'][number]
type Statement = AnswerOf<'listDeviceStatements'>['items'][number]

const release = releaseOperand
const EXAMPLE_ID = '0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b'
const LIST_MAX = 500

/** `acme/pump` or `acme/pump:r1,r2`. */
function modelIn(written: string): Release['models'][number] {
  const [model = '', revisions, ...more] = written.split(':')
  if (more.length > 0 || !model.includes('/'))
    throw new UsageError('--model is written MANUFACTURER/MODEL, or MANUFACTURER/MODEL:REVISION,REVISION.', ['release', 'create'])
  return { model, ...(revisions !== undefined && { revisions: revisions.split(',') }) }
}

function requirementIn(written: string): { component: string; version: string } {
  const at = written.lastIndexOf('/')
  if (at < 1) throw new UsageError('--requires is written COMPONENT/VERSION.', ['release', 'create'])
  return { component: written.slice(0, at), version: written.slice(at + 1) }
}

const modelsText = ({ models }: Release): string =>
  models.map(({ model, revisions = [] }) => `${model}${revisions.length === 0 ? '' : `:${revisions.join(',')}`}`).join(' ')

const outcomeOf = (value: Outcome): Answer => (value.state === 'waiting' ? waitsFor(value) : { value, text: fields(value) })

async function upload(
  client: Caller,
  context: Context,
  file: string,
  to:
    | { readonly id: 'attachReleaseSBOM'; readonly release: string }
    | {
        readonly id: 'addReleaseArtifact'
        readonly release: string
        readonly query: { name: string; format: string; signer: string }
      },
): Promise<Answer> {
  const params = { id: to.release }
  const sent = await sendFile(context, file, (content) =>
    to.id === 'addReleaseArtifact'
      ? client.transfer(to.id, { params, query: to.query }, { ...content, prefersAsync: false })
      : client.transfer(to.id, { params }, { ...content, prefersAsync: false }),
  )
  if (sent.content !== undefined) throw new TypeError('the answer is a release')
  return { value: sent.answer, text: fields(sent.answer) }
}

export const commands = [
  clientCommand({
    noun: 'release',
    verb: 'create',
    summary: 'Begin a release, which gets the next counter of its component for its models',
    details:
      'Devices compare counters, not versions. A device comes here only from --source or later, and only where each --requires is installed.',
    example: 'sealworks release create motor 4.2.0 --model acme/engine-a:r2,r3 --source 3.0.0',
    operands: {
      component: required(text('COMPONENT', 'what is updated by itself')),
      version: required(text('VERSION', 'as people write it')),
    },
    options: {
      model: some('MODEL', 'MANUFACTURER/MODEL for all its hardware, or with :REVISION,REVISION behind it'),
      source: text('VERSION', 'the oldest version of the component from which one may come here'),
      requires: many('COMPONENT/VERSION', 'another component that has to be there first'),
      feature: text('FEATURE', 'what a device must be licensed for'),
    },
    async run(client, { component, version, model, source, requires, feature }) {
      const body = {
        ...{ component, version, models: model.map(modelIn) },
        ...(source !== undefined && { source }),
        ...(requires.length > 0 && { requires: requires.map(requirementIn) }),
        ...(feature !== undefined && { feature }),
      }
      const value = await client.call('createRelease', { body })
      return { value, text: fields(value) }
    },
  }),

  clientCommand({
    noun: 'release',
    verb: 'list',
    summary: 'Releases of software, newest first',
    example: 'sealworks release list --component motor',
    options: {
      component: text('COMPONENT', 'only of this one'),
      state: text('STATE', 'draft, approved, published or withdrawn'),
      limit: integer('N', 1, LIST_MAX, 'at most so many; 100 unless told'),
      cursor: text('CURSOR', 'where to go on: `next` of the page before'),
    },
    async run(client, { component, state, limit, cursor }, { columns }) {
      const query = {
        ...(component !== undefined && { component }),
        ...(state !== undefined && { state: state as Release['state'] }), // the server knows which there are
        ...(limit !== undefined && { limit }),
        ...(cursor !== undefined && { cursor }),
      }
      const value = await client.call('listReleases', { query })
      const shape = [
        { title: 'RELEASE', cell: ({ id }: Release) => id },
        { title: 'COMPONENT', cell: (one: Release) => one.component },
        { title: 'VERSION', cell: ({ version }: Release) => version },
        { title: 'COUNTER', cell: ({ counter }: Release) => String(counter) },
        { title: 'STATE', cell: (one: Release) => one.state },
        { title: 'MODELS', cell: modelsText },
      ]
      return { value: { releases: value.items, next: value.next }, text: table(value.items, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'release',
    verb: 'show',
    summary: 'One release with its artifacts',
    example: 'sealworks release show motor/4.2.0',
    operands: { release },
    async run(client, { release: written }) {
      const value = await client.call('showRelease', { params: { id: await findRelease(client, written) } })
      return { value, text: fields(value) }
    },
  }),

  clientCommand({
    noun: 'release',
    verb: 'add-artifact',
    summary: 'Send a signed file of a release, or the signature that stands beside one',
    details:
      'A signature beside FILE is sent after it, named FILE with an ending. What is not signed by the signer is refused. Files are signed with "sealworks sign".',
    example: `sealworks release add-artifact ${EXAMPLE_ID} motor-4.2.0.swu --format swupdate --signer acme-firmware`,
    operands: { release, file: required(text('FILE', 'as it was signed')) },
    options: {
      format: required(text('FORMAT', 'how it is signed, such as swupdate, rauc, mcuboot or cms')),
      signer: required(text('SIGNER', 'who signed it')),
      name: text('NAME', 'what devices call it; its own name unless told'),
    },
    async run(client, { release: written, file, format, signer, name }, context) {
      const query = { name: name ?? basename(file), format, signer }
      return upload(client, context, file, { id: 'addReleaseArtifact', release: await findRelease(client, written), query })
    },
  }),

  command({
    noun: 'release',
    verb: 'make-key',
    summary: 'Make a key with which the files of update archives are encrypted, as swupdate reads it',
    details:
      'It goes to the devices once, when they are made: swupdate -K FILE. Whoever has it can read what is encrypted with it.',
    example: 'sealworks release make-key --out press.aes',
    options: { out: required(text('FILE', 'where it goes, for its owner only')) },
    run: async (context, { out }) => makeArchiveKey(context, out),
  }),

  command({
    noun: 'release',
    verb: 'encrypt',
    summary: 'Encrypt an update archive of SWUpdate before it is signed, or firmware for MCUboot once it is',
    details:
      'An archive keeps its description readable; sign what comes out: a signature that is there already is left out. Firmware was signed with "--option encryption=aes-128": that signature is over the plain one, and stays.',
    example: 'sealworks release encrypt motor-4.2.0.swu --key press.aes --out motor-4.2.0.encrypted.swu',
    operands: { file: required(text('FILE', 'the archive, or the signed firmware')) },
    options: {
      key: text('FILE', 'for an archive: of make-key, or of swupdate'),
      encryptTo: text('FILE', 'for firmware: the public key whose private half the boot loaders have, PEM; P-256 or X25519'),
      out: required(text('FILE', 'where it goes')),
      force: flag('replace the file if it is there'),
    },
    run: async (context, { file, key, encryptTo, out, force }) => encryptUpdate(context, { file, key, encryptTo, out, force }),
  }),

  command({
    noun: 'release',
    verb: 'decrypt',
    summary: 'Decrypt firmware for MCUboot with the key of the boot loaders, so that its signature can be judged',
    details: 'That it opens says nothing of who made it: ask "sealworks verify" then.',
    example: 'sealworks release decrypt motor.encrypted.bin --key loader.pem --out motor.bin',
    operands: { file: required(text('FILE', 'the encrypted firmware')) },
    options: {
      key: required(text('FILE', 'the private key, PEM; P-256 or X25519')),
      out: required(text('FILE', 'where it goes')),
      force: flag('replace the file if it is there'),
    },
    run: async (context, { file, key, out, force }) => decryptUpdate(context, { file, key, out, force }),
  }),

  clientCommand({
    noun: 'release',
    verb: 'attach-sbom',
    summary: 'Send the bill of materials of a release: CycloneDX or SPDX, in JSON',
    example: 'sealworks release attach-sbom motor/4.2.0 bom.json',
    operands: { release, file: required(text('FILE', 'JSON')) },
    run: async (client, { release: written, file }, context) =>
      upload(client, context, file, { id: 'attachReleaseSBOM', release: await findRelease(client, written) }),
  }),

  clientCommand({
    noun: 'release',
    verb: 'approve',
    summary: 'Ask two people to approve a release; the same command again approves it once they have',
    details: 'Ends with 6 while it waits for people. They agree with "sealworks approval approve".',
    example: 'sealworks release approve motor/4.2.0',
    operands: { release },
    run: async (client, { release: written }) =>
      outcomeOf(await client.call('approveRelease', { params: { id: await findRelease(client, written) } })),
  }),

  clientCommand({
    noun: 'release',
    verb: 'publish',
    summary: 'Sign the manifest of an approved release as the maker of the software, and let it out',
    example: 'sealworks release publish motor/4.2.0 --signer acme-releases',
    operands: { release },
    options: { signer: required(text('SIGNER', 'whom devices trust for software; not the director')) },
    run: async (client, { release: written, signer }) =>
      outcomeOf(await client.call('publishRelease', { params: { id: await findRelease(client, written) }, body: { signer } })),
  }),

  clientCommand({
    noun: 'release',
    verb: 'withdraw',
    summary: 'Offer a release to nobody any more',
    example: 'sealworks release withdraw motor/4.2.0 --reason "stalls at full load"',
    operands: { release },
    options: { reason: required(text('TEXT', 'for whoever asks later')) },
    async run(client, { release: written, reason }) {
      const id = await findRelease(client, written)
      const value = await client.call('withdrawRelease', { params: { id }, body: { reason } })
      return { value, text: `${value.component} ${value.version} is withdrawn.\n` }
    },
  }),

  clientCommand({
    noun: 'release',
    verb: 'fetch-manifest',
    summary: 'Write the signed manifest of a published release',
    example: 'sealworks release fetch-manifest motor/4.2.0 --out motor-4.2.0.cose',
    operands: { release },
    options: { out: required(text('FILE', 'where it goes')), force: flag('replace the file if it is there') },
    async run(client, { release: written, out, force }, context) {
      const { content } = await client.transfer('fetchReleaseManifest', { params: { id: await findRelease(client, written) } })
      if (content === undefined) throw new TypeError('a manifest is octets')
      await writeOctets(context, { file: out, force, octets: content.read(), length: content.octets })
      return { value: { file: out }, text: `The manifest is in ${out}.\n` }
    },
  }),

  clientCommand({
    noun: 'release',
    verb: 'stick',
    summary: 'Write a release onto a stick, for devices that no server reaches',
    details:
      'The director decides on each device as it does over the air; where it refuses one, nothing is written and the command ends with 7. What the stick holds for other devices stays. Write it shortly before it is used: it is good for updates.statementHours, and not after a newer update reached the device.',
    example: 'sealworks release stick motor/4.2.0 --device acme/engine-a/A-1042 --device acme/engine-a/A-1043 --out /media/stick',
    operands: { release },
    options: {
      device: some('DEVICE', 'its id, its serial, or MANUFACTURER/MODEL/SERIAL'),
      rollback: flag('go back to this release, from the newer one that the device has'),
      encryptTo: many('FILE', 'certificates, PEM, of those who may read the files on it; anybody unless told'),
      out: required(text('DIR', 'the stick; made if it is not there')),
    },
    async run(client, { release: written, device, rollback, encryptTo, out }, context) {
      const { releaseOnStick } = await import('../release-stick.ts')
      const recipients = Buffer.concat(await Promise.all(encryptTo.map((file) => readInput(context, file))))
      return releaseOnStick(client, { release: written, devices: device, isRollback: rollback, recipients, out }, context)
    },
  }),

  clientCommand({
    noun: 'release',
    verb: 'installed',
    summary: 'What runs on a device, and how well that is known',
    example: 'sealworks release installed A-1042',
    operands: { device: deviceOperand },
    async run(client, { device: written }, { columns }) {
      const { items } = await client.call('listDeviceSoftware', { params: { id: await findDevice(client, written) } })
      const shape = [
        { title: 'COMPONENT', cell: ({ component }: Software) => component },
        { title: 'VERSION', cell: ({ version }: Software) => version },
        { title: 'COUNTER', cell: ({ counter }: Software) => (counter === undefined ? '' : String(counter)) },
        { title: 'KNOWN', cell: ({ source }: Software) => source },
        { title: 'SINCE', cell: ({ at }: Software) => at.slice(0, 19) },
      ]
      return { value: { software: items }, text: table(items, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'release',
    verb: 'directed',
    summary: 'What a device was told to install, newest first',
    example: 'sealworks release directed A-1042',
    operands: { device: deviceOperand },
    options: {
      limit: integer('N', 1, LIST_MAX, 'at most so many; 100 unless told'),
      cursor: text('CURSOR', 'where to go on: `next` of the page before'),
    },
    async run(client, { device: written, limit, cursor }, { columns }) {
      const query = { ...(limit !== undefined && { limit }), ...(cursor !== undefined && { cursor }) }
      const value = await client.call('listDeviceStatements', { params: { id: await findDevice(client, written) }, query })
      const shape = [
        { title: 'SEQUENCE', cell: ({ sequence }: Statement) => String(sequence) },
        { title: 'RELEASE', cell: (one: Statement) => one.release },
        { title: 'KIND', cell: ({ kind }: Statement) => kind },
        { title: 'ACTION', cell: ({ action }: Statement) => action },
        { title: 'UNTIL', cell: ({ expiresAt }: Statement) => expiresAt.slice(0, 19) },
      ]
      return { value: { statements: value.items, next: value.next }, text: table(value.items, shape, columns) }
    },
  }),
]
