/**
 * The tables of devices. Only files of this room read or write them.
 *
 * What must hold whatever the code does stands in unique keys, references and checks: a device's serial once for its maker, a
 * key once for all devices, one birth, one open epoch, one current operational certificate, and no change of state that
 * `device_step` does not list.
 *
 * @module
 */
import type { Migration } from '#store/database.ts'
import { deviceStates, statePairs } from './states.ts'

const STATES = deviceStates.map((state) => `'${state}'`).join(', ')

export const devicesMigrations: readonly Migration[] = [
  {
    id: '0550-devices-catalog',
    statements: [
      // whoever makes, owns or services devices; `organization_id` is the tenant, as everywhere
      `CREATE TABLE organization (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        name TEXT NOT NULL,
        title TEXT NOT NULL,
        kind TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        UNIQUE (organization_id, name)
      )`,
      // lists as JSON: they are read whole, with the model
      `CREATE TABLE product_model (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        manufacturer_id TEXT NOT NULL REFERENCES organization (id),
        name TEXT NOT NULL,
        title TEXT NOT NULL,
        hardware_type TEXT,
        compatible TEXT NOT NULL,
        variants TEXT NOT NULL,
        assurance_min INTEGER NOT NULL CHECK (assurance_min BETWEEN 0 AND 4),
        state TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        UNIQUE (manufacturer_id, name)
      )`,
      `CREATE TABLE hardware_revision (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        model_id TEXT NOT NULL REFERENCES product_model (id),
        name TEXT NOT NULL,
        compatible TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        UNIQUE (model_id, name)
      )`,
      // authority: the address of the authority that issues for it, and for nothing else; models: NULL for any
      `CREATE TABLE application_area (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        owner_id TEXT NOT NULL REFERENCES organization (id),
        name TEXT NOT NULL,
        title TEXT NOT NULL,
        authority TEXT NOT NULL,
        profiles TEXT NOT NULL,
        policy TEXT NOT NULL,
        assurance_min INTEGER NOT NULL CHECK (assurance_min BETWEEN 0 AND 4),
        models TEXT,
        state TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        UNIQUE (owner_id, name)
      )`,
    ],
  },
  {
    id: '0551-devices-device',
    statements: [
      `CREATE TABLE device (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        manufacturer_id TEXT NOT NULL REFERENCES organization (id),
        model_id TEXT NOT NULL REFERENCES product_model (id),
        revision_id TEXT REFERENCES hardware_revision (id),
        kind TEXT NOT NULL,
        product_serial TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN (${STATES})),
        quarantined_from TEXT CHECK ((quarantined_from IS NULL) = (state <> 'quarantined')),
        given_from TEXT,
        assurance INTEGER NOT NULL CHECK (assurance BETWEEN 0 AND 4),
        epoch INTEGER NOT NULL CHECK (epoch >= 0),
        owner_id TEXT REFERENCES organization (id),
        area_id TEXT REFERENCES application_area (id),
        next_area_id TEXT REFERENCES application_area (id),
        is_lost INTEGER NOT NULL CHECK (is_lost IN (0, 1)),
        is_stolen INTEGER NOT NULL CHECK (is_stolen IN (0, 1)),
        is_clone INTEGER NOT NULL CHECK (is_clone IN (0, 1)),
        created_at INTEGER NOT NULL,
        changed_at INTEGER NOT NULL
      )`,
      // without regard to case, as births are kept apart in the CA: X.520, 6.2.9
      'CREATE UNIQUE INDEX device_serial ON device (lower(product_serial), manufacturer_id)',
      'CREATE INDEX device_owner ON device (owner_id, id) WHERE owner_id IS NOT NULL',
      'CREATE INDEX device_area ON device (area_id, id) WHERE area_id IS NOT NULL',
      'CREATE INDEX device_model ON device (model_id, id)',
      "CREATE INDEX device_state ON device (organization_id, state, id) WHERE state <> 'active'",
      `CREATE TABLE device_key (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        device_id TEXT NOT NULL REFERENCES device (id),
        key_hash BLOB NOT NULL,
        purpose TEXT NOT NULL,
        origin TEXT NOT NULL,
        created_at INTEGER NOT NULL
      )`,
      // of the whole installation, whoever owns it: a key that two devices have is a copy
      'CREATE UNIQUE INDEX device_key_hash ON device_key (key_hash)',
      'CREATE INDEX device_key_device ON device_key (device_id)',
      // written once: a device is born once, and a key is born once
      `CREATE TABLE birth_record (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        device_id TEXT NOT NULL REFERENCES device (id),
        key_hash BLOB NOT NULL,
        certificate_id TEXT NOT NULL,
        variant TEXT NOT NULL,
        assurance INTEGER NOT NULL,
        job TEXT,
        node TEXT,
        station TEXT,
        operator TEXT,
        log_number INTEGER,
        evidence TEXT NOT NULL,
        digest TEXT NOT NULL,
        born_at INTEGER NOT NULL,
        created_at INTEGER NOT NULL
      )`,
      'CREATE UNIQUE INDEX birth_record_device ON birth_record (device_id)',
      'CREATE UNIQUE INDEX birth_record_key ON birth_record (key_hash)',
      'CREATE INDEX birth_record_job ON birth_record (job, log_number) WHERE job IS NOT NULL',
      `CREATE TABLE ownership_epoch (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        device_id TEXT NOT NULL REFERENCES device (id),
        epoch INTEGER NOT NULL,
        owner_id TEXT NOT NULL REFERENCES organization (id),
        opened_at INTEGER NOT NULL,
        closed_at INTEGER
      )`,
      'CREATE UNIQUE INDEX ownership_epoch_number ON ownership_epoch (device_id, epoch)',
      'CREATE UNIQUE INDEX ownership_epoch_open ON ownership_epoch (device_id) WHERE closed_at IS NULL',
      `CREATE TABLE area_assignment (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        device_id TEXT NOT NULL REFERENCES device (id),
        area_id TEXT NOT NULL REFERENCES application_area (id),
        epoch INTEGER NOT NULL,
        opened_at INTEGER NOT NULL,
        closed_at INTEGER
      )`,
      'CREATE UNIQUE INDEX area_assignment_open ON area_assignment (device_id) WHERE closed_at IS NULL',
      'CREATE INDEX area_assignment_device ON area_assignment (device_id, opened_at)',
    ],
  },
  {
    id: '0552-devices-certificate',
    statements: [
      // of the CA's certificates, by their ids: what they are to the device. `due`: what the CA still has to be told
      `CREATE TABLE device_certificate (
        certificate_id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        device_id TEXT NOT NULL REFERENCES device (id),
        key_hash BLOB NOT NULL,
        role TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        area_id TEXT REFERENCES application_area (id),
        standing TEXT NOT NULL,
        due TEXT,
        created_at INTEGER NOT NULL
      )`,
      'CREATE INDEX device_certificate_device ON device_certificate (device_id, created_at)',
      `CREATE UNIQUE INDEX device_certificate_current ON device_certificate (device_id)
        WHERE role = 'operational' AND standing = 'current'`,
      'CREATE INDEX device_certificate_due ON device_certificate (certificate_id) WHERE due IS NOT NULL',
      // what enrollment at an endpoint of the CA means for devices; an endpoint without a row is not asked about them
      `CREATE TABLE device_endpoint (
        endpoint_id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        rule TEXT NOT NULL,
        created_at INTEGER NOT NULL
      )`,
    ],
  },
  {
    id: '0553-devices-event',
    statements: [
      'CREATE TABLE device_step (from_state TEXT NOT NULL, to_state TEXT NOT NULL, PRIMARY KEY (from_state, to_state))',
      `INSERT INTO device_step (from_state, to_state) VALUES ${statePairs.map(([from, to]) => `('${from}', '${to}')`).join(', ')}`,
      // one for each version of the device: whoever changed it on an older one loses; both states or none
      `CREATE TABLE device_event (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        device_id TEXT NOT NULL REFERENCES device (id),
        version INTEGER NOT NULL,
        act TEXT NOT NULL,
        from_state TEXT,
        to_state TEXT,
        epoch INTEGER NOT NULL,
        actor TEXT NOT NULL,
        facts TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        FOREIGN KEY (from_state, to_state) REFERENCES device_step (from_state, to_state)
      )`,
      'CREATE UNIQUE INDEX device_event_version ON device_event (device_id, version)',
    ],
  },
  {
    // among a million devices, the few of which something is said
    id: '0554-devices-flagged',
    statements: ['CREATE INDEX device_flagged ON device (organization_id, id) WHERE is_lost + is_stolen + is_clone > 0'],
  },
  {
    // a pair of areas may have several: each says which topics
    id: '0557-devices-conduit',
    statements: [
      `CREATE TABLE area_conduit (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        from_area_id TEXT NOT NULL REFERENCES application_area (id),
        to_area_id TEXT NOT NULL REFERENCES application_area (id),
        topics TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        UNIQUE (from_area_id, to_area_id, topics)
      )`,
      'CREATE INDEX area_conduit_to ON area_conduit (to_area_id)',
    ],
  },
  {
    // 'anyone': with the role, as it was before there were bindings; 'bound': those who are listed
    id: '0558-devices-speakers',
    statements: [
      "ALTER TABLE organization ADD COLUMN speakers TEXT NOT NULL DEFAULT 'anyone'",
      `CREATE TABLE organization_speaker (
        party_id TEXT NOT NULL REFERENCES organization (id),
        actor TEXT NOT NULL,
        organization_id TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        PRIMARY KEY (party_id, actor)
      )`,
    ],
  },
  {
    // `gateway_list`: what the owner signed, each with the next number; `gateway_binding`: who speaks for whom by the newest, and before
    id: '0574-devices-gateway',
    statements: [
      `CREATE TABLE gateway_list (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        gateway_id TEXT NOT NULL REFERENCES device (id),
        number INTEGER NOT NULL CHECK (number > 0),
        epoch INTEGER NOT NULL,
        statement TEXT NOT NULL,
        hash TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        UNIQUE (gateway_id, number)
      )`,
      `CREATE TABLE gateway_binding (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        device_id TEXT NOT NULL REFERENCES device (id),
        gateway_id TEXT NOT NULL REFERENCES device (id),
        device_epoch INTEGER NOT NULL,
        gateway_epoch INTEGER NOT NULL,
        port TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        assurance INTEGER NOT NULL CHECK (assurance BETWEEN 0 AND 1),
        opened_at INTEGER NOT NULL,
        closed_at INTEGER,
        CHECK (device_id <> gateway_id)
      )`,
      'CREATE UNIQUE INDEX gateway_binding_open ON gateway_binding (device_id) WHERE closed_at IS NULL',
      'CREATE INDEX gateway_binding_gateway ON gateway_binding (gateway_id) WHERE closed_at IS NULL',
      'CREATE INDEX gateway_binding_device ON gateway_binding (device_id, opened_at)',
    ],
  },
]
