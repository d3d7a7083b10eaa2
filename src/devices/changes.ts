/**
 * What changed of devices, their certificates and areas, for those who keep connections open: read from the outbox, so that a
 * change that any process made is seen here within a fraction of a second.
 *
 * It says what to look at again, never what is so: whoever is told asks `isUsable`.
 *
 * @module
 */
import { type OutboxRow, readAfter, sequenceOutbox } from '#store/outbox.ts'
import type { DevicesContext } from './context.ts'

/** What to look at again. */
export interface Changed {
  /** Nothing is known of what happened before: everything. */
  readonly all: boolean
  readonly devices: ReadonlySet<string>
  /** By their ids in the CA's table; an authority's own certificate may be among them. */
  readonly certificates: ReadonlySet<string>
  readonly areas: ReadonlySet<string>
  /** Rules between areas. */
  readonly conduits: boolean
}

export interface DeviceChanges {
  /** Tells the listeners what came since the last time. Nobody listens: nothing is read. */
  runOnce(): Promise<void>
  /** @param listener is waited for @returns what ends it */
  listen(listener: (changed: Changed) => Promise<void>): () => void
  /** Grows when something was read: who decided before and acts after it looks again. */
  readonly round: number
}

/** How often the outbox is looked at: two look-ups in an index, and a session is cut this long after the change at the latest. */
export const CHANGES_SECONDS = 0.2

const BATCH = 1000

export function deviceChanges({ db }: Pick<DevicesContext, 'db'>): DeviceChanges {
  const listeners = new Set<(changed: Changed) => Promise<void>>()
  let position: number | undefined
  let round = 0

  async function read(): Promise<Changed | undefined> {
    while ((await sequenceOutbox(db, BATCH)) === BATCH);
    if (position === undefined) {
      const [head] = await db.query<{ sequence: number }>("SELECT sequence FROM outbox_head WHERE id = 'outbox'")
      position = head?.sequence ?? 0
      return changedBy([], true)
    }
    const rows: OutboxRow[] = []
    for (;;) {
      const more = await readAfter(db, position, BATCH)
      rows.push(...more)
      position = more.at(-1)?.sequence ?? position
      if (more.length < BATCH) return rows.length === 0 ? undefined : changedBy(rows, false)
    }
  }

  return {
    async runOnce() {
      if (listeners.size === 0) {
        position = undefined
        return
      }
      const changed = await read()
      if (changed === undefined) return
      round += 1
      await Promise.all([...listeners].map((listener) => listener(changed)))
    },
    listen(listener) {
      listeners.add(listener)
      position = undefined // whoever comes is told to look at everything
      return () => void listeners.delete(listener)
    },
    get round() {
      return round
    },
  }
}

function changedBy(rows: readonly OutboxRow[], all: boolean): Changed {
  const ids = (room: string, name: string): ReadonlySet<string> =>
    new Set(
      rows.flatMap(({ topic, payload }) => {
        const id = topic.startsWith(`${room}.`) ? (payload as Readonly<Record<string, unknown>>)[name] : undefined
        return typeof id === 'string' ? [id] : []
      }),
    )
  return {
    all,
    devices: ids('device', 'device'),
    certificates: ids('certificate', 'certificate'),
    areas: ids('area', 'area'),
    conduits: rows.some(({ topic }) => topic.startsWith('conduit.')),
  }
}
