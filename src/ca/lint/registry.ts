/** Every lint rule. Adding one: write its file and a certificate that fails only it, add one line here. @module */
import { basicConstraints } from './basic-constraints.ts'
import { extensions } from './extensions.ts'
import { issuerName } from './issuer-name.ts'
import { keyIdentifiers } from './key-identifiers.ts'
import { keyStrength } from './key-strength.ts'
import { keyUsage } from './key-usage.ts'
import { nameCountry } from './name-country.ts'
import { nameEmpty } from './name-empty.ts'
import { nameEncoding } from './name-encoding.ts'
import { nameLength } from './name-length.ts'
import { pathLength } from './path-length.ts'
import { repeatedAttributes } from './repeated-attributes.ts'
import { repeatedExtensions } from './repeated-extensions.ts'
import { rsaClosePrimes } from './rsa-close-primes.ts'
import { rsaExponent } from './rsa-exponent.ts'
import { rsaROCA } from './rsa-roca.ts'
import { rsaSmallFactor } from './rsa-small-factor.ts'
import type { LintRule } from './rule.ts'
import { serialNumber } from './serial-number.ts'
import { signatureAlgorithmAllowed } from './signature-algorithm.ts'
import { stringsControl } from './strings-control.ts'
import { subject } from './subject.ts'
import { validity } from './validity.ts'
import { version } from './version.ts'
import { weakKeyList } from './weak-key-list.ts'

export const lintRules = [
  version,
  serialNumber,
  signatureAlgorithmAllowed,
  issuerName,
  validity,
  subject,
  nameEmpty,
  nameLength,
  nameCountry,
  nameEncoding,
  stringsControl,
  repeatedAttributes,
  repeatedExtensions,
  keyStrength,
  rsaExponent,
  rsaSmallFactor,
  rsaROCA,
  rsaClosePrimes,
  weakKeyList,
  keyUsage,
  basicConstraints,
  pathLength,
  keyIdentifiers,
  extensions,
] as const satisfies readonly LintRule[]
