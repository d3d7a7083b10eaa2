/** `sealworks device transfer`, `move`, `chain`, `recover` and `voucher`: whose devices are. @module */
import { createPrivateKey, createPublicKey, sign } from 'node:crypto'
import { importPublicKey, paddedKey, type PublicKey } from '#algorithms/public-key.ts'
import { signatureAlgorithm } from '#algorithms/table.ts'
import { encodePEM, parsePEM } from '#asn1/pem.ts'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { deviceNameOf, writtenKey } from '#devices/ownership/statement.ts'
import { encodeChain, parseChain, signPresence, type StatementKey, verifyChain } from '#devices/ownership/messages.ts'
import { encodePackage, type Package, parsePackage, parsePresenceAsked, parsePublicKey } from '#devices/ownership/package.ts'
import type { AnswerOf } from '#server/rest/client.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { formatName, parseName } from '#x509/name.ts'
import { command, type Context, flag, integer, many, required, some, text } from './command.ts'
import { clientCommand } from './connection.ts'
import { deviceOperand as device, findDevice } from './device.ts'
import { readInput } from './files.ts'
import { deliver, outputOptions } from './formats.ts'
import { fields, table } from './terminal.ts'
import { UsageError } from './usage.ts'
import { waitsFor } from './waiting.ts'

type Transfer = AnswerOf<'showTransfer'>
type Recovery = AnswerOf<'showRecovery'>

const transfer = required(text('TRANSFER', 'its id; `device transfer list` shows them'))
const transferOrFile = required(text('TRANSFER|FILE', 'its id, or the file that the seller sent'))
const recovery = required(text('RECOVERY', 'its id; `device recover list` shows them'))
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

const readText = async (context: Context, file: string): Promise<string> =>
  new TextDecoder().decode(await readInput(context, file)).trim()

async function packageFrom(context: Context, file: string) {
  const { chain, offer, certificates } = parsePackage(await readInput(context, file))
  return { chain: [...chain], ...(offer !== undefined && { offer }), certificates: certificates.map((der) => der.toBase64()) }
}

const packageText = ({ chain, offer, certificates }: AnswerOf<'fetchTransferPackage'>): Uint8Array =>
  utf8(
    encodePackage({
      chain,
      ...(offer !== undefined && { offer }),
      certificates: certificates.map((one) => Uint8Array.fromBase64(one)),
    } satisfies Package),
  )

function transferText(value: Transfer): string {
  const { offer: _, answer: __, ...rest } = value
  return fields(rest)
}
function recoveryText(value: Recovery): string {
  const { notice: _, objection: __, ...rest } = value
  return fields(rest)
}

const deciding = (verb: 'accept' | 'reject', operation: 'acceptTransfer' | 'rejectTransfer', summary: string) =>
  clientCommand({
    noun: 'device',
    verb: `transfer ${verb}`,
    summary,
    details: 'With a file from another installation, what it writes goes back to the seller.',
    example: `sealworks device transfer ${verb} offer.json --out answer.jws`,
    operands: { transfer: transferOrFile },
    options: outputOptions,
    async run(client, { transfer: written, ...output }, context) {
      if (UUID.test(written)) {
        const value = await client.call(operation, { params: { id: written } })
        return { value, text: transferText(value) }
      }
      const carried = await packageFrom(context, written)
      const value = await client.call('answerIncomingOffer', { body: { ...carried, isAccepted: verb === 'accept' } })
      return deliver(context, output, utf8(`${value.answer}\n`), value.transfer)
    },
  })

const acting = (verb: string, operation: 'withdrawTransfer', summary: string) =>
  clientCommand({
    noun: 'device',
    verb: `transfer ${verb}`,
    summary,
    example: `sealworks device transfer ${verb} 0191d0a0-7c1e-7a43-9f2b-0242ac120002`,
    operands: { transfer },
    async run(client, { transfer: id }) {
      const value = await client.call(operation, { params: { id } })
      return { value, text: transferText(value) }
    },
  })

