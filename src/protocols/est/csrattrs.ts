/**
 * `csrattrs`: the endpoint's profile as a request to fill in.
 *
 * Source: RFC 7030, 4.5; RFC 9908.
 *
 * @module
 */
import { isKeyAlgorithmId, keyAlgorithm } from '#algorithms/table.ts'
import { ANY } from '#asn1/any.ts'
import { decode, encode, optional, sequence } from '#asn1/codec.ts'
import { OBJECT_IDENTIFIER, SMALL_INTEGER } from '#asn1/types.ts'
import type { Attribute } from '#x509/certification-request.ts'
import { extKeyUsage } from '#x509/extensions/extended-key-usage.ts'
import { extensionWith } from '#x509/extensions/extension.ts'
import { keyUsage } from '#x509/extensions/key-usage.ts'
import { subjectAltName } from '#x509/extensions/subject-alternative-name.ts'
import { type AttributeShortName, attributeTypes, encodeName, nameOf } from '#x509/name.ts'
import type { Operation } from '../protocol.ts'
import { encodeCsrAttributes, type ExtensionTemplate, NameTemplate } from './csr-attributes.ts'
import { encodeBody, mediaTypes } from './messages.ts'
import type { EstService, RequestableProfile } from './service.ts'

/** Says nothing that the issued certificates do not say, so nobody is asked who they are. */
export const csrAttributes: Operation<EstService> = {
  method: 'GET',
  path: '/csrattrs',
  section: 'RFC 7030, 4.5',
  async handle({ label }, service) {
    const profile = await service.profileOf(await service.openEndpoint('est', label))
    return { status: 200, headers: { 'content-type': mediaTypes.csrAttributes }, body: encodeBody(describe(profile)) }
  },
}

/** @returns DER CsrAttrs */
export function describe(profile: RequestableProfile): Uint8Array {
  const algorithm = onlyAlgorithm(profile)
  return encodeCsrAttributes(
    {
      subject: subjectOf(profile),
      ...(algorithm !== undefined && { keyAlgorithm: algorithm.identifier }),
      extensions: extensionsOf(profile),
    },
    algorithm === undefined ? [] : [algorithm.attribute],
  )
}

/** What the profile fixes, with its values, then what it requires, without. */
function subjectOf({ subject, subjectFixed = {} }: RequestableProfile): NameTemplate {
  const fixed = decode(NameTemplate, encodeName(nameOf(Object.entries(subjectFixed).map(([type, value]) => ({ type, value })))))
  const required = Object.entries(subject).filter(([type, presence]) => presence === 'required' && !(type in subjectFixed))
  return [...fixed, ...required.map(([type]) => [{ type: attributeTypes[type as AttributeShortName] ?? type }])]
}

function extensionsOf(profile: RequestableProfile): ExtensionTemplate[] {
  const extensions: ExtensionTemplate[] = [extensionWith(keyUsage, profile.keyUsage)]
  if (profile.extendedKeyUsage.length > 0) extensions.push(extensionWith(extKeyUsage, profile.extendedKeyUsage))
  const { presence, hardwareModuleName } = profile.subjectAltName
  // hardwareModuleName is written here, so that a device need not know how
  if (presence === 'required' && hardwareModuleName !== true) extensions.push({ extnID: subjectAltName.oid, critical: false })
  return extensions
}

const AlgorithmIdentifier = sequence('AlgorithmIdentifier', { algorithm: OBJECT_IDENTIFIER, parameters: optional(ANY) })

/** Where several algorithms will do none is named: a client that obeys would think that no other is taken. */
function onlyAlgorithm({
  keyAlgorithms,
}: RequestableProfile): { readonly identifier: Uint8Array; readonly attribute: Attribute } | undefined {
  const [id, another] = keyAlgorithms
  if (id === undefined || another !== undefined || !isKeyAlgorithmId(id)) return undefined
  const row = keyAlgorithm(id)
  const identifier = Uint8Array.fromHex(row.identifier)
  const { algorithm, parameters } = decode(AlgorithmIdentifier, identifier)
  // RFC 7030, 4.5.2: a curve's identifier or a modulus' length is the value
  const value = 'modulusBits' in row.parameters ? encode(SMALL_INTEGER, row.parameters.modulusBits) : parameters
  return { identifier, attribute: { type: algorithm, values: value === undefined ? [] : [value] } }
}
