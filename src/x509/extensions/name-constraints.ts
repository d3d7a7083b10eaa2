/**
 * In which name spaces the subjects below a CA may lie.
 *
 * Source: RFC 5280, 4.2.1.10.
 *
 * @module
 */
import { implicit, type Infer, optional, sequence, sequenceOf, withDefault } from '#asn1/codec.ts'
import { SMALL_INTEGER } from '#asn1/types.ts'
import { extensionType } from './extension.ts'
import { GeneralName } from './general-name.ts'

/** Path validation compares every name with every subtree; the limit keeps that bounded. */
const SUBTREES_MAX = 1024

export const GeneralSubtree = sequence('GeneralSubtree', {
  base: GeneralName,
  minimum: withDefault(implicit(0, SMALL_INTEGER), 0),
  maximum: optional(implicit(1, SMALL_INTEGER)),
})
export type GeneralSubtree = Infer<typeof GeneralSubtree>

const GeneralSubtrees = sequenceOf('GeneralSubtrees', GeneralSubtree, { min: 1, max: SUBTREES_MAX })

export const NameConstraints = sequence('NameConstraints', {
  permittedSubtrees: optional(implicit(0, GeneralSubtrees)),
  excludedSubtrees: optional(implicit(1, GeneralSubtrees)),
})
export type NameConstraints = Infer<typeof NameConstraints>

export const nameConstraints = extensionType<NameConstraints>({
  oid: '2.5.29.30',
  id: 'nameConstraints',
  codec: NameConstraints,
  criticality: 'critical',
  places: ['certificate'],
  source: 'RFC 5280, 4.2.1.10',
})
