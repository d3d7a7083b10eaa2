/**
 * Objects that others made: NIST PKITS and the vectors of python-cryptography, as Debian packages them.
 *
 * Each is read, and what was read is written again to the same octets. Those that are refused are named, with the
 * reason; a refusal that is not named here, or a name that is no longer refused, fails.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { test } from 'node:test'
import { encode } from '#asn1/codec.ts'
import { parsePEM } from '#asn1/pem.ts'
import type { TrustError } from '#base/errors.ts'
import { needs } from '../../test/interop/programs.ts'
import { parseCertificate } from './certificate.ts'
import { parseCertificationRequest } from './certification-request.ts'
import { parseCertificateList } from './crl.ts'
import { decodeExtension, type Extension } from './extensions/extension.ts'
import { knownExtension } from './extensions/registry.ts'
import { describeObject } from './inspect.ts'
import { encodeName, equalNames, formatName, parseDistinguishedName, parseName } from './name.ts'
import { parseOCSPRequest, parseOCSPResponse } from './ocsp.ts'
import refused from './testdata/refused-vectors.json' with { type: 'json' }

type Kind = 'certificate' | 'certificationRequest' | 'certificateList' | 'ocspRequest' | 'ocspResponse'

interface Vector {
  /** Path in the package; the n-th object of a PEM file has #n after it. */
  readonly name: string
  readonly kind: Kind
  readonly der: Uint8Array
}

const vectors = needs('python3-cryptography-vectors')

const kindOfLabel: Readonly<Record<string, Kind>> = {
  CERTIFICATE: 'certificate',
  'CERTIFICATE REQUEST': 'certificationRequest',
  'NEW CERTIFICATE REQUEST': 'certificationRequest',
  'X509 CRL': 'certificateList',
}

function readVectors(folder: string): readonly Vector[] {
  return globSync(join(folder, 'x509/**/*.{pem,der,crt,crl}'))
    .toSorted()
    .flatMap((path): Vector[] => {
      const name = relative(folder, path)
      const octets = new Uint8Array(readFileSync(path))
      if (!path.endsWith('.pem')) return [{ name, kind: kindOfPath(name), der: octets }]
      return parsePEM(Buffer.from(octets).toString('latin1'))
        .map(({ label, der }, i) => ({ name: i === 0 ? name : `${name}#${i + 1}`, kind: kindOfLabel[label], der }))
        .filter((vector): vector is Vector => vector.kind !== undefined)
    })
}

function kindOfPath(name: string): Kind {
  if (name.includes('/ocsp/')) return /\breq\b/.test(name) ? 'ocspRequest' : 'ocspResponse'
  if (name.includes('/requests/')) return 'certificationRequest'
  return /\.crl$|\/crl/.test(name) ? 'certificateList' : 'certificate'
}

/** Reads all there is to read, and writes it again. @throws TrustError when it is refused */
const readers: Readonly<Record<Kind, (der: Uint8Array) => void>> = {
  certificate(der) {
    const certificate = parseCertificate(der)
    sameName(certificate.subject)
    sameName(certificate.issuer)
    sameExtensions(certificate.extensions)
  },
  certificationRequest(der) {
    const request = parseCertificationRequest(der)
    sameName(request.subject)
    sameExtensions(request.requestedExtensions)
  },
  certificateList(der) {
    const list = parseCertificateList(der)
    sameName(list.issuer)
    sameExtensions(list.extensions)
    for (const { extensions } of list.entries()) sameExtensions(extensions)
  },
  ocspRequest: parseOCSPRequest,
  ocspResponse(der) {
    const response = parseOCSPResponse(der)
    if (response.type === 'answer') sameExtensions(response.answer.extensions)
  },
}

function sameName(der: Uint8Array): void {
  const name = parseName(der)
  assert.deepEqual(encodeName(name), der)
  const fromText = encodeName(parseDistinguishedName(formatName(name)))
  const strings = name.flat().every(({ encoding, value }) => value !== '' && /^(utf8|printable)String$/.test(encoding))
  if (strings) assert.ok(equalNames(fromText, der), formatName(name))
}

function sameExtensions(extensions: readonly Extension[]): void {
  for (const extension of extensions) {
    const type = knownExtension(extension.extnID)
    if (type !== undefined) assert.deepEqual(encode(type.codec, decodeExtension(type, extension)), extension.extnValue)
  }
}

test('every vector is read and written again, or refused for the reason that is named', { skip: vectors.skip }, () => {
  const folder = dirname(vectors.path('python3-cryptography-vectors'))
  const found = readVectors(folder)
  const kinds = Map.groupBy(found, ({ kind }) => kind)
  // the package of Debian 12; a newer one has more
  assert.ok(found.length > 700 && kinds.size === 5)
  const refusals: Record<string, string> = {}
  for (const { name, kind, der } of found) {
    try {
      readers[kind](der)
    } catch (error) {
      if ((error as TrustError).name !== 'TrustError') throw new Error(name, { cause: error })
      refusals[name] = (error as TrustError).message
    }
  }
  const named = Object.entries(refused).filter(([name]) => found.some((vector) => vector.name === name))
  assert.deepEqual(Object.keys(refusals).toSorted(), named.map(([name]) => name).toSorted())
  for (const [name, reason] of named)
    assert.ok(refusals[name]?.includes(reason), `${name} is refused for another reason: ${refusals[name]}`)
})

test('everything that parses can be described, with its kind', { skip: vectors.skip }, () => {
  const folder = dirname(vectors.path('python3-cryptography-vectors'))
  let described = 0
  for (const { name, kind, der } of readVectors(folder)) {
    if (name in refused) continue
    const description = describeObject(der)
    assert.equal(description.kind, kind, name)
    assert.deepEqual(JSON.parse(JSON.stringify(description)), description, name)
    described++
  }
  assert.ok(described > 700)
})
