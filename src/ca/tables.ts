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
      // nobody asks for a binding or a request by its id: an index for it would only cost each issuance
      `CREATE TABLE key_binding (
        id TEXT NOT NULL,
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
        id TEXT NOT NULL,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        endpoint_id TEXT NOT NULL,
        protocol TEXT NOT NULL,
        transaction_id TEXT,
        identity TEXT NOT NULL,
        request_hash TEXT NOT NULL,
        claim BLOB NOT NULL,
        state TEXT NOT NULL,
        approval_id TEXT,
        certificate_id TEXT,
        created_at INTEGER NOT NULL
      )`,
      // a digest of endpoint, identity and request: a fourth of what an index over all three would write
      'CREATE UNIQUE INDEX enrollment_request_same ON enrollment_request (organization_id, claim)',
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
  {
    id: '0440-ca-life-cycle',
    statements: [
      // every process looks at this number once a second, and reads the authorities again when it has grown
      'CREATE TABLE authority_change (organization_id TEXT PRIMARY KEY, version INTEGER NOT NULL)',
      `INSERT INTO authority_change (organization_id, version) VALUES ('${DEFAULT_ORGANIZATION}', 1)`,
      // authorities whose keys are not here: offline roots, and others' for trust only
      `CREATE TABLE trusted_authority (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        slug TEXT NOT NULL,
        generation INTEGER NOT NULL,
        kind TEXT NOT NULL,
        issuer_id TEXT,
        certificate BLOB NOT NULL,
        state TEXT NOT NULL,
        created_at INTEGER NOT NULL
      )`,
      'CREATE UNIQUE INDEX trusted_authority_slug ON trusted_authority (organization_id, slug, generation)',
      // a key and its request, on the way to an authority elsewhere
      `CREATE TABLE authority_request (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        slug TEXT NOT NULL,
        generation INTEGER NOT NULL,
        profile TEXT NOT NULL,
        key_label TEXT NOT NULL,
        key_algorithm TEXT NOT NULL,
        request BLOB NOT NULL,
        crl_validity_seconds INTEGER NOT NULL,
        created_at INTEGER NOT NULL
      )`,
      'CREATE UNIQUE INDEX authority_request_slug ON authority_request (organization_id, slug)',
      // more certificates of an authority: earlier ones, links between generations, cross certificates
      `CREATE TABLE authority_certificate (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        authority_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        der BLOB NOT NULL,
        created_at INTEGER NOT NULL
      )`,
      'CREATE INDEX authority_certificate_authority ON authority_certificate (authority_id)',
      // the CRLs of offline roots, carried here by hand; a number may be longer than any integer type
      `CREATE TABLE imported_crl (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        authority_id TEXT NOT NULL,
        crl_number TEXT NOT NULL,
        this_update INTEGER NOT NULL,
        next_update INTEGER NOT NULL,
        entries INTEGER NOT NULL,
        der BLOB NOT NULL,
        created_at INTEGER NOT NULL
      )`,
      'CREATE UNIQUE INDEX imported_crl_authority ON imported_crl (authority_id)',
    ],
  },
  {
    // one index has all that a CRL says, in the order of changes: a list is read without the rows, a delta is its tail
    id: '0450-ca-crl-parts',
    statements: [
      'DROP INDEX certificate_revoked',
      `CREATE INDEX certificate_changed ON certificate
        (authority_id, crl_shard, changed_at, serial_number, revoked_at, revocation_reason, not_after, version)
        WHERE changed_at IS NOT NULL`,
      `CREATE TABLE crl_part (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        crl_id TEXT NOT NULL,
        authority_id TEXT NOT NULL,
        shard INTEGER NOT NULL,
        crl_number INTEGER NOT NULL,
        number INTEGER NOT NULL,
        octets BLOB NOT NULL
      )`,
      'CREATE UNIQUE INDEX crl_part_number ON crl_part (crl_id, number)',
      'CREATE INDEX crl_part_list ON crl_part (authority_id, shard, crl_number)',
      'ALTER TABLE crl ADD COLUMN is_delta INTEGER NOT NULL DEFAULT 0',
      'ALTER TABLE crl ADD COLUMN base_number INTEGER',
      'ALTER TABLE crl ADD COLUMN size INTEGER NOT NULL DEFAULT 0',
      "ALTER TABLE crl ADD COLUMN change_mark TEXT NOT NULL DEFAULT ''", // differs from every real one: a new list is due
      `INSERT INTO crl_part (id, organization_id, version, crl_id, authority_id, shard, crl_number, number, octets)
        SELECT id, organization_id, 1, id, authority_id, shard, crl_number, 0, der FROM crl`,
      'UPDATE crl SET size = length(der)',
      'ALTER TABLE crl DROP COLUMN der',
    ],
  },
  {
    id: '0460-ca-authority-revocation',
    statements: [
      'ALTER TABLE authority ADD COLUMN crl_delta_seconds INTEGER',
      // by authority id; one without a row signs on request
      `CREATE TABLE ocsp_policy (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        mode TEXT NOT NULL,
        validity_seconds INTEGER
      )`,
      // answers for certificates whose serial numbers follow each other, packed: see ocsp-blocks.ts
      `CREATE TABLE ocsp_block (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        authority_id TEXT NOT NULL,
        first_serial BLOB NOT NULL,
        responder_id TEXT NOT NULL,
        signed_at INTEGER NOT NULL,
        valid_until INTEGER NOT NULL,
        entries INTEGER NOT NULL,
        answers BLOB NOT NULL
      )`,
      'CREATE UNIQUE INDEX ocsp_block_serial ON ocsp_block (authority_id, first_serial)',
      'CREATE INDEX ocsp_block_signed ON ocsp_block (authority_id, signed_at)',
      // among a million certificates, the few of responders
      "CREATE INDEX certificate_responder ON certificate (authority_id, id) WHERE profile = 'ocsp-responder'",
    ],
  },
  {
    // the many that are active do not touch it
    id: '0470-ca-certificate-state',
    statements: ["CREATE INDEX certificate_state ON certificate (organization_id, state) WHERE state <> 'active'"],
  },
  {
    // at most one row: since when this database is one that was restored, and whether it may issue again
    id: '0480-ca-restoration',
    statements: [
      `CREATE TABLE restoration (
        organization_id TEXT PRIMARY KEY,
        version INTEGER NOT NULL,
        state TEXT NOT NULL,
        backup_id TEXT NOT NULL,
        backup_at INTEGER NOT NULL,
        restored_at INTEGER NOT NULL,
        opened_at INTEGER
      )`,
    ],
  },
]
