/** A bundle of one machine, for tests and as a seed of the fuzz. Not part of any program. @module */
import type { Bundle, Machine } from './bundle.ts'

const digest = (fill: number): Uint8Array => new Uint8Array(32).fill(fill)

export const machine: Machine = {
  name: 'node',
  boot: {
    profile: 'secure-boot',
    firmware: { name: 'OVMF_CODE_4M.fd', octets: 3_653_632, sha256: digest(1) },
    variables: { name: 'node.variables', octets: 540_672, sha256: digest(2) },
    image: { name: 'node.efi', octets: 15_000_000, sha256: digest(3) },
    imageDigest: digest(4),
    registers: [4, 7, 11].map((register) => ({ register, value: digest(register) })),
  },
  root: {
    file: { name: 'node.root', octets: 128 * 4096, sha256: digest(5) },
    tree: { name: 'node.verity', octets: 4096, sha256: digest(6) },
    rootHash: digest(7),
    salt: digest(8),
    blocks: 128,
  },
  cores: 1,
  memoryMiB: 512,
  disks: [{ name: 'data', octets: 1 << 30 }],
  networks: [
    {
      mac: Uint8Array.of(2, 0, 0, 0, 0, 1),
      address: '10.20.0.2/24',
      allow: [{ direction: 'in', protocol: 'tcp', peer: '10.20.0.0/24', port: 8443 }],
    },
  ],
  serial: ['console'],
}

export const sampleBundle: Bundle = {
  version: 7,
  owner: { name: 'acme', epoch: 2 },
  targets: ['SEE-0042', 'SEE-0043'],
  issuedAt: new Date('2027-05-01T00:00:00Z'),
  expiresAt: new Date('2027-12-01T00:00:00Z'),
  interfaces: ['ethernet', 'serial'],
  machines: [machine],
}
