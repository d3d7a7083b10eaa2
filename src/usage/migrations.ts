/** What devices counted: the state of each chain, its records, what each added, and what looked wrong. @module */
import type { Migration } from '#store/database.ts'

export const usageMigrations: readonly Migration[] = [
  {
    id: '0640-usage',
    statements: [
      // counters: the totals of the last record; is_awaited: the next record of a new chain is where the device begins anew
      `CREATE TABLE usage_chain (
        device_id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        chain TEXT NOT NULL,
        number INTEGER NOT NULL,
        digest TEXT NOT NULL,
        to_at INTEGER NOT NULL,
        counters TEXT NOT NULL,
        is_awaited INTEGER NOT NULL CHECK (is_awaited IN (0, 1)),
        received_at INTEGER NOT NULL
      )`,
      // owner: whose the device was when the period ended; missing: records before it that never came; octets: as it was signed
      `CREATE TABLE usage_record (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        device_id TEXT NOT NULL,
        chain TEXT NOT NULL,
        number INTEGER NOT NULL,
        digest TEXT NOT NULL,
        missing INTEGER NOT NULL,
        product_serial TEXT NOT NULL,
        model TEXT NOT NULL,
        owner TEXT NOT NULL,
        from_at INTEGER NOT NULL,
        to_at INTEGER NOT NULL,
        octets BLOB NOT NULL,
        received_at INTEGER NOT NULL
      )`,
      'CREATE UNIQUE INDEX usage_record_number ON usage_record (device_id, chain, number)',
      'CREATE INDEX usage_record_period ON usage_record (organization_id, to_at, id)',
      // amount: by how much the counter grew with this record
      `CREATE TABLE usage_amount (
        record_id TEXT NOT NULL REFERENCES usage_record (id),
        organization_id TEXT NOT NULL,
        name TEXT NOT NULL,
        unit TEXT NOT NULL,
        value INTEGER NOT NULL,
        amount INTEGER NOT NULL CHECK (amount >= 0),
        PRIMARY KEY (record_id, name)
      )`,
      `CREATE TABLE usage_alarm (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        device_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        facts TEXT NOT NULL,
        created_at INTEGER NOT NULL
      )`,
      // the same about the same is raised once, and stays
      'CREATE UNIQUE INDEX usage_alarm_subject ON usage_alarm (device_id, kind, subject)',
    ],
  },
]
