/**
 * The tables of this room. Only files of this room read or write them.
 *
 * Every table has `id`, `organization_id`, `version`, and times in integer milliseconds; the organization is part of
 * every unique key that two tenants could collide on.
 *
 * @module
 */
import type { Migration } from '#store/database.ts'

/** The only organization there is until several owners share an installation. */
export const DEFAULT_ORGANIZATION = 'default'

export const caMigrations: readonly Migration[] = [
  {
    id: '0400-ca-authorities',
    statements: [
      `CREATE TABLE authority (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        slug TEXT NOT NULL,
        generation INTEGER NOT NULL,
        profile TEXT NOT NULL,
        issuer_id TEXT,
        key_label TEXT NOT NULL,
        key_algorithm TEXT NOT NULL,
        certificate BLOB NOT NULL,
        state TEXT NOT NULL,
        crl_shards INTEGER NOT NULL,
        crl_validity_seconds INTEGER NOT NULL,
        created_at INTEGER NOT NULL
      )`,
      'CREATE UNIQUE INDEX authority_slug ON authority (organization_id, slug, generation)',
      `CREATE TABLE profile (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        name TEXT NOT NULL,
        definition TEXT NOT NULL,
        created_at INTEGER NOT NULL
      )`,
      'CREATE UNIQUE INDEX profile_name ON profile (organization_id, name)',
      `CREATE TABLE endpoint (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        label TEXT NOT NULL,
        protocol TEXT NOT NULL,
        authority_id TEXT NOT NULL,
        profile TEXT NOT NULL,
        rules TEXT NOT NULL,
        is_default INTEGER NOT NULL,
        state TEXT NOT NULL,
        created_at INTEGER NOT NULL
      )`,
      'CREATE UNIQUE INDEX endpoint_label ON endpoint (organization_id, protocol, label)',
      'CREATE UNIQUE INDEX endpoint_default ON endpoint (organization_id, protocol) WHERE is_default = 1',
      `CREATE TABLE enrollment_secret (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        endpoint_id TEXT NOT NULL,
        user_name TEXT NOT NULL,
        hash BLOB NOT NULL,
        product_serial TEXT,
        expires_at INTEGER NOT NULL,
        used_at INTEGER,
        used_request_hash TEXT,
        created_at INTEGER NOT NULL
      )`,
      'CREATE UNIQUE INDEX enrollment_secret_name ON enrollment_secret (organization_id, endpoint_id, user_name)',
    ],
  },
  {
    id: '0410-ca-certificates',
    statements: [
      `CREATE TABLE certificate (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        authority_id TEXT NOT NULL,
        serial_number BLOB NOT NULL,
        profile TEXT NOT NULL,
        endpoint_id TEXT,
        subject TEXT NOT NULL,
        product_serial TEXT,
        key_hash BLOB NOT NULL,
        not_before INTEGER NOT NULL,
        not_after INTEGER NOT NULL,
        state TEXT NOT NULL,
        revoked_at INTEGER,
        revocation_reason TEXT,
        crl_shard INTEGER NOT NULL,
        der BLOB NOT NULL,
        created_at INTEGER NOT NULL
      )`,
      // leads with the serial number: it begins with the time of issuance, so that inserts stay at one edge of the index
      'CREATE UNIQUE INDEX certificate_serial ON certificate (serial_number, authority_id)',
      'CREATE INDEX certificate_product ON certificate (organization_id, product_serial) WHERE product_serial IS NOT NULL',
      // states whose certificates stand on a CRL
      `CREATE INDEX certificate_revoked ON certificate (authority_id, crl_shard, revoked_at) WHERE revoked_at IS NOT NULL`,
      `CREATE TABLE key_binding (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        key_hash BLOB NOT NULL,
        product_serial TEXT NOT NULL,
        is_birth INTEGER NOT NULL,
        created_at INTEGER NOT NULL
      )`,
      'CREATE UNIQUE INDEX key_binding_key ON key_binding (organization_id, key_hash)',
      'CREATE UNIQUE INDEX key_binding_birth ON key_binding (organization_id, product_serial) WHERE is_birth = 1',
      `CREATE TABLE enrollment_request (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        endpoint_id TEXT NOT NULL,
        protocol TEXT NOT NULL,
        transaction_id TEXT,
        identity TEXT NOT NULL,
        request_hash TEXT NOT NULL,
        state TEXT NOT NULL,
        approval_id TEXT,
        certificate_id TEXT,
        created_at INTEGER NOT NULL
      )`,
      'CREATE UNIQUE INDEX enrollment_request_same ON enrollment_request (organization_id, endpoint_id, identity, request_hash)',
      `CREATE TABLE crl (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        authority_id TEXT NOT NULL,
        shard INTEGER NOT NULL,
        crl_number INTEGER NOT NULL,
        this_update INTEGER NOT NULL,
        next_update INTEGER NOT NULL,
        entries INTEGER NOT NULL,
        der BLOB NOT NULL
      )`,
      'CREATE UNIQUE INDEX crl_number ON crl (authority_id, shard, crl_number)',
    ],
  },
  {
    // X.520, 6.2.9: serialNumber is compared without regard to case, so that `a-1` and `A-1` would be one subject of two devices
    id: '0420-ca-births-without-case',
    statements: [
      'DROP INDEX key_binding_birth',
      'CREATE UNIQUE INDEX key_binding_birth ON key_binding (organization_id, lower(product_serial)) WHERE is_birth = 1',
    ],
  },
  {
    // a hold that becomes a revocation keeps its time, but a CRL has to be made for it all the same
    id: '0430-ca-certificate-changed-at',
    statements: [
      'ALTER TABLE certificate ADD COLUMN changed_at INTEGER',
      'UPDATE certificate SET changed_at = revoked_at WHERE revoked_at IS NOT NULL',
    ],
  },
]
