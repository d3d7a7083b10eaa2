/**
 * The sentences that people read when something is refused, one per reason: what is wrong, and what to do next.
 *
 * A word in braces is filled from the error's facts, so whatever a sentence names is safe to show. Another
 * language is another table of the same keys.
 *
 * @module
 */

export const english = {
  // base
  internal: 'Something went wrong inside Sealworks; the server log has the details under the request id.',

  // asn1
  notDER: 'The bytes are not valid DER: {detail}. Re-encode the object with distinguished encoding rules.',
  derTooLarge: 'The object is larger than the {limit} bytes allowed here. Send a smaller one.',
  derTooDeep: 'The object nests deeper than {limit} levels. Send a flatter one.',
  notBER: 'The bytes cannot be read as BER: {detail}. Encode the object with distinguished encoding rules.',
  notPEM: 'The text is not valid PEM: {detail}. Export the object again as PEM.',

  // algorithms
  keyUnusable: 'The public key cannot be used: it is damaged or not a key of its algorithm. Generate a new key pair.',
  keyAlgorithm: 'This kind or size of key is not offered here. Use one of the key algorithms that the profile lists.',
  pointForm: 'The elliptic curve point is not in uncompressed form. Export the key with an uncompressed point.',
  keyTooShort: 'The RSA key has {bits} bits; at least {least} are required. Generate a longer key.',
  keyExponent: 'The RSA key has an unsafe public exponent. Generate a key with the exponent 65537.',
  keyWeak:
    'The RSA key has a known weakness ({weakness}): its private half can be computed. Generate a new key pair with another program or device.',
  signatureAlgorithm:
    'This signature algorithm is not offered here. Sign with ECDSA, RSA and SHA-256 or longer, Ed25519, Ed448, ML-DSA or SLH-DSA.',
  messageNameNone: 'JOSE and COSE have no name for {algorithm} with a key of {key}. Sign with another algorithm or format.',
  messageNameUnknown:
    'The message names the algorithm {name}, which is not accepted here. Have it signed with ECDSA, RSA, EdDSA or ML-DSA.',
  messageNameOther: 'The message names the algorithm {name}, which does not go with its {key} key. Do not trust it.',
  signatureLength: 'The signature is not {octets} octets long, as its curve has it. Get the message again from its signer.',
  algorithmRefused:
    'The algorithm policy of this installation refuses {algorithm}{since}. Use an algorithm that it allows; "sealworks config explain" lists them.',
  // keys
  keyLabelTaken: 'A key labelled "{label}" exists, or existed and was destroyed. Choose another label.',
  keyNotFound: 'There is no key labelled "{label}" in this key store. List its keys to see what there is.',
  keyStoreAlgorithm: 'This key store cannot make {algorithm} keys. Use one of {offered}.',
  signerFamily: 'A {keyAlgorithm} key cannot make {signature} signatures. Choose a signature algorithm of its family.',
  digestNotTaken:
    'The algorithm {signature} takes the message itself, not its digest. Send the message, or use another algorithm.',
  digestLength: 'The digest has {octets} octets; {signature} needs {expected}. Hash with the digest of that algorithm.',
  privateKeyUnusable: 'The private key is damaged, encrypted, or not PKCS #8. Export it again as unencrypted PKCS #8 DER.',
  privateKeyForm:
    'An ML-DSA private key is taken with its seed only (RFC 9881, 6). Export the key as its seed, or generate a new one.',
  keyStoreUnknown: 'There is no key store "{store}". Use one of {known}.',
  keyStoreNoLock: 'There is no key store "{store}" that could be unlocked. List the key stores to see their names.',
  tokenGone:
    'The key store "{store}" cannot be reached now ({token}: {problem}). It is tried again by itself; look at its module and token.',
  tokenLocked: 'The key store "{store}" is locked. Give its PIN with "sealworks key unlock {store}".',
  tokenPinWrong:
    'The key store "{store}" refused its PIN ({problem}) and is not asked again by itself. Give the right PIN with "sealworks key unlock {store}".',
  tokenPinRefused: 'The token refused this PIN ({problem}). Look the PIN up before you try again: tokens lock after few tries.',
  tokenBusy: 'The key store "{store}" has more to sign than it can. Try again in a moment.',
  tokenKeyAmbiguous: 'The token of "{store}" holds several keys labelled "{label}". Rename the others in the token.',
  tokenKeyUnreadable:
    'The token of "{store}" does not show the public key of "{label}". Put the public key object beside it, with the same CKA_ID.',
  tokenKeyAlwaysAsks:
    'The key "{label}" asks for its PIN at every use (CKA_ALWAYS_AUTHENTICATE), which no server can give. Make one that does not.',
  tokenKeyMissing:
    'The token {token} of "{store}" does not hold the key "{label}". Copy it there, or take the token off the list.',
  tokenKeyOther: 'The token {token} of "{store}" holds another key under the label "{label}". Remove it from that token.',
  tokenKeyNotAsAsked:
    'The token {token} made "{label}" otherwise than asked: not sensitive, extractable, or of another kind. Check its configuration; the key was destroyed.',
  tokenRefused: 'The token {token} of "{store}" refused: {problem}. Look the code up in its manual.',
  tokenMechanism: 'The token {token} of "{store}" lists {mechanism} and refuses it. Use another algorithm, or ask its maker.',
  tokenSignatureWrong:
    'The token {token} of "{store}" made a signature with "{label}" that does not verify. It was not used; have the token examined.',
  tokenMessageTooLarge: 'A token takes at most {limit} bytes to sign with this algorithm. Use an algorithm with a digest.',
  wrappedKeyDamaged: 'The stored key "{label}" was altered or damaged in the database. Restore it from a backup.',
  wrappingKeyWrong:
    'The key "{label}" was wrapped with another key-wrapping key. Start with the key-wrapping key file of this installation.',
  wrappingKeyMissing:
    'There is no key-wrapping key file at {path}. Restore it from the backup, or run "sealworks init" for a new installation.',
  wrappingKeyExists: 'A key-wrapping key file exists at {path} and is never overwritten. Use it, or name another path.',
  wrappingKeyReadable:
    'Others than its owner can use the key-wrapping key file {path}. Run "chmod 600" on it, and find out who could read it.',
  wrappingKeySize: 'The key-wrapping key file {path} has {size} octets instead of {expected}. Restore it from the backup.',
  wrappingKeyUnopened: 'The key-wrapping key file {path} cannot be opened ({problem}). Let the user of this process read it.',

  // config
  configInvalid: 'The configuration cannot be used: {problems}. Mend every setting named, then run `sealworks config check`.',
  secretMissing: 'The secret {reference} is missing or cannot be read. Create it, or name another in the configuration.',
  secretExposed: 'The secret {reference} can be read by every user of this machine. Run `chmod 600` on the file.',
  secretTooLarge: 'The file {reference} is longer than {limit} bytes, so it is no secret. Name the right file.',

  // REST
  inputInvalid: 'The request does not fit: {problems}. Mend what is named and send it again.',
  notJSON: 'The request body is not JSON in UTF-8. Send a JSON document.',
  octetsNeeded: 'The artifact goes in the body as it is. Send it with Content-Type: application/octet-stream.',
  jsonNeeded: 'The request needs a body of type application/json. Set the Content-Type header.',
  bearerNeeded: 'The Authorization header is not of the form `Bearer TOKEN`. Send a token that begins with swt_.',
  idempotencyKeyForm: 'The Idempotency-Key is empty, longer than {limit} characters or not plain ASCII. Send a UUID.',
  idempotencyKeyReused: 'This Idempotency-Key was sent before with another request. Use a new key for each request.',
  idempotencyRunning:
    'A request with this Idempotency-Key is under way or was cut off. Look whether it was done before you send it with a new key.',
  idempotencySecret:
    'This request was done before, and its answer held a secret that is given only once. Make a new one with a new Idempotency-Key.',
  otherSite: 'The form was sent by another site. Open the sign-in link itself.',
  formNeeded: 'This address takes a form of its own page. Open the page and use its button.',

  // protocols and server
  deviceCertificateNeeded: 'Only devices are heard here. Connect with the certificate of one.',
  notMessageList: 'The list of messages is malformed: {detail}. Ask the server again.',
  messageAfter: 'The number after which messages are asked for is none. Write it once, in digits.',
  unknownPath: 'There is nothing at this address. Compare it with the list of endpoints.',
  methodNotAllowed: 'This address does not take {method}. Use {allowed}.',
  bodyTooLarge: 'The request body is longer than the {limit} bytes allowed here. Send a smaller one.',
  bodyIncomplete: 'The request ended before its body was complete. Send it again.',
  bodyEmpty: 'The request has no body. Send the object in it.',
  notBase64: 'The body is not base64. Send the DER object in base64 and nothing else.',
  mediaType: 'The body has another media type than {expected}. Set Content-Type to that.',
  basicMalformed:
    'The Authorization field is not "Basic" with a name and a password in base64 of UTF-8. Write it as RFC 7617 says.',
  basicTooLong: 'The user name or the password is longer than any that was given out here. Check what you were given.',
  authorizationScheme: 'Only the scheme "Basic" and client certificates authenticate here. Use one of them.',
  channelBindingWrong:
    'The challengePassword of the request is not the channel binding of this TLS connection. Make a request on the connection that carries it.',
  channelBindingUnsafe:
    'The request is bound to a TLS connection without the extended master secret, which proves nothing. Connect with TLS 1.3, or leave challengePassword out.',
  operationNotOffered: 'The operation {operation} is not offered here. Use simpleenroll or simplereenroll.',
  serverNotReached:
    'The server at {address} was not reached: {detail}. Check the address, the network and what the server is trusted by.',
  answerTooLarge: 'The answer is longer than the {limit} bytes read here. Check the address.',
  answerIncomplete: 'The answer ended before it was complete. Ask again.',
  answerForAnotherKey:
    'The server answered with certificates, and none is for the key of the request. Report it to whoever runs the server.',
  ocspPathTooLong: 'The OCSP request in the address is longer than {limit} characters. Send it with POST.',
  ocspPathNotBase64: 'The end of the address is no OCSP request in base64. Write it as RFC 6960, A.1 says, or send it with POST.',
  notOCSPAnswer: 'The server answered with status {status} and no OCSP response. Check the address.',
  notRepositoryAnswer: 'The server answered with status {status}. Ask again later, or check the address.',
  badCsrAttributes: 'The CSR attributes cannot be used: {detail}. Report it to whoever runs the EST server.',
  addressTaken: '{holder} already listens on {address}. Stop it, or choose another address in the configuration.',
  addressUnusable: 'The address {address} cannot be listened on ({detail}). Choose another in the configuration.',
  frontsNeedLinux: 'Threads that take connections need Linux. Set server.workers to 0, or leave --workers out.',
  frontEnded: 'A thread of the server ended before it could take connections. Read the log: it says why.',
  tooManyHeaders: 'The request has more than the {limit} header fields allowed here. Send fewer.',
  tooManyRequests: 'Too many requests came from this address. Wait for the time given, then go on more slowly.',

  // store
  databaseClosed: 'The database is being closed because the server stops. Ask again when it is back.',
  databaseBusy: 'The database is too busy to do this now. Ask again in a moment.',
  databaseUnavailable: 'The database cannot be reached or cannot write. Ask again later; the server log names the cause.',
  commitUnknown:
    'The connection to the database was lost while saving, so it is not known whether this was done. Look, then ask again.',
  transactionTooLong:
    'A database transaction ran longer than {seconds} seconds and was undone. Ask again; if it repeats, report it.',
  duplicateRow: 'There already is such a record in {table} with the same {columns}.',
  missingReference: 'The record refers to another one that does not exist, or is still referred to by one.',
  databaseURL: 'The database address is not understood. Write sqlite:PATH or postgres://USER@HOST/NAME.',
  databaseNewer:
    'The database was made by a newer Sealworks (it has {migration}). Start that version, or restore a backup made by this one.',
  migrationEdited: 'The migration {migration} was changed after it ran on this database. Use an unmodified release.',
  leaseLost: 'Another process has taken over the work {name}. Nothing to do: it goes on there.',
  directoryLocked: 'The data directory is in use by {holder} (process {pid}). Stop it first, or use another directory.',
  // cbor
  notCBOR: 'The bytes are not CBOR as it is read here: {detail}. Encode the message in the deterministic form.',
  cborTooLarge: 'The CBOR item is larger than the {limit} bytes allowed here. Send a smaller one.',
  cborTooDeep: 'The CBOR item nests deeper than {limit} levels. Send a flatter one.',
  cborTooMany: 'The CBOR item holds more than {limit} items. Send a smaller one.',
  notCOSE: 'The COSE object cannot be read: {detail}. Have it made again as RFC 9052 says.',

  // jose
  notStrictJSON: 'The bytes are not JSON with one meaning: {detail}. Write the document again.',
  jsonTooLarge: 'The document is larger than the {limit} bytes allowed here. Send a smaller one.',
  jsonTooDeep: 'The document nests deeper than {limit} levels. Send a flatter one.',
  jsonTooMany: 'The document holds more than {limit} values. Send a smaller one.',
  notBase64url: 'In the message, {what} is not base64url without padding. Encode it as RFC 7515 says.',
  notJWS: 'The JSON Web Signature cannot be read: {detail}. Have it made again as RFC 7515 says.',
  notJWK: 'The JSON Web Key cannot be used: {detail}. Send the public key with the members that its type needs.',
  criticalHeader:
    'The signature says that {name} must be understood, and it is not known here. Verify it with a program that knows it.',
  messageSignatures: 'The message has more than {limit} signatures. Split it.',

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
  proofOfPossession:
    'The request is not signed with the private key that belongs to its public key. Make it again and sign it with that key.',

  // cms
  badCMS: 'The CMS message cannot be used: {detail}. Make it again with current software.',
  cmsTypeOther: 'The CMS message holds {found} and not {expected}. Send the right kind.',
  cmsAlgorithm: 'The CMS message uses the {role} algorithm {algorithm}, which is not offered here. Use another.',
  cmsAlgorithmsDiffer: 'The CMS signer names digest and signature algorithms that do not go together: {detail}. Sign it again.',
  cmsNotSigned: 'Nobody signed this CMS message. Sign it.',
  cmsContentMissing: 'The signature is detached from its content. Give the content beside it.',
  cmsContentTwice: 'The signed content is in the message, and other content was given beside it. Give one of them.',
  cmsContentStreamed: 'A signature without signed attributes needs the whole content at once. Sign with signed attributes.',
  cmsContentChanged: 'The content is not what was signed: its digest differs. Get both again from the signer.',
  cmsSignature: 'A signature of the CMS message is wrong: {detail}. Get the message again from its signer.',
  cmsAttributeUnknown:
    'The signer states something that is not understood here (attribute {attribute}), which may limit the signature. Verify it with a program that knows it.',
  cmsSignatureMissing:
    'A signature of the CMS message names another one of the same signer, with {algorithm}, that was taken away or exchanged. Get the message again from its signer.',
  cmsSignerUnknown: 'No certificate fits any signer of the CMS message that is understood here. Give the signing certificate.',
  cmsKeyOther: 'The signing key is not the key of the signing certificate. Name the certificate that belongs to the key.',
  cmsRecipientKey:
    'Nothing can be encrypted for this certificate: {detail}. Use a certificate for key encipherment or agreement.',
  cmsNoRecipient: 'The message is not encrypted for any key that is here. Ask the sender to encrypt it for this key.',
  cmsNotOpened: 'The message cannot be decrypted: the key is wrong, or the message was altered. Get it again from the sender.',
  cmsKeyTransportRefused: 'The message carries its key with RSA PKCS #1 v1.5, which is refused here. Encrypt it with RSAES-OAEP.',
  cmsIterations: 'The password of the message is stretched with {found} rounds; at most {limit} are done here. Use fewer.',
  badTimeStamp: 'The time stamp cannot be used: {detail}. Have a new one made.',
  timeStampOther: 'The time stamp is not over this signature: {detail}. Have a new one made over it.',
  timeStampRefused: 'The time-stamping authority refused: {detail}. Ask it again in a way that it offers.',

  // signing/formats
  artifactCut: 'The artifact became shorter while it was read. Leave it alone until it is signed, and try again.',
  artifactChanged: 'The artifact is not what was signed: {what} differs. Get it again from its maker.',
  artifactUnsigned: 'Nobody signed the artifact. Get it signed, or give the signature that belongs to it.',
  badArtifact: 'The {format} artifact cannot be used: {detail}. Make it again, or name another format.',
  artifactUnsupported: 'The {format} artifact has what is not offered here: {detail}. Make it without.',
  imageEncrypted: 'The firmware is encrypted, and its signature is over what it was before. Decrypt it with: release decrypt.',
  answerOther: 'The answer to what was to be signed is not of its kind: {detail}. Have it signed again.',
  formatUnknown: 'There is no signing format {format}. Name one of {formats}.',
  formatOption: 'The format {format} has no option {option} with the value "{value}". It offers {offered}.',
  apkSchemeAnnounced:
    'The signature of scheme v1 in the package says that {scheme} is there too. Sign with {scheme}, keep it (existing=keep), or say that it follows.',
  apkLineageOther:
    "The signer's certificate is not in the lineage, or not its last, which a rotation begins from. Take the lineage to which it was added last.",
  apkLineageThere: 'The certificate is in the lineage already. Rotate to another key.',
  formatAlgorithm: 'Those who verify {format} do not know {algorithm}. Sign with one of {offered}.',
  formatRequest:
    'What is to be signed is not what {format} asks keys for. Hash the artifact with this format, or use a signer for what is meant.',
  formatOneKey: '{format} carries the signature of one key only. Sign with a signer that has no second key.',
  requiredAll:
    'Both a classical and a post-quantum signature are required, and not all signatures are valid. Get it signed again.',
  requiredClassical:
    'Both a classical and a post-quantum signature are required, and there is no valid classical one. Get it signed with both.',
  requiredPostQuantum: 'A post-quantum signature is required, and there is no valid one. Get it signed with one.',
  requiredPostQuantumPath:
    "A post-quantum signature is required, and a classical one stands between the signer's certificate and its root. Get the certificate from a post-quantum authority.",
  formatNotSeen: 'The artifact is of no format that shows itself. Name its format.',
  coseHash: 'The message is over a digest that is not SHA-256, SHA-384 or SHA-512. Have it signed with one of these.',
  notDSSE: 'The DSSE envelope cannot be read: {detail}. Have it made again by its signer.',
  dsseSeveralKeys:
    'The signatures of an envelope do not know of each other, so one could be taken away. Sign a provenance, which lists its keys, or use jws or cose-sign.',
  dsseClosed: 'The provenance lists the keys that sign it, so no other can be added. Make one that all of you sign.',
  dsseSignedAlready: 'This key has signed the envelope already. Nothing is to be done.',
  notStatement: 'The in-toto statement cannot be used: {detail}. Write it as its specification says.',
  statementType: 'The payload says that it is {found}; only {expected} is read here. Have it made again in that version.',
  provenanceIncomplete: 'A provenance needs builderId and buildType. Give both as options.',
  formatNeedsCertificate: '{format} says by a certificate who signed. Give the signer a certificate.',
  messageSignatureMissing:
    'The signature says that another one with {algorithm} belongs to it, and that one is not there or cannot be judged. Get the message again from its signer.',
  messageCertificate: 'The certificate in the message is not the one that its thumbprint names. Get it again from its signer.',
  messageSignerUnknown:
    'The message does not carry the certificate of its signer, and names none that is trusted here. Have it signed by one of those in the trust list.',
  messageSignerUntrusted:
    'Nobody trusts {subject} to sign this ({why}). Have it signed by one of those in the trust list for this purpose.',
  messageSignerTwice: 'One key signed the message twice. Each signature has to be of another person or service.',
  messageTypeOther: 'The message says to be {found}, and {wanted} is wanted. Get the right one from its sender.',
  messageSignature: 'The message was changed after it was signed, or is not of its signer. Get it again from its sender.',
  messageSignerForm:
    'The signer {name} does not sign such messages. Make one with a certificate, one key, and {format} among its formats.',
  messageContentTwice: 'The message holds what it signs, and a file was given as well. Verify the message alone.',
  contentNotGiven: 'The signature stands beside what it is over. Give the signed artifact with it.',
  certificateNotGiven: 'A plain signature does not say whose it is. Give the certificate of its signer.',
  rawSignature: 'The signature does not fit the artifact and the key of the certificate. Get both again from their maker.',
  digestNotSignable:
    'The key cannot sign a digest with {algorithm} where it is kept. Send the artifact itself, or use another key.',
  artifactPartTooLarge: 'The artifact cannot be used: {what} is larger than {limit} bytes. Check that it is what you meant.',
  artifactTooMany: 'The artifact cannot be used: it has more than {limit} {what}. Check that it is what you meant.',

  // audit
  auditLogMissing: 'There is no audit log in this database. Run "sealworks init" for a new installation, or restore the backup.',
  auditLogExists: 'The audit log exists already and is never made twice. Go on with it.',
  auditLogDamaged:
    'The audit log is damaged and takes no more entries into its order. Run "sealworks audit verify" to see where.',
  auditKeyOther: 'The key store holds another key for the audit log than the log was made with. Restore the key from the backup.',
  auditOrigin:
    'The audit log cannot be called "{origin}". Use a URL without scheme, spaces or plus signs, such as pki.example/audit.',
  notCheckpoint: 'The text is not a log checkpoint: {detail} is not as it must be. Export the checkpoint again.',
  notAuditProof: 'The text is not a proof of an audit entry: {detail} is not as it must be. Have it made again.',
  notEntryBundle: 'These octets are not a bundle of audit entries. Export the log again.',
  notWitnessRequest: 'The request to the witness is not as it must be: {detail}.',
  auditProofWrong:
    'The proof does not lead from the entry to the root that the log signed. The entry is not in the log as it stands there.',
  auditProofWithoutEntry: 'The proof holds no entry. Have it made again with "sealworks audit prove".',
  auditProofUnwitnessed:
    'The checkpoint is not cosigned by {witness}. Have the proof made again once that witness has seen the log.',
  auditEntryUnsigned: 'No signed checkpoint covers the entry yet. Try again in some seconds.',
  auditEntryUncosigned:
    'No witness has seen the entry yet. Try again in a minute, or see with "sealworks audit log" what the witnesses say.',
  unknownAuditEntry: 'There is no audit entry with this id. Find it with "sealworks audit list --json".',
  auditEntryTooLong: 'The act has more facts than an audit entry holds (65,535 octets). Use shorter names.',
  auditSizes: 'The log has {size} entries. Ask for a first and a second size of 1 to {size}, the second not below the first.',
  auditTileMissing: 'The log has no such tile. Get the checkpoint, and ask only for tiles of its size.',
  tilesDiverge:
    'What is in the directory is not this log, or was changed: the tiles do not give the root hash that was signed. Export into an empty directory.',
  verifierKeyType:
    'A key of type {type} is not known here. Known are Ed25519 and ECDSA for logs, and cosignatures by Ed25519 and ML-DSA-44 for witnesses.',
  witnessStateMissing: 'There is no witness in {directory}. Make one, once, with --create.',
  witnessStateExists: 'There is a witness in {directory} already, and it is never made twice. Leave out --create.',
  witnessStateDamaged:
    'The record of what the witness has seen cannot be read: {file}. A witness that forgot what it saw must not go on: make a new one with a new key.',
  witnessAnswer: 'The witness {witness} answered {status}, which is no cosignature. Look at its log.',
  witnessAhead:
    'The witness {witness} says that it saw {seen} entries, and the log has {size}. The log was rolled back, or the witness is wrong: run "sealworks audit verify" with the checkpoint that it kept.',
  witnessFork:
    'The witness {witness} saw another log at {size} entries than this one. The log was rewritten, or there are two of it: run "sealworks audit verify" with the checkpoint that it kept.',
  witnessSignature: 'What the witness {witness} answered is not signed by its key. Check the key in the setting audit.witnesses.',
  checkpointSignature:
    "The checkpoint is not signed by this log's key. Get it from where it was kept, and check which log it belongs to.",
  initializedBefore: 'This data directory was made ready before. Start it with "sealworks serve", or name another directory.',
  notInitialized: 'This data directory is not ready. Run "sealworks init" first.',
  tlsAuthorityMissing:
    'The installation has no TLS authority of its own. Restore the database, or configure server.tlsCertificate.',

  // ca
  lint: 'The certificate would break a rule ({rule}): {finding}. Change the request or the profile.',
  publicUrlMissing:
    'Certificates of this profile carry CRL and OCSP addresses, and none is known. Set server.publicUrl in the configuration.',
  crlLongForAnswer:
    'The CRL was issued; it is too long for this answer. Fetch it from the address that certificates name, /crl/{address}.crl.',
  crlDropped: 'This CRL was replaced by newer ones while it was fetched. Fetch it again.',
  crlNoDeltas: 'The authority "{authority}" makes no delta CRLs. Set how long they are valid with `sealworks ca revocation`.',
  crlShardsFewer:
    'The authority "{authority}" has {shards} CRL shards, and certificates point to them for as long as they are valid. Keep as many or add some.',
  crlShardUnknown: 'The authority "{authority}" has no such CRL shard. Fetch the one that the certificate names.',
  crlNone: 'The authority "{authority}" has issued no CRL yet. Issue one with `sealworks ca issue-crl`.',
  ocspNotOurs: 'None of these certificates was issued here. Ask the responder that the certificate names.',
  profileMalformed: 'The profile cannot be used: {problems}. Mend what is named.',
  profileUnknown: 'There is no profile "{profile}". List the profiles to see what there is.',
  profileBuiltIn: 'The profile "{profile}" is built in and stays as it is. Give yours another id.',
  profileNotForAuthorities: 'The profile "{profile}" is not for authorities. Use root or issuing.',
  authorityUnknown: 'There is no authority "{authority}" here. List the authorities to see what there is.',
  authoritySlug:
    'An authority\'s short name has 1 to 32 lower-case letters and digits and does not begin with "m". Choose another.',
  authorityTaken: 'An authority "{authority}" exists. Choose another short name.',
  authorityRetired: 'The authority "{authority}" is retired or revoked and issues nothing more. Use its successor.',
  authorityEnded: 'The key of the authority "{authority}" is destroyed, so it signs nothing more. Use its successor.',
  authorityChanged: 'The authority "{authority}" was changed in the meantime. Look at it, then ask again.',
  authorityNotNewest: 'The authority "{authority}" has a successor, "{newest}". Rotate that one.',
  authorityExternal:
    'The authority "{authority}" is certified by "{issuer}", whose key is not here. Make a request with `ca request`, have it signed there, and import the certificate.',
  authorityHeld: 'The authority "{authority}" is on hold, which can be lifted. Revoke its certificate first, or retire it.',
  authorityInUse: 'The authority "{authority}" is what these endpoints issue with: {endpoints}. Disable them first.',
  authorityActive:
    'The authority "{authority}" is active. Retire it first; its key is destroyed once all that it issued has ended.',
  authorityNeeded:
    'Certificates of the authority "{authority}" are valid until {until}, and only its key can say that one is revoked. Wait until then.',
  authorityKnown: 'This certificate is that of "{authority}", which is here already. Nothing to do.',
  authorityRequested: 'A request for the authority "{authority}" is on its way. Import its certificate, or cancel it first.',
  authorityNotRequested: 'There is no request for an authority "{authority}" that waits for its certificate. List the requests.',
  foreignCertificate: 'The certificate cannot be taken: {finding}. Have it made again, or import what it needs first.',
  foreignCRL: 'The revocation list cannot be taken: {finding}. Have the authority that it is about issue its next one.',
  foreignCRLPartial:
    'The revocation list speaks of a part of the certificates only (it has an issuing distribution point). Have the authority issue one list of all of them.',
  importedCRLNone:
    'No CRL of the offline authority "{authority}" was imported yet. Issue one there and import it with `ca import --crl`.',
  nameConstraint:
    'The name constraint "{text}" is not understood. Write dns:plant.example, ip:10.1.0.0/16, email:plant.example, uri:plant.example or dir:O=Example.',
  weakKeyList: 'The list of known keys {file} is not understood at line {line}. It has 20 hexadecimal digits on each line.',
  publicationFile: 'The file {path} cannot be written ({problem}). Check the directory and that the server may write there.',
  publicationUnreachable: 'Nobody answers at {url} ({problem}). Check the address and the network; it is tried again.',
  publicationRefused: 'The server at {url} answered {status}. Check the address and the credentials; it is tried again.',
  publicationKeys: 'Publication to S3 needs publication.s3AccessKey and publication.s3SecretKey. Set both.',
  authorityKeyMismatch: 'The key of the authority "{authority}" does not fit its certificate. Restore both from one backup.',
  profileForAuthorities:
    'The profile "{profile}" is for authorities or their responders, which are never made from a request. Choose one for devices, servers or stations.',
  keyInUse: 'The key "{label}" belongs to the installation itself and cannot be made, replaced or destroyed by hand.',
  keyImport: 'The key store "{store}" takes no keys from elsewhere. Make the key in it.',
  nameText: 'The name "{name}" is not written as dns:NAME, ip:ADDRESS, uri:URI or email:ADDRESS. Write it so.',
  endpointUnknown:
    'There is no enrollment endpoint "{endpoint}" here, or it is disabled. Ask the operator for the right address.',
  endpointLabel: 'A label has 1 to 63 lower-case letters, digits and hyphens and is no operation name. Choose another.',
  endpointTaken: 'An endpoint with this label exists. Choose another label.',
  endpointDefaultTaken:
    'Another endpoint is the default of this protocol already. Disable that one first, or give this one a label only.',
  endpointRules: 'The endpoint rules cannot be used: {problems}. Mend what is named.',
  secretLifetime: 'A secret is valid for 60 to {most} seconds. Choose a time within.',
  secretWrong: 'The user name or the password is wrong, or has expired. Ask for a new secret.',
  secretUsed: 'This one-time secret was used for another request. Ask for a new secret.',
  secretsNotHere: 'This endpoint takes client certificates, not passwords. Connect with a certificate.',
  noCredentials:
    'Nothing says who asks. Connect with a client certificate, or give the user name and password that you were given.',
  issuerRevoked:
    'The authority "{issuer}" that issued the client certificate is revoked. Enroll anew with a certificate of its successor.',
  issuerExpired:
    'The authority "{issuer}" above the client certificate has ended. Enroll anew with a certificate of its successor.',
  issuerNoLongerTrusted:
    'The authority "{issuer}" above the client certificate is no longer trusted here. Ask the operator which one is.',
  issuerPath: 'The authority "{issuer}" that issued the client certificate is not trusted now. {detail}',
  clientPath: 'The client certificate is not accepted. {detail}',
  issuerNotListed: 'Certificates of this issuer are not accepted here. Use the endpoint that your certificate is meant for.',
  certificateUnknown:
    'The client certificate is not one that was issued here. Use the certificate that this installation issued.',
  certificateNotYet: 'The certificate is not valid yet. Check the clock, or wait.',
  certificateRevoked: 'The certificate is revoked. Ask an officer; a revoked certificate does not come back.',
  certificateHeld: 'The certificate is on hold. Ask an officer to release it.',
  certificateExpired: 'The certificate has expired. Enroll again with the birth certificate or a new secret.',
  certificateNotForEnrollment:
    'This certificate does not name a device and is no listed registration authority. Have it listed at the endpoint.',
  certificateNotFound: 'There is no certificate with this id. Search for it by serial number or product serial.',
  certificateNotHeld: 'The certificate is not on hold, so there is nothing to release.',
  certificateNotHoldable: 'Only a certificate that is in use can be put on hold.',
  serialNumberText: 'A serial number is given in hexadecimal digits. Copy it from the certificate.',
  nothingToRenew: 'Renewal needs the certificate that is to be renewed. Use the enrollment operation for a first certificate.',
  answerRevoked: 'This very request was answered, and the certificate has been revoked since. Make a new key and a new request.',
  keyNotInProfile: 'The profile "{profile}" does not offer {algorithm} keys. Make a key of an algorithm that it lists.',
  keyOfAnotherProduct: 'This key belongs to another product serial: the device is a copy. Make a new key in the device.',
  productHasAnotherKey:
    'The product serial "{productSerial}" has its birth certificate already, with another key. Check the serial on the device.',
  subjectMultiValued: 'The subject has several attributes in one level. Write each attribute in a level of its own.',
  subjectFixed: 'The subject attribute {attribute} is fixed to "{value}". Leave it out or write just that.',
  subjectAttribute: 'The profile "{profile}" has no subject attribute {attribute}. Leave it out.',
  subjectRepeated: 'The subject has the attribute {attribute} twice. Write it once.',
  subjectText: 'The subject attribute {attribute} has characters that do not print. Write it in plain text.',
  subjectMissing: 'The profile "{profile}" needs the subject attribute {attribute}. Add it to the request.',
  bornAlready: 'A device does not ask for its own birth certificate. Use the endpoint of the owner, or the station of the line.',
  foreignProductSerial:
    "The request names another device than the one that asks. Ask with that device's own certificate or secret.",
  productSerialSpaces: 'The product serial begins or ends with a space, or has two in a row. Write it without them.',
  productSerialNotListed:
    'This registration authority may not ask for that product serial. Have the serial listed at the endpoint.',
  foreignSubject:
    'The subject attribute {attribute} is not that of the device that the request is for. Leave it out, or write what its certificate or its product serial says.',
  foreignName: 'The name {name} does not belong to the one that asks. Leave it out, or have it listed at the endpoint.',
  nameKind: 'The profile "{profile}" has no names of the kind {name}. Leave it out.',
  nameSyntax: 'A {name} in the request is not written as the standard asks. Correct it.',
  namesMissing: 'The profile "{profile}" needs a subject alternative name. Add one to the request.',
  hardwareTypeMissing:
    'The profile writes a hardware type and the endpoint has none. Set hardwareType in the rules of the endpoint.',
  requestedAuthority: 'The request asks to become an authority. Leave basicConstraints out.',
  requestedKeyUsage: 'The profile "{profile}" does not give the key usage {usage}. Leave it out of the request.',
  requestedKeyPurpose: 'The profile "{profile}" does not give the key purpose {purpose}. Leave it out of the request.',
  requestedExtension: 'The profile "{profile}" does not take the extension {extension} from a request. Leave it out.',
  renewalChangesNames:
    'A renewal keeps the names of the certificate that it renews. Copy its subject and subject alternative name.',

  // x509/path: {subject} is the certificate that the sentence is about
  pathIssuerMissing:
    'No trusted issuer was found for "{subject}": nobody at hand is called "{issuer}" and may be trusted. Give the missing certificates, or trust its root if you know it.',
  pathSignature: 'The signature on "{subject}" was not made by "{issuer}": it is forged or damaged. Do not use it.',
  pathNotYet: '"{subject}" is not valid before {notBefore}. Check the clock, or wait.',
  pathExpired: '"{subject}" is no longer valid: it ended at {notAfter}. Get a new one from its issuer.',
  pathRevoked: 'The issuer revoked "{subject}" at {revokedAt} ({because}). Do not use it.',
  pathRevocationUnknown:
    'It is not known whether "{subject}" is revoked: {detail}. Get a current revocation list or OCSP answer of its issuer.',
  pathNotAuthority: '"{subject}" is no authority, yet it signed another certificate. Do not use what it signed.',
  pathKeyUsage: 'The key of "{subject}" is not for {usage}. Ask its issuer for a certificate with that use.',
  pathLength: '"{subject}" allows fewer authorities below it than there are. Get a certificate from an authority nearer to it.',
  pathNameExcluded:
    '"{subject}" has the {kind} {name}, which an authority above it excludes. Get a certificate from an authority for that name.',
  pathNameNotPermitted:
    '"{subject}" has the {kind} {name}, which is outside of what an authority above it may name. Get a certificate from an authority for that name.',
  pathNameUnreadable:
    '"{subject}" has a {kind} that cannot be compared with the limits of an authority above it: {detail}. Ask for a certificate with a proper name.',
  pathPolicy:
    '"{subject}" was not issued under a policy that is asked for all the way down. Accept another policy, or get a certificate under the one asked for.',
  pathAnyPolicyMapped: '"{subject}" maps the policy that stands for any policy, which is not allowed. Tell its issuer.',
  pathCriticalExtension:
    '"{subject}" has the critical extension {extension}, which is not understood here, so it must be refused. Ask its issuer for one without it.',
  pathUnreadable: '"{subject}" cannot be read to its end: {detail}. Get it again from its issuer.',
  pathAlgorithm: '"{subject}" is signed with an algorithm that is not accepted here. Ask its issuer for a current one.',
  pathKey: 'The key of "{subject}" cannot be used to check signatures: {detail}. Ask its issuer for a current one.',
  pathPurpose: '"{subject}" is not for {purpose}. Ask its issuer for a certificate with that purpose.',
  pathPeerName: '"{subject}" does not name {name}. Check the address, or ask for a certificate with that name.',
  peerNameText: 'The name "{name}" is not written as dns:HOST, ip:ADDRESS or email:MAILBOX. Write it so.',
  pathTooDeep: 'There are more than {limit} authorities above "{subject}". Give only the certificates that belong to it.',
  pathTooMuchWork:
    'No way from "{subject}" to a trusted root was found within {limit} {what}. Give only the certificates that belong to it.',
  pathProfile:
    '"{subject}" breaks a rule for those who issue: {rule}. Tell its issuer, or accept certificates of careless issuers (--lenient).',
  unknownObject:
    'This is no certificate, certificate request, revocation list or OCSP message. Check that the whole file was read.',
  // cms
  badBundle: 'The certificate bundle cannot be used: {detail}. Export it again as PKCS #7 with certificates only.',

  // access
  signInNeeded: 'This needs a sign-in. Send a token, or open a new sign-in link.',
  permissionMissing:
    'This needs the permission {permission}, which the roles {roles} have. Ask an administrator for one of them.',
  csrfToken: 'The request did not come from a page of this console. Reload the page and try again.',
  roleUnknown: 'There is no role "{role}". Use one of {known}.',
  principalUnknown: 'There is no such person or service. List them to see who there is.',
  principalExists: 'A person or service named "{name}" exists already. Choose another name.',
  principalName: 'A name has 1 to {limit} characters, none of them a control character and no space at either end. Change it.',
  principalSuspended: 'This person or service is suspended. Ask an administrator to resume it.',
  lastAdministrator: 'This is the last active administrator. Make someone else administrator first.',
  tokenUnknown: 'The token is not valid here. Check that it is complete, or have a new one made.',
  tokenExpired: 'The token has expired. Have a new one made.',
  tokenNotListed: 'There is no token with this id. List the tokens of the person or service.',
  tokenName: 'A token has a name of 1 to {limit} characters that says where it is used. Name it.',
  tokenLifetime: 'A token lives from 1 second to {days} days. Choose another lifetime.',
  linkUnusable: 'The sign-in link is wrong, has expired or was used. Have a new one made.',
  sessionExpired: 'The session has ended after a time without use or at its limit. Open a new sign-in link.',

  // devices: owners
  ownershipMalformed: 'The statement of ownership ({what}) cannot be read: {detail}. Get it again from whoever made it.',
  ownershipEmpty: 'The chain of owners has no entries, or an empty line. Export it again where the device is recorded.',
  ownershipTooLong: 'The chain of owners has more than {limit} entries. Export it again where the device is recorded.',
  ownershipSignature: 'The {what} is not signed by {who}. Do not trust it; get the chain of owners from another source.',
  ownershipOrder: 'The {what} of epoch {epoch} does not stand where it belongs: {detail}. Get the whole chain of owners again.',
  ownershipOtherDevice: 'The {what} is about another device. Look for the chain of owners of this one.',
  ownershipStale: 'The chain of owners ends with epoch {epoch}; epoch {known} is known. Get the later entries.',
  ownershipMakerUnknown:
    'No trusted maker signed the beginning of the chain of owners (its key is {key}). Trust the key of the maker first, if it is the right one.',
  ownershipNotAccepted: 'The next owner did not accept the device, and nobody gets one without that. Ask for an acceptance.',
  ownershipExpired: 'The {what} was answered after its time. Ask for a new one.',
  ownershipWaits: 'The recovery can be completed after {until}, when the time to object is over. Try again then.',
  ownershipObjected: 'The owner of the device objected to its recovery. Settle it with the owner.',
  ownershipKeyTaken: 'This key is that of the organization "{organization}" already. Use a key of its own for each.',
  ownershipKeyNone:
    'The organization "{organization}" has no key to speak of ownership with. Set it with "sealworks organization key".',
  ownershipKeyElsewhere:
    'The private key of "{organization}" is not in this installation. Have it signed where that organization is.',
  ownershipForked:
    'Another entry of epoch {epoch} is known: somebody gave the device away twice. Trust neither, and ask its maker.',
  ownershipNoChain:
    'The device is in epoch {epoch}, and its chain of owners ends with {recorded}. Import the later entries first.',
  ownershipTransferUnknown: 'There is no such transfer here. List the transfers to see their ids.',
  ownershipTransferState: 'The transfer is {state}, which does not allow this. Look at it to see what comes next.',
  ownershipTransferOpen: 'Another transfer of this device is open. Finish or withdraw that one first.',
  ownershipBirthOther: 'The birth certificate in the package is not of this device. Get the package again.',
  ownershipPackage: 'The file is no package of a transfer: {detail}. Get it again from the seller.',
  ownershipRecoveryUnknown: 'There is no such recovery here. List the recoveries to see their ids.',
  ownershipRecoveryState: 'The recovery is {state}, which does not allow this. Look at it with "sealworks device recover list".',
  ownershipRecoveryOpen: 'Somebody claims this device already. Wait for what becomes of that.',
  ownershipClaimsTooMany:
    'The claims of {what} that wait for a proof from the device are {limit}, which is the most. Withdraw some of them first.',
  ownershipPresence:
    'The proof that the device is there answers another question, or is for another claimant. Have the device sign again.',
  deviceInArea: 'The device is in the area "{name}" already. Name another.',
  voucherMalformed: 'The voucher cannot be read: {detail}. Get it again from the maker of the device.',
  voucherSigner: 'No maker that is trusted here signed the voucher. Do not follow it.',
  voucherOtherDevice: 'The voucher is for another device. Get that of this one from its maker.',
  voucherTime: 'The voucher is not valid at this time. Look at the clock, or get a new voucher.',
  voucherNonce: 'The voucher does not answer what the device asked. Ask again for one.',

  // orders
  countingRolledBack:
    'This node counts no further: {found}. The log speaks of start {logStart} and block {logBlock}, the counters of {starts} and {blocks}. Send the log to the maker and ask for a new ticket.',
  jobUsedUp: 'All {positions} positions of this job are used or burned. Close the job, and ask the maker for another ticket.',
  nodeStopping: 'This node is stopping. Ask again when it runs.',
  statementSignature: 'The {kind} is not signed by the key that it should be. Check where it comes from.',
  statementMalformed: 'The {kind} is malformed: {detail}. Take it as it was made.',
  logEntryMalformed: 'A line of the log is not as a node writes it: {detail}. Send the log to the maker as it is.',
  logBroken:
    'Entry {entry} of the log does not follow the one before it: something was edited or left out. Send the log to the maker as it is.',
  logOfAnotherJob: 'The log is of another job. Put the right one back, or start in an empty directory with a new ticket.',
  logUnwritable: 'The log cannot be written, so nothing is issued. Look at the disk, then start the node again.',
  logFull: 'The log has its {limit} entries. Close the job, and ask the maker for another ticket.',
  bundleTooLarge: 'The bundle is larger than its limit ({limit}). Export the log again in pieces.',
  bundleMalformed: 'The bundle is malformed: {detail}. Export the log again.',
  bundleGap:
    'The bundle begins at entry {from}, and entries from {size} on are not here yet. Import those before, or export with --from {size}.',
  bundleOlder: 'The bundle ends at entry {size}, and more than that is here already. Export the log again.',
  logForked:
    'This log is not the one that was seen before: it differs at entry {size}. A node was copied or put back. Look into it before anything of this job is trusted.',
  counterUnreadable: 'The counter {file} cannot be read, so nothing can be issued. Ask the maker for a new ticket.',
  tierTooLow: 'The order asks for a node of tier {asked}, and this one has {has}. Use a machine with a TPM, and name it.',
  nodeHasJob: 'The directory {directory} has a job already. Name another: each job has its own.',
  nodeNotInitialized: 'There is no node in this directory. Run "sealworks node init" first.',
  nodeHasNoTicket: 'The node has no ticket yet. Send its request to the maker, then run "sealworks node ticket".',
  nodeHasTicket: 'The node has another ticket already. Start in an empty directory for another job.',
  ticketOfAnotherNode: 'The ticket is for another node, order or counter. Send it to the node whose request it answers.',
  ticketNotYet: 'The ticket holds from {from} on. Wait until then, or check the clock.',
  ticketEnded: 'The ticket ended on {end}. Close the job, and ask the maker for another ticket.',
  ticketAuthority: 'The ticket does not make this node an authority: {detail}. Ask the maker for another.',
  jobClosed: 'The job is closed: nothing is issued any more. Ask the maker for another ticket if devices are missing.',
  jobKeyGone: "The job's key is destroyed, as it is when a job is closed. What was exported at its end is all there is.",
  serialOutsideBlock:
    'The serial number {productSerial} is not one of those that the ticket gives out. Take the next of its block.',
  quotaUsedUp: 'All {quota} devices of the ticket are born. Scrap those that failed, or ask the maker for another ticket.',
  stationUnknown: 'This station is not named in the ticket. Ask the maker for a ticket that names its certificate.',
  notBornHere: 'No device with this serial number was born in this job. Check the number.',
  judgedAlready: 'This device was judged already: {judged}. What is scrapped stays scrapped.',
  tpmPlace: 'The TPM {place} cannot be named so. Write device:/dev/tpmrm0, socket:PATH or tcp:HOST:PORT.',
  orderTaken: 'There is an order named {order} already. Choose another name.',
  orderUnknown: 'There is no order named {order}. "order list" shows them.',
  orderClosed: 'The order {order} is closed. Make another for more devices.',
  orderMalformed: 'The order cannot be made: {detail}. Correct it.',
  orderUsedUp:
    'The order has no room for {asked} devices: {left} are not given to a job yet. Give up a job that is lost, or make another order.',
  orderSerialsUsedUp:
    'The serial block of the order has no room for {asked} more numbers. Make another order with a block of its own.',
  orderHasJobs: 'Jobs of this order are still open ({jobs}). Import the end of each, or give it up, before the order is closed.',
  ticketRequestOther: 'The request does not answer the sheet of this order. Make it from the sheet that "order sheet" gives now.',
  ticketKeyMissing: 'The key {label} that signs tickets of this order is not there. Make it with "key create".',
  nodeKeyUsed: 'This node key has a ticket already. Each job has its own key: start in an empty directory.',
  attestationMissing:
    'The order asks for a node of tier {asked}, and the request proves {shown}. Use a machine that can show it.',
  attestationWrong: 'What the TPM says does not go with the request: {detail}. Make the request anew.',
  lineNotCounted:
    'The line {line} bears without an order, so that nothing would count. Make a line with --ordered, and close this one.',
  lineOfOtherModel: 'The line {line} bears another model than {model}, which is ordered. Name a line of that model.',
  lineAllotted: 'The line {line} works for an order already. End that allotment first.',
  allotmentNotOpen: 'The order has no such allotment that is open. "order show" lists them.',
  allotmentUsedUp: 'All {quota} devices that were given to the line {line} are born. Scrap those that failed, or give it more.',
  birthNotOrdered:
    'The line {line} bears only what is ordered, and no order that is open now gives it anything. Give it a part with "order allot".',
  orderHasAllotments: 'Lines still work for this order ({lines}). End their allotments before the order is closed.',
  imageNotInTicket:
    'The ticket names no image {image}. Take one that was made for this model, or ask the maker for a ticket that names it.',
  imageSignature: 'The image {image} is not signed by one whom the ticket names: {detail}. Get it again from the maker.',
  imageLoadsUsedUp:
    'Images were handed out {most} times, as often as the ticket of this job allows. Close the job, and ask for a ticket for the rest.',
  imageUnknown: 'The node has no image {image}. Bring it with "sealworks node image".',
  imageOther: 'The image {image} on the disk is not what was signed any more. Find out who changed it, and bring it again.',
  imageNotNamed: 'The ticket has {images} images. Name one by its SHA-256.',
  imageNotLoaded: 'The device {productSerial} got no image of the ticket yet. Load it before its birth.',
  imageAfterBirth: 'The device {productSerial} is born with another image, or scrapped. It gets no other here.',
  envelopeMissing: 'The node has no key for images. Make it anew with "sealworks node init" of this version.',
  envelopeOther: 'The certificate of the key for images is not of this node. Make the request anew.',
  endorsementMissing:
    'The node shows no TPM with a certificate of its maker. Use a machine whose TPM has one, or order a lower tier.',
  challengeOfAnotherNode: 'The challenge is for another node or order. Take it to the node whose request it is about.',
  nodeChallengeOther: 'The answer is not to a challenge of this order and request. Answer the one that "order challenge" gave.',
  nodeChallengeUsed: 'This challenge was used or failed. Ask for another with "order challenge".',
  nodeChallengeExpired: 'The challenge is too old. Ask for another with "order challenge".',
  nodeCredential:
    'The answer is not what the challenge told: the node has not the TPM that it names. Find out who answered before you ask again.',
  orderChanged: 'Somebody else changed the order at the same moment. Look at it again.',
  jobNotOpen: 'The order has no such job that is open. "order show" lists its jobs.',
  productionJobUnknown: 'No order here has the job {job}. Check which installation signed its ticket.',
  productionJobOver:
    'The job has ended, and the log goes on: entries after its end are not believed. Ask the factory what the node did after its end.',
  jobEndOther: 'The certificate that ends the job does not agree with its log. Look into it before the order is closed.',

  // agent
  agentNotEnrolled: 'This device is not set up yet. Run "sealworks agent enroll".',
  agentSetUp: 'This directory belongs to an agent that was set up otherwise. Name another directory, or remove it first.',
  agentDamaged:
    'The key in {directory} has no certificate that can be read. Bring the directory back, or remove it and enroll again.',
  agentBusy: 'Another agent works on {directory}. Stop it first.',
  agentNoTPM: 'The key lies in a TPM, and none is named. Say where it is with --tpm.',
  agentKeyFile: 'The file holds no private key that can be used: PEM, not encrypted, or of a TPM under its owner. Name another.',
  agentIdentity: 'The birth certificate has no serial of a device, or is for another key. Name the files that belong together.',
  agentCertificatePath: 'What the server issued does not lead to its own authorities ({detail}). The certificate in use stays.',
  agentKeyForTLS:
    'TLS cannot use a key that lies in a TPM, and the birth key lies in one too. Give a birth certificate whose key is in a file.',
  agentReportRefused: 'The server did not take the report ({status}): {detail} Mend that, and report again.',
  deviceMessageRefused: 'The server did not take the message ({status}): {detail} Mend that first.',
  agentNoTrust: 'The trust list names nobody for {purpose}. Have one made that does.',
  agentNoTrustList: 'This device has no trust list. Give it the first one with "sealworks agent trust FILE".',
  agentFile: '{file} in the agent’s directory is not as it must be: {detail}. Correct it.',
  agentFileMissing: 'The agent’s directory holds no {file}. Write it, as the page about the agent says.',
  agentLater: 'It takes longer than the agent gives it at a time, and goes on next time.',
  updateNotOnStick: 'There is no update for this device in {folder}. Have one written for it.',
  updateNoConsent: 'No update waits for an agreement here. Ask the server for one with "sealworks agent update".',
  updateNotServed: 'The server lists no {name}, which the statement names. It is asked again.',
  updateNoStatement:
    'The update came without a director’s statement for this device, which is never done without. Find out who sent it.',
  updateNotOver: 'Another update of this device is not over. Let it end first: run "sealworks agent update".',
  updateNoComponent:
    'The component {component} is not updated on this device. Name it in updates.json, or send its release elsewhere.',
  updateNoArtifact: 'The release has nothing that this device’s installer of {component} takes. Add the format to the release.',
  updateImage: 'The software is not signed by whom this device trusts for it: {detail}. Find out who sent it.',
  updateArtifactModel: 'The software says itself that it is not for this device: {detail}. Send the release of its model.',
  updateArtifactOther: 'What came as {name} is not what the statement names. It was removed; it is fetched anew at the next try.',
  updateArtifactLength: 'The server sends {length} octets where {octets} are to come. Find out what it serves.',
  updateTooSlow: 'The download came down to {perSecond} octets a second, and was ended. It goes on at the next try.',
  updateAnswer: 'The server answered {status} where an artifact was asked for. It is asked again.',
  updateDiskFull: 'The device has {free} octets free and needs {needed} for the update. Make room on it.',
  updateProgram: 'The program {program} failed: {detail}. Look into it on the device.',
  updateStarts: 'The new version was started {starts} times and did not come to say that it is good. See what it logs.',
  updateUnhealthy: 'The new version is not good on this device: {detail} See what it logs, and mend the release.',
  notTrustList: 'The trust list is malformed: {detail}. Have it made again.',
  trustListSignatures: 'The trust list has {found} of the {threshold} signatures by {whose} keys. Have more of them sign.',
  trustListOther: 'The trust list is not the next one of this device: {detail}. Find out who made it.',
  trustListExpired: 'The trust list {version} ended on {expires}. Get its successor: somebody may be keeping it back.',
  trustListsDiffer: 'The signatures are over different lists. Join those of one list.',
  notReport: 'The report is malformed: {detail}. Have the device make it again.',
  deviceForked:
    'Two machines speak with the key of this device, or it was put back to an earlier day. It is cut off until an officer has found out.',
  deviceStateWrong: 'What runs on this device is not what was accepted ({detail}). It is cut off until an officer clears it.',
  reportSignature: 'The report is not signed by the key of its certificate. Have the device make it again.',

  // updates
  notUpdateMessage: 'The message of an update cannot be read: {detail}. Have it made again.',
  updateOtherDevice: 'The update is for the device {productSerial}, and this is {here}. Give it to the device that it is for.',
  updateTwin:
    'The update is for another device with the serial {productSerial}: the key that one was born with is another. Find out which of the two is the copy.',
  updateOtherOwner: 'The update is from the time of another owner ({owner}). Ask the present owner ({here}) for one.',
  updateOtherEpoch:
    'The update is for epoch {epoch} of the device’s ownership, and it is in epoch {here}. Ask its present owner for one.',
  updateOtherArea: 'The update is for the area {area}, and the device is in {here}. Ask for one where it is.',
  updateOtherModel: 'The update is for the model {model}, and this is {here}. Choose a release for this model.',
  updateOtherRevision:
    'The update is for the hardware revisions {revisions}, and this is {here}. Choose a release for this hardware.',
  updateSourceTooOld:
    'The update starts from {component} {version} (counter {counter}), and this has counter {here}. Install a release in between first.',
  updateNotNewer:
    'The update of {component} has counter {counter}, and {here} is installed. Only an order to roll back that names the device goes back.',
  updateRollbackOther:
    'The order rolls {component} back from counter {from}, and {here} is installed. Ask for an order that fits what is installed.',
  updateRequires: 'The update needs {component} at counter {counter}, and {here} is installed. Update that component first.',
  updateFeature: 'The update is only for devices that are licensed for {feature}. Get a license for it first.',
  updateClockBack:
    'The clock says {now}, and this device has seen {lastSeen} already: it was set back. Set it right before anything is installed.',
  updateNotYet: 'The update is from {from}, which is still to come by this clock. Look at the clock.',
  updateExpired: 'The update could be installed until {until}. Ask for it again.',
  updateReplayed: 'The update is number {sequence} for this device, which has seen {last}. Ask for a new one.',
  updateManifestOther:
    'What the director says of the release is not what its maker signed: {detail}. Install nothing, and find out who sent it.',
  updateNotBorn: 'The device has no birth here, so that nothing can be bound to it. Record its birth first.',
  updateNoOwner: 'The device has no owner here, so that nobody may have it updated. Have it claimed first.',
  updateRule: 'The rule for updates does not allow this. Ask whoever is responsible to see to it.',
  updateDirectorMissing:
    'Nobody signs what devices are told to install. Ask whoever runs the server to set updates.directorSigner.',
  updateDirectorWaits: 'The signer {name} signs nothing before people agree, which a director cannot wait for. Change its terms.',
  updateDirectorRefuses:
    'The signer {name} does not sign for the director: {detail} See to its terms; it is asked again in a minute.',
  updateSequence: 'Another statement for this device was made at the same time. Try again.',
  releaseUnknown: 'There is no release {release} here. List the releases to see their ids.',
  releaseAmbiguous: 'Several releases for different models are called {release}. Name the one you mean by its id: release list.',
  releaseExists: 'There is a release {component} {version} for one of these models already. Choose another version.',
  releaseVersionUnknown: 'There is no release {component} {version} for these models. List the releases to see their versions.',
  releaseModelTwice: 'The release names a model twice. Name each once, with all its revisions.',
  releaseArtifactTwice: 'The release has a file "{name}" already. Give this one another name.',
  releaseArtifacts: 'A release has at most {limit} files. Make several releases of it.',
  releaseArtifactSigner: 'The file is not signed as the signer {name} signs: {detail} Sign it with that signer, or name its own.',
  releaseUnsigned: 'The file "{name}" has no signature, and none beside it. Add its signature, as "{name}." with an ending.',
  releaseEmpty: 'The release has no files. Add what is to be installed.',
  releaseState: 'A release that is {state} does not allow this. Look at it to see what comes next.',
  releaseChanged: 'The release was changed by somebody else in between. Look at it again.',
  releaseSignerDirector: 'The signer {name} signs what the director says, and must not sign software as well. Name another one.',
  stickRefused:
    'Nothing was written: {refused} of {devices} devices may not have the release. Leave them out, or mend what keeps them. {detail}',
  stickOther: 'What came as {name} is not what the director’s statement names, so no statement was written. Try again.',
  releaseFileUnknown: 'The release {release} has no file {digest}. Look at the release to see the digests of its files.',
  releaseFileMissing: 'The file {digest} is not where files of releases lie. Bring that directory back from its backup.',
  tufKey: 'Clients of TUF do not verify {algorithm}. Choose a signer with one of: {offered}.',
  tufSigner:
    'The signer {name} cannot sign TUF metadata: it must have one key, only the format {format}, and only {role} among its users. Make one for it.',
  tufThreshold:
    'The role {role} needs {threshold} signatures, and there are not as many keys for it. Name more signers, or ask for fewer.',
  tufOnline:
    'The signer {name} signs snapshot or timestamp by itself, again and again: it must not wait for people, nor sign root or targets. Name another one.',
  tufKeyOther:
    'The signer {name} is gone, or has another key than the root names for {role}. Rotate the root while enough of its keys are there.',
  sealNobody: 'There is no certificate to encrypt for. Send one in PEM, of a key that may agree on keys or decrypt them.',
  sealRecipients: 'A file is encrypted for at most {limit} certificates at once. Make several sticks.',
  updateSealed:
    'The file is encrypted, and this device has no key for it. Name certificate and key as decryption in updates.json.',
  artifactEncrypted: 'The file says already that it, or a part of it, is encrypted. Begin with the one that is not.',
  imageKey: 'This is no key that MCUboot decrypts with. Name one on P-256 or X25519 in PEM, not encrypted itself.',
  imageNotForEncryption:
    'The firmware was not signed to be encrypted, and devices would not decrypt it. Sign it with --option encryption=aes-128 first.',
  imageNotEncrypted: 'The firmware is not encrypted, or for several keys at once. Judge it as it is.',
  imageNotOpened: 'The firmware is encrypted for another key, or was changed. Name the key that it was made for.',
  imageFilled: 'The firmware is filled up to the size of its slot already. Begin with what the signer returned.',
  swupdateKeyFile:
    'This is no key file of SWUpdate: 64 hexadecimal digits, and 32 more after a space. Make one with: release make-key.',
  tufNotBegun: 'There is no TUF repository yet. Make one with: tuf init.',
  tufBegun: 'There is a TUF repository already. Change who signs for it with: tuf rotate-root.',
  tufChanged: 'The TUF repository was changed by somebody else in between. Look at it, and try again.',
  tufTargets: 'There are more files released than the {limit} that TUF clients can bear. Withdraw old releases.',
  tufFileUnknown: 'There is no such file of TUF metadata here. Begin with the root that you have, and timestamp.json.',
  notSBOM: 'This is no bill of materials that is known here: {detail}. Send CycloneDX or SPDX in JSON.',
  sbomTooLarge: 'The bill of materials is larger than the {limit} bytes allowed here. Leave out the files of its packages.',

  // devices
  deviceUnknown: 'There is no device {device} here. List the devices to see their ids.',
  deviceExists: 'The manufacturer has a device with the serial {productSerial} already. Look at it, or use another serial.',
  deviceState: 'A device that is {state} cannot do that ({act}). Look at its history to see how it came there.',
  deviceChanged: 'The device was changed by somebody else in between. Look at it again, and repeat what still has to be done.',
  deviceBorn: 'The device {productSerial} is born already, and no device is born twice. Find out where the second comes from.',
  deviceKeyTaken:
    'Another device has this key ({key}), so one of the two is a copy. Find out which, and give it a key of its own.',
  assuranceTooHigh: 'A birth of the variant {variant} proves assurance level {most}, not {assurance}. Record what is proven.',
  assuranceTooLow:
    'Births of the model {name} have to prove assurance level {least}, not {assurance}. Choose a variant that proves more.',
  birthTooWeak:
    'The model of the device asks its births for more than assurance level {assurance}. Prove more, or have it born on another line.',
  certificateNotWaiting: 'The certificate does not belong to this owner and area any more, or was replaced. Enroll again.',
  nameTaken: 'The name "{name}" is taken. Choose another one.',
  organizationUnknown: 'There is no organization {name} here. List the organizations to see their names.',
  modelUnknown: 'There is no product model {name} of this manufacturer. List the models to see their names.',
  revisionUnknown: 'The model has no hardware revision {name}. Show the model to see its revisions.',
  areaUnknown: 'There is no application area {name} of this owner. List the areas to see their names.',
  areaDisabled: 'The application area {name} is disabled. Enable it, or choose another one.',
  areaOfAnother: 'The application area {name} belongs to another owner than the device. Have the device transferred first.',
  areaModel: 'Devices of this model are not used in the application area {name}. Choose another area, or have the model allowed.',
  areaAssurance:
    'The application area {name} takes devices of assurance level {least} and above; this one has {assurance}. Choose another area or device.',
  variantNotAllowed: 'Devices of the model {name} are not born as {variant}. Choose one of the variants that the model allows.',
  deviceCertificateUnknown: 'The certificate belongs to no device that is recorded here. Enroll the device here.',
  deviceNotInUse: 'The device is not in use now. Ask its owner to look at its history.',
  deviceCloned:
    'There are two of this device, and neither is trusted until an officer has found the copy. Report it to its owner.',
  deviceMissing: 'The device is said to be lost or stolen. Report it to its owner.',
  deviceCutOff: 'The device is {state} and gets no certificate. Ask its owner to look at its history.',
  deviceAmbiguous: 'Devices of several manufacturers have this serial. Enroll with the certificate of the device itself.',
  deviceSerialTwice: 'Several devices have the serial {productSerial}. Name the one you mean as MANUFACTURER/MODEL/SERIAL.',
  deviceNotKnown: 'The device is not recorded here, and this endpoint takes only devices that are. Register it first.',
  deviceNotPlanned: 'Nobody planned a device with this serial, and this endpoint bears only planned ones. Register it first.',
  deviceNotClaimed: 'The device has no owner here that uses it. Have it claimed first.',
  deviceOtherArea: 'The device is in another application area than this endpoint serves. Move it first, or enroll where it is.',
  certificateReplaced: 'The certificate was replaced by a newer one of the device. Use the newer one.',
  deviceCertificateMissing: 'The device showed no certificate. Have it connect with its operational one.',
  certificateRole: 'This certificate of the device is not one to connect with. Use the operational one of its area.',
  deviceNameOther: 'The name that the device gives itself is not the one in its certificate. Use its serial.',
  deviceNameTwice:
    'Its owner has another device with this serial, of another maker, so the name says too little. Transfer one of the two.',
  areaProtocol: 'Devices of the application area {name} do not connect by {protocol}. Use another protocol, or another area.',
  areaPolicy: 'The policy of the area is not understood: "connections" lists protocols out of {protocols}. Write it so.',
  conduitTopics: 'A conduit names topics as DEVICE/down/... or DEVICE/evt/..., with + for any device. Write it so.',
  conduitOwners: 'A conduit joins areas of one owner. Name two areas of the same owner.',
  conduitsTooMany: 'The area {name} has {limit} conduits, which is the most. Join some of them by a wildcard.',
  conduitThere: 'The two areas have this conduit already. Nothing to do.',
  conduitUnknown: 'There is no such conduit. List the conduits to see their ids.',
  certificateOfOtherEpoch: 'The certificate is one of an earlier owner of the device. Enroll again with its birth certificate.',
  certificateOfOtherArea: 'The certificate is for another application area than the device is in. Enroll again.',
  issuerNotEnabled: 'The authority that issued the certificate is not in use. Enroll with one that is.',
  gatewayKind: 'The device is no gateway and speaks for no other. Name a device of the kind gateway.',
  gatewayOfGateway: 'A gateway speaks for itself. Bind devices, not gateways.',
  gatewayNotBorn: 'The birth key of the gateway is not known here, so no list can name it. Record its birth first.',
  gatewayNotBound: 'The gateway is not bound to this device. Have its owner bind it: "sealworks gateway bind".',
  gatewayNotInUse:
    'The gateway that speaks for the device is not in use, and speaks for nobody. Look at the history of the gateway.',
  gatewayOtherOwner: 'The gateway and the device had the same owner and have not now. Have the one who owns both bind them.',
  gatewayOtherArea:
    'The gateway is in another application area than the device, with no conduit from there. Move one of them, or make a conduit.',
  gatewayNotNeeded: 'A device of assurance level 2 or more speaks for itself. Have it enroll with its own key.',
  gatewayFull: 'A gateway speaks for {limit} devices at most. Unbind some, or take another gateway.',
  gatewayDeviceTwice: 'A device stands in the list twice. Leave one out.',
  gatewayListChanged: 'Somebody else changed the bindings of the gateway or the device. Look at them and try again.',
  gatewayMoveAgreed:
    'The device was bound to another gateway or port before, so that somebody else has to agree. Have it approved.',
  ruleRefuses: 'The rule for {rule} does not allow this: "{missing}" is not so. Ask whoever is responsible to see to it.',
  modelNotUsable: 'The product model is not one of this manufacturer, or is disabled. Choose another model.',
  organizationNotTheirs:
    'Whoever asks does not speak for the organization "{organization}". Have an administrator bind them: "sealworks organization bind".',
  organizationSpeakersMany:
    '{limit} people and services speak for the organization "{organization}", which is the most. Unbind some of them.',
  deviceListTooLong: 'A batch holds {limit} devices at most. Send the list in several.',
  deviceListColumns:
    'The first line of "{file}" does not name the columns of a list of devices. It takes serial, model, revision and kind; or write one JSON object a line.',
  deviceListLine: 'The line is no device: {detail}. Write its serial, its model and, if wanted, its revision and kind.',
  deviceTwiceInList: 'The serial is in the list twice. Leave one out.',
  deviceOtherModel: 'The serial is recorded as another model. Correct the line, or look at the device.',
  notGenuineQuestion:
    'This is no question whether a device is genuine, or no answer to one: {detail}. Ask again, and sign exactly its text.',
  genuineQuestionOver:
    'There is no such question, or it was answered, or its time is over. Ask again, and have the device answer at once.',
  genuineUnsigned: 'The maker did not sign this answer with the key that was given. Do not believe it; ask at the maker itself.',
  genuineBusy: 'Too many ask at once whether devices are genuine. Try again later.',

  // licenses
  notLicense: 'This is no license: {detail}. Take it as it was issued.',
  licenseOtherDevice: 'The license is for another device, {device}. Ask for one for this device.',
  licenseOtherModel: 'The license is for the model {model}, and this is {is}. Ask for one for this model.',
  licenseRolledBack: 'A newer license took the place of this one ({sequence}; {known} is known). Use that one.',
  licenseRevoked: 'The license was taken back. Ask its issuer.',
  licenseClockBack: 'The clock says {now}, but {seen} was seen already. Set the clock right.',
  licenseOwnerEpoch: 'The license is {owner}’s, who does not own the device any more. Ask for one of your own.',
  licenseNotYet: 'The license does not hold before {from}. Wait until then.',
  licenseExpired: 'The license ended on {until}. Have it renewed.',
  licenseOffline:
    'The license needs word from its issuer, which is missing since {until}. Fetch the list of what was taken back.',
  licenseNone: 'There is no license for {feature} here. Ask the maker for one.',
  licenseStatusLong: 'A list of licenses that were taken back has at most {limit}. Give licenses an end, so that they leave it.',
  licenseStatusOld: 'The list of version {version} is older than {known}, which is here. Take the newest one.',
  licensesTooMany: 'A device keeps at most {limit} licenses. Put several features into one.',
  licenseMakerUnknown:
    '{name} issues no licenses here. Say which signer signs them: "sealworks license maker {name} --signer NAME".',
  licenseSignerOpen:
    'The signer {name} may be used by others too. Licenses need one whose only user is the role server:licenses.',
  licensePoolsChanged: 'Pools are being changed. Try again.',
  licensePoolEmpty: 'All {most} licenses for {feature} are taken. Take one back with its place, or get more.',
  licenseUnknown: 'There is no license {license}. List the licenses to see what there is.',
  licenseState: 'The license {license} is {state}. Nothing else is left to do with it.',
  licenseChanged: 'Somebody else changed the license {license}. Look at it and try again.',
  licenseAsked: 'The same license is being asked for. Try again.',
  licenseDeviceCutOff: 'The device {productSerial} has ended or is cut off, and gets no license. Look at its history.',
  licenseDeviceUnborn: 'The birth key of {productSerial} is not known here. Record its birth first.',
  licenseNoOwner: 'Nobody owns {productSerial} yet. Issue a license that is transferable, or wait for its owner.',

  // usage
  notUsage: 'This is no usage record: {detail}. Send it as the device wrote it.',
  usageFromOther: 'The record is of another device than the one that sends it. Send your own.',
  usageForked: 'Another record {number} of {productSerial} was taken already. An officer has to look at the device.',
  usageSetBack: 'A counter was set back: {counter} is {value} and was {before}. An officer has to look at the device.',
  usageChainLost:
    'The device begins its records anew, which nobody allowed. An officer may, after a look: "sealworks usage begin-anew".',
  usageChanged: 'Another record of the device came in between. Send this one again.',
  usageExportLong: 'There are more than {limit} lines. Ask for a shorter period, or for one owner or device.',
  usageUnknown: 'There are no usage records of {device}. Look on the device at what it counted: "sealworks agent usage".',
  usageCounterUnit: 'The counter {counter} counts {unit}, not {other}. Keep its unit.',
  usageCountersMany: 'A device has at most {limit} counters. Use one that there is.',
  usageAmount: 'The amount is no whole number from 0 to {limit}. Count in a smaller unit.',

  // mqtt
  topicNotYours: 'The topic {topic} is not one of this device. Use its own subtree, or have a conduit made.',
  brokerAway: 'The message broker cannot be driven: {detail}. Look at its log; it is tried again by itself.',
  brokerDisagrees:
    'The message broker says it did what it did not do: {detail}. Look at its dynamic security plugin; everything is compared again by itself.',
  brokerProcess:
    'The message broker cannot be told of new CRLs by the process id in {file}. Look at the file, and who may signal it.',
  brokerTwice: 'There is one message broker: set mqtt.listen for the built-in one, or mqtt.mosquitto for one beside, not both.',
  brokerOff: 'No message broker is configured. Set mqtt.listen or mqtt.mosquitto.',
  brokerAddress: 'The message broker cannot listen on {address}. Choose another address in mqtt.listen.',

  // backup
  issuanceClosed:
    'This installation was restored from a backup and does not know yet what it issued and signed since. Stop the server and run "sealworks restore --journal DIR", or "--override REASON" if the journals are lost.',
  issuanceOpen: 'This installation issues already: there is nothing to open.',
  notBackup: 'This is no backup of Sealworks. Name a file that "sealworks backup create" wrote.',
  backupCut: 'The backup ends too early: it was not copied whole. Copy it again, or use another.',
  backupChanged: 'The backup was changed after it was made, or is put together from several. Use another copy.',
  badBackup: 'The backup cannot be read: {detail}. Use another copy.',
  backupNewer: 'The backup is from a newer version of Sealworks ({what}). Install that version to restore it.',
  backupSignature:
    'The backup is not signed by the installation with this key, so it may be forged. Compare the key with what "sealworks init" printed there.',
  backupRecipients:
    'No recovery key is configured, so nobody could open the backup. Make one with "sealworks backup recovery-key", and name its certificate in the setting backup.recipients.',
  backupRunning: 'Another backup is being made. Wait for it.',
  backupUnknown: 'There is no such backup here. List them with "sealworks backup list".',
  backupNotDone: 'The backup is not complete. Wait for it, or make another.',
  backupElsewhere: 'The file {file} is not in the directory of backups any more. Look where it was moved to.',
  backupWrappingKey:
    'The key-wrapping key that the configuration names is not the one of the backup. Name an unused file in keys.wrappingKey, or hand in the right key.',
  restoredKey: 'The key "{label}" of the backup signs wrongly. Use another backup.',
  restoreTarget: 'The directory {directory} is not empty. Name a new one.',
  restoreLogDamaged: 'The audit log of the backup is not whole: {problem} Look into it before you use this backup.',
  restoreDatabase:
    'The database that the configuration names holds an installation or other tables. Name an empty one in sealworks.toml.',
  badJournal: 'The journal {file} cannot be read: a line of it is damaged. Use another copy.',
  journalSignature: 'A line of the journal {file} is not signed by this installation, so it may be forged. Use another copy.',
  journalOther: 'The journal {file} does not continue this audit log: it is of another installation or of another past.',
  journalGap: 'The journals lack the entries {from} to {to} of the audit log. Find the journal files between them.',
  journalShort:
    'With the journal, the audit log is not what the checkpoints kept elsewhere say: {problem} Find the rest of the journal.',
  recoveryCertificate:
    'The file holds no certificate of a recovery key. Name the one that "sealworks backup recovery-key" wrote.',
  recoveryKey:
    'The file is no recovery key: it must hold a private key (unencrypted PKCS #8) and its certificate, both PEM. Name the file that "sealworks backup recovery-key" wrote.',

  // signing
  signerUnknown: 'There is no signer "{name}". List the signers to see their names.',
  signerExists: 'A signer named "{name}" exists. Choose another name.',
  signerCertificate: "The certificate is not for the signer's key. Give the one that was issued for it.",
  signerChain: "The certificates do not follow each other. Give the signer's own first, then its issuer, and so on.",
  signerNoCertificate:
    'The signer "{name}" has no certificate, which this format needs. Use another signer, or make one with a certificate.',
  signerNotYours: 'You are not among those who may use the signer "{name}". Ask an officer who is.',
  signerDisabled: 'The signer "{name}" is disabled. Ask an officer why.',
  signerNotYet: 'The signer "{name}" signs from {from} on. Wait, or check the clock of the server.',
  signerExpired: 'The signer "{name}" signed until {until}. Use its successor.',
  signerFormat: 'The signer "{name}" does not sign {format}; it signs {formats}. Use another signer or format.',
  signerSize: 'The artifact is longer than the {limit} bytes that the signer "{name}" signs. Use another signer.',
  signerSizeUnsaid:
    'The signer "{name}" has a limit of size and the request does not say how long the artifact is. Say it (artifactOctets).',
  signerUsedUp: 'The signer "{name}" has made all the signatures that it may. Use its successor.',
  signerTooOften: 'The signer "{name}" has made all the signatures of this hour. Wait for the time given.',
  signerChanged: 'The signer "{name}" is being changed. Ask again in a moment.',
  signerMoved: 'The signer "{name}" has another key or certificate by now. Ask for it again and hash anew.',
  signerTwoCertificates: 'Certificates are given and one is to be issued. Say one of the two.',
  signerKeyLeftOut:
    'The signer "{name}" signs with two keys, and the requests are not for both. Ask for the signer again and hash anew, with a client that knows of it.',
  signerKeyTwice: 'Both keys of the signer are the same. Name another as the second.',
  signerOneCertificate:
    'One key of the signer has a certificate and the other has none. Give certificates for both, or for none.',
  signerNextAlone: 'The signer "{name}" signs with two keys, and so must what takes over. Name a second key with it.',
  signerKeyMissing: 'A request is for key {key} of the signer, which has no such key. Ask for the signer again and hash anew.',
  signerNextWhen: 'It is not said when the next key takes over. Give a time (at), a number of signatures (afterUses), or both.',
  keyOfSigner: 'A signer has the key "{label}", or will have it. Make the signer roll over to another key first.',
  timeStampUnreachable:
    'The time-stamping authority at {uri} does not answer ({problem}). Ask again later, or use a signer without time stamps.',
  signerNeedsNobody: 'The signer "{name}" needs no approval. Just sign.',
  signerUsesTooMany:
    'One approval of the signer "{name}" covers at most {uses} signatures within {seconds} seconds. Ask for less.',
  signerUploadNeeded:
    'What the signer "{name}" signs is archived here, so the artifact has to come along. Send it (sign --upload).',
  formatUnsaid: 'The artifact does not show in which of the formats {formats} it is to be signed. Name one.',
  spoolFull: 'There is no room for another artifact at the moment. Send it again after the time given.',
  spoolUnwritable: 'The server cannot write artifacts to its disk. Ask whoever runs it to make room.',
  artifactThreadEnded:
    'The server could not read the artifact to its end. Send it again; if it happens again, sign it without --upload.',
  overrideAlone:
    'This installation lets {least} people with the role approver decide that it issues without its journal; {agreed} agreed. Give a token of each with --consent-file.',
  jobUnknown: 'There is no such signing job. Its record goes thirty days after it ended; list the jobs to see what there is.',
  jobOver: 'The signing job is over already. Look at it again.',
  jobSigned: 'The signing job cannot be canceled any more: it is {state} or being signed. Look at it again.',
  jobNotDone: 'The signing job has no result: it is {state}. Look at it again later.',
  jobElsewhere: 'The result lies on another server of this installation. Ask the one that took the artifact.',
  jobResultGone: 'The result of the signing job was removed. Send the artifact again.',
  jobFilesGone: 'The artifact of the signing job is not there any more, as after a restore. Send it again.',
  jobBegunTooOften:
    'The signing job was begun several times and came to no end. Sign the artifact without --upload, and tell whoever runs the server.',
  jobNobody: 'Whoever asked for the signing job may not ask for anything any more. Send the artifact as somebody who may.',
  jobNotApproved: 'The signing job was not approved: its request is {state}. Send the artifact again to ask anew.',
  jobNotYours: 'The signing job is somebody else’s. Only who sent an artifact gets it back.',
  archiveMissing:
    'Artifacts are to be archived and there is no directory for them. Ask whoever runs the server to set signing.archiveDirectory.',
  archiveUnwritable:
    'The artifact could not be archived, so it is not signed. Ask whoever runs the server to look at the archive.',
  archiveUnknown: 'The archive has no such artifact of this signer. Look at its history for what was signed.',
  signingBusy: 'There is more to sign than can wait here. Ask again after the time given.',
  timeServer: 'A time server gives no usable time: {detail}. Look at the setting clock.sources.',
  clockDoubtful:
    'The time is in doubt ({detail}), so it is not stated to others. Ask again later; operators see more with "sealworks doctor".',
  timeStampPolicy: 'This authority stamps under the policy {policy} only. Ask for that policy, or for none.',
  timeStampExtension: 'This authority takes no extensions in requests for time stamps. Leave them out.',
  timeStampsOnly: 'The signer "{name}" makes time stamps and nothing else. Use another signer.',
  noTimeStamps: 'The signer "{name}" makes no time stamps. Name one of the format rfc3161.',
  timeStampFormat: 'A signer makes time stamps (rfc3161, with a policy) or signs artifacts, not both. Make two.',
  timeStampTerms: 'The signer of time stamps cannot have {terms}. Leave that out.',
  signatureIsTimeStamp:
    'It is a time stamp, which says when a file was there and not who signed it. Ask for it as one: verify --format rfc3161.',
  notTimeStamp:
    'The file given with --signature holds no time stamp. Give the answer of a time-stamping authority, or its token.',
  timeStampKeyShared:
    'The key "{label}" would sign both time stamps and something else, from which a time stamp could be made. Use another key.',
  timeStampCertificate:
    'The certificate is not one for a time-stamping authority: {detail}. Have one issued with the profile time-stamping.',
  digestOther: 'The signer signs with {signature}, which needs a digest made with {expected}, not {digest}. Hash again.',

  // approvals
  approvalUnknown: 'There is no such request for approval. List them to see what waits.',
  approvalOther: 'The request for approval was changed, or is for another act than the one named. Look at it again.',
  approvalClosed: 'The request for approval is closed: it is {state}. Ask for a new one.',
  approvalOwn: 'You asked for this yourself. Somebody else has to approve it.',
  approvalByService: 'Services do not approve. A person has to do it, with a token of their own.',
  approvalNotYours: 'You are not among those who may approve this. Ask one who is.',
  approvalNotAsked: 'Only whoever asked for an approval may change what it is for.',
  approvalInUse: 'The approval was used already, so what it is for cannot be changed. Ask for a new one.',
  approvalGone:
    'The approval does not hold any more: it was used, rejected or has ended, or who gave it may not approve now. Ask for a new one.',
  approvalDigest: 'A digest has 64 hexadecimal digits. Copy it from "approval show".',
  approvalText: 'The text is longer than {limit} characters. Say it shorter.',
  actTooLong: 'What is to be approved takes more than {limit} characters to say. Name what is large by its digest.',

  // tpm2
  notTPM: 'The TPM structure is malformed: {detail}. Send it as the TPM made it.',
  tpmTooLarge: 'The TPM structure is larger than the {limit} bytes that a TPM ever sends. Send it as the TPM made it.',
  tpmUnsupported:
    'The TPM structure names what is not offered here ({what}). Use RSA, or ECC on P-256, P-384 or P-521, with SHA-256 or longer.',
  tpmAuthorization: 'The TPM refused {command}: the authorization is wrong ({code}). Check it before you try again: TPMs lock.',
  tpmLockedOut: 'The TPM refused {command}: it is locked after wrong authorizations ({code}). Wait, or reset its lockout.',
  tpmPolicy:
    'The TPM refused {command}: what its policy asks for is not so ({code}). Look at the measured state and the approvals.',
  tpmExists: 'The TPM refused {command}: this place in it is taken ({code}). Choose another, or remove what is there.',
  tpmMissing: 'The TPM refused {command}: it does not hold what is named ({code}). List its handles to see what there is.',
  tpmFull: 'The TPM refused {command}: it has no room left ({code}). Remove keys, sessions or indexes that are not needed.',
  tpmProof: 'The TPM refused {command}: what it was given is not for it, or was changed ({code}). Make it anew for this TPM.',
  tpmBusy: 'The TPM is busy or not ready for {command} ({code}). Ask again in a moment.',
  tpmRefused: 'The TPM refused {command} ({code}{at}). Ask for what this TPM can do.',
  tpmUnreachable: 'The TPM at {place} cannot be reached ({problem}). Check that it is there and that you may open it.',
  tpmSilent: 'The TPM did not answer {command} within {seconds} seconds. Its connection was closed; look at the device.',
  tpmAnswerForged: 'What came as the answer to {command} is not from the TPM that the session is with. Look who sits in between.',
  tpmAnswerOther: 'The answer to {command} is not one that a TPM gives: {detail}. Look at what was reached.',
  attestationSignature: 'The statement is not signed by this attestation key. Have the device make it anew.',
  attestationNonce: 'The statement answers another challenge: it is old, or was made for somebody else. Ask the device anew.',
  attestationOther: 'The statement is about something else ({detail}). Have the device make the one that was asked for.',
  attestationKey: 'The attestation key is not one whose statements can be believed: {detail}. Make it from the template.',
  keyNotResident: 'The key was not made inside this TPM, or can leave it: {detail}. Make a new key in the TPM.',
  quoteDigest: 'The measured state is not the expected one. Find what was started on the device.',
  quoteSelection: 'The quote covers other registers than those asked for. Quote {expected}.',
  tpmWentBack: 'The TPM went back in time ({detail}): its state was restored or copied. Take it out of service and look at it.',
  endorsementCertificate: 'The certificate is not one for an endorsement key: {detail}. Read it from the TPM again.',
  endorsementUntrusted: 'The maker of this TPM is not trusted here ({detail}). Import its root certificate if it should be.',
  endorsementKeyOther: 'The endorsement key is not the one in its certificate. Send both from the same TPM.',

  // births
  profileNotBirth: 'The profile {profile} does not bind a device to one key. Take one for births, such as idevid.',
  birthLineUnknown: 'There is no line {name}. List the lines to see what there is.',
  birthLineDisabled: 'Nothing is born at the line {name} any more. Use another line.',
  birthStation: 'You are not a station of the line {name}. Ask whoever runs it.',
  birthSerial: 'The serial {productSerial} is not one of this line. Use its own line, or a new one that has it.',
  birthRequestOther: 'The request is for {serial}, not for the device that is to be born. Send the one of this device.',
  birthVariant: 'A birth by the variant {variant} is not allowed here. Use one that the model and the line allow.',
  birthAssurance: 'The model asks for assurance {least}, and this birth proves {assurance}. Bear the device in a stronger way.',
  birthModelOther: 'The device {productSerial} is planned as another model. Find out which it is.',
  birthChallengeUnknown: 'There is no such challenge. Ask for one.',
  birthChallengeOther: 'The challenge was made for another station, line or serial. Ask for one of your own.',
  birthChallengeUsed: 'The challenge was answered already, rightly or not. Ask for a new one.',
  birthChallengeExpired: 'The challenge came back too late. Ask for a new one, and answer it at once.',
  birthCredential:
    'The challenge was not read: the attestation key is not in the TPM of this endorsement key. Find out where it comes from.',
  birthKeyOther: 'The request is for another key than the one that the TPM certified. Make both from one key.',
  birthKeyPurpose: 'The key is no plain signing key. Make one that is neither restricted nor for decryption.',
  birthSignature: 'The signature does not fit, or is of somebody else than it says. Find out where it comes from.',
  birthReceipt: 'This is no receipt for a key that was destroyed: {detail}. Have the unit make it anew.',
  birthUnit: 'The unit is not one of the line {name}. Have its certificate added, or use another.',
  birthReceiptOther: 'The receipt is for another certificate, serial or time. Send the one of this birth.',
  externalKeyDelivered:
    'The key of {productSerial} was delivered once, and is kept nowhere. If its unit does not have it, scrap the device, and bear it under another serial.',
  externalKeyUnknown: 'No key was made outside of its device for this certificate. Name another.',
  externalKeyDestroyed: 'There is a receipt for this key already. Nothing is left to do.',
  endorsementNotListed: 'The endorsement key {endorsement} is not on the list. Import it if its TPM should count.',
  endorsementListLong: 'The list has more than {limit} keys. Send it in pieces.',
  endorsementUsed: 'A device was born with this TPM already ({endorsement}). Find out which of the two is the copy.',
  manifestSignerUnknown: 'The entry is of nobody whose manifests are believed here. Trust its signer, if it should count.',
  manifestVersion: 'Manifests of version {version} are not known here. Ask for version 1.',
  manifestEntry: 'The entry is not one of a manifest: {detail}. Take it as its maker gave it.',
  manifestRefused: 'Nothing of the manifest was taken, because of entry {entry}. {detail} Take it again when that is mended.',
  elementKnown: 'The chip {uniqueId} is known, and was stated otherwise. Ask its maker which is right.',
  elementKeyKnown: 'The key in slot {slot} of {uniqueId} is known as that of another chip. Ask their maker.',
  elementNotStated: 'No manifest states the key {key}. Import that of its reel, or find out where the chip comes from.',
  elementUsed: 'The chip {uniqueId} is mounted already, or blocked. Find out where the second comes from.',
  elementUnknown: 'There is no chip {uniqueId}. Import its manifest.',

  // commands
  notCommand: 'The command is malformed: {detail}. Have it made again.',
  notCommandPolicy: 'The command policy is malformed: {detail}. Correct it, and have it signed again.',
  commandPolicySigner:
    'The command policy is not signed by one whom the list of trust names itself for commands. Have it signed by that one.',
  commandPolicyOld:
    'The command policy has version {version}, and {here} is in force. A policy never goes back: raise its version.',
  commandPolicyNone: 'No command policy is in force for {area}. Put one with "sealworks command policy --put".',
  commandPolicyNotYet:
    'The command policy says that it was issued at {issuedAt}, which has not come. Set the clock, or have the policy signed again.',
  commandOtherDevice: 'The command is for {device}, and this is {here}. Send it to the device that is meant.',
  commandTwin: 'The command is for a device {device} with another birth key: one of the two is a copy. Find out which.',
  commandOtherEpoch: 'The command was given in epoch {epoch} of the ownership, and {here} is open. Its owner gives a new one.',
  commandOtherArea: 'The command is for the area {area}, and the device is in {here}. Order it where the device is.',
  commandPolicyOther: 'The command is for the area {area}, and the policy is that of {here}. Put the policy of that area.',
  commandIssuerUnknown: 'The policy does not know {issuer}, whose counter the command has. Name it in the policy.',
  commandOperationUnknown: 'The policy of {area} allows nobody the operation {operation}. Add it to the policy, if it should be.',
  commandOperatorOther: 'The command is not signed by {operator}, who is said to order it. Have them sign it.',
  commandRoleLacks: '{operator} may not order {operation}. Ask somebody whose role may.',
  commandAssurance:
    'The operation {operation} asks for a device of assurance level {least}, and this one has {assurance}. Order it elsewhere, or change the policy.',
  commandApproverOther: '{name} signed the command, and may not agree to {operation}. Ask those whom the policy names.',
  commandApproverTwice: 'One person signed the command for {operation} twice. Each signature has to be of another person.',
  commandApproversFew: '{agreed} of {least} people agreed to {operation}. Wait for the others.',
  commandChallengeNeeded:
    'The operation {operation} has to answer a challenge of the device at the time it is ordered. Order it in that way.',
  commandLifeTooLong: 'The command is good for {seconds} seconds, and its policy allows {limit}. Make it shorter.',
  commandReplayed:
    'The command with the counter {counter} of {issuer} was here already and is not done again. Order it anew if it is to be.',
  commandReordered: 'The command has the counter {counter} of {issuer}, and {here} was here already. Order it again.',
  commandCounterFar:
    'The command has the counter {counter} of {issuer}, far beyond its time: no other would be obeyed after it. Order it again.',
  commandClockBack: 'The clock says {now}, and it was {lastSeen} already: it was set back. Set the clock of the device.',
  commandNotYet: 'The command is good from {notBefore} on. Wait, or set the clock.',
  commandExpired: 'The command was good until {expiresAt}. Order it again.',
  commandNonceNone: 'The device gave no challenge for this command, or it was answered already. Order it again.',
  commandNonceOther: 'The signature of {operator} does not answer the challenge of the device. Order it again.',
  commandUnknown: 'There is no command {command} here. List the commands to see their ids.',
  commandNotHere: 'The device has no program for this operation. Name one in its "commands.json".',
  commandPrecondition: 'What the command asks for beforehand does not hold on the device. Look at the device.',
  commandNoncesMany: 'The device waits for {limit} answers already. Ask it again in a while.',
  commandKeyOther: 'The file {file} holds no certificate, or not that of the key. Name the one that belongs to it.',
  commandSignerWaits: 'The signer {name} waits for others to agree (approval {approval}). Run the command again then.',
  commandReceiptNone: 'The device said nothing to the command {command} yet. Look again later.',
  commandDeviceState: 'A device that is {state} and in no area takes no commands. Bring it into an area first.',
  commandChanged: 'Somebody else changed the command at the same moment. Look at it again.',
  commandOver: 'The command {command} is {state}: nothing is added to it. Order it again.',
  commandSigned: '{name} signed this command already. It needs other people.',
  commandSignatureOther: 'What was signed is not the command {command} as it was drafted. Sign that one.',
  commandReceiptOther: 'The receipt is about another message than the one that was sent. Find out which one the device got.',
  commandReceiptTwice: 'There is another receipt for this command already. Find out whether there are two of this device.',
  commandReceiptForked:
    'The device gave the number {counter} to two receipts: there are two of it, or it was put back to an earlier day. Find out which.',
  commandNonceOld: 'The challenge was answered after more than {seconds} seconds. Order it again.',

  // updates: campaigns, and the door that devices come to
  campaignMalformed: 'The campaign cannot be as written: {detail}. Correct it.',
  campaignTaken: 'There is a campaign {campaign} already. Choose another name.',
  campaignUnknown: 'There is no campaign {campaign}. List the campaigns to see their names.',
  campaignState: 'A campaign that is {state} cannot do that ({act}). Look at it with "sealworks campaign show".',
  campaignChanged:
    'The campaign was changed by somebody else in between. Look at it again, and repeat what still has to be done.',
  campaignNobody: 'No device matches what the campaign says of them. Correct whom it is for in another campaign.',
  campaignLastWave: 'The last wave of the campaign is open already. Look at its laggards.',
  campaignArtifactOther: 'The artifact {name} is not as the release has it. Restore the archive, or make the release again.',
  campaignConsentNotAsked: 'The campaign does not ask owners for consent. Nothing has to be done.',
  campaignConsentNobody: 'No device of {owner} among these waits for a consent. Look at the laggards of the campaign.',
  campaignListTooLong: 'More than {limit} devices are listed. Name fewer at once, or say what they have in common.',
  actionUnknown: 'This device has no action {action}. Poll again for what there is.',
  actionNotOffered: 'The action {action} is not offered to this device now. Poll again for what there is.',
  actionOver: 'The action {action} is {state} already. Poll again for what there is.',
  actionChanged: 'The action was changed by something else in between. Say it again.',
  artifactUnknown: 'The deployment has no artifact of this name. Get the deployment again.',
  tenantUnknown: 'There is no such tenant. Ask the operator of the server for the address.',
  tenantMalformed:
    'A tenant has a name of letters, digits, dots, hyphens and underscores, and a poll each 1 to 86400 seconds. Correct it.',
  tenantTaken: 'The tenant {tenant} belongs to another organization. Choose another name.',
  targetTokenWrong: 'The token is not that of this device. Ask for a new one, or come with the certificate of the device.',
  ddiMalformed: 'The message cannot be read: {detail}. Look at the version of the update client.',
  ddiTooManyAttributes: 'A device has {limit} attributes at most. Send fewer.',
  ddiRefused: 'The update server refused ({status}): {detail}. Ask its operator.',

  // host: images and bundles
  hostImagePart: 'This makes no image: {detail}. Give the build its parts as docs/secure-host.md has them.',
  hostStubUnknown:
    'What the stub of systemd {version} measures is not known here, so nothing can be sealed to it. Use the stub of systemd {known}.',
  hostImageUntrusted:
    'No certificate that signed the image is in db: the firmware would not start it. Sign it with a key whose certificate is listed there.',
  hostPlan: 'The plan of the bundle cannot be used: {detail}. Correct it; docs/secure-host.md describes it.',
  hostProgramFailed:
    '{program} could not be run or did not do its work: {problem}. Install it, or give a finished image of the root file system.',
  hostImageOther: 'The signed image of {machine} is not the one that this plan makes. Sign the one that was built.',
  notHostBundle: 'This is no bundle for secure hosts, or it contradicts itself: {detail}. Build it again.',
  hostBundleThreshold:
    'Only {signed} of the holders of root keys signed the bundle; {needed} have to. Have more of them sign it.',
  hostBundleForeign: 'The bundle is not for the host {host}. Take the one that names it.',
  hostBundleOwner:
    'The bundle is for a host of {owner} (epoch {epoch}), and this host is another’s now. Ask its owner for theirs.',
  hostBundleEarly: 'The bundle is valid from {from} on. Look at the clock of the host, or wait.',
  hostBundleExpired: 'The bundle was valid until {until}. Have a newer one signed.',
  hostBundleOlder:
    'The bundle has version {version} and the host has had {installed}: what was replaced does not come back. Sign it as a newer version.',
  hostBundleFile: '{file} is not what the bundle says: {detail}. Take the files that were built with it.',
  hostBundleOther:
    'The signatures are over another bundle than the one that lies there. Take them away and have this one signed.',
  hostBundleSigned: 'This key has signed the bundle already. Have another holder sign it.',

  // cli
  fileUnreadable: 'The file {file} cannot be read ({problem}). Check its name and that you may read it.',
  fileUnwritable: 'The file {file} cannot be written ({problem}). Check the directory and that you may write there.',
  fileTooLarge: 'The file {file} is longer than {limit} bytes, so it is the wrong one. Name another.',
  fileExists: 'The file {file} exists. Name another, or add --force to replace it.',
  fileNotJSON: 'The file {file} is not one JSON object. Correct it.',
  notRequest: 'This is no certificate request (PKCS #10). Make one, for example with "openssl req -new".',
  serialNumberAmbiguous:
    'Several authorities issued a certificate with this serial number. Name the certificate by its id, as "cert find" shows it.',
  verifierKey: 'This is not the key of an audit log. Copy it whole, as "sealworks init" printed it.',
  notCSV: 'The list is not CSV at line {line}: {detail}. Save it again as comma-separated values.',
  batchColumns:
    'The list {file} must begin with a line of column names: csr, or subject with names and serial as needed. Correct its first line.',
  batchOther: 'The result file {file} belongs to another list. Name another directory with --out-dir, or remove it.',
  onlyPrivateKey: 'The file holds nothing but a private key, which is never shown. Inspect the certificate or request instead.',
} as const satisfies Record<string, string>

export type Reason = keyof typeof english

/** @returns the sentence with its placeholders filled; a missing fact shows as its name */
export function sentence(reason: Reason, facts: Readonly<Record<string, string | number | boolean>>): string {
  return english[reason].replace(/\{(\w+)\}/g, (_, key: string) => String(facts[key] ?? key))
}
