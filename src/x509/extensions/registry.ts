/** Every extension this build knows. Adding one: write its schema in this folder, add one line here. @module */
import { AuthorityInfoAccessExt, SubjectInfoAccessExt } from './authority-information-access.ts'
import { AuthorityKeyIdentifierExt } from './authority-key-identifier.ts'
import { BasicConstraintsExt } from './basic-constraints.ts'
import { CertificatePoliciesExt, InhibitAnyPolicyExt, PolicyConstraintsExt, PolicyMappingsExt } from './certificate-policies.ts'
import { CRLDistributionPointsExt, FreshestCRLExt } from './crl-distribution-points.ts'
import {
  CertificateIssuerExt,
  CRLNumberExt,
  DeltaCRLIndicatorExt,
  InvalidityDateExt,
  IssuingDistributionPointExt,
  ReasonCodeExt,
} from './crl-extensions.ts'
import { ExtKeyUsageExt } from './extended-key-usage.ts'
import type { ExtensionType } from './extension.ts'
import { KeyUsageExt } from './key-usage.ts'
import { NameConstraintsExt } from './name-constraints.ts'
import { ArchiveCutoffExt, ExtendedRevokeExt, OCSPNoCheckExt, OCSPNonceExt } from './ocsp-extensions.ts'
import { IssuerAltNameExt, SubjectAltNameExt } from './subject-alternative-name.ts'
import { SubjectKeyIdentifierExt } from './subject-key-identifier.ts'

export const extensionTypes = [
  SubjectKeyIdentifierExt,
  KeyUsageExt,
  SubjectAltNameExt,
  IssuerAltNameExt,
  BasicConstraintsExt,
  CRLNumberExt,
  ReasonCodeExt,
  InvalidityDateExt,
  DeltaCRLIndicatorExt,
  IssuingDistributionPointExt,
  CertificateIssuerExt,
  NameConstraintsExt,
  CRLDistributionPointsExt,
  CertificatePoliciesExt,
  PolicyMappingsExt,
  AuthorityKeyIdentifierExt,
  PolicyConstraintsExt,
  ExtKeyUsageExt,
  FreshestCRLExt,
  InhibitAnyPolicyExt,
  AuthorityInfoAccessExt,
  SubjectInfoAccessExt,
  OCSPNonceExt,
  OCSPNoCheckExt,
  ArchiveCutoffExt,
  ExtendedRevokeExt,
  // `any` because the list holds types of unlike values; each keeps its own where it is imported by name
] as const satisfies readonly ExtensionType<any>[]

const byOID = new Map<string, ExtensionType<unknown>>(extensionTypes.map((type) => [type.oid, type as ExtensionType<unknown>]))

/** @returns undefined for a type that this build does not know */
export const knownExtension = (oid: string): ExtensionType<unknown> | undefined => byOID.get(oid)
