/** A release, a statement and the device that they are for; for tests and for the fuzz. Not part of any program. @module */
import { hash } from 'node:crypto'
import { utf8 } from '#base/bytes.ts'
import { type DeviceFacts, type DirectorStatement, manifestDigest, type ReleaseManifest } from './messages.ts'

export const digestOf = (text: string): Uint8Array => new Uint8Array(hash('sha256', utf8(text), 'buffer'))

const artifact = { name: 'motor-4.2.0.swu', format: 'swupdate', octets: 4096, sha256: digestOf('motor 4.2.0') }

export const manifest: ReleaseManifest = {
  release: '0190aaaa-0000-7000-8000-000000000001',
  component: 'motor',
  version: '4.2.0',
  counter: 7,
  models: [
    { manufacturer: 'acme', model: 'engine-a', revisions: ['r2', 'r3'] },
    { manufacturer: 'acme', model: 'engine-b', revisions: [] },
  ],
  source: { counterMin: 3, version: '3.0.0' },
  requires: [{ component: 'loader', counterMin: 2 }],
  artifacts: [artifact, { ...artifact, name: 'motor-4.2.0.raucb', format: 'rauc', sha256: digestOf('motor 4.2.0 rauc') }],
  feature: 'torque',
  sbom: digestOf('sbom'),
}

export const statement: DirectorStatement = {
  id: '0190aaaa-0000-7000-8000-0000000000f1',
  device: { manufacturer: 'acme', productSerial: 'A-1042', birthKey: digestOf('born A-1042') },
  owner: { name: 'plant-north', epoch: 2 },
  area: 'press-shop',
  model: 'engine-a',
  revisions: ['r2', 'r3'],
  component: 'motor',
  release: manifest.release,
  version: manifest.version,
  counter: manifest.counter,
  source: { counterMin: 3, version: '3.0.0' },
  requires: [{ component: 'loader', counterMin: 2 }],
  artifacts: [artifact],
  manifest: manifestDigest(manifest),
  feature: 'torque',
  consent: digestOf('agreed'),
  action: 'campaign-17',
  sequence: 12,
  issuedAt: new Date('2027-06-01T11:00:00Z'),
  expiresAt: new Date('2027-06-08T11:00:00Z'),
  kind: 'install',
}

/** The device that it is for. */
export const facts: DeviceFacts = {
  manufacturer: 'acme',
  productSerial: 'A-1042',
  birthKey: digestOf('born A-1042'),
  model: 'engine-a',
  revision: 'r2',
  owner: 'plant-north',
  epoch: 2,
  area: 'press-shop',
  installed: new Map([
    ['motor', 5],
    ['loader', 2],
  ]),
  features: new Set(['torque']),
  last: { sequence: 11, id: '0190aaaa-0000-7000-8000-0000000000f0' },
}
