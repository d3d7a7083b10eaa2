/** The tables of production orders: what was ordered, which jobs have tickets, what their logs say, and what is wrong. @module */
import type { Migration } from '#store/database.ts'

export const ordersMigrations: readonly Migration[] = [
  {
    id: '0560-orders',
    statements: [
      `CREATE TABLE production_order (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        name TEXT NOT NULL,
        terms TEXT NOT NULL,
        nonce TEXT NOT NULL,
        state TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        closed_at INTEGER
      )`,
      'CREATE UNIQUE INDEX production_order_name ON production_order (organization_id, name)',
      `CREATE TABLE production_job (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        order_id TEXT NOT NULL REFERENCES production_order (id),
        state TEXT NOT NULL,
        tier TEXT NOT NULL,
        node_key BLOB NOT NULL,
        ticket TEXT NOT NULL,
        serial_next INTEGER NOT NULL,
        size INTEGER NOT NULL,
        head TEXT NOT NULL,
        course TEXT NOT NULL,
        job_end TEXT,
        created_at INTEGER NOT NULL,
        seen_at INTEGER
      )`,
      'CREATE INDEX production_job_order ON production_job (order_id, id)',
      // a node's key serves one job
      'CREATE UNIQUE INDEX production_job_key ON production_job (node_key)',
      // nobody asks for an entry by an id: its place in the log is its name
      `CREATE TABLE job_entry (
        job_id TEXT NOT NULL,
        organization_id TEXT NOT NULL,
        n INTEGER NOT NULL,
        type TEXT NOT NULL,
        position INTEGER,
        product_serial TEXT,
        key_hash TEXT,
        certificate_hash TEXT,
        certificate BLOB,
        detail TEXT,
        station TEXT,
        at INTEGER NOT NULL,
        PRIMARY KEY (job_id, n)
      )`,
      "CREATE INDEX job_entry_position ON job_entry (job_id, position) WHERE type = 'issue'",
      'CREATE INDEX job_entry_serial ON job_entry (organization_id, product_serial, type) WHERE product_serial IS NOT NULL',
      "CREATE INDEX job_entry_key ON job_entry (organization_id, key_hash) WHERE type = 'issue'",
      `CREATE TABLE job_head (
        job_id TEXT NOT NULL,
        size INTEGER NOT NULL,
        head TEXT NOT NULL,
        PRIMARY KEY (job_id, size)
      )`,
      `CREATE TABLE order_alarm (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        order_id TEXT NOT NULL,
        job_id TEXT,
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        facts TEXT NOT NULL,
        created_at INTEGER NOT NULL
      )`,
      'CREATE UNIQUE INDEX order_alarm_subject ON order_alarm (order_id, kind, subject)',
      `CREATE TABLE order_shipment (
        organization_id TEXT NOT NULL,
        order_id TEXT NOT NULL,
        product_serial TEXT NOT NULL,
        shipped_at INTEGER NOT NULL,
        PRIMARY KEY (order_id, product_serial)
      )`,
      `CREATE TABLE order_sighting (
        organization_id TEXT NOT NULL,
        order_id TEXT NOT NULL,
        product_serial TEXT NOT NULL,
        certificate_hash TEXT NOT NULL,
        place TEXT NOT NULL,
        seen_at INTEGER NOT NULL,
        PRIMARY KEY (order_id, certificate_hash, place)
      )`,
    ],
  },
  {
    // what the record of devices is still to be told of an entry; facts: what the entry's row does not have
    id: '0561-orders-devices',
    statements: [
      `CREATE TABLE job_device_due (
        job_id TEXT NOT NULL,
        organization_id TEXT NOT NULL,
        n INTEGER NOT NULL,
        type TEXT NOT NULL,
        facts TEXT NOT NULL,
        PRIMARY KEY (job_id, n)
      )`,
    ],
  },
  {
    // of the credential only its hash: what the node's TPM reads is in no database
    id: '0562-orders-endorsement',
    statements: [
      `CREATE TABLE node_challenge (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        order_id TEXT NOT NULL REFERENCES production_order (id),
        request_hash TEXT NOT NULL,
        credential_hash BLOB NOT NULL,
        facts TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('open', 'used', 'failed')),
        expires_at INTEGER NOT NULL,
        created_at INTEGER NOT NULL
      )`,
      'CREATE INDEX node_challenge_order ON node_challenge (order_id, id)',
    ],
  },
  {
    // what is born at lines of the server; its entries stand with those of nodes' logs, under its id
    id: '0563-orders-allotment',
    statements: [
      `CREATE TABLE order_allotment (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        order_id TEXT NOT NULL REFERENCES production_order (id),
        line_id TEXT NOT NULL,
        line TEXT NOT NULL,
        quota INTEGER NOT NULL,
        scrap_allowance INTEGER NOT NULL,
        serial_from INTEGER NOT NULL,
        serial_to INTEGER NOT NULL,
        issued INTEGER NOT NULL,
        good INTEGER NOT NULL,
        scrap INTEGER NOT NULL,
        entries INTEGER NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('open', 'ended')),
        created_at INTEGER NOT NULL,
        CHECK (scrap <= issued AND issued - scrap <= quota AND issued <= quota + scrap_allowance)
      )`,
      'CREATE INDEX order_allotment_order ON order_allotment (order_id, id)',
      // a line works for one order at a time
      "CREATE UNIQUE INDEX order_allotment_line ON order_allotment (line_id) WHERE state = 'open'",
      `CREATE TABLE order_verdict (
        organization_id TEXT NOT NULL,
        order_id TEXT NOT NULL,
        product_serial TEXT NOT NULL,
        verdict TEXT NOT NULL CHECK (verdict IN ('good', 'scrap')),
        PRIMARY KEY (order_id, product_serial)
      )`,
    ],
  },
  {
    // stay: whose a device was where it was seen by itself, and in which area; due: shipments that the records of devices are still to hear of
    id: '0564-orders-field',
    statements: [
      "ALTER TABLE order_sighting ADD COLUMN stay TEXT NOT NULL DEFAULT ''",
      `CREATE TABLE order_shipment_due (
        organization_id TEXT NOT NULL,
        order_id TEXT NOT NULL,
        product_serial TEXT NOT NULL,
        PRIMARY KEY (order_id, product_serial)
      )`,
    ],
  },
]
