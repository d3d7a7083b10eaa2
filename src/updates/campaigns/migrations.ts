/**
 * The tables of campaigns and of the door that devices come to. Only files of this folder read or write them.
 *
 * What must hold whatever the code does: a device is in a campaign once, and has one open action at most.
 *
 * @module
 */
import type { Migration } from '#store/database.ts'
import { actionStates, campaignStates, OPEN_STATES } from './states.ts'

const words = (list: readonly string[]): string => list.map((word) => `'${word}'`).join(', ')

export const campaignsMigrations: readonly Migration[] = [
  {
    id: '0620-updates-campaign',
    statements: [
      // terms as JSON: read whole; planned_after: the last device that was listed, while it is planned
      `CREATE TABLE campaign (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        name TEXT NOT NULL,
        terms TEXT NOT NULL,
        release_id TEXT NOT NULL,
        component TEXT NOT NULL,
        release_version TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN (${words(campaignStates)})),
        reason TEXT,
        size INTEGER NOT NULL,
        wave INTEGER NOT NULL,
        planned_after TEXT,
        created_at INTEGER NOT NULL,
        started_at INTEGER,
        ended_at INTEGER,
        UNIQUE (organization_id, name)
      )`,
      "CREATE INDEX campaign_live ON campaign (organization_id, id) WHERE state IN ('planning', 'running')",
      `CREATE TABLE campaign_wave (
        campaign_id TEXT NOT NULL REFERENCES campaign (id),
        wave INTEGER NOT NULL,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        size INTEGER NOT NULL,
        opened_at INTEGER,
        PRIMARY KEY (campaign_id, wave)
      )`,
      // number: what devices call the action; said: what the device says came of it; position: by chance, for the waves
      `CREATE TABLE campaign_action (
        number INTEGER PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        campaign_id TEXT NOT NULL REFERENCES campaign (id),
        device_id TEXT NOT NULL,
        position INTEGER NOT NULL,
        wave INTEGER,
        state TEXT NOT NULL CHECK (state IN (${words(actionStates)})),
        reason TEXT,
        detail TEXT,
        said TEXT,
        contradictions INTEGER NOT NULL,
        is_cancel_asked INTEGER NOT NULL CHECK (is_cancel_asked IN (0, 1)),
        consent_id TEXT,
        offered_at INTEGER,
        changed_at INTEGER NOT NULL,
        CHECK (state <> 'succeeded' OR reason IS NULL)
      )`,
      'CREATE UNIQUE INDEX campaign_action_device ON campaign_action (campaign_id, device_id)',
      `CREATE UNIQUE INDEX campaign_action_open ON campaign_action (device_id) WHERE state IN (${OPEN_STATES})`,
      'CREATE INDEX campaign_action_wave ON campaign_action (campaign_id, wave, state, number)',
      "CREATE INDEX campaign_action_done ON campaign_action (device_id, number) WHERE state = 'succeeded'",
    ],
  },
  {
    id: '0621-updates-campaign-papers',
    statements: [
      // octets: what was agreed to, as it was written down; its SHA-256 is in the director's statement
      `CREATE TABLE campaign_consent (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        campaign_id TEXT NOT NULL REFERENCES campaign (id),
        owner_id TEXT,
        octets BLOB NOT NULL,
        created_at INTEGER NOT NULL
      )`,
      'CREATE INDEX campaign_consent_campaign ON campaign_consent (campaign_id, id)',
      // the statements that were given to the device of this action, with what belongs to them
      `CREATE TABLE campaign_paper (
        number INTEGER NOT NULL REFERENCES campaign_action (number),
        name TEXT NOT NULL,
        organization_id TEXT NOT NULL,
        octets BLOB NOT NULL,
        expires_at INTEGER NOT NULL,
        PRIMARY KEY (number, name)
      )`,
      `CREATE TABLE campaign_feedback (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        number INTEGER NOT NULL REFERENCES campaign_action (number),
        execution TEXT NOT NULL,
        finished TEXT NOT NULL,
        code INTEGER,
        details TEXT NOT NULL,
        created_at INTEGER NOT NULL
      )`,
      'CREATE INDEX campaign_feedback_action ON campaign_feedback (number, id)',
      // weak digests beside the strong one: clients of others compare them
      `CREATE TABLE campaign_artifact (
        release_id TEXT NOT NULL,
        name TEXT NOT NULL,
        organization_id TEXT NOT NULL,
        format TEXT NOT NULL,
        octets INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        sha1 TEXT NOT NULL,
        md5 TEXT NOT NULL,
        PRIMARY KEY (release_id, name)
      )`,
    ],
  },
  {
    id: '0622-updates-ddi',
    statements: [
      `CREATE TABLE ddi_tenant (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        name TEXT NOT NULL,
        polling_seconds INTEGER NOT NULL,
        takes_tokens INTEGER NOT NULL CHECK (takes_tokens IN (0, 1)),
        state TEXT NOT NULL CHECK (state IN ('enabled', 'disabled')),
        created_at INTEGER NOT NULL
      )`,
      'CREATE UNIQUE INDEX ddi_tenant_name ON ddi_tenant (name)',
      // token_hash: SHA-256, of a secret that was drawn by chance
      `CREATE TABLE ddi_token (
        device_id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        token_hash BLOB NOT NULL,
        created_at INTEGER NOT NULL
      )`,
      `CREATE TABLE ddi_attributes (
        device_id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        data TEXT NOT NULL,
        changed_at INTEGER NOT NULL
      )`,
      `CREATE TABLE ddi_auto_confirmation (
        device_id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        initiator TEXT,
        remark TEXT,
        created_at INTEGER NOT NULL
      )`,
      // when devices of campaigns were last heard of, to within some minutes
      `CREATE TABLE ddi_contact (
        device_id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        seen_at INTEGER NOT NULL
      )`,
    ],
  },
  {
    id: '0623-updates-ddi-epoch',
    statements: [
      // of the ownership in which it was given; what is from before this was noted holds no more
      'ALTER TABLE ddi_token ADD COLUMN epoch INTEGER NOT NULL DEFAULT -1',
      'ALTER TABLE ddi_auto_confirmation ADD COLUMN epoch INTEGER NOT NULL DEFAULT -1',
    ],
  },
]
