/** The plan of a bundle, as people write it in JSON; docs/secure-host.md describes it. @module */
import { type Static, type TProperties, Type } from 'typebox'
import { Compile } from 'typebox/compile'
import { TrustError } from '#base/errors.ts'
import type { Plan } from '#host/image/build.ts'
import { interfaces, profiles } from '#host/image/bundle.ts'
import type { Context } from './command.ts'
import { readJSONObject } from './json-file.ts'

const closed = <P extends TProperties>(properties: P) => Type.Object(properties, { additionalProperties: false })
const File = Type.String({ minLength: 1, maxLength: 4096 })
const Time = Type.String({ pattern: '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ$' })
const oneOf = <const V extends string>(values: readonly V[]) => Type.Enum(values as unknown as [V, ...V[]])
const Word = Type.String({ minLength: 1, maxLength: 64 })

/** What goes into the bundle as it is, the bundle's own parser judges; here is only that it can be read. */
const PlanFile = closed({
  version: Type.Integer({ minimum: 1 }),
  owner: closed({ name: Word, epoch: Type.Integer({ minimum: 0 }) }),
  targets: Type.Array(Word),
  issuedAt: Time,
  expiresAt: Time,
  interfaces: Type.Optional(Type.Array(oneOf(interfaces))),
  machines: Type.Array(
    closed({
      name: Type.String({ pattern: '^[a-z][a-z0-9-]{0,31}$' }),
      profile: oneOf(profiles),
      kernel: File,
      initrd: File,
      commandLine: Type.String(),
      root: Type.Optional(Type.Union([closed({ tree: File }), closed({ image: File })])),
      cores: Type.Optional(Type.Integer({ minimum: 1 })),
      memoryMiB: Type.Integer({ minimum: 16 }),
      disks: Type.Optional(Type.Array(closed({ name: Word, octets: Type.Integer({ minimum: 1 }) }))),
      networks: Type.Optional(
        Type.Array(
          closed({
            mac: Type.String({ pattern: '^[0-9a-f]{2}(:[0-9a-f]{2}){5}$' }),
            address: Word,
            allow: Type.Optional(
              Type.Array(
                closed({
                  direction: oneOf(['in', 'out']),
                  protocol: oneOf(['tcp', 'udp']),
                  peer: Word,
                  port: Type.Integer(),
                }),
              ),
            ),
          }),
        ),
      ),
      serial: Type.Optional(Type.Array(Word)),
      sbom: Type.Optional(File),
      secureBoot: Type.Optional(
        closed({
          stub: File,
          kernelRelease: Word,
          osRelease: Type.String({ minLength: 1, maxLength: 4096 }),
          firmware: File,
          variables: File,
          keys: closed({ PK: File, KEK: File, db: File, dbx: Type.Optional(File) }),
        }),
      ),
    }),
  ),
})

const compiled = Compile(PlanFile)

/** @throws TrustError `malformed`, `notFound` */
export async function readPlan(context: Context, file: string): Promise<Plan> {
  const value = await readJSONObject(context, file)
  if (!compiled.Check(value)) {
    const [error] = compiled.Errors(value)
    // the schema of what is not listed is `false`
    const problem = error?.keyword === 'boolean' ? 'is not known' : (error?.message ?? 'is wrong')
    throw badPlan(`${error?.instancePath || '/'} ${problem}`)
  }
  const plan: Static<typeof PlanFile> = value
  return {
    ...plan,
    issuedAt: timeIn(plan.issuedAt),
    expiresAt: timeIn(plan.expiresAt),
    interfaces: plan.interfaces ?? interfaces,
    machines: plan.machines.map(({ cores = 1, disks = [], networks = [], serial = [], ...machine }) => ({
      ...machine,
      ...{ cores, disks, serial },
      networks: networks.map(({ allow = [], ...network }) => ({ ...network, allow })),
    })),
  }
}

function timeIn(written: string): Date {
  const time = new Date(written)
  if (Number.isNaN(time.getTime())) throw badPlan(`${written} is no time`)
  return time
}

const badPlan = (detail: string): TrustError => new TrustError('malformed', 'hostPlan', { facts: { detail } })
