/**
 * Which room may import which, and why a tempting edge is not there.
 *
 * `tools/tidy.test.ts` enforces this table and keeps the copy in ARCHITECTURE.md equal to it.
 *
 * @module
 */
export interface Room {
  readonly holds: string
  readonly mayImport: readonly string[]
  /** Edges someone will want one day, and the reason they are refused. */
  readonly never?: Readonly<Record<string, string>>
}

const ENCODINGS = ['base', 'asn1', 'algorithms', 'x509', 'cms'] as const

export const rooms: Readonly<Record<string, Room>> = {
  base: { holds: 'errors and their sentences, octets, time and chance, secrets, log', mayImport: [] },
  asn1: { holds: 'strict DER as schemas, BER made DER, PEM', mayImport: ['base'] },
  algorithms: {
    holds: 'one table of all algorithms: names, identifiers, sizes, standing; the policy of dates',
    mayImport: ['base', 'asn1'],
  },
  cbor: {
    holds: 'strict and deterministic CBOR, COSE signatures and keys',
    mayImport: ['base', 'algorithms'],
  },
  jose: { holds: 'strict JSON, JSON Web Signatures and Keys', mayImport: ['base', 'algorithms'] },
  x509: {
    holds: 'names, extensions, requests, certificates, CRLs, OCSP, path validation',
    mayImport: ['base', 'asn1', 'algorithms'],
  },
  cms: {
    holds: 'signed and encrypted messages, certificate bundles, PKCS #12',
    mayImport: ['base', 'asn1', 'algorithms', 'x509'],
  },
  tpm2: {
    holds: 'TPM 2.0: structures, attestation and policies checked, a client for devices and sockets',
    mayImport: ['base', 'asn1', 'algorithms', 'x509'],
  },
  store: { holds: 'SQL database contract and engines', mayImport: ['base'] },
  keys: { holds: 'key store contract and stores', mayImport: ['base', 'asn1', 'algorithms', 'store'] },
  audit: { holds: 'the append-only record of acts, its order and its proof', mayImport: ['base', 'store', 'keys', 'algorithms'] },
  access: { holds: 'people and services, their roles and tokens', mayImport: ['base', 'store', 'audit'] },
  approvals: { holds: 'what needs more than one person: who agreed to which act', mayImport: ['base', 'store', 'audit'] },
  config: { holds: 'settings and their checks', mayImport: ['base', 'asn1', 'algorithms'] },
  ca: {
    holds: 'authorities, profiles, lint, issue, revoke, CRL, OCSP answers',
    mayImport: [...ENCODINGS, 'keys', 'store', 'audit'],
    never: { protocols: 'issuance must not know which wire a request came over' },
  },
  signing: {
    holds: 'signing formats, signers, and what they signed',
    mayImport: [...ENCODINGS, 'cbor', 'jose', 'keys', 'store', 'audit', 'approvals'],
    never: { ca: 'a signing server runs without a CA beside it' },
  },
  devices: {
    holds: 'devices from birth to end: records, states, owners, areas, and what they may',
    mayImport: [...ENCODINGS, 'cbor', 'jose', 'tpm2', 'keys', 'store', 'audit', 'approvals'],
    never: { ca: 'it knows certificates by their ids; server/compose.ts hands the two to each other' },
  },
  orders: {
    holds: 'production orders: job tickets, counted issuing without a network, reconciliation',
    mayImport: [...ENCODINGS, 'jose', 'tpm2', 'keys', 'store', 'audit'],
    never: { ca: 'an issuing node takes the rules of issuing as a port, which server/compose.ts fills' },
  },
  updates: {
    holds: 'releases, their roll-out, and the statement that lets one device install one version',
    mayImport: [...ENCODINGS, 'cbor', 'jose', 'keys', 'store', 'audit', 'approvals', 'signing'],
    never: { devices: 'it names devices by their ids; server/compose.ts tells it what is known of them' },
  },
  licenses: {
    holds: 'licenses bound to a device’s birth key, issued, revoked and checked',
    mayImport: [...ENCODINGS, 'cbor', 'jose', 'keys', 'store', 'audit', 'approvals', 'signing'],
    never: { devices: 'the same as for updates' },
  },
  commands: {
    holds: 'commands to devices, who agreed to them, and the receipts that devices sign',
    mayImport: [...ENCODINGS, 'cbor', 'keys', 'store', 'audit', 'approvals', 'signing'],
    never: { devices: 'the same as for updates' },
  },
  usage: {
    holds: 'what devices counted, signed and chained by them, for billing',
    mayImport: [...ENCODINGS, 'cbor', 'store', 'audit'],
    never: { devices: 'the same as for updates' },
  },
  mqtt: {
    holds: 'message brokers: the built-in one and the one that runs beside, and what each device may say there',
    mayImport: ['base', 'asn1', 'algorithms', 'x509'],
    never: { devices: 'it asks a port who may connect and is told when somebody no longer may' },
  },
  agent: {
    holds: 'the device’s side: its key and certificate, whom it trusts, what it reports',
    mayImport: [
      ...ENCODINGS,
      'cbor',
      'jose',
      'tpm2',
      'signing',
      'protocols',
      'devices',
      'updates',
      'licenses',
      'commands',
      'usage',
    ],
    never: {
      store: 'the agent fits small devices; its file list is a golden file',
      ca: 'the same',
      server: 'the same',
    },
  },
  host: {
    holds: 'the secure host: images and their bundles, the trust anchor, launch',
    mayImport: [...ENCODINGS, 'cbor', 'jose', 'tpm2', 'signing'],
    never: { store: 'what is measured stays small enough to read', ca: 'the same', server: 'the same' },
  },
  backup: {
    holds: 'backups and restores, and the journal of what came after a backup',
    mayImport: [...ENCODINGS, 'keys', 'store', 'audit', 'ca'],
  },
  protocols: {
    holds: 'EST, OCSP, CRLs, time stamps and updates over HTTP, behind one shape',
    mayImport: [...ENCODINGS, 'jose'],
    never: {
      ca: 'a protocol names the service it needs; server/compose.ts hands it in',
      store: 'a protocol does not know about storage',
    },
  },
  server: {
    holds: 'listeners, people and rights, REST, composition',
    mayImport: [
      ...ENCODINGS,
      'keys',
      'store',
      'audit',
      'access',
      'approvals',
      'config',
      'ca',
      'signing',
      'devices',
      'orders',
      'updates',
      'licenses',
      'commands',
      'usage',
      'mqtt',
      'jose',
      'backup',
      'protocols',
    ],
  },
  trial: {
    holds: 'the trial factory that npm start plays',
    mayImport: [...ENCODINGS, 'config', 'protocols', 'server', 'cli'],
    never: { ca: 'the story uses the product from outside, as a plant would', store: 'the same' },
  },
  cli: {
    holds: 'one file per command',
    mayImport: [
      ...ENCODINGS,
      'config',
      'audit',
      'store',
      'signing',
      'devices',
      'orders',
      'updates',
      'licenses',
      'commands',
      'usage',
      'server',
      'agent',
      'host',
    ],
    never: { ca: 'the command line is a client of the REST interface like any other' },
  },
}
