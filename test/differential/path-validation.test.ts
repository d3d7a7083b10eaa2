/** NIST's paths judged by OpenSSL and GnuTLS beside us: where they differ is written down with its reason, and checked. @module */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { encodePEM } from '#asn1/pem.ts'
import { systemWorld } from '#base/world.ts'
import pkits from '#x509/path/testdata/pkits.json' with { type: 'json' }
import { verifyCertificate } from '#x509/path/verify.ts'
import { needs } from '../interop/programs.ts'
import { gnuTLSDiffers, openSSLDiffers } from './path-divergences.ts'

interface Row {
  readonly test: string
  readonly path: readonly string[]
  readonly lists: readonly string[]
  readonly policies?: readonly string[]
  readonly requireExplicitPolicy?: boolean
  readonly inhibitPolicyMapping?: boolean
  readonly inhibitAnyPolicy?: boolean
}

const rows: readonly Row[] = pkits.tests
/** A process for each takes its time: each third, and what is known to differ. */
const sample = rows.filter((row, i) => i % 3 === 0 || row.test in openSSLDiffers)
const AT = new Date('2015-06-01T00:00:00Z')

const octets = (from: Readonly<Record<string, string>>, names: readonly string[]): Uint8Array[] =>
  names.map((name) => Uint8Array.fromBase64(from[name] as string))
const pem = (label: string, ders: readonly Uint8Array[]): string => ders.map((der) => encodePEM(label, der)).join('')

async function ours(row: Row, at: Date, withLists: boolean): Promise<boolean> {
  const [anchor = new Uint8Array(), ...below] = octets(pkits.certificates, row.path)
  const { valid } = await verifyCertificate({
    certificate: below.at(-1) as Uint8Array,
    anchors: [anchor],
    intermediates: below.slice(0, -1),
    at,
    policies: row.policies && new Set(row.policies),
    requireExplicitPolicy: row.requireExplicitPolicy === true,
    inhibitPolicyMapping: row.inhibitPolicyMapping === true,
    inhibitAnyPolicy: row.inhibitAnyPolicy === true,
    ...(withLists && { revocation: { demand: 'required', lists: octets(pkits.lists, row.lists) } }),
  })
  return valid
}

const accepts = (program: string, parameters: readonly string[]): Promise<boolean> =>
  new Promise((resolve) => void execFile(program, parameters, { timeout: 20_000 }, (error) => resolve(error === null)))

/** Two at once, as many as a small machine has cores. */
async function compare(
  chosen: readonly Row[],
  judge: (row: Row, directory: string) => Promise<boolean>,
  mine: (row: Row) => Promise<boolean>,
  known: Readonly<Record<string, string>>,
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-paths-'))
  const differing: string[] = []
  try {
    for (let i = 0; i < chosen.length; i += 2) {
      await Promise.all(
        chosen.slice(i, i + 2).map(async (row) => {
          const [theirs, here] = await Promise.all([judge(row, directory), mine(row)])
          if (theirs !== here) differing.push(row.test)
        }),
      )
    }
  } finally {
    rmSync(directory, { recursive: true })
  }
  assert.deepEqual(differing.toSorted(), Object.keys(known).toSorted())
}

describe('R1: NIST PKITS judged by others too', () => {
  const openssl = needs('openssl')
  test('openssl verify, with lists, deltas, indirect lists and policies', { skip: openssl.skip }, () =>
    compare(
      sample,
      (row, directory) => {
        const [anchor = new Uint8Array(), ...below] = octets(pkits.certificates, row.path)
        const file = (name: string, text: string): string => {
          const path = join(directory, `${rows.indexOf(row)}-${name}`)
          writeFileSync(path, text)
          return path
        }
        return accepts(openssl.path('openssl'), [
          ...['verify', '-attime', String(AT.getTime() / 1000), '-crl_check_all', '-extended_crl', '-use_deltas'],
          ...['-no-CApath', '-no-CAstore', '-CAfile', file('ca', pem('CERTIFICATE', [anchor]))],
          ...['-CRLfile', file('crl', pem('X509 CRL', octets(pkits.lists, row.lists)))],
          ...(below.length > 1 ? ['-untrusted', file('between', pem('CERTIFICATE', below.slice(0, -1)))] : []),
          ...['-policy_check', ...(row.policies ?? ['anyPolicy']).flatMap((policy) => ['-policy', policy])],
          ...(row.requireExplicitPolicy === true ? ['-explicit_policy'] : []),
          ...(row.inhibitPolicyMapping === true ? ['-inhibit_map'] : []),
          ...(row.inhibitAnyPolicy === true ? ['-inhibit_any'] : []),
          file('end', pem('CERTIFICATE', below.slice(-1))),
        ])
      },
      (row) => ours(row, AT, true),
      openSSLDiffers,
    ),
  )

  const certtool = needs('certtool')
  /** It knows neither policies nor scopes of lists; and its clock is the machine's. */
  const sections = /^4\.(?:1|2|3|6|7\.[123]|13|16)[. ]/
  test('certtool --verify, signatures, times, names and constraints', { skip: certtool.skip }, () =>
    compare(
      rows.filter((row) => sections.test(row.test)),
      (row, directory) => {
        const [anchor = new Uint8Array(), ...below] = octets(pkits.certificates, row.path)
        const [ca, chain] = ['ca', 'chain'].map((name) => join(directory, `${rows.indexOf(row)}-${name}`)) as [string, string]
        writeFileSync(ca, pem('CERTIFICATE', [anchor]))
        writeFileSync(chain, pem('CERTIFICATE', below.toReversed()))
        return accepts(certtool.path('certtool'), ['--verify', '--load-ca-certificate', ca, '--infile', chain])
      },
      (row) => ours(row, new Date(systemWorld().clock.now()), false),
      gnuTLSDiffers,
    ),
  )
})
