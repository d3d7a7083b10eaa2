/** What a certificate may be wanted for, in the words of commands and settings. @module */
export const purposeNames = [
  'tls-server',
  'tls-client',
  'code-signing',
  'email',
  'time-stamping',
  'ocsp-signing',
  'ike',
  'document-signing',
] as const
export type Purpose = (typeof purposeNames)[number]
