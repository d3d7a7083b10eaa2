/**
 * The sentences that people read when something is refused, one per reason: what is wrong, and what to do next.
 *
 * A word in braces is filled from the error's facts, so whatever a sentence names is safe to show. Another
 * language is another table of the same keys.
 *
 * @module
 */

const english = {
  // base
  internal: 'Something went wrong inside Sealworks; the server log has the details under the request id.',

  // asn1
  notDER: 'The bytes are not valid DER: {detail}. Re-encode the object with distinguished encoding rules.',
  derTooLarge: 'The object is larger than the {limit} bytes allowed here. Send a smaller one.',
  derTooDeep: 'The object nests deeper than {limit} levels. Send a flatter one.',
  notPEM: 'The text is not valid PEM: {detail}. Export the object again as PEM.',

  // algorithms
  keyUnusable: 'The public key cannot be used: it is damaged or not a key of its algorithm. Generate a new key pair.',
  keyAlgorithm: 'This kind or size of key is not offered here. Use one of the key algorithms that the profile lists.',
  pointForm: 'The elliptic curve point is not in uncompressed form. Export the key with an uncompressed point.',
  keyTooShort: 'The RSA key has {bits} bits; at least {least} are required. Generate a longer key.',
  keyExponent: 'The RSA key has an unsafe public exponent. Generate a key with the exponent 65537.',
  signatureAlgorithm: 'This signature algorithm is not offered here. Sign with ECDSA or RSA and SHA-256 or longer.',
  // keys
  keyLabelTaken: 'A key labelled "{label}" exists, or existed and was destroyed. Choose another label.',
  keyNotFound: 'There is no key labelled "{label}" in this key store. List its keys to see what there is.',
  keyStoreAlgorithm: 'This key store cannot make {algorithm} keys. Use one of {offered}.',
  signerFamily: 'A {keyAlgorithm} key cannot make {signature} signatures. Choose a signature algorithm of its family.',
  privateKeyUnusable: 'The private key is damaged, encrypted, or not PKCS #8. Export it again as unencrypted PKCS #8 DER.',
  wrappedKeyDamaged: 'The stored key "{label}" was altered or damaged in the database. Restore it from a backup.',
  wrappingKeyWrong:
    'The key "{label}" was wrapped with another key-wrapping key. Start with the key-wrapping key file of this installation.',
  wrappingKeyMissing: 'There is no key-wrapping key file at {path}. Restore it from the backup, or run "sealworks init" for a new installation.',
  wrappingKeyExists: 'A key-wrapping key file exists at {path} and is never overwritten. Use it, or name another path.',
  wrappingKeyReadable: 'Others than its owner can use the key-wrapping key file {path}. Run "chmod 600" on it, and find out who could read it.',
  wrappingKeySize: 'The key-wrapping key file {path} has {size} octets instead of {expected}. Restore it from the backup.',
  wrappingKeyUnopened: 'The key-wrapping key file {path} cannot be opened ({problem}). Let the user of this process read it.',

  // config
  configInvalid: 'The configuration cannot be used: {problems}. Mend every setting named, then run `sealworks config check`.',
  secretMissing: 'The secret {reference} is missing or cannot be read. Create it, or name another in the configuration.',
  secretExposed: 'The secret {reference} can be read by every user of this machine. Run `chmod 600` on the file.',
  secretTooLarge: 'The file {reference} is longer than {limit} bytes, so it is no secret. Name the right file.',

  // protocols and server
  unknownPath: 'There is nothing at this address. Compare it with the list of endpoints.',
  methodNotAllowed: 'This address does not take {method}. Use {allowed}.',
  bodyTooLarge: 'The request body is longer than the {limit} bytes allowed here. Send a smaller one.',
  bodyIncomplete: 'The request ended before its body was complete. Send it again.',
  tooManyRequests: 'Too many requests came from this address. Wait for the time given, then go on more slowly.',

  // store
  databaseClosed: 'The database is being closed because the server stops. Ask again when it is back.',
  databaseBusy: 'The database is too busy to do this now. Ask again in a moment.',
  databaseUnavailable: 'The database cannot be reached or cannot write. Ask again later; the server log names the cause.',
  commitUnknown: 'The connection to the database was lost while saving, so it is not known whether this was done. Look, then ask again.',
  transactionTooLong: 'A database transaction ran longer than {seconds} seconds and was undone. Ask again; if it repeats, report it.',
  duplicateRow: 'There already is such a record in {table} with the same {columns}.',
  missingReference: 'The record refers to another one that does not exist, or is still referred to by one.',
  databaseURL: 'The database address is not understood. Write sqlite:PATH or postgres://USER@HOST/NAME.',
  databaseNewer: 'The database was made by a newer Sealworks (it has {migration}). Start that version, or restore a backup made by this one.',
  migrationEdited: 'The migration {migration} was changed after it ran on this database. Use an unmodified release.',
  directoryLocked: 'The data directory is in use by {holder} (process {pid}). Stop it first, or use another directory.',
  // x509
  notName: 'The distinguished name cannot be used: {detail}. Write it as RFC 4514 text, for example "CN=Press 7,O=Example,C=DE".',
  notIPAddress: '"{text}" is not an IP address. Write it as 192.0.2.1 or 2001:db8::1.',
  repeatedExtension: 'The extension {extension} is there more than once. Make the object again with each extension once.',
  repeatedAttribute: 'The attribute {attribute} is there more than once. Make the object again with it once.',
  badExtension: 'The extension {extension} is malformed: {detail}. Make the object again with a correct value.',
  badCertificate: 'The certificate cannot be used: {detail}. Get it again from its issuer.',
  badRequest: 'The certificate request cannot be used: {detail}. Make it again with current software.',
  badCRL: 'The revocation list cannot be used: {detail}. Get it again from its issuer.',
  badOCSP: 'The OCSP message cannot be used: {detail}. Make it again as RFC 6960 describes.',
  ocspCritical: 'The OCSP request has the critical extension {extension}, which is not offered here. Ask without it.',
  proofOfPossession: 'The request is not signed with the private key that belongs to its public key. Make it again and sign it with that key.',
} as const satisfies Record<string, string>

export type Reason = keyof typeof english

/** @returns the sentence with its placeholders filled; a missing fact shows as its name */
export function sentence(reason: Reason, facts: Readonly<Record<string, string | number | boolean>>): string {
  return english[reason].replace(/\{(\w+)\}/g, (_, key: string) => String(facts[key] ?? key))
}
