/**
 * Acts that a setting makes need the agreement of others: the call asks for it, and the same call again does the act.
 *
 * @module
 */
import type { Access } from '#access/access.ts'
import type { Act, ActValue } from '#approvals/act.ts'
import type { ActKind, Approvals } from '#approvals/approvals.ts'
import { TrustError } from '#base/errors.ts'
import { keep } from '#store/batch.ts'
import type { Database } from '#store/database.ts'
import { Type } from 'typebox'
import { approvalShape, ApprovalShape } from './approvals.ts'
import { type Call, record } from './route.ts'

export const DESTROY_AUTHORITY_KEY = 'ca.destroy-key'
export const DESTROY_KEY = 'key.destroy'

const textOf = (value: ActValue | undefined): string => (typeof value === 'string' ? value : JSON.stringify(value))

export const destroyActs: readonly ActKind[] = [
  {
    id: DESTROY_AUTHORITY_KEY,
    describe: ({ parameters: { address } }) => `Destroy the key of the authority ${textOf(address)}, for good`,
  },
  { id: DESTROY_KEY, describe: ({ parameters: { label } }) => `Destroy the key ${textOf(label)}, for good` },
]

/** Of more devices in a day than its organization may offer by one person: each is agreed to by another. */
export const OFFER_DEVICE = 'ownership.offer'

export const transferActs: readonly ActKind[] = [
  {
    id: OFFER_DEVICE,
    describe: ({ parameters: { device, seller, to } }) =>
      `Offer the device ${textOf(device)} of ${textOf(seller)} to ${textOf(to)}, beyond the number of a day`,
  },
]

/** By people of the same owner: nothing but the list of the gateway says which machine is meant. */
export const MOVE_BOUND = 'gateway.move'

export const gatewayActs: readonly ActKind[] = [
  {
    id: MOVE_BOUND,
    describe: ({ parameters: { gateway, devices } }) =>
      `Have the gateway ${textOf(gateway)} speak for devices that were bound elsewhere: ${textOf(devices)}`,
  },
]

export const WaitingShape = record({ state: Type.Literal('waiting'), approval: ApprovalShape })

interface Waiting {
  readonly state: 'waiting'
  readonly approval: Awaited<ReturnType<typeof approvalShape>>
}

/** Does `work` where enough people have agreed to the act, and at once where nobody has to. */
export type Agreed = <T>(act: Act, call: Call, work: () => Promise<T>) => Promise<T | Waiting>

export interface AgreementParts {
  readonly approvals: Approvals
  readonly access: Access
  readonly db: Database
  /** How many people have to agree; 0 for nobody. */
  readonly least: number
}

/** A working day; a key is destroyed on the day that people say so, or they look again. */
const VALID_SECONDS = 8 * 3600

export function agreement({ approvals, access, db, least }: AgreementParts): Agreed {
  const rule = { least, approvers: { roles: ['approver'], people: [] }, usesMax: 1, validSeconds: VALID_SECONDS }
  return async (act, { actor, principal }, work) => {
    if (least === 0) return work()
    if (principal === undefined) throw new TrustError('unauthenticated', 'signInNeeded')
    const ticket = await approvals.ticketFor(act)
    if (ticket === undefined) {
      const asked = await approvals.ask(act, rule, { actor, id: principal.id, kind: principal.kind })
      return { state: 'waiting', approval: await approvalShape(asked, access) }
    }
    await keep(db, ticket.steps)
    try {
      return await work()
    } catch (error) {
      await keep(db, ticket.giveBack) // what was refused was not done
      throw error
    }
  }
}
