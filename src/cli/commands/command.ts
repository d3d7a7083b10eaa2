/** `sealworks command`: orders to devices, signed by those who give them and those who agree. @module */
import { setTimeout as wait } from 'node:timers/promises'
import { TrustError } from '#base/errors.ts'
import { priorities } from '#commands/messages.ts'
import { encodePolicy, LIFE_MAX_SECONDS, parsePolicy, type Policy } from '#commands/policy/messages.ts'
import { signCommand, signPolicy } from '#commands/signing.ts'
import type { AnswerOf } from '#server/rest/client.ts'
import { type Answer, type Context, flag, integer, many, oneOf, required, text } from '../command.ts'
import { certificateDigest, keyOptions, type OwnSigner, ownSigner } from '../command-keys.ts'
import { type Caller, clientCommand } from '../connection.ts'
import { deviceOperand, findDevice } from '../device.ts'
import { exitCodes } from '../exit-codes.ts'
import { writeOutput } from '../files.ts'
import { readJSONObject } from '../json-file.ts'
import { fields, table } from '../terminal.ts'
import { UsageError } from '../usage.ts'

type Whole = AnswerOf<'showCommand'>
type Listed = AnswerOf<'listCommands'>['items'][number]
type PolicyInForce = AnswerOf<'listCommandPolicies'>['items'][number]

const id = required(text('COMMAND', 'its id'))
const EXAMPLE_ID = '5d0c41c4b1f2a9e07f3c2d1e0b9a8f76'
const waiting = integer('SECONDS', 0, LIFE_MAX_SECONDS, 'wait so long for those who agree, for the device, and for its receipt')
const LOOK_MILLISECONDS = 500

/** What a person writes for numbers and truth values is one; `=` within quotes of the shell stays text by a prefix: name=text:5. */
function argumentsIn(written: readonly string[]): Record<string, string | number | boolean> {
  return Object.fromEntries(
    written.map((each) => {
      const [name, value] = each.split(/=(.*)/s)
      if (name === undefined || value === undefined)
        throw new UsageError('--argument is written NAME=VALUE.', ['command', 'send'])
      if (value === 'true' || value === 'false') return [name, value === 'true']
      if (/^-?\d{1,15}$/.test(value)) return [name, Number(value)]
      return [name, value.startsWith('text:') ? value.slice('text:'.length) : value]
    }),
  )
}

/** The operator, or one who agrees. */
async function addOwn(client: Caller, command: Whole, signer: OwnSigner): Promise<Whole> {
  const { id: own, form, payload, birthKey, nonce, operator } = command
  const message = await signCommand(signer, {
    ...{ form, payload: Uint8Array.fromBase64(payload), birthKey: Uint8Array.fromBase64(birthKey) },
    ...(nonce !== undefined && signer.name === operator && { nonce: Uint8Array.fromBase64(nonce) }),
  })
  return client.call('signCommand', { params: { id: own }, body: { message: message.toBase64() } })
}

const isOver = ({ state }: Whole): boolean => state === 'receipted' || state === 'refused' || state === 'expired'

/** Answers the device when it asks, and waits for what it says. */
async function follow(client: Caller, context: Context, first: Whole, signer: OwnSigner, seconds: number): Promise<Whole> {
  let command = first
  const until = context.world.clock.now() + seconds * 1000
  while (!isOver(command)) {
    if (command.nonce !== undefined && signer.name === command.operator) command = await addOwn(client, command, signer)
    if (context.world.clock.now() >= until) return command
    await wait(LOOK_MILLISECONDS, undefined, { signal: context.signal })
    command = await client.call('showCommand', { params: { id: command.id } })
  }
  return command
}

function outcomeOf(value: Whole): Answer {
  const { state, receipt } = value
  const exitCode =
    state === 'receipted'
      ? receipt?.result === 'done'
        ? exitCodes.done
        : exitCodes.failed
      : state === 'refused' || state === 'expired'
        ? exitCodes.refused
        : state === 'waiting' || state === 'challenging'
          ? exitCodes.waitsForApproval
          : exitCodes.done
  const next = state === 'waiting' ? `\nIt waits for others to agree: sealworks command approve ${value.id}\n` : ''
  return { value, text: `${described(value)}${next}`, exitCode }
}

