/** Every extension this build knows. Adding one: write its schema in this folder, add one line here. @module */
import { authorityInfoAccess, subjectInfoAccess } from './authority-information-access.ts'
import { authorityKeyIdentifier } from './authority-key-identifier.ts'
import { basicConstraints } from './basic-constraints.ts'
import { certificatePolicies, inhibitAnyPolicy, policyConstraints, policyMappings } from './certificate-policies.ts'
import { crlDistributionPoints, freshestCRL } from './crl-distribution-points.ts'
import {
  certificateIssuer,
  crlNumber,
  deltaCRLIndicator,
  invalidityDate,
  issuingDistributionPoint,
  reasonCode,
} from './crl-extensions.ts'
import { extKeyUsage } from './extended-key-usage.ts'
import type { ExtensionType } from './extension.ts'
import { keyUsage } from './key-usage.ts'
import { nameConstraints } from './name-constraints.ts'
import { archiveCutoff, extendedRevoke, ocspNoCheck, ocspNonce } from './ocsp-extensions.ts'
import { issuerAltName, subjectAltName } from './subject-alternative-name.ts'
import { subjectKeyIdentifier } from './subject-key-identifier.ts'

export const extensionTypes = [
  subjectKeyIdentifier,
  keyUsage,
  subjectAltName,
  issuerAltName,
  basicConstraints,
  crlNumber,
  reasonCode,
  invalidityDate,
  deltaCRLIndicator,
  issuingDistributionPoint,
  certificateIssuer,
  nameConstraints,
  crlDistributionPoints,
  certificatePolicies,
  policyMappings,
  authorityKeyIdentifier,
  policyConstraints,
  extKeyUsage,
  freshestCRL,
  inhibitAnyPolicy,
  authorityInfoAccess,
  subjectInfoAccess,
  ocspNonce,
  ocspNoCheck,
  archiveCutoff,
  extendedRevoke,
  // `any` because the list holds types of unlike values; each keeps its own where it is imported by name
] as const satisfies readonly ExtensionType<any>[]

const byOID = new Map<string, ExtensionType<unknown>>(extensionTypes.map((type) => [type.oid, type as ExtensionType<unknown>]))

/** @returns undefined for a type that this build does not know */
export const knownExtension = (oid: string): ExtensionType<unknown> | undefined => byOID.get(oid)
