/** REST: commands to devices, what people sign of them, the policies of areas, and receipts. @module */
import { type Static, Type } from 'typebox'
import {
  addSignature,
  type CommandRecord,
  commandStates,
  draftCommand,
  listCommands,
  needsNonce,
  objectOf,
  openCommand,
  signaturesOf,
} from '#commands/commands.ts'
import { receiptOf } from '#commands/deliveries.ts'
import {
  type ArgumentValue,
  type Arguments,
  COMMAND_MAX_OCTETS,
  modes,
  OPERATION,
  priorities,
  results,
} from '#commands/messages.ts'
import { APPROVERS_MAX, LIFE_MAX_SECONDS, type Policy, POLICY_MAX_OCTETS } from '#commands/policy/messages.ts'
import { listPolicies, putPolicy } from '#commands/policies.ts'
import { forms } from '#commands/signing.ts'
import type { CAServices } from '../compose.ts'
import { recordingRefusals } from './refusals.ts'
import { page, PAGE_DEFAULT, pageOf, pageQuery, record, route } from './route.ts'
import { Base64, octetsOf, Time, Uuid } from './shapes.ts'

const CommandId = Type.String({ pattern: '^[0-9a-f]{32}$', description: 'the id of the command' })
const ById = Type.Object({ id: CommandId })
const Operation = Type.String({ pattern: OPERATION.source, description: 'such as valve.open' })
const PersonName = Type.String({ minLength: 1, maxLength: 64, description: 'as the policy names them' })
const Counted = Type.Integer({ minimum: 0 })

const ArgumentShape = Type.Union([Type.String({ maxLength: 4096 }), Type.Integer(), Type.Boolean()], {
  description: 'octets are written as text: base64:… ',
})
const ArgumentsShape = Type.Record(Type.String({ pattern: '^[A-Za-z_][A-Za-z0-9_]{0,31}$' }), ArgumentShape, {
  description: 'by name',
})

const CommandShape = record({
  id: CommandId,
  state: Type.Enum([...commandStates]),
  device: Uuid,
  deviceName: Type.String({ description: 'its maker and serial' }),
  operation: Operation,
  arguments: ArgumentsShape,
  precondition: Type.Optional(Operation),
  area: Type.String(),
  epoch: Counted,
  operator: PersonName,
  mode: Type.Enum([...modes]),
  priority: Type.Enum([...priorities]),
  issuer: Type.String(),
  counter: Counted,
  notBefore: Time,
  expiresAt: Time,
  createdAt: Time,
  deliveredAt: Type.Optional(Time),
  reason: Type.Optional(Type.String({ description: 'why the device refused it, in a stable word' })),
})
const ReceiptShape = record({
  result: Type.Enum([...results]),
  exitCode: Type.Optional(Type.Integer()),
  output: Type.Optional(Base64),
  reason: Type.Optional(Type.String()),
  counter: Type.Integer({ description: 'of the receipts of this device' }),
  at: Time,
  receivedAt: Time,
  octets: Type.Union([Base64], { description: 'COSE_Sign1, as the device signed it' }),
})
const WholeCommand = record({
  ...CommandShape.properties,
  form: Type.Enum([...forms], { description: 'whether it is signed as COSE_Sign1 or, where others agree, as COSE_Sign' }),
  payload: Type.Union([Base64], { description: 'what is signed' }),
  birthKey: Type.Union([Base64], { description: 'SHA-256 of the key that the device was born with: signed along' }),
  nonce: Type.Optional(Type.Union([Base64], { description: 'what the operator has to answer now' })),
  signatures: Type.Array(record({ name: PersonName, isOperator: Type.Boolean(), signedAt: Time })),
  message: Type.Optional(Type.Union([Base64], { description: 'with all signatures, once it is ready' })),
  receipt: Type.Optional(ReceiptShape),
})

