/** What this room needs to know of people: handed in, so that it does not know where they are kept. @module */
import type { Statement } from '#store/batch.ts'
import type { Queries } from '#store/database.ts'

/** Who may approve: whoever has one of the roles, and those who are named by id. */
export interface Approvers {
  readonly roles: readonly string[]
  readonly people: readonly string[]
}

export interface People {
  /** Of these ids, those of active people (never services) who are among the approvers as things stand. */
  counting(queries: Queries, approvers: Approvers, ids: readonly string[]): Promise<readonly string[]>
  /** For a batch: its row holds `{ holds: 1 }` where at least so many of these ids count when it is kept, else 0. */
  stillCount(approvers: Approvers, ids: readonly string[], least: number): Statement
}
