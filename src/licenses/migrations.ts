/** Makers that license what they made, their pools, and the licenses with all that took their place. @module */
import type { Migration } from '#store/database.ts'

export const licensesMigrations: readonly Migration[] = [
  {
    id: '0620-licenses',
    statements: [
      // pools: grows with each change of a pool; last_number: of what devices fetch; revocations: grows with each change of what
      // the status list says, status_revocations: as the last signed one has it; pending: the payload that waits to be signed
      `CREATE TABLE license_maker (
        organization_id TEXT NOT NULL,
        maker TEXT NOT NULL,
        version INTEGER NOT NULL,
        signer TEXT NOT NULL,
        pools INTEGER NOT NULL,
        last_number INTEGER NOT NULL,
        revocations INTEGER NOT NULL,
        status_version INTEGER NOT NULL,
        status_revocations INTEGER NOT NULL,
        status_number INTEGER NOT NULL,
        status_octets BLOB,
        status_at INTEGER,
        pending BLOB,
        pending_revocations INTEGER,
        PRIMARY KEY (organization_id, maker)
      )`,
      `CREATE TABLE license_pool (
        organization_id TEXT NOT NULL,
        maker TEXT NOT NULL,
        feature TEXT NOT NULL,
        version INTEGER NOT NULL,
        most INTEGER NOT NULL CHECK (most >= 0),
        taken INTEGER NOT NULL CHECK (taken >= 0),
        PRIMARY KEY (organization_id, maker, feature)
      )`,
      // sequence: of the last that was signed; least_sequence: what the status list says; device_epoch: the owner's, of one that
      // is not transferable
      `CREATE TABLE license (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        maker TEXT NOT NULL,
        model TEXT NOT NULL,
        device_id TEXT NOT NULL,
        product_serial TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('asked', 'issued', 'revoked')),
        sequence INTEGER NOT NULL,
        least_sequence INTEGER NOT NULL,
        device_epoch INTEGER,
        ends_at INTEGER,
        created_at INTEGER NOT NULL,
        changed_at INTEGER NOT NULL
      )`,
      'CREATE INDEX license_device ON license (device_id)',
      'CREATE INDEX license_listed ON license (organization_id, maker, least_sequence)',
      `CREATE TABLE license_version (
        license_id TEXT NOT NULL REFERENCES license (id),
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        maker TEXT NOT NULL,
        device_id TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('asked', 'issued')),
        terms_hash TEXT NOT NULL,
        recalls INTEGER NOT NULL CHECK (recalls IN (0, 1)),
        form TEXT NOT NULL,
        payload BLOB NOT NULL,
        octets BLOB,
        number INTEGER,
        asked_at INTEGER NOT NULL,
        PRIMARY KEY (license_id, sequence)
      )`,
      // who asks for the same again goes on with what was asked for
      `CREATE UNIQUE INDEX license_version_asked ON license_version (organization_id, terms_hash) WHERE state = 'asked'`,
      'CREATE INDEX license_version_number ON license_version (device_id, number)',
      // of each feature that a license ever had: a place is a license's for as long as it is not given back
      `CREATE TABLE license_place (
        license_id TEXT NOT NULL REFERENCES license (id),
        organization_id TEXT NOT NULL,
        maker TEXT NOT NULL,
        feature TEXT NOT NULL,
        PRIMARY KEY (license_id, feature)
      )`,
      'CREATE INDEX license_place_feature ON license_place (organization_id, maker, feature)',
    ],
  },
]