function described({
  payload: _payload,
  birthKey: _birthKey,
  message: _message,
  nonce: _nonce,
  receipt,
  ...rest
}: Whole): string {
  const { octets: _octets, output, ...said } = receipt ?? { octets: '' }
  const words = output === undefined ? {} : { output: new TextDecoder().decode(Uint8Array.fromBase64(output)) }
  return fields({ ...rest, ...(receipt !== undefined && { receipt: { ...said, ...words } }) })
}

interface PolicyFile extends Omit<Policy, 'issuedAt' | 'roles'> {
  readonly roles: readonly {
    readonly name: string
    readonly members: readonly { readonly name: string; readonly certificate?: string }[]
  }[]
}

async function readPolicyFile(context: Context, file: string): Promise<Policy> {
  const written = (await readJSONObject(context, file)) as unknown as PolicyFile // what is wrong is found when it is encoded
  const roles: Policy['roles'][number][] = []
  for (const { name, members } of Array.isArray(written.roles) ? written.roles : []) {
    const read: Policy['roles'][number]['members'][number][] = []
    for (const member of members) {
      const digest = member.certificate === undefined ? undefined : await certificateDigest(context, member.certificate)
      read.push({ name: member.name, ...(digest !== undefined && { certificate: digest }) })
    }
    roles.push({ name, members: read })
  }
  return { ...written, issuedAt: new Date(context.world.clock.now()), roles }
}

/** What no device would read is not signed. @throws TrustError `malformed` */
function encoded(policy: Policy, file: string): Uint8Array {
  try {
    const octets = encodePolicy(policy)
    parsePolicy(octets)
    return octets
  } catch (error) {
    if (error instanceof TrustError) throw error
    throw new TrustError('malformed', 'fileNotJSON', { facts: { file }, cause: error }) // a field is missing, or of another type
  }
}

