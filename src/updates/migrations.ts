/**
 * The tables of updates. Only files of this room read or write them; those of campaigns are in their folder.
 *
 * What must hold whatever the code does stands in keys and checks: a counter once for a model's component, a version once, and a
 * number once for a device's statements.
 *
 * @module
 */
import type { Migration } from '#store/database.ts'

export const updatesMigrations: readonly Migration[] = [
  {
    id: '0900-updates-releases',
    statements: [
      // the last counter that was given; drafts that came to nothing leave gaps, and none is given twice
      `CREATE TABLE release_counter (
        organization_id TEXT NOT NULL,
        model_id TEXT NOT NULL,
        component TEXT NOT NULL,
        counter INTEGER NOT NULL CHECK (counter > 0),
        PRIMARY KEY (organization_id, model_id, component)
      )`,
      // source, requires: JSON; manifest: what was approved, in its encoding; message: signed
      `CREATE TABLE software_release (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        component TEXT NOT NULL,
        release_version TEXT NOT NULL,
        counter INTEGER NOT NULL CHECK (counter > 0),
        source TEXT,
        requires TEXT NOT NULL,
        feature TEXT,
        sbom TEXT,
        state TEXT NOT NULL CHECK (state IN ('draft', 'approved', 'published', 'withdrawn')),
        manifest BLOB,
        message BLOB,
        approval_id TEXT,
        reason TEXT,
        created_by TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        published_at INTEGER,
        changed_at INTEGER NOT NULL,
        CHECK (state IN ('draft', 'withdrawn') OR (manifest IS NOT NULL AND approval_id IS NOT NULL)),
        CHECK (state <> 'published' OR message IS NOT NULL)
      )`,
      'CREATE INDEX software_release_component ON software_release (organization_id, component, id)',
      // component, version and counter again, so that they are unique for a model
      `CREATE TABLE release_model (
        release_id TEXT NOT NULL REFERENCES software_release (id),
        organization_id TEXT NOT NULL,
        model_id TEXT NOT NULL,
        manufacturer TEXT NOT NULL,
        model TEXT NOT NULL,
        revisions TEXT NOT NULL,
        component TEXT NOT NULL,
        release_version TEXT NOT NULL,
        counter INTEGER NOT NULL,
        PRIMARY KEY (release_id, model_id),
        UNIQUE (organization_id, model_id, component, release_version),
        UNIQUE (organization_id, model_id, component, counter)
      )`,
      // signer: the fingerprint of the certificate by which its signature is good; NULL until it has one
      `CREATE TABLE release_artifact (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        release_id TEXT NOT NULL REFERENCES software_release (id),
        name TEXT NOT NULL,
        format TEXT NOT NULL,
        octets INTEGER NOT NULL,
        digest TEXT NOT NULL,
        signer_name TEXT NOT NULL,
        signer TEXT,
        added_by TEXT NOT NULL,
        added_at INTEGER NOT NULL,
        UNIQUE (release_id, name)
      )`,
      'CREATE INDEX release_artifact_digest ON release_artifact (organization_id, digest)',
    ],
  },
  {
    id: '0905-updates-director',
    statements: [
      `CREATE TABLE director_statement (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        device_id TEXT NOT NULL,
        release_id TEXT NOT NULL REFERENCES software_release (id),
        component TEXT NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('install', 'rollback')),
        action TEXT NOT NULL,
        sequence INTEGER NOT NULL CHECK (sequence > 0),
        digest TEXT NOT NULL,
        octets BLOB NOT NULL,
        entry TEXT NOT NULL,
        issued_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        UNIQUE (device_id, sequence)
      )`,
      'CREATE INDEX director_statement_release ON director_statement (release_id, id)',
      // the newest number of each device: it stays when statements go
      `CREATE TABLE director_sequence (
        device_id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        last INTEGER NOT NULL CHECK (last > 0)
      )`,
      // counter: NULL for what is no release here; source: how well it is known
      `CREATE TABLE installed_version (
        device_id TEXT NOT NULL,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        component TEXT NOT NULL,
        installed TEXT NOT NULL,
        counter INTEGER,
        digest TEXT,
        release_id TEXT,
        source TEXT NOT NULL CHECK (source IN ('reported', 'signed', 'attested')),
        at INTEGER NOT NULL,
        PRIMARY KEY (device_id, component)
      )`,
      'CREATE INDEX installed_version_component ON installed_version (organization_id, component, installed)',
      `CREATE TABLE software_event (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        device_id TEXT NOT NULL,
        component TEXT NOT NULL,
        previous TEXT,
        installed TEXT NOT NULL,
        counter INTEGER,
        source TEXT NOT NULL,
        at INTEGER NOT NULL
      )`,
      'CREATE INDEX software_event_device ON software_event (device_id, id)',
    ],
  },
  {
    id: '0906-updates-no-events',
    // nobody read it, and a device could fill it; what runs is in installed_version, and that it changed in the outbox
    statements: ['DROP TABLE software_event'],
  },
]
