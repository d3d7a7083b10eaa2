/** Every lint rule. Adding one: write its file and a certificate that fails only it, add one line here. @module */
import { basicConstraints } from './basic-constraints.ts'
import { extensions } from './extensions.ts'
import { issuerName } from './issuer-name.ts'
import { keyIdentifiers } from './key-identifiers.ts'
import { keyStrength } from './key-strength.ts'
import { keyUsage } from './key-usage.ts'
import { pathLength } from './path-length.ts'
import type { LintRule } from './rule.ts'
import { serialNumber } from './serial-number.ts'
import { signatureAlgorithmAllowed } from './signature-algorithm.ts'
import { subject } from './subject.ts'
import { validity } from './validity.ts'
import { version } from './version.ts'

export const lintRules = [
  version,
  serialNumber,
  signatureAlgorithmAllowed,
  issuerName,
  validity,
  subject,
  keyStrength,
  keyUsage,
  basicConstraints,
  pathLength,
  keyIdentifiers,
  extensions,
] as const satisfies readonly LintRule[]
