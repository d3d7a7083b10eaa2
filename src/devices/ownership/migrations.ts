/** The tables of ownership. Only files of this folder read or write them. @module */
import type { Migration } from '#store/database.ts'

export const ownershipMigrations: readonly Migration[] = [
  {
    id: '0556-ownership',
    statements: [
      // of organizations here and elsewhere; key_label: of the private half, where it is here. Former ones stay, for what they signed
      `CREATE TABLE ownership_key (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        party_id TEXT NOT NULL REFERENCES organization (id),
        thumbprint TEXT NOT NULL,
        public_key BLOB NOT NULL,
        key_label TEXT,
        state TEXT NOT NULL,
        created_at INTEGER NOT NULL
      )`,
      'CREATE UNIQUE INDEX ownership_key_thumbprint ON ownership_key (organization_id, thumbprint)',
      "CREATE UNIQUE INDEX ownership_key_current ON ownership_key (party_id) WHERE state = 'current'",
      // the chain: written once, one for each epoch
      `CREATE TABLE ownership_entry (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        device_id TEXT NOT NULL REFERENCES device (id),
        epoch INTEGER NOT NULL,
        kind TEXT NOT NULL,
        statement TEXT NOT NULL,
        hash TEXT NOT NULL,
        created_at INTEGER NOT NULL
      )`,
      'CREATE UNIQUE INDEX ownership_entry_epoch ON ownership_entry (device_id, epoch)',
      // birth certificates that another installation issued, with those above them: DER in base64, as JSON
      `CREATE TABLE ownership_birth (
        device_id TEXT PRIMARY KEY REFERENCES device (id),
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        certificates TEXT NOT NULL,
        created_at INTEGER NOT NULL
      )`,
      // device: the hash of its birth key, as statements name it; device_id: NULL until a device from elsewhere is the buyer's
      `CREATE TABLE ownership_transfer (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        device TEXT NOT NULL,
        device_id TEXT REFERENCES device (id),
        epoch INTEGER NOT NULL,
        seller TEXT NOT NULL,
        buyer TEXT NOT NULL,
        buyer_id TEXT REFERENCES organization (id),
        sells_here INTEGER NOT NULL,
        buys_here INTEGER NOT NULL,
        state TEXT NOT NULL,
        offer TEXT NOT NULL,
        answer TEXT,
        expires_at INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        changed_at INTEGER NOT NULL
      )`,
      `CREATE UNIQUE INDEX ownership_transfer_open ON ownership_transfer (organization_id, device)
        WHERE state IN ('offered', 'accepted', 'releasing', 'released')`,
      "CREATE INDEX ownership_transfer_expiry ON ownership_transfer (expires_at) WHERE state IN ('offered', 'accepted')",
      'CREATE INDEX ownership_transfer_device ON ownership_transfer (device, id)',
      `CREATE TABLE ownership_recovery (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        device_id TEXT NOT NULL REFERENCES device (id),
        epoch INTEGER NOT NULL,
        claimant_id TEXT NOT NULL REFERENCES organization (id),
        state TEXT NOT NULL,
        nonce TEXT NOT NULL,
        notice TEXT,
        answer TEXT,
        objection TEXT,
        ends_at INTEGER,
        created_at INTEGER NOT NULL,
        changed_at INTEGER NOT NULL
      )`,
      `CREATE UNIQUE INDEX ownership_recovery_open ON ownership_recovery (device_id)
        WHERE state IN ('published', 'completing')`,
    ],
  },
  {
    // to recoveries that are published elsewhere: held against chains that come from there. device: as statements name it
    id: '0573-ownership-objection',
    statements: [
      `CREATE TABLE ownership_objection (
        notice TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        device TEXT NOT NULL,
        statement TEXT NOT NULL,
        created_at INTEGER NOT NULL
      )`,
      'CREATE INDEX ownership_objection_device ON ownership_objection (device)',
    ],
  },
  {
    // how many an organization offered of late
    id: '0572-ownership-seller',
    statements: ['CREATE INDEX ownership_transfer_seller ON ownership_transfer (organization_id, seller, created_at)'],
  },
  {
    // how many claims of a device, and of a claimant, wait for the device
    id: '0575-ownership-asked',
    statements: [
      "CREATE INDEX ownership_recovery_device ON ownership_recovery (device_id) WHERE state = 'asked'",
      "CREATE INDEX ownership_recovery_claimant ON ownership_recovery (claimant_id) WHERE state = 'asked'",
    ],
  },
]
