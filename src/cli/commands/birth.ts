/** `sealworks birth`: where devices are born, and what counts as proof. @module */
import { hash } from 'node:crypto'
import { parsePEM } from '#asn1/pem.ts'
import { TrustError } from '#base/errors.ts'
import type { AnswerOf, InputOf } from '#server/rest/client.ts'
import { splitName } from '../catalog.ts'
import { type Context, flag, integer, many, oneOf, required, some, text } from '../command.ts'
import { clientCommand } from '../connection.ts'
import { checkWritable, readInput, writeOutput } from '../files.ts'
import { certificateOptions, deliver, encodeCertificate } from '../formats.ts'
import { requestIn } from '../request-file.ts'
import { fields, table } from '../terminal.ts'

type Line = AnswerOf<'showBirthLine'>
type Key = AnswerOf<'listExternalKeys'>['items'][number]
type Chip = AnswerOf<'listSecureElements'>['items'][number]
type Entry = InputOf<'importManifest'>['body']['entries'][number]

const line = required(text('LINE', 'its name'))
const serial = required(text('SERIAL', 'serial of the device'))
const atLine = required(text('LINE', 'where it is born'))
const pages = {
  limit: integer('N', 1, 500, 'at most so many; 100 unless told'),
  cursor: text('CURSOR', 'where to go on: `next` of the page before'),
}
/** As many as the server takes at once. */
const ENTRIES_AT_ONCE = 500
const ENDORSEMENTS_AT_ONCE = 10_000