/** PEM of a public key or certificate, or a JWK. @throws TrustError */
export async function publicKeyIn(context: Context, file: string): Promise<PublicKey> {
  const octets = await readInput(context, file)
  const written = new TextDecoder().decode(octets)
  if (written.trimStart().startsWith('{')) return parsePublicKey(octets)
  const block = parsePEM(written).find(({ label }) => label === 'PUBLIC KEY' || label === 'CERTIFICATE')
  if (block === undefined)
    throw new TrustError('malformed', 'notPEM', { facts: { detail: 'it holds neither a public key nor a certificate' } })
  return importPublicKey(block.label === 'CERTIFICATE' ? parseCertificate(block.der).subjectPublicKeyInfo : block.der)
}

/** A device's key in a file; one in a TPM signs where the device's agent is. */
async function deviceKeyIn(context: Context, file: string): Promise<{ readonly key: StatementKey; readonly public: PublicKey }> {
  const pem = await readText(context, file)
  const privateKey = createPrivateKey(pem)
  const publicKey = new Uint8Array(createPublicKey(privateKey).export({ type: 'spki', format: 'der' }))
  return {
    public: importPublicKey(publicKey),
    key: {
      publicKey,
      sign(message, algorithm) {
        const row = signatureAlgorithm(algorithm)
        return Promise.resolve(new Uint8Array(sign(row.digest, message, paddedKey(row, privateKey))))
      },
    },
  }
}

