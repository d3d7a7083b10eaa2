/** The tables that the REST interface keeps for itself. @module */
import type { Migration } from '#store/database.ts'
import { idempotencyMigration } from './idempotency.ts'

export const restMigrations: readonly Migration[] = [idempotencyMigration]
