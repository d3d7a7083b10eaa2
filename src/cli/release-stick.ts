/**
 * A stick for devices that no server reaches: what the director says of each of them, the release's manifest, and its artifacts.
 *
 * The director decides on each device as it does over the air, and is asked of all of them before anything is written.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { resolve } from 'node:path'
import { TrustError } from '#base/errors.ts'
import { RemoteRefusal } from '#server/rest/client.ts'
import type { OnStick, StickPapers } from '#updates/stick/write.ts'
import type { Answer, Context } from './command.ts'
import type { Caller } from './connection.ts'
import { findDevice } from './device.ts'
import { refusalToWrite } from './files.ts'
import { findRelease } from './release.ts'

export interface StickWanted {
  readonly release: string
  /** As they are written on the command line. */
  readonly devices: readonly string[]
  readonly isRollback: boolean
  /** PEM: who may read what is on it; anybody where nobody is named. */
  readonly recipients?: Uint8Array
  readonly out: string
}

/** @throws TrustError `policyRefused` naming each device that may not have the release: nothing is written then */
export async function releaseOnStick(
  client: Caller,
  { release: written, devices, isRollback, recipients = new Uint8Array(), out }: StickWanted,
  context: Pick<Context, 'directory' | 'world'>,
): Promise<Answer> {
  const { writeStick } = await import('#updates/stick/write.ts')
  const release = await findRelease(client, written)
  const named = new Map<string, string>()
  for (const device of devices) named.set(await findDevice(client, device), device)
  const statements: Uint8Array[] = []
  const refused: string[] = []
  for (const [device, name] of named) {
    try {
      const body = { device, kind: isRollback ? ('rollback' as const) : ('install' as const) }
      const { statement } = await client.call('directDevice', { params: { id: release }, body })
      statements.push(Uint8Array.fromBase64(statement))
    } catch (error) {
      if (!(error instanceof RemoteRefusal) || error.code !== 'policyRefused' || named.size === 1) throw error
      refused.push(`${name}: ${error.message}`)
    }
  }
  if (refused.length > 0) throw refusalOf(refused, named.size)
  const manifest = await octetsOf(client, release)
  const papers: readonly StickPapers[] = statements.map((statement) => ({ statement, manifest }))
  const { clock, faults } = context.world
  const fetch = async (digest: string): Promise<AsyncIterable<Uint8Array>> => {
    const params = { id: release, digest }
    const upload = { octets: recipients.length, read: () => once(recipients), prefersAsync: false }
    const sent =
      recipients.length === 0
        ? client.transfer('fetchReleaseFile', { params })
        : client.transfer('sealReleaseFile', { params }, upload) // nobody but they and the server have it in the clear
    return contentOf(await sent).read()
  }
  try {
    const onStick = await writeStick(resolve(context.directory, out), {
      ...{ papers, fetch, now: clock.now(), faults },
      ...(recipients.length > 0 && { sealedFor: createHash('sha256').update(recipients).digest('hex').slice(0, 16) }),
    })
    return answerOf(out, onStick)
  } catch (error) {
    throw refusalToWrite(error, out)
  }
}

/** For people: the others come to light once these are left out. */
const SHOWN_MAX = 10

const refusalOf = (refused: readonly string[], devices: number): TrustError =>
  new TrustError('policyRefused', 'stickRefused', {
    facts: { refused: refused.length, devices, detail: refused.slice(0, SHOWN_MAX).join(' ') },
  })

type Transferred = Awaited<ReturnType<Caller['transfer']>>

function contentOf({ content }: Transferred): NonNullable<Transferred['content']> {
  if (content === undefined) throw new TypeError('the route gives octets')
  return content
}

async function octetsOf(client: Caller, id: string): Promise<Uint8Array> {
  const { read } = contentOf(await client.transfer('fetchReleaseManifest', { params: { id } }))
  return new Uint8Array(Buffer.concat(await Array.fromAsync(read())))
}

function answerOf(out: string, onStick: readonly OnStick[]): Answer {
  const lines = onStick.map(
    ({ device, sequence, expiresAt }) =>
      `${device.manufacturer} ${device.productSerial}: statement ${sequence}, until ${expiresAt.toISOString()}`,
  )
  return {
    value: {
      directory: out,
      statements: onStick.map(({ device, sequence, expiresAt, file }) => ({
        ...{ manufacturer: device.manufacturer, productSerial: device.productSerial },
        ...{ sequence, expiresAt: expiresAt.toISOString(), file },
      })),
    },
    text: `${lines.join('\n')}\nThe stick is in ${out}. On the device: sealworks agent update --from ${out}\n`,
  }
}

async function* once(octets: Uint8Array): AsyncGenerator<Uint8Array> {
  yield octets
}
