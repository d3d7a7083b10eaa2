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
  /** Devices for which a room has something to fetch, and of which kind: written with the topic `mail.KIND`. */
  readonly mail: readonly { readonly deviceId: string; readonly kind: string }[]
}

export interface DeviceChanges {
  /** Tells the listeners what came since the last time. Nobody listens: nothing is read. */
  runOnce(): Promise<void>
  /** @param listener is waited for @returns what ends it */
  listen(listener: Listener): () => void
  /** Grows when something was read: who decided before and acts after it looks again. */
  readonly round: number
}

/** How often the outbox is looked at: two look-ups in an index, and a session is cut this long after the change at the latest. */
export const CHANGES_SECONDS = 0.2

const BATCH = 1000

type Listener = (changed: Changed) => Promise<void>

export function deviceChanges({ db }: Pick<DevicesContext, 'db'>): DeviceChanges {
  /** Whether they were told before: whoever comes is told to look at everything. */
  const listeners = new Map<Listener, { isNew: boolean }>()
  let position: number | undefined
  let round = 0

  async function read(): Promise<readonly OutboxRow[]> {
    while ((await sequenceOutbox(db, BATCH)) === BATCH);
    if (position === undefined) {
      const [head] = await db.query<{ sequence: number }>("SELECT sequence FROM outbox_head WHERE id = 'outbox'")
      position = head?.sequence ?? 0
      return []
    }
    const rows: OutboxRow[] = []
    for (;;) {
      const more = await readAfter(db, position, BATCH)
      rows.push(...more)
      position = more.at(-1)?.sequence ?? position
      if (more.length < BATCH) return rows
    }
  }

  return {
    async runOnce() {
      if (listeners.size === 0) {
        position = undefined
        return
      }
      const newcomers = [...listeners].filter(([, standing]) => standing.isNew)
      const rows = await read()
      if (rows.length === 0 && newcomers.length === 0) return
      round += 1
      for (const [, standing] of newcomers) standing.isNew = false
      const isNewcomer = new Set(newcomers.map(([listener]) => listener))
      await Promise.all([...listeners.keys()].map((listener) => listener(changedBy(rows, isNewcomer.has(listener)))))
    },
    listen(listener) {
      listeners.set(listener, { isNew: true })
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
    mail: rows.flatMap(({ topic, payload }) => {
      const { device } = payload as Readonly<Record<string, unknown>>
      return topic.startsWith('mail.') && typeof device === 'string'
        ? [{ deviceId: device, kind: topic.slice('mail.'.length) }]
        : []
    }),
  }
}
