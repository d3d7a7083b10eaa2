/** Updates as the other parts of the server see them. @module */
import type { UpdatesContext } from './context.ts'
import { type Directed, type Director, openDirector, type Order } from './director.ts'
import { openRelease, type Release } from './releases.ts'

export interface Updates extends Director {
  readonly context: UpdatesContext
  /** @throws TrustError `notFound` */
  findRelease(id: string): Promise<Release>
  /** Octets of an artifact, from `start` to before `end`. @throws TrustError `notFound` */
  read(digest: string, start: number, end: number): AsyncIterable<Uint8Array>
}

export type { Directed, Order, Release }

export const openUpdates = (context: UpdatesContext): Updates => ({
  context,
  ...openDirector(context),
  findRelease: (id) => openRelease(context, id),
  read: (digest, start, end) => context.files.read(digest, start, end),
})
