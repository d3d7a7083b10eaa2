/** `sealworks order`: devices that a factory is to make, and what came of it. @module */
import { hash } from 'node:crypto'
import { parsePEM } from '#asn1/pem.ts'
import { TrustError } from '#base/errors.ts'
import type { AnswerOf } from '#server/rest/client.ts'
import { flag, integer, many, oneOf, required, some, text } from '../command.ts'
import { clientCommand } from '../connection.ts'
import { exitCodes } from '../exit-codes.ts'
import { checkWritable, openArtifact, readInput, writeOctets, writeOutput } from '../files.ts'
import { fields, table } from '../terminal.ts'
import { UsageError } from '../usage.ts'

type Order = AnswerOf<'listOrders'>['items'][number]
type Report = AnswerOf<'reconcileOrder'>
type Terms = Order['terms']

const name = required(text('ORDER', 'its name'))

export const commands = [
  clientCommand({
    noun: 'order',
    verb: 'create',
    summary: 'Order devices of a factory',
    details:
      'Serial numbers are the prefix and a number of so many digits. The key that signs tickets is made before, with "key create"; the authority certifies issuing nodes, so it needs room for one authority below it, and should never expire.',
    example:
      'sealworks order create press-7 --model "Press 7" --quantity 1000 --scrap 50 --serial-prefix P7- --serial-from 1 --authority birthroot --ticket-key orders --subject "O=Maker,OU=Press 7" --hardware-type 1.3.6.1.4.1.54392.7 --until 2027-01-31',
    operands: { name },
    options: {
      model: required(text('TEXT', 'what is made')),
      hardwareRevision: text('TEXT', 'of the model; 1 unless told'),
      firmware: many('FILE|SHA256', 'what the devices are loaded with: a file, or its SHA-256'),
      firmwareSigner: many(
        'FILE',
        'certificate of one whose signatures on images count, or of an authority above: the node then hands images out, and no device is born without one',
      ),
      factory: text('TEXT', 'who makes them; "contract manufacturer" unless told'),
      tier: oneOf(['N0', 'NV', 'N1', 'N2'], 'what an issuing node must at least show to have; N0 unless told'),
      quantity: required(integer('N', 1, 2_000_000, 'how many good devices')),
      scrap: integer('N', 0, 2_000_000, 'how many more may be issued for those that fail or are lost in a crash; 0 unless told'),
      serialPrefix: text('TEXT', 'what serial numbers begin with'),
      serialDigits: integer('N', 1, 15, 'of the number behind it; 6 unless told'),
      serialFrom: integer('N', 0, 999_999_999_999_999, 'the first number; 1 unless told'),
      serialTo: integer('N', 0, 999_999_999_999_999, 'the last number; as many as may be issued unless told'),
      endorsementCa: many('CA', 'for tier N1: a trusted authority of a maker of TPMs, as "ca trust" named it'),
      hardwareType: required(text('OID', 'the hardware type that birth certificates name')),
      subject: required(text('NAME', 'what the name of each device begins with, such as "O=Maker,OU=Press 7"')),
      authority: required(text('CA', 'the authority that certifies issuing nodes')),
      ticketKey: required(text('LABEL', 'the key that signs tickets')),
      blockSize: integer('N', 1, 4096, 'births that one step of a counter covers, and that a crash may burn; 64 unless told'),
      from: text('TIME', 'from when on tickets hold; now unless told'),
      until: required(text('TIME', 'when tickets end, such as 2027-01-31')),
    },
    async run(client, given, context) {
      const { quantity, scrap = 0, serialFrom = 1 } = given
      const terms: Terms = {
        model: given.model,
        hardwareRevision: given.hardwareRevision ?? '1',
        firmware: await Promise.all(given.firmware.map((one) => firmwareOf(context, one))),
        ...(given.firmwareSigner.length > 0 && { firmwareSigners: await certificatesIn(context, given.firmwareSigner) }),
        factory: given.factory ?? 'contract manufacturer',
        tier: given.tier ?? 'N0',
        ...(given.endorsementCa.length > 0 && { endorsementAuthorities: [...given.endorsementCa] }),
        quantity,
        scrapAllowance: scrap,
        serials: {
          prefix: given.serialPrefix ?? '',
          digits: given.serialDigits ?? 6,
          from: serialFrom,
          to: given.serialTo ?? serialFrom + quantity + scrap - 1,
        },
        hardwareType: given.hardwareType,
        subject: subjectOf(given.subject),
        blockSize: given.blockSize ?? 64,
        authority: given.authority,
        ticketKey: given.ticketKey,
        notBefore: given.from === undefined ? context.world.clock.now() - 60_000 : timeOf('--from', given.from),
        notAfter: timeOf('--until', given.until),
      }
      const value = await client.call('createOrder', { body: { name: given.name, terms } })
      return {
        value,
        text: `Ordered ${quantity} of ${terms.model} as ${value.name}. "order sheet ${value.name}" is for the factory.\n`,
      }
    },
  }),

  clientCommand({
    noun: 'order',
    verb: 'list',
    summary: 'Production orders, newest first',
    example: 'sealworks order list',
    async run(client, _, { columns }) {
      const value = await client.call('listOrders', {})
      const shape = [
        { title: 'ORDER', cell: ({ name }: Order) => name },
        { title: 'STATE', cell: ({ state }: Order) => state },
        { title: 'MODEL', cell: ({ terms }: Order) => terms.model },
        { title: 'QUANTITY', cell: ({ terms }: Order) => String(terms.quantity) },
        { title: 'FACTORY', cell: ({ terms }: Order) => terms.factory },
      ]
      return { value: { orders: value.items }, text: table(value.items, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'order',
    verb: 'show',
    summary: 'One order with its jobs',
    example: 'sealworks order show press-7',
    operands: { name },
    async run(client, { name }) {
      const value = await client.call('showOrder', { params: { name } })
      return { value, text: fields(value) }
    },
  }),

  clientCommand({
    noun: 'order',
    verb: 'sheet',
    summary: 'What the factory makes its request for a ticket from',
    example: 'sealworks order sheet press-7 --out press-7.sheet',
    operands: { name },
    options: { out: text('FILE', 'where it goes; standard output unless told'), force: flag('replace the file if it is there') },
    async run(client, { name, out, force }, context) {
      const value = await client.call('showOrderSheet', { params: { name } })
      if (out === undefined) return { value, text: `${value.sheet}\n` }
      writeOutput(context, { file: out, octets: `${value.sheet}\n`, isSecret: false, force })
      return { value: { file: out }, text: `Written to ${out}. Give it to the factory.\n` }
    },
  }),

  clientCommand({
    noun: 'order',
    verb: 'challenge',
    summary: 'Ask an issuing node to show whose TPM it has (tier N1)',
    details: 'The node answers with "node answer"; the ticket then names the TPM, and no other can serve the job.',
    example: 'sealworks order challenge press-7 --node node.request --out node.challenge',
    operands: { name },
    options: {
      node: required(text('FILE', 'the request that "node init" wrote')),
      out: required(text('FILE', 'where the challenge goes')),
      force: flag('replace the file if it is there'),
    },
    async run(client, { name, node, out, force }, context) {
      const request = await statementIn(context, node)
      const { challenge } = await client.call('challengeNode', { params: { name }, body: { request } })
      writeOutput(context, { file: out, octets: `${challenge}\n`, isSecret: false, force })
      return { value: { file: out }, text: `Written to ${out}. Give it to the node: it answers once, within 14 days.\n` }
    },
  }),

  clientCommand({
    noun: 'order',
    verb: 'ticket',
    summary: 'Certify an issuing node, and sign its ticket',
    details: 'The ticket names the stations by their certificates: no other is served.',
    example: 'sealworks order ticket press-7 --node node.request --station station.pem --out press-7.ticket',
    operands: { name },
    options: {
      node: required(text('FILE', 'the request that "node init" wrote')),
      answer: text('FILE', 'what "node answer" wrote; without it a TPM counts as one that its host keeps (NV)'),
      station: some('FILE', 'certificate of a station, PEM or DER'),
      quantity: integer('N', 1, 2_000_000, 'good devices; all that the order has left unless told'),
      scrap: integer('N', 0, 2_000_000, 'how many more; all that the order has left unless told'),
      out: required(text('FILE', 'where the ticket goes')),
      force: flag('replace the file if it is there'),
    },
    async run(client, { name, node, answer, station, quantity, scrap, out, force }, context) {
      const request = await statementIn(context, node)
      const stations = await Promise.all(station.map(async (one) => hash('sha256', certificateIn(await readInput(context, one)))))
      const { ticket, ...value } = await client.call('issueTicket', {
        params: { name },
        body: {
          request,
          stations,
          ...(answer !== undefined && { answer: await statementIn(context, answer) }),
          ...(quantity !== undefined && { quota: quantity }),
          ...(scrap !== undefined && { scrapAllowance: scrap }),
        },
      })
      writeOutput(context, { file: out, octets: `${ticket}\n`, isSecret: false, force })
      return { value: { ...value, file: out }, text: fields({ ...value, ticket: out }) }
    },
  }),

  clientCommand({
    noun: 'order',
    verb: 'image',
    summary: "Encrypt an image for a job's node",
    details:
      'The image stays here: only its SHA-256 is compared with the ticket, and its signature checked. What is written only the node can read; its signature goes along.',
    example:
      'sealworks order image press-7 --job 0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b press-7.bin --signature press-7.p7s --out press-7.image',
    operands: { name, file: required(text('FILE', 'the image')) },
    options: {
      job: required(text('JOB', 'its id')),
      signature: required(text('FILE', 'detached CMS signature over it')),
      out: required(text('FILE', 'where the encrypted image goes')),
      force: flag('replace the file if it is there'),
    },
    async run(client, { name, file, job, signature, out, force }, context) {
      checkWritable(context, out, force)
      const { ticket: text } = await client.call('showTicket', { params: { name, job } })
      const { peekStatement } = await import('#orders/messages.ts')
      const { checkImage, sealImage } = await import('#orders/firmware.ts')
      const ticket = peekStatement('ticket', text) // as the server signed it
      await using source = await openArtifact(context, file)
      const content = () => source.createReadStream({ start: 0, autoClose: false })
      const at = new Date(context.world.clock.now())
      const image = await checkImage(ticket, content(), await readInput(context, signature), at)
      const { size } = await source.stat()
      await writeOctets(context, {
        ...{ file: out, force },
        octets: sealImage(ticket, { content: content(), octets: size }, context.world.random),
      })
      return { value: { image, file: out }, text: fields({ image, file: out }) }
    },
  }),

  clientCommand({
    noun: 'order',
    verb: 'import',
    summary: "Take in pieces of a node's log",
    details:
      'They must extend what was seen before. A log that does not is refused, and the alarm stays: somebody copied a node.',
    example: 'sealworks order import stick/press-7.1.bundle',
    operands: { files: some('FILE', 'what "node export" wrote, in order') },
    async run(client, { files }, context) {
      const bundles = []
      for (const file of files) {
        const octets = await readInput(context, file)
        const read = async function* (): AsyncGenerator<Uint8Array> {
          yield octets
        }
        const taken = await client.transfer('importBundle', {}, { octets: octets.length, read, prefersAsync: false })
        if (taken.content !== undefined) throw new TypeError('the route answers no octets')
        bundles.push(taken.answer)
      }
      return { value: { bundles }, text: bundles.map((bundle) => fields(bundle)).join('\n') }
    },
  }),

  clientCommand({
    noun: 'order',
    verb: 'shipped',
    summary: 'Note which devices left the factory',
    example: 'sealworks order shipped press-7 --list delivered.txt',
    operands: { name },
    options: { list: required(text('FILE', 'one serial number a line; - for standard input')) },
    async run(client, { name, list }, context) {
      const serials = new TextDecoder()
        .decode(await readInput(context, list))
        .split(/\r?\n/)
        .filter((line) => line !== '')
      let noted = 0
      for (let at = 0; at < serials.length; at += SHIPPED_AT_ONCE) {
        const body = { serials: serials.slice(at, at + SHIPPED_AT_ONCE) }
        noted += (await client.call('noteShipped', { params: { name }, body })).noted
      }
      return { value: { noted }, text: `${noted} noted.\n` }
    },
  }),

  clientCommand({
    noun: 'order',
    verb: 'seen',
    summary: 'Note where a device showed its birth certificate',
    details: 'Ends with 9 when the certificate is not one that the order knows.',
    example: 'sealworks order seen press-7 device.pem --place "Plant 2"',
    operands: { name, file: required(text('FILE', 'the birth certificate, PEM or DER')) },
    options: { place: required(text('TEXT', 'where')) },
    async run(client, { name, file, place }, context) {
      const certificate = certificateIn(await readInput(context, file)).toBase64()
      const value = await client.call('noteSeen', { params: { name }, body: { certificate, place } })
      const text = {
        known: 'It is one of the order.',
        inNoLog: 'It is in no log that is here.',
        foreignIssuer: 'No node of the order issued it.',
      }
      return {
        value,
        text: `${text[value.seen]}\n`,
        exitCode: value.seen === 'known' ? exitCodes.done : exitCodes.verificationFailed,
      }
    },
  }),

  clientCommand({
    noun: 'order',
    verb: 'reconcile',
    summary: 'Compare what was ordered, issued, good, scrapped, burned, shipped and seen',
    details: 'Ends with 9 when there is an alarm.',
    example: 'sealworks order reconcile press-7',
    operands: { name },
    async run(client, { name }, { columns }) {
      const value = await client.call('reconcileOrder', { params: { name } })
      return {
        value,
        text: reportText(value, columns),
        exitCode: value.alarmCount === 0 ? exitCodes.done : exitCodes.verificationFailed,
      }
    },
  }),

  clientCommand({
    noun: 'order',
    verb: 'allot',
    summary: 'Give a line of this server so many devices to bear',
    details: 'The line is one that bears only what is ordered ("birth line --ordered"), of the model of the order.',
    example: 'sealworks order allot pumps-3 --line line-7 --quantity 500 --scrap 20',
    operands: { name },
    options: {
      line: required(text('LINE', 'its name')),
      quantity: integer('N', 1, 2_000_000, 'good devices; all that the order has left unless told'),
      scrap: integer('N', 0, 2_000_000, 'how many more; all that the order has left unless told'),
    },
    async run(client, { name, line, quantity, scrap }) {
      const body = {
        line,
        ...(quantity !== undefined && { quota: quantity }),
        ...(scrap !== undefined && { scrapAllowance: scrap }),
      }
      const value = await client.call('allotOrder', { params: { name }, body })
      return { value, text: fields(value) }
    },
  }),

  clientCommand({
    noun: 'order',
    verb: 'end-allotment',
    summary: 'Let a line bear no more of an order',
    example: 'sealworks order end-allotment pumps-3 --allotment 0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b',
    operands: { name },
    options: { allotment: required(text('ID', 'as "order show" names it')) },
    async run(client, { name, allotment }) {
      const value = await client.call('endAllotment', { params: { name, allotment } })
      return { value, text: 'What the line did not use is back with the order.\n' }
    },
  }),

  clientCommand({
    noun: 'order',
    verb: 'judge',
    summary: 'Say how a device that was born at a line of this server did in its test',
    details: 'What is scrapped may be born anew, under another serial number. Devices of issuing nodes are judged at the node.',
    example: 'sealworks order judge pumps-3 P-1042 --as scrap --reason "does not start"',
    operands: { name, serial: required(text('SERIAL', 'serial of the device')) },
    options: { as: required(oneOf(['good', 'scrap'], 'how it did')), reason: text('TEXT', 'of scrap') },
    async run(client, { name, serial: productSerial, as: verdict, reason }) {
      const body = { productSerial, verdict, ...(reason !== undefined && { reason }) }
      const value = await client.call('judgeDevice', { params: { name }, body })
      return { value, text: `${productSerial} is ${verdict === 'good' ? 'good' : 'scrapped'}.\n` }
    },
  }),

  clientCommand({
    noun: 'order',
    verb: 'give-up',
    summary: 'Give up a job whose node is gone or counts no further',
    details: 'What it had is not given out again: its devices may be in the world.',
    example: 'sealworks order give-up press-7 --job 0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b --reason "disk broke"',
    operands: { name },
    options: { job: required(text('JOB', 'its id')), reason: required(text('TEXT', 'for the audit log')) },
    async run(client, { name, job, reason }) {
      const value = await client.call('giveUpJob', { params: { name, job }, body: { reason } })
      return { value, text: 'The job is given up.\n' }
    },
  }),

  clientCommand({
    noun: 'order',
    verb: 'close',
    summary: 'Close an order whose jobs are over',
    example: 'sealworks order close press-7',
    operands: { name },
    async run(client, { name }) {
      const value = await client.call('closeOrder', { params: { name } })
      return { value, text: `Order ${name} is closed.\n` }
    },
  }),
]

const SHIPPED_AT_ONCE = 5000

const certificatesIn = (context: Parameters<typeof readInput>[0], files: readonly string[]): Promise<string[]> =>
  Promise.all(files.map(async (file) => certificateIn(await readInput(context, file)).toBase64()))

const statementIn = async (context: Parameters<typeof readInput>[0], file: string): Promise<string> =>
  new TextDecoder().decode(await readInput(context, file)).trim()

async function firmwareOf(context: Parameters<typeof readInput>[0], given: string): Promise<string> {
  return /^[0-9a-f]{64}$/.test(given) ? given : hash('sha256', await readInput(context, given))
}

function subjectOf(written: string): Terms['subject'] {
  const parts = written.split(',').map((part) => {
    const [, type, value] = /^\s*(C|O|OU)\s*=\s*(.+?)\s*$/.exec(part) ?? []
    if (type === undefined || value === undefined)
      throw new UsageError('--subject is written such as "O=Maker,OU=Press 7".', ['order', 'create'])
    return { type: type as 'C' | 'O' | 'OU', value }
  })
  return parts
}

function timeOf(option: string, written: string): number {
  const time = Date.parse(written)
  if (Number.isNaN(time))
    throw new UsageError(`${option} must be a time such as 2027-01-31 or 2027-01-31T12:00:00Z.`, ['order', 'create'])
  return time
}

function certificateIn(octets: Uint8Array): Uint8Array {
  if (octets[0] === 0x30) return octets
  const block = parsePEM(new TextDecoder().decode(octets)).find(({ label }) => label === 'CERTIFICATE')
  if (block === undefined) throw new TrustError('malformed', 'unknownObject')
  return block.der
}

function reportText({ jobs, alarms, allotments, room, ...counts }: Report, columns: number | undefined): string {
  const shape = [
    { title: 'ALARM', cell: ({ kind }: Report['alarms'][number]) => kind },
    { title: 'ABOUT', cell: ({ subject }: Report['alarms'][number]) => subject },
    { title: 'SINCE', cell: ({ at }: Report['alarms'][number]) => at.slice(0, 19) },
  ]
  const alarmed = alarms.length === 0 ? '' : `\n${table(alarms, shape, columns)}`
  return fields({ ...counts, jobs: jobs.length, allotments: allotments.length, notGivenOut: room.quota }) + alarmed
}