export const commands = [
  clientCommand({
    noun: 'birth',
    verb: 'line',
    summary: 'Say which devices are born where, how, and under which authority',
    details: 'Nothing is born that no line allows.',
    example: 'sealworks birth line line-7 --model acme/pump --ca line1 --serial "P-*" --variant tpm --endorsement-ca tpmmaker',
    operands: { line },
    options: {
      model: required(text('MANUFACTURER/MODEL', 'what is made there')),
      ca: required(text('CA', 'the authority that issues its birth certificates')),
      profile: text('ID', 'a profile for births; idevid unless told'),
      serial: some('PATTERN', 'serials that may be born; * stands for any characters'),
      variant: some('VARIANT', 'how keys are made: tpm, secure-element, software, external'),
      station: many('ACTOR', 'who may bear there, such as service:…; whoever may bear, unless told'),
      endorsementCa: many('CA', 'a trusted authority of a maker of TPMs'),
      endorsementList: flag('take endorsement keys that are on the list, without a certificate'),
      ordered: flag('bear only what "order allot" gave to this line'),
      unit: many('FILE', 'certificate of a unit that gets or makes keys'),
    },
    async run(client, { line: name, model: written, ca, profile, station, unit, ...given }, context) {
      const [manufacturer, modelName] = splitName(written, 'model')
      const { items } = await client.call('listModels', {})
      const model = items.find((one) => one.manufacturer === manufacturer && one.name === modelName)
      if (model === undefined) throw new TrustError('notFound', 'modelUnknown', { facts: { name: written } })
      const body = {
        ...{ name, model: model.id, authority: ca, productSerials: [...given.serial] },
        variants: [...given.variant] as Line['variants'], // the server knows which there are
        endorsementAuthorities: [...given.endorsementCa],
        endorsementList: given.endorsementList,
        ...(given.ordered && { requiresOrder: true }),
        units: await Promise.all(unit.map(async (file) => (await certificateIn(context, file)).toBase64())),
        ...(profile !== undefined && { profile }),
        ...(station.length > 0 && { stations: [...station] }),
      }
      const value = await client.call('createBirthLine', { body })
      return { value, text: fields(value) }
    },
  }),

  clientCommand({
    noun: 'birth',
    verb: 'lines',
    summary: 'All lines',
    example: 'sealworks birth lines',
    async run(client, _, { columns }) {
      const { items } = await client.call('listBirthLines', {})
      const shape = [
        { title: 'LINE', cell: ({ name }: Line) => name },
        { title: 'STATE', cell: ({ state }: Line) => state },
        { title: 'CA', cell: ({ authority }: Line) => authority },
        { title: 'PROFILE', cell: ({ profile }: Line) => profile },
        { title: 'VARIANTS', cell: ({ variants }: Line) => variants.join(', ') },
        { title: 'SERIALS', cell: ({ productSerials }: Line) => productSerials.join(', ') },
      ]
      return { value: { lines: items }, text: table(items, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'birth',
    verb: 'close',
    summary: 'Let nothing be born at a line any more',
    example: 'sealworks birth close line-7',
    operands: { line },
    async run(client, { line: name }) {
      const value = await client.call('disableBirthLine', { params: { name }, body: {} })
      return { value, text: `Nothing is born at ${name} any more.\n` }
    },
  }),

  clientCommand({
    noun: 'birth',
    verb: 'request',
    summary: 'Issue the birth certificate of a device that signed a request',
    example: 'sealworks birth request P-1042 --line line-7 --csr p-1042.csr --out p-1042.pem',
    operands: { serial },
    options: {
      line: atLine,
      csr: required(text('FILE', 'its request (PKCS #10); - for standard input')),
      as: oneOf(['software', 'vouched', 'secure-element'], 'what is known of the key; software unless told'),
      ...certificateOptions,
    },
    async run(client, { serial: productSerial, line: name, csr, as = 'software', format, out, force }, context) {
      if (out !== undefined) checkWritable(context, out, force)
      const request = requestIn(await readInput(context, csr)).toBase64()
      const evidence =
        as === 'secure-element'
          ? { type: as, request }
          : { type: 'software' as const, request, ...(as === 'vouched' && { vouched: true }) }
      const born = await client.call('bearDevice', { body: { line: name, productSerial, evidence } })
      return deliver(context, { out, force }, encodeCertificate(format ?? 'pem', born.certificate, born.chain), born)
    },
  }),

  clientCommand({
    noun: 'birth',
    verb: 'key',
    summary: 'Make a key for a device that cannot, encrypted to its unit',
    details: 'The key is given this once and kept nowhere.',
    example: 'sealworks birth key P-1043 --line line-7 --unit unit-3.crt --out p-1043.pem --key-out p-1043.cms',
    operands: { serial },
    options: {
      line: atLine,
      unit: required(text('FILE', 'certificate of who gets it, as the line has it')),
      algorithm: text('ALGORITHM', 'ecdsa-p256 unless told'),
      keyOut: required(text('FILE', 'where to write the encrypted key')),
      ...certificateOptions,
    },
    async run(client, { serial: productSerial, line: name, unit, algorithm, keyOut, format, out, force }, context) {
      for (const file of [keyOut, out]) if (file !== undefined) checkWritable(context, file, force)
      const print = hash('sha256', await certificateIn(context, unit))
      const body = { line: name, productSerial, unit: print, keyAlgorithm: algorithm ?? 'ecdsa-p256' }
      const { encryptedKey, ...born } = await client.call('bearDeviceWithKey', { body })
      writeOutput(context, { file: keyOut, octets: Uint8Array.fromBase64(encryptedKey), isSecret: true, force })
      const value = { ...born, keyFile: keyOut }
      return deliver(context, { out, force }, encodeCertificate(format ?? 'pem', born.certificate, born.chain), value)
    },
  }),

  clientCommand({
    noun: 'birth',
    verb: 'keys',
    summary: 'Keys that were made outside of their devices, newest first',
    example: 'sealworks birth keys --state delivered',
    options: { state: oneOf(['delivered', 'destroyed'], 'delivered: nobody has signed that no copy is left'), ...pages },
    async run(client, { state, limit, cursor }, { columns }) {
      const query = {
        ...(state !== undefined && { state }),
        ...(limit !== undefined && { limit }),
        ...(cursor !== undefined && { cursor }),
      }
      const value = await client.call('listExternalKeys', { query })
      const shape = [
        { title: 'SERIAL', cell: ({ productSerial }: Key) => productSerial },
        { title: 'STATE', cell: ({ state: now }: Key) => now },
        { title: 'MADE BY', cell: ({ maker }: Key) => maker },
        { title: 'SINCE', cell: ({ createdAt }: Key) => createdAt },
        { title: 'CERTIFICATE', cell: ({ certificateId }: Key) => certificateId },
      ]
      return { value, text: table(value.items, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'birth',
    verb: 'receipt',
    summary: 'Hand in the word of a unit that a key is in its device and nowhere else',
    example: 'sealworks birth receipt 0190e4b2-7a31-7c4e-9b3a-1f2d3c4b5a69 --receipt p-1043.jws',
    operands: { certificate: required(text('CERTIFICATE', 'id of the birth certificate')) },
    options: { receipt: required(text('FILE', 'JWS in the compact form; - for standard input')) },
    async run(client, { certificate: certificateId, receipt }, context) {
      const written = new TextDecoder().decode(await readInput(context, receipt)).trim()
      const value = await client.call('receiveKeyReceipt', { params: { certificateId }, body: { receipt: written } })
      return { value, text: `The key of ${value.productSerial} is in its device and nowhere else, its unit says.\n` }
    },
  }),

  clientCommand({
    noun: 'birth',
    verb: 'allow',
    summary: 'Put endorsement keys of TPMs on the list',
    example: 'sealworks birth allow --source "TPM supplier, delivery 42" --keys delivery-42.txt',
    options: {
      source: required(text('TEXT', 'who states them')),
      keys: required(text('FILE', 'one SHA-256 of a SubjectPublicKeyInfo (hex) on each line; - for standard input')),
    },
    async run(client, { source, keys: file }, context) {
      const keys = new TextDecoder()
        .decode(await readInput(context, file))
        .split(/\r?\n/)
        .map((one) => one.trim().toLowerCase())
        .filter((one) => one !== '')
      const value = { imported: 0, known: 0 }
      for (let at = 0; at < keys.length; at += ENDORSEMENTS_AT_ONCE) {
        const body = { source, keys: keys.slice(at, at + ENDORSEMENTS_AT_ONCE) }
        const { imported, known } = await client.call('allowEndorsements', { body })
        value.imported += imported
        value.known += known
      }
      return { value, text: countedText(value) }
    },
  }),

  clientCommand({
    noun: 'birth',
    verb: 'disallow',
    summary: 'Take an endorsement key from the list',
    example: 'sealworks birth disallow 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08',
    operands: { key: required(text('SHA256', 'of its SubjectPublicKeyInfo, in hexadecimal digits')) },
    async run(client, { key }) {
      await client.call('disallowEndorsement', { params: { key } })
      return { value: { key }, text: 'It counts no more.\n' }
    },
  }),

  clientCommand({
    noun: 'birth',
    verb: 'trust-signer',
    summary: 'Believe manifests of secure elements that a certificate signs',
    example: 'sealworks birth trust-signer microchip --certificate manifest-signer.crt',
    operands: { name: required(text('NAME', 'what to call it')) },
    options: { certificate: required(text('FILE', 'its certificate; - for standard input')) },
    async run(client, { name, certificate }, context) {
      const der = await certificateIn(context, certificate)
      const value = await client.call('trustManifestSigner', { body: { name, certificate: der.toBase64() } })
      return { value, text: fields(value) }
    },
  }),

  clientCommand({
    noun: 'birth',
    verb: 'manifest',
    summary: 'Take the chips that a signed manifest states',
    details:
      'Of a manifest with more than 500 chips, those before the first that is refused are taken; import it again when it is right.',
    example: 'sealworks birth manifest reel-0042.json',
    operands: { file: required(text('FILE', 'an array of signed entries, as their maker delivers it; - for standard input')) },
    async run(client, { file }, context) {
      const entries = entriesIn(await readInput(context, file))
      const value = { imported: 0, known: 0 }
      for (let at = 0; at < entries.length; at += ENTRIES_AT_ONCE) {
        const body = { entries: entries.slice(at, at + ENTRIES_AT_ONCE) }
        const { imported, known } = await client.call('importManifest', { body })
        value.imported += imported
        value.known += known
      }
      return { value, text: countedText(value) }
    },
  }),

  clientCommand({
    noun: 'birth',
    verb: 'chips',
    summary: 'Secure elements, newest first',
    example: 'sealworks birth chips --state purchased',
    options: {
      state: oneOf(['purchased', 'mounted', 'blocked'], 'mounted: in a device that is born'),
      id: text('ID', 'its unique id'),
      ...pages,
    },
    async run(client, { state, id, limit, cursor }, { columns }) {
      const query = {
        ...(state !== undefined && { state }),
        ...(id !== undefined && { uniqueId: id }),
        ...(limit !== undefined && { limit }),
        ...(cursor !== undefined && { cursor }),
      }
      const value = await client.call('listSecureElements', { query })
      const shape = [
        { title: 'CHIP', cell: ({ uniqueId }: Chip) => uniqueId },
        { title: 'STATE', cell: ({ state: now }: Chip) => now },
        { title: 'PART', cell: ({ partNumber }: Chip) => partNumber },
        { title: 'MAKER', cell: ({ manufacturer }: Chip) => manufacturer },
      ]
      return { value, text: table(value.items, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'birth',
    verb: 'block',
    summary: 'Let no device be born with a chip',
    example: 'sealworks birth block 0123f1822c38dd7a01',
    operands: { chip: required(text('ID', 'its unique id')) },
    async run(client, { chip: uniqueId }) {
      const value = await client.call('blockSecureElement', { params: { uniqueId }, body: {} })
      return { value, text: `No device is born with ${uniqueId}.\n` }
    },
  }),
]

const countedText = ({ imported, known }: { readonly imported: number; readonly known: number }): string =>
  `${imported} taken${known === 0 ? '' : `, ${known} were there already`}.\n`

async function certificateIn(context: Context, file: string): Promise<Uint8Array> {
  const octets = await readInput(context, file)
  if (octets[0] === 0x30) return octets
  const found = parsePEM(new TextDecoder().decode(octets)).find(({ label }) => label === 'CERTIFICATE')
  if (found === undefined) throw new TrustError('malformed', 'unknownObject')
  return found.der
}

/** Only the outer array is read here: what is signed stays as it is, and the server reads that. */
function entriesIn(octets: Uint8Array): readonly Entry[] {
  const refused = (cause?: unknown): TrustError =>
    new TrustError('malformed', 'manifestEntry', { facts: { detail: 'the file is no list of signed entries' }, cause })
  let list: unknown
  try {
    list = JSON.parse(new TextDecoder().decode(octets))
  } catch (cause) {
    throw refused(cause)
  }
  if (!Array.isArray(list) || list.length === 0) throw refused()
  return list as readonly Entry[] // the server checks each
}
