/**
 * Bills of materials: which of the known kinds one is, and what it is about. What stands in it is not judged here.
 *
 * Source: CycloneDX 1.6, JSON (ECMA-424); SPDX 2.3, JSON, and 3.0, JSON-LD.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'

/** Of a large image with some ten thousand packages. */
export const SBOM_MAX_OCTETS = 32 << 20

export interface SBOM {
  readonly kind: 'CycloneDX' | 'SPDX'
  readonly specification: string
  /** How many components or packages it lists. */
  readonly components: number
}

const refuse = (detail: string): TrustError => new TrustError('malformed', 'notSBOM', { facts: { detail } })

type Document = Readonly<Record<string, unknown>>
const isDocument = (value: unknown): value is Document => typeof value === 'object' && value !== null && !Array.isArray(value)

/** @throws TrustError `malformed`, `tooLarge` */
export function parseSBOM(octets: Uint8Array): SBOM {
  if (octets.length > SBOM_MAX_OCTETS) throw new TrustError('tooLarge', 'sbomTooLarge', { facts: { limit: SBOM_MAX_OCTETS } })
  const document = documentIn(octets)
  if (document['bomFormat'] === 'CycloneDX') return cycloneDX(document)
  if (typeof document['spdxVersion'] === 'string') return spdx2(document, document['spdxVersion'])
  if (Array.isArray(document['@graph'])) return spdx3(document['@graph'] as readonly unknown[])
  throw refuse('it is neither CycloneDX nor SPDX in JSON')
}

/** Not the strict reader: what counts is its digest, and it may hold more values than any message. */
function documentIn(octets: Uint8Array): Document {
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(octets))
    if (isDocument(value)) return value
  } catch (cause) {
    throw new TrustError('malformed', 'notSBOM', { facts: { detail: 'it is not JSON' }, cause })
  }
  throw refuse('it is no object')
}

function cycloneDX({ specVersion, components = [] }: Document): SBOM {
  if (typeof specVersion !== 'string' || !/^1\.\d{1,2}$/.test(specVersion)) throw refuse('it says no version of CycloneDX')
  if (!Array.isArray(components)) throw refuse('its components are no list')
  return { kind: 'CycloneDX', specification: specVersion, components: components.length }
}

function spdx2({ packages = [] }: Document, version: string): SBOM {
  const [, specification] = /^SPDX-(2\.\d)$/.exec(version) ?? []
  if (specification === undefined) throw refuse('it says no version of SPDX')
  if (!Array.isArray(packages)) throw refuse('its packages are no list')
  return { kind: 'SPDX', specification, components: packages.length }
}

function spdx3(graph: readonly unknown[]): SBOM {
  const elements = graph.filter(isDocument)
  const information = elements.find(({ type }) => type === 'CreationInfo')
  const specification = information?.['specVersion']
  if (typeof specification !== 'string' || !/^3\.\d\.\d$/.test(specification)) throw refuse('it says no version of SPDX')
  const packages = elements.filter(({ type }) => type === 'software_Package')
  return { kind: 'SPDX', specification, components: packages.length }
}
