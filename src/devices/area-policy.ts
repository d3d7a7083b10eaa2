/**
 * By which protocols the devices of an area may connect: part of the policy that an area was made with.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'

/** By what devices connect; some of them come later, and an area may already leave them out. */
export const connectionProtocols = ['mqtt', 'ddi', 'device-messages', 'coap', 'opcua'] as const
export type ConnectionProtocol = (typeof connectionProtocols)[number]

export interface AreaPolicy {
  /** undefined for all. */
  readonly connections: readonly ConnectionProtocol[] | undefined
}

/** @throws TrustError `malformed`: a policy that cannot be understood allows nothing */
export function readAreaPolicy({ connections }: Readonly<Record<string, unknown>>): AreaPolicy {
  if (connections === undefined) return { connections }
  if (!Array.isArray(connections) || !connections.every(isProtocol))
    throw new TrustError('malformed', 'areaPolicy', { facts: { protocols: connectionProtocols.join(', ') } })
  return { connections }
}

const isProtocol = (name: unknown): name is ConnectionProtocol => (connectionProtocols as readonly unknown[]).includes(name)
