/**
 * The tables of births: who may bear what, challenges that any node can answer, and what was used up.
 *
 * @module
 */
import type { Migration } from '#store/database.ts'

export const birthMigrations: readonly Migration[] = [
  {
    id: '0555-devices-birth',
    statements: [
      // a production line: what it bears, under which authority, for which stations; lists as JSON, read whole
      `CREATE TABLE birth_line (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        name TEXT NOT NULL,
        model_id TEXT NOT NULL REFERENCES product_model (id),
        revision_id TEXT REFERENCES hardware_revision (id),
        terms TEXT NOT NULL,
        state TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        UNIQUE (organization_id, name)
      )`,
      // facts: what was found out about the TPM, for the birth record. No secret: of the credential only its hash
      `CREATE TABLE birth_challenge (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        line_id TEXT NOT NULL REFERENCES birth_line (id),
        product_serial TEXT NOT NULL,
        station TEXT NOT NULL,
        endorsement_hash BLOB NOT NULL,
        attestation_key BLOB NOT NULL,
        credential_hash BLOB NOT NULL,
        nonce BLOB NOT NULL,
        facts TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('open', 'used', 'failed')),
        expires_at INTEGER NOT NULL,
        created_at INTEGER NOT NULL
      )`,
      'CREATE INDEX birth_challenge_end ON birth_challenge (expires_at)',
      // the same request of the same station gets the same certificate: what a stop in between left is found again
      `CREATE TABLE birth_answer (
        organization_id TEXT NOT NULL,
        station TEXT NOT NULL,
        request_hash BLOB NOT NULL,
        certificate_id TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        PRIMARY KEY (organization_id, station, request_hash)
      )`,
      'CREATE INDEX birth_answer_age ON birth_answer (created_at)',
      // of the whole installation: a TPM is in one device, whoever bears it
      `CREATE TABLE birth_endorsement (
        endorsement_hash BLOB PRIMARY KEY,
        organization_id TEXT NOT NULL,
        certificate_id TEXT NOT NULL,
        created_at INTEGER NOT NULL
      )`,
      // endorsement keys that are taken without a certificate, by the SHA-256 of the SubjectPublicKeyInfo
      `CREATE TABLE endorsement_allowed (
        endorsement_hash BLOB NOT NULL,
        organization_id TEXT NOT NULL,
        source TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        PRIMARY KEY (organization_id, endorsement_hash)
      )`,
    ],
  },
  {
    id: '0556-devices-secure-element',
    statements: [
      // who signs manifests; `certificate` is DER, believed because an officer said so
      `CREATE TABLE manifest_signer (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        name TEXT NOT NULL,
        fingerprint BLOB NOT NULL,
        certificate BLOB NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('enabled', 'disabled')),
        created_at INTEGER NOT NULL,
        UNIQUE (organization_id, name),
        UNIQUE (organization_id, fingerprint)
      )`,
      // purchased: on a reel. mounted: in a device that is born. blocked: never to be born
      `CREATE TABLE secure_element (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        unique_id TEXT NOT NULL,
        signer_id TEXT NOT NULL REFERENCES manifest_signer (id),
        part_number TEXT NOT NULL,
        manufacturer TEXT NOT NULL,
        group_id TEXT,
        manifest TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('purchased', 'mounted', 'blocked')),
        certificate_id TEXT,
        created_at INTEGER NOT NULL,
        changed_at INTEGER NOT NULL,
        UNIQUE (organization_id, unique_id)
      )`,
      // a key is in one chip; slot: as the manifest calls it
      `CREATE TABLE secure_element_key (
        key_hash BLOB PRIMARY KEY,
        organization_id TEXT NOT NULL,
        element_id TEXT NOT NULL REFERENCES secure_element (id),
        slot TEXT NOT NULL
      )`,
      'CREATE INDEX secure_element_key_element ON secure_element_key (element_id)',
    ],
  },
  {
    id: '0557-devices-external-key',
    statements: [
      // a key that was made outside of its device: who got it, and who says that it is nowhere else. Never the key
      `CREATE TABLE external_key (
        certificate_id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        line_id TEXT NOT NULL REFERENCES birth_line (id),
        product_serial TEXT NOT NULL,
        key_hash BLOB NOT NULL,
        maker TEXT NOT NULL,
        unit BLOB NOT NULL,
        message_hash BLOB,
        state TEXT NOT NULL CHECK (state IN ('delivered', 'destroyed')),
        receipt TEXT,
        created_at INTEGER NOT NULL,
        changed_at INTEGER NOT NULL
      )`,
      'CREATE INDEX external_key_serial ON external_key (product_serial)',
      "CREATE INDEX external_key_open ON external_key (created_at) WHERE state = 'delivered'",
    ],
  },
]