const RoleNames = Type.Array(Type.String())
const PolicyShape = record({
  area: Type.String(),
  version: Type.Integer(),
  issuedAt: Time,
  issuers: Type.Array(Type.String()),
  roles: Type.Array(
    record({
      name: Type.String(),
      members: Type.Array(record({ name: PersonName, certificate: Type.Optional(Type.String({ description: 'SHA-256' })) })),
    }),
  ),
  operations: Type.Array(
    record({
      operation: Operation,
      operators: RoleNames,
      approvers: Type.Optional(record({ roles: RoleNames, least: Type.Integer({ minimum: 1, maximum: APPROVERS_MAX }) })),
      mode: Type.Enum([...modes]),
      assurance: Type.Integer({ minimum: 0, maximum: 4 }),
      lifeSeconds: Type.Integer({ minimum: 1, maximum: LIFE_MAX_SECONDS }),
    }),
  ),
})

const timeOf = (at: number | Date): string => new Date(at).toISOString()
/** Octets stand in JSON as text that says so. */
const OCTETS = 'base64:'
const shownArgument = (value: ArgumentValue): string | number | boolean =>
  value instanceof Uint8Array ? `${OCTETS}${value.toBase64()}` : value

const argumentsIn = (given: Static<typeof ArgumentsShape>): Arguments =>
  new Map(
    Object.entries(given).map(([name, value]) => [
      name,
      typeof value === 'string' && value.startsWith(OCTETS) ? octetsOf(value.slice(OCTETS.length)) : value,
    ]),
  )

const shown = ({ id, state, deviceId, command, createdAt, deliveredAt, reason }: CommandRecord) => ({
  ...{ id, state, device: deviceId, deviceName: command.audience.device, operation: command.operation },
  arguments: Object.fromEntries([...command.arguments].map(([name, value]) => [name, shownArgument(value)])),
  ...(command.precondition !== undefined && { precondition: command.precondition }),
  ...{ area: command.area, epoch: command.epoch, operator: command.operator, mode: command.mode, priority: command.priority },
  ...{ issuer: command.issuer, counter: command.counter },
  ...{ notBefore: timeOf(command.notBefore), expiresAt: timeOf(command.expiresAt), createdAt: timeOf(createdAt) },
  ...(deliveredAt !== undefined && { deliveredAt: timeOf(deliveredAt) }),
  ...(reason !== undefined && { reason }),
})

const policyShown = ({ area, version, issuedAt, issuers, roles, operations }: Policy): Static<typeof PolicyShape> => ({
  ...{ area, version, issuedAt: timeOf(issuedAt), issuers: [...issuers] },
  roles: roles.map(({ name, members }) => ({
    name,
    members: members.map((member) => ({
      name: member.name,
      ...(member.certificate !== undefined && { certificate: member.certificate.toHex() }),
    })),
  })),
  operations: operations.map(({ operators, approvers, ...rest }) => ({
    ...rest,
    operators: [...operators],
    ...(approvers !== undefined && { approvers: { roles: [...approvers.roles], least: approvers.least } }),
  })),
})