export const commands = [
  clientCommand({
    noun: 'command',
    verb: 'send',
    summary: 'Order a device to do something, signed with your own key',
    details:
      'The policy of its area says who may, who has to agree, and whether the device is asked first. With --wait the command goes on by itself: it signs again when the device asks, and ends with the receipt.',
    example: 'sealworks command send P-1 valve.open --argument position=40 --key ada.key --certificate ada.pem --wait 600',
    operands: { device: deviceOperand, operation: required(text('OPERATION', 'such as valve.open')) },
    options: {
      ...keyOptions,
      argument: many('NAME=VALUE', 'what it needs; true, false and digits are taken as such, text:5 as text'),
      precondition: text('NAME', 'a check of the device that has to hold'),
      priority: oneOf(priorities, 'normal unless told'),
      life: integer('SECONDS', 1, LIFE_MAX_SECONDS, 'how long it is good for; 30, or as the policy says, unless told'),
      challenge: flag('have the device ask first, also where the policy does not'),
      wait: waiting,
    },
    async run(client, { device, operation, argument, precondition, priority, life, challenge, wait: seconds, ...keys }, context) {
      const signer = await ownSigner(client, context, keys)
      const drafted = await client.call('draftCommand', {
        body: {
          ...{ device: await findDevice(client, device), operation, arguments: argumentsIn(argument), operator: signer.name },
          ...(precondition !== undefined && { precondition }),
          ...(priority !== undefined && { priority }),
          ...(life !== undefined && { lifeSeconds: life }),
          ...(challenge && { mode: 'challenge' as const }),
        },
      })
      const signed = drafted.state === 'drafted' ? await addOwn(client, drafted, signer) : drafted
      return outcomeOf(seconds === undefined ? signed : await follow(client, context, signed, signer, seconds))
    },
  }),

  clientCommand({
    noun: 'command',
    verb: 'approve',
    summary: 'Agree to a command, or answer for its operator, with your own key',
    details: 'You sign the command itself, with all that it says: look at it first, with `command show`.',
    example: `sealworks command approve ${EXAMPLE_ID} --key bo.key --certificate bo.pem`,
    operands: { id },
    options: { ...keyOptions, wait: waiting },
    async run(client, { id: own, wait: seconds, ...keys }, context) {
      const signer = await ownSigner(client, context, keys)
      const command = await client.call('showCommand', { params: { id: own } })
      const isAnswer = signer.name === command.operator && command.mode === 'challenge'
      const signed = isAnswer && command.nonce === undefined ? command : await addOwn(client, command, signer)
      return outcomeOf(seconds === undefined ? signed : await follow(client, context, signed, signer, seconds))
    },
  }),

  clientCommand({
    noun: 'command',
    verb: 'list',
    summary: 'Commands, newest first',
    example: 'sealworks command list --missing',
    options: {
      device: text('DEVICE', 'only to this one: its id, or its serial'),
      state: oneOf(
        ['drafted', 'waiting', 'challenging', 'ready', 'delivered', 'receipted', 'refused', 'expired'],
        'only those in this state',
      ),
      missing: flag('only those that were delivered, and whose receipt never came'),
      limit: integer('N', 1, 500, 'most of them; 100 unless told'),
    },
    async run(client, { device, state, missing, limit }, { columns }) {
      const query = {
        ...(device !== undefined && { device: await findDevice(client, device) }),
        ...(state !== undefined && { state }),
        ...(missing && { missing }),
        ...(limit !== undefined && { limit }),
      }
      const { items } = await client.call('listCommands', { query })
      const shape = [
        { title: 'COMMAND', cell: ({ id: own }: Listed) => own },
        { title: 'STATE', cell: ({ state: found }: Listed) => found },
        { title: 'DEVICE', cell: ({ deviceName }: Listed) => deviceName },
        { title: 'OPERATION', cell: ({ operation }: Listed) => operation },
        { title: 'OPERATOR', cell: ({ operator }: Listed) => operator },
        { title: 'GOOD UNTIL', cell: ({ expiresAt }: Listed) => expiresAt },
      ]
      return { value: { commands: items }, text: table(items, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'command',
    verb: 'show',
    summary: 'One command: what it says, who signed it, what the device said',
    example: `sealworks command show ${EXAMPLE_ID}`,
    operands: { id },
    async run(client, { id: own }) {
      const value = await client.call('showCommand', { params: { id: own } })
      return { value, text: described(value) }
    },
  }),

  clientCommand({
    noun: 'command',
    verb: 'receipt',
    summary: 'What a device signed about a command, as a file that any COSE library reads',
    example: `sealworks command receipt ${EXAMPLE_ID} --out valve.cose`,
    operands: { id },
    options: {
      out: required(text('FILE', 'where the receipt goes')),
      command: text('FILE', 'where the command goes that it is about'),
      force: flag('replace files that are there'),
    },
    async run(client, { id: own, out, command, force }, context) {
      const { receipt, message } = await client.call('showCommand', { params: { id: own } })
      if (receipt === undefined || message === undefined)
        throw new TrustError('notFound', 'commandReceiptNone', { facts: { command: own } })
      writeOutput(context, { file: out, octets: Uint8Array.fromBase64(receipt.octets), isSecret: false, force })
      if (command !== undefined)
        writeOutput(context, { file: command, octets: Uint8Array.fromBase64(message), isSecret: false, force })
      const { octets: _, ...value } = receipt
      return { value: { file: out, ...value } }
    },
  }),

  clientCommand({
    noun: 'command',
    verb: 'policy',
    summary: 'Sign the next policy of an area and put it in force, or list those that are',
    details:
      'The file is JSON: area, version, issuers, roles with members, operations with operators, approvers, mode, assurance and lifeSeconds. docs/commands.md has one.',
    example: 'sealworks command policy --put paint-4.json --key officer.key --certificate officer.pem',
    options: {
      put: text('FILE', 'the policy that is to be in force'),
      ...keyOptions,
    },
    async run(client, { put, ...keys }, context) {
      if (put === undefined) {
        const { items } = await client.call('listCommandPolicies', {})
        const shape = [
          { title: 'AREA', cell: ({ area }: PolicyInForce) => area },
          { title: 'VERSION', cell: ({ version }: PolicyInForce) => String(version) },
          {
            title: 'OPERATIONS',
            cell: ({ operations }: PolicyInForce) => operations.map(({ operation }) => operation).join(', '),
          },
        ]
        return { value: { policies: items }, text: table(items, shape, context.columns) }
      }
      const payload = encoded(await readPolicyFile(context, put), put)
      const policy = await signPolicy(await ownSigner(client, context, keys), payload)
      const value = await client.call('putCommandPolicy', { body: { policy: policy.toBase64() } })
      return { value, text: fields(value) }
    },
  }),
]
