/** REST: the server itself. @module */
import { Type } from 'typebox'
import type { Health } from '../health.ts'
import { record, route } from './route.ts'
import { Time } from './shapes.ts'

export interface ServerServices {
  readonly health: Health
  readonly version: string
  readonly name: string
  /** Milliseconds. */
  readonly startedAt: number
}

export const serverRoutes = ({ health, version, name, startedAt }: ServerServices) =>
  [
    route({
      id: 'showVersion',
      method: 'GET',
      path: '/api/v1/version',
      permission: 'public',
      summary: 'What this is',
      response: record({ product: Type.Literal('Sealworks'), version: Type.String() }),
      handle: async () => ({ product: 'Sealworks' as const, version }),
    }),
    route({
      id: 'showServer',
      method: 'GET',
      path: '/api/v1/server',
      permission: 'settings.read',
      summary: 'How the server is',
      response: record({
        name: Type.String(),
        version: Type.String(),
        startedAt: Time,
        ready: Type.Boolean(),
        checks: Type.Array(record({ name: Type.String(), ok: Type.Boolean() })),
      }),
      async handle() {
        const { ready, checks } = await health.report()
        return { name, version, startedAt: new Date(startedAt).toISOString(), ready, checks: [...checks] }
      },
    }),
  ] as const