export function commandRoutes({ devices: { commands } }: Pick<CAServices, 'devices'>) {
  const { audit, world } = commands

  async function whole(command: CommandRecord) {
    const [signatures, kept] = await Promise.all([signaturesOf(commands, command.id), receiptOf(commands, command.id)])
    const { form, payload, message, nonce } = command
    const isAsked = command.state === 'challenging' && nonce !== undefined && !needsNonce(command, world.clock.now())
    return {
      ...shown(command),
      ...{ form, payload: payload.toBase64(), birthKey: command.command.audience.birthKey.toBase64() },
      ...(isAsked && { nonce: nonce.toBase64() }),
      signatures: signatures.map(({ name, isOperator, signedAt }) => ({ name, isOperator, signedAt: timeOf(signedAt) })),
      ...(message !== undefined && { message: message.toBase64() }),
      ...(kept !== undefined && { receipt: receiptShown(kept) }),
    }
  }

  return [
    route({
      id: 'draftCommand',
      method: 'POST',
      path: '/api/v1/commands',
      permission: 'command.send',
      summary: 'Draft a command to a device, with its counter; nobody has signed it yet',
      body: record({
        device: Uuid,
        operation: Operation,
        arguments: Type.Optional(ArgumentsShape),
        precondition: Type.Optional(Operation),
        priority: Type.Optional(Type.Enum([...priorities])),
        operator: PersonName,
        mode: Type.Optional(Type.Enum([...modes])),
        lifeSeconds: Type.Optional(Type.Integer({ minimum: 1, maximum: LIFE_MAX_SECONDS })),
      }),
      response: WholeCommand,
      status: 201,
      handle: (
        { actor },
        { body: { device, arguments: given = {}, priority = 'normal', precondition, mode, lifeSeconds, ...rest } },
      ) =>
        recordingRefusals(audit, { actor, act: 'command.draft', object: `device:${device}` }, async () => {
          const wanted = {
            ...rest,
            ...{ deviceId: device, arguments: argumentsIn(given), priority },
            ...(precondition !== undefined && { precondition }),
            ...(mode !== undefined && { mode }),
            ...(lifeSeconds !== undefined && { lifeSeconds }),
          }
          return whole(await draftCommand(commands, wanted, actor))
        }),
    }),
    route({
      id: 'listCommands',
      method: 'GET',
      path: '/api/v1/commands',
      permission: 'command.read',
      summary: 'Commands, newest first',
      query: record({
        ...pageQuery,
        device: Type.Optional(Uuid),
        state: Type.Optional(Type.Enum([...commandStates])),
        missing: Type.Optional(Type.Boolean({ description: 'only those that were delivered, and whose receipt never came' })),
      }),
      response: page(CommandShape),
      async handle(_, { query: { limit = PAGE_DEFAULT, cursor, device, state, missing } }) {
        const filter = {
          ...(device !== undefined && { deviceId: device }),
          ...(state !== undefined && { state }),
          ...(missing !== undefined && { isReceiptMissing: missing }),
        }
        const before = cursor === undefined ? undefined : /^\d{1,15}$/.test(cursor) ? Number(cursor) : 0
        const found = await listCommands(commands, filter, { limit, before })
        return pageOf(found.map(shown), found.length === limit ? String(found.at(-1)?.number) : undefined)
      },
    }),
    route({
      id: 'showCommand',
      method: 'GET',
      path: '/api/v1/commands/{id}',
      permission: 'command.read',
      summary: 'One command: what is signed, who signed it, what the device said',
      params: ById,
      response: WholeCommand,
      handle: async (_, { params: { id } }) => whole(await openCommand(commands, id)),
    }),
    route({
      id: 'signCommand',
      method: 'POST',
      path: '/api/v1/commands/{id}/signatures',
      permission: 'command.sign',
      summary: 'Hand in what one person signed: the operator, or one who agrees',
      params: ById,
      body: record({ message: Type.String({ ...Base64, maxLength: Math.ceil((COMMAND_MAX_OCTETS * 4) / 3) + 4 }) }),
      response: WholeCommand,
      handle: ({ actor }, { params: { id }, body: { message } }) =>
        recordingRefusals(audit, { actor, act: 'command.sign', object: objectOf(id) }, async () =>
          whole(await addSignature(commands, id, octetsOf(message), actor)),
        ),
    }),
    route({
      id: 'listCommandPolicies',
      method: 'GET',
      path: '/api/v1/command-policies',
      permission: 'command.read',
      summary: 'The policies in force, by area: who may order what, and who has to agree',
      response: record({ items: Type.Array(PolicyShape) }),
      handle: async () => ({ items: (await listPolicies(commands)).map(({ policy }) => policyShown(policy)) }),
    }),
    route({
      id: 'putCommandPolicy',
      method: 'POST',
      path: '/api/v1/command-policies',
      permission: 'command.manage',
      summary: 'Put the next policy of an area, signed by one whom devices trust for that',
      body: record({ policy: Type.String({ ...Base64, maxLength: Math.ceil((POLICY_MAX_OCTETS * 4) / 3) + 4 }) }),
      response: PolicyShape,
      status: 201,
      handle: ({ actor }, { body: { policy } }) =>
        recordingRefusals(audit, { actor, act: 'command.policy', object: 'command-policy' }, async () =>
          policyShown(await putPolicy(commands, octetsOf(policy), actor)),
        ),
    }),
  ] as const
}

function receiptShown({ receipt, octets, receivedAt }: NonNullable<Awaited<ReturnType<typeof receiptOf>>>) {
  const { result, exitCode, output, reason, counter, at } = receipt
  return {
    result,
    ...(exitCode !== undefined && { exitCode }),
    ...(output !== undefined && { output: output.toBase64() }),
    ...(reason !== undefined && { reason }),
    ...{ counter, at: timeOf(at), receivedAt: timeOf(receivedAt), octets: octets.toBase64() },
  }
}
