/** The tables of approvals: what was asked, and who said what to it. @module */
import type { Migration } from '#store/database.ts'

export const approvalsMigrations: readonly Migration[] = [
  {
    id: '0350-approvals',
    statements: [
      `CREATE TABLE approval (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        kind TEXT NOT NULL,
        object TEXT NOT NULL,
        act TEXT NOT NULL,
        act_digest BLOB NOT NULL,
        digest BLOB NOT NULL,
        asked_by TEXT NOT NULL,
        reason TEXT NOT NULL,
        rule TEXT NOT NULL,
        round INTEGER NOT NULL,
        state TEXT NOT NULL,
        uses INTEGER NOT NULL,
        uses_max INTEGER NOT NULL,
        asked_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        decided_at INTEGER
      )`,
      // one open request of a person for one act: asking again finds it
      `CREATE UNIQUE INDEX approval_open ON approval (organization_id, asked_by, digest) WHERE state IN ('pending', 'approved')`,
      'CREATE INDEX approval_usable ON approval (organization_id, object, act_digest)',
      'CREATE INDEX approval_state ON approval (organization_id, state, id)',
      `CREATE TABLE approval_vote (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        approval_id TEXT NOT NULL REFERENCES approval (id),
        round INTEGER NOT NULL,
        person_id TEXT NOT NULL,
        vote TEXT NOT NULL,
        comment TEXT NOT NULL,
        voted_at INTEGER NOT NULL,
        UNIQUE (approval_id, round, person_id)
      )`,
    ],
  },
]