export const ownershipCommands = [
  clientCommand({
    noun: 'device',
    verb: 'transfer offer',
    summary: 'Offer a device to an organization',
    details: 'A buyer in another installation gets the file that --out writes.',
    example: 'sealworks device transfer offer A-1042 --to carworks --terms "invoice 4711" --out offer.json',
    operands: { device },
    options: {
      to: required(text('ORGANIZATION', 'who is to get it; `organization key` has set its key')),
      terms: text('TEXT', 'what both agreed to; it stands in the chain of owners for good'),
      days: integer('N', 1, 365, 'how long the offer stands; 30 unless told'),
      ...outputOptions,
    },
    async run(client, { device: written, to, terms, days, ...output }, context) {
      const body = {
        device: await findDevice(client, written),
        to,
        ...(terms !== undefined && { terms }),
        ...(days !== undefined && { days }),
      }
      const value = await client.call('offerDevice', { body })
      if (value.state === 'waiting') return waitsFor(value)
      if (output.out === undefined) return { value, text: transferText(value) }
      const carried = await client.call('fetchTransferPackage', { params: { id: value.id } })
      return deliver(context, output, packageText(carried), value)
    },
  }),

  clientCommand({
    noun: 'device',
    verb: 'transfer list',
    summary: 'Transfers of devices, newest first',
    example: 'sealworks device transfer list --device A-1042',
    options: { device: text('DEVICE', 'only of this one') },
    async run(client, { device: written }, { columns }) {
      const query = written === undefined ? {} : { device: await findDevice(client, written) }
      const { items } = await client.call('listTransfers', { query })
      const shape = [
        { title: 'ID', cell: ({ id }: Transfer) => id },
        { title: 'STATE', cell: ({ state }: Transfer) => state },
        { title: 'EPOCH', cell: ({ epoch }: Transfer) => String(epoch) },
        { title: 'FROM', cell: ({ seller }: Transfer) => seller },
        { title: 'TO', cell: ({ buyer }: Transfer) => buyer },
        { title: 'UNTIL', cell: ({ expiresAt }: Transfer) => expiresAt.slice(0, 10) },
      ]
      return { value: { transfers: items }, text: table(items, shape, columns) }
    },
  }),

  deciding('accept', 'acceptTransfer', 'The buyer accepts a device that is offered to it'),
  deciding('reject', 'rejectTransfer', 'The buyer rejects a device that is offered to it'),
  acting('withdraw', 'withdrawTransfer', 'The seller takes an offer back'),

  clientCommand({
    noun: 'device',
    verb: 'transfer release',
    summary: 'The seller lets go: its certificates are revoked, then the chain says whose the device is',
    details: 'After a stop in between it goes on. A buyer in another installation gets the file that --out writes.',
    example: 'sealworks device transfer release 0191d0a0-7c1e-7a43-9f2b-0242ac120002 --answer answer.jws --out released.json',
    operands: { transfer },
    options: { answer: text('FILE', 'what a buyer in another installation answered'), ...outputOptions },
    async run(client, { transfer: id, answer, ...output }, context) {
      const params = { id }
      if (answer !== undefined)
        await client.call('takeTransferAnswer', { params, body: { answer: await readText(context, answer) } })
      const value = await client.call('releaseTransfer', { params })
      if (output.out === undefined) return { value, text: transferText(value) }
      return deliver(context, output, packageText(await client.call('fetchTransferPackage', { params })), value)
    },
  }),

  clientCommand({
    noun: 'device',
    verb: 'transfer complete',
    summary: 'The buyer takes what was released to it',
    details: 'Of a file from another installation the whole chain of owners is checked first.',
    example: 'sealworks device transfer complete released.json',
    operands: { transfer: transferOrFile },
    async run(client, { transfer: written }, context) {
      if (UUID.test(written)) {
        const value = await client.call('completeTransfer', { params: { id: written } })
        return { value, text: transferText(value) }
      }
      const value = await client.call('completeIncomingTransfer', { body: await packageFrom(context, written) })
      return { value, text: fields(value) }
    },
  }),

  clientCommand({
    noun: 'device',
    verb: 'move',
    summary: 'Move a device to another area of its owner',
    details: 'It gets a certificate of the next area where that enrolls; when it was seen to use it, the former is revoked.',
    example: 'sealworks device move A-1042 --area yard',
    operands: { device },
    options: { area: required(text('AREA', 'name of the area')) },
    async run(client, { device: written, area }) {
      const value = await client.call('moveDevice', { params: { id: await findDevice(client, written) }, body: { area } })
      return { value, text: fields(value) }
    },
  }),

  clientCommand({
    noun: 'device',
    verb: 'stay',
    summary: 'Give up a move to another area',
    example: 'sealworks device stay A-1042',
    operands: { device },
    async run(client, { device: written }) {
      const value = await client.call('stayDevice', { params: { id: await findDevice(client, written) } })
      return { value, text: fields(value) }
    },
  }),

  clientCommand({
    noun: 'device',
    verb: 'chain',
    summary: 'Whose a device was and is; with --out, the chain that proves it',
    example: 'sealworks device chain A-1042 --out A-1042.owners',
    operands: { device },
    options: {
      package: flag('with --out: the birth certificate too, as another installation takes it'),
      ...outputOptions,
    },
    async run(client, { device: written, package: whole, ...output }, context) {
      const params = { id: await findDevice(client, written) }
      const value = await client.call('showOwnership', { params })
      if (output.out === undefined) {
        if (whole) throw new UsageError('--package needs --out FILE.', ['device', 'chain'])
        return { value, text: standingText(value) }
      }
      if (!whole) return deliver(context, output, utf8(encodeChain(value.chain)), { epoch: value.epoch, owner: value.owner })
      return deliver(context, output, packageText(await client.call('exportOwnership', { params })), { epoch: value.epoch })
    },
  }),

  command({
    noun: 'device',
    verb: 'verify-chain',
    summary: 'Check a chain of owners here, with no server: whose the device is',
    example: 'sealworks device verify-chain A-1042.owners --maker acme.jwk --epoch 2',
    operands: { file: required(text('FILE', 'a chain as `device chain --out` writes it')) },
    options: {
      maker: some('FILE', 'public key of a maker that is trusted: a JWK, or PEM'),
      certificate: text('FILE', 'birth certificate of the device that it must be, PEM'),
      epoch: integer('N', 1, 1_000_000, 'the latest epoch that is known; an older chain is refused'),
      objection: many('FILE', 'an objection of an owner to a recovery'),
    },
    async run(context, { file, maker, certificate, epoch, objection }) {
      const makers: PublicKey[] = []
      for (const one of maker) makers.push(await publicKeyIn(context, one))
      const objections: string[] = []
      for (const one of objection) objections.push(await readText(context, one))
      const chain = parseChain(new TextDecoder().decode(await readInput(context, file)))
      const standing = await verifyChain(chain, {
        ...{ makers, objections },
        ...(certificate !== undefined && { device: deviceNameOf((await publicKeyIn(context, certificate)).spki) }),
        ...(epoch !== undefined && { epochAtLeast: epoch }),
      })
      const value = {
        ...{ name: standing.device, epoch: standing.epoch, owner: standing.owner.name },
        ...{ manufacturer: standing.product.manufacturer, model: standing.product.model },
        productSerial: standing.product.productSerial,
      }
      return { value, text: fields(value) }
    },
  }),

  command({
    noun: 'device',
    verb: 'verify-voucher',
    summary: 'Read a voucher of RFC 8366 here, with no server: whom the maker tells the device to trust',
    details:
      'Counts only as one of --maker signed it, for this serial and birth certificate, and while it is good. Vouchers that answer a nonce are for the device that asked.',
    example:
      'sealworks device verify-voucher A-1042.vcj --maker vouchers.pem --serial A-1042 --certificate A-1042.pem --out domain.pem',
    operands: { file: required(text('FILE', 'the voucher, CMS in DER')) },
    options: {
      maker: some('FILE', 'certificates of makers that may sign vouchers: the very signer, PEM'),
      serial: required(text('SERIAL', 'of the device')),
      certificate: required(text('FILE', 'birth certificate of the device, PEM')),
      ...outputOptions,
    },
    async run(context, { file, maker, serial, certificate, ...output }) {
      const makers: Uint8Array[] = []
      for (const one of maker) makers.push(...(await certificatesIn(context, one)).map((text) => Uint8Array.fromBase64(text)))
      const [birth = ''] = await certificatesIn(context, certificate)
      const now = new Date(context.world.clock.now())
      const expected = { makers, serialNumber: serial, birth: Uint8Array.fromBase64(birth), now }
      const { verifyVoucher } = await import('#devices/ownership/voucher.ts')
      const { pinnedDomainCert, createdOn, expiresOn, assertion } = await verifyVoucher(await readInput(context, file), expected)
      const domain = parseCertificate(pinnedDomainCert)
      const value = {
        ...{ serial, assertion, createdOn: createdOn.toISOString() },
        ...(expiresOn !== undefined && { expiresOn: expiresOn.toISOString() }),
        domain: formatName(parseName(domain.subject)),
      }
      if (output.out === undefined) return { value, text: fields(value) }
      return deliver(context, output, utf8(encodePEM('CERTIFICATE', pinnedDomainCert)), value)
    },
  }),

  clientCommand({
    noun: 'device',
    verb: 'voucher',
    summary: 'The maker’s word to a device whose it is: a voucher of RFC 8366',
    example: 'sealworks device voucher A-1042 --key vouchers --certificates vouchers.pem --domain carworks.pem --out A-1042.vcj',
    operands: { device },
    options: {
      key: required(text('LABEL', 'the key that signs; `key list` shows them')),
      certificates: some('FILE', "the key's certificate and those above it, PEM"),
      domain: required(text('FILE', 'the certificate that the device is to trust: of its owner, PEM')),
      days: integer('N', 1, 36_500, 'how long it may be used; 365 unless told'),
      ...outputOptions,
    },
    async run(client, { device: written, key, certificates, domain, days, ...output }, context) {
      const chain: string[] = []
      for (const file of certificates) chain.push(...(await certificatesIn(context, file)))
      const [pinnedDomainCert = ''] = await certificatesIn(context, domain)
      const body = { key, certificates: chain, pinnedDomainCert, ...(days !== undefined && { days }) }
      const { voucher } = await client.call('issueVoucher', { params: { id: await findDevice(client, written) }, body })
      return deliver(context, output, Uint8Array.fromBase64(voucher), { device: written })
    },
  }),

  clientCommand({
    noun: 'device',
    verb: 'recover ask',
    summary: 'Claim a device whose owner cannot be asked: what it writes, the device has to sign',
    example: 'sealworks device recover ask A-1042 --for carworks --out claim.json',
    operands: { device },
    options: { for: required(text('ORGANIZATION', 'who claims it; `organization key` has set its key')), ...outputOptions },
    async run(client, { device: written, for: claimant, ...output }, context) {
      const params = { id: await findDevice(client, written) }
      const { recovery: made, presence } = await client.call('askForRecovery', { params, body: { claimant } })
      return deliver(context, output, utf8(`${JSON.stringify(presence, null, 2)}\n`), made)
    },
  }),

  command({
    noun: 'device',
    verb: 'recover prove',
    summary: 'Have a device’s birth key in a file sign that the device is here; with no server',
    example: 'sealworks device recover prove claim.json --key device.key --out presence.jws',
    operands: { file: required(text('FILE', 'what `device recover ask` wrote')) },
    options: { key: required(text('FILE', "the device's private key, PEM")), ...outputOptions },
    async run(context, { file, key: keyFile, ...output }) {
      const { key, public: publicKey } = await deviceKeyIn(context, keyFile)
      const { to, nonce, ...place } = parsePresenceAsked(await readInput(context, file))
      const presence = await signPresence(place, { key: publicKey, to, nonce, at: context.world.clock.now() }, key)
      return deliver(context, output, utf8(`${presence.statement}\n`), { device: place.device })
    },
  }),

  clientCommand({
    noun: 'device',
    verb: 'recover publish',
    summary: 'The maker says in public who claims a device; its owner may object',
    example: 'sealworks device recover publish 0191d0a0-7c1e-7a43-9f2b-0242ac120002 --presence presence.jws --reason "insolvent"',
    operands: { recovery },
    options: {
      presence: required(text('FILE', 'what the device signed')),
      reason: required(text('TEXT', 'why; everybody can read it')),
      days: integer('N', 14, 365, 'time to object; 30 unless told'),
    },
    async run(client, { recovery: id, presence, reason, days }, context) {
      const body = { presence: await readText(context, presence), reason, ...(days !== undefined && { waitDays: days }) }
      const value = await client.call('publishRecovery', { params: { id }, body })
      return { value, text: recoveryText(value) }
    },
  }),

  clientCommand({
    noun: 'device',
    verb: 'recover list',
    summary: 'Who claims which device, and until when its owner may object',
    example: 'sealworks device recover list',
    async run(client, _, { columns }) {
      const { items } = await client.call('listRecoveries', {})
      const shape = [
        { title: 'ID', cell: ({ id }: Recovery) => id },
        { title: 'STATE', cell: ({ state }: Recovery) => state },
        { title: 'DEVICE', cell: ({ device: of }: Recovery) => of },
        { title: 'FOR', cell: ({ claimant }: Recovery) => claimant },
        { title: 'UNTIL', cell: ({ endsAt }: Recovery) => endsAt?.slice(0, 10) },
      ]
      return { value: { recoveries: items }, text: table(items, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'device',
    verb: 'recover object',
    summary: 'The owner objects, and the claim is over',
    details:
      'A maker publishes in its own installation. The owner takes the notice from there (the "notice" of `device recover list --json`), objects here with --reason and --out, and brings what was written there with --statement; anybody may.',
    example: 'sealworks device recover object 0191d0a0-7c1e-7a43-9f2b-0242ac120002 --reason "it is in use"',
    operands: { recovery: required(text('RECOVERY|FILE', 'its id, or a file with the notice of another installation')) },
    options: {
      reason: text('TEXT', 'why, where the key of the owner is here'),
      statement: text('FILE', 'what the owner signed elsewhere, instead'),
      ...outputOptions,
    },
    async run(client, { recovery: id, reason, statement, ...output }, context) {
      if (!UUID.test(id) && reason !== undefined) {
        const body = { notice: await readText(context, id), reason }
        const { objection, device: of } = await client.call('objectElsewhere', { body })
        return deliver(context, output, utf8(`${objection}\n`), { device: of })
      }
      const params = { id }
      if ((reason === undefined) === (statement === undefined))
        throw new UsageError('Say why with --reason TEXT, or hand in --statement FILE.', ['device', 'recover object'])
      const value =
        reason === undefined
          ? await client.call('handInObjection', { params, body: { objection: await readText(context, statement ?? '') } })
          : await client.call('objectToRecovery', { params, body: { reason } })
      return { value, text: recoveryText(value) }
    },
  }),

  ...(['withdraw', 'complete'] as const).map((verb) =>
    clientCommand({
      noun: 'device',
      verb: `recover ${verb}`,
      summary: verb === 'withdraw' ? 'Give up a claim' : 'After the time to object: the device is the claimant’s',
      example: `sealworks device recover ${verb} 0191d0a0-7c1e-7a43-9f2b-0242ac120002`,
      operands: { recovery },
      async run(client, { recovery: id }) {
        const params = { id }
        const value =
          verb === 'withdraw'
            ? await client.call('withdrawRecovery', { params })
            : await client.call('completeRecovery', { params, body: {} })
        return { value, text: recoveryText(value) }
      },
    }),
  ),
]

function standingText(value: AnswerOf<'showOwnership'>): string {
  const { chain: _, ownerKey: __, product, steps, ...rest } = value
  const owners = steps.map(({ epoch, to, at }) => `${epoch} ${to} since ${at.slice(0, 10)}`).join(', ')
  return fields({ ...rest, ...product, owners })
}

async function certificatesIn(context: Context, file: string): Promise<readonly string[]> {
  const octets = await readInput(context, file)
  if (octets[0] === 0x30) return [octets.toBase64()]
  return parsePEM(new TextDecoder().decode(octets))
    .filter(({ label }) => label === 'CERTIFICATE')
    .map(({ der }) => der.toBase64())
}

const organization = required(text('NAME', 'of the organization'))

export const organizationKeyCommands = [
  clientCommand({
    noun: 'organization',
    verb: 'key',
    summary: 'Say with which key an organization speaks of ownership',
    details: 'The key of a maker that is set here makes chains of owners that begin with it count.',
    example: 'sealworks organization key acme --key acme-owner',
    operands: { organization },
    options: {
      key: text('LABEL', 'a key of this installation; `key list` shows them'),
      public: text('FILE', 'instead: the public key of an organization elsewhere, as a JWK or PEM'),
    },
    async run(client, { organization: name, key, public: file }, context) {
      if ((key === undefined) === (file === undefined))
        throw new UsageError('Name a key with --key LABEL, or give --public FILE.', ['organization', 'key'])
      const body =
        key === undefined
          ? { jwk: { ...writtenKey(await publicKeyIn(context, file ?? '')) } as Record<string, string> }
          : { label: key }
      const { jwk: _, ...value } = await client.call('setOrganizationKey', { params: { name }, body })
      return { value, text: fields(value) }
    },
  }),

  clientCommand({
    noun: 'organization',
    verb: 'public-key',
    summary: 'The public key with which an organization speaks of ownership, for other installations',
    example: 'sealworks organization public-key acme --out acme.jwk',
    operands: { organization },
    options: outputOptions,
    async run(client, { organization: name, ...output }, context) {
      const { items } = await client.call('listOrganizationKeys', { params: { name } })
      const current = items.find(({ isCurrent }) => isCurrent)
      if (current === undefined) throw new TrustError('notFound', 'ownershipKeyNone', { facts: { organization: name } })
      return deliver(context, output, utf8(`${JSON.stringify(current.jwk)}\n`), current)
    },
  }),
]
