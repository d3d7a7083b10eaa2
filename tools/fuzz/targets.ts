/** Every reader of a stranger's bytes. Adding one: add one line here. @module */
import { encodeReport, parseReport } from '#devices/state/messages.ts'
import { encodeTrustList, parseTrustList } from '#agent/trust-list.ts'
import { importPublicKey } from '#algorithms/public-key.ts'
import { parseSignedCheckpoint } from '#audit/note.ts'
import { parseProof } from '#audit/proof-file.ts'
import { parseEntryBundle, parseTilePath } from '#audit/tiles.ts'
import { parseAddCheckpoint } from '#audit/witness.ts'
import { ANY } from '#asn1/any.ts'
import { type Codec, decode } from '#asn1/codec.ts'
import { encodePEM, parsePEM } from '#asn1/pem.ts'
import { tagged } from '#asn1/codec.ts'
import { berToDER } from '#asn1/ber.ts'
import { concat, equal } from '#base/bytes.ts'
import { encodeBundle, parseBundle as parseHostBundle } from '#host/image/bundle.ts'
import { sampleBundle as hostBundle } from '#host/image/samples.ts'
import { decryptMCUboot } from '#updates/encryption/mcuboot.ts'
import * as updates from '#updates/messages.ts'
import * as updateSamples from '#updates/samples.ts'
import { TrustError } from '#base/errors.ts'
import { systemWorld } from '#base/world.ts'
import { encodeCBOR, parseCBOR } from '#cbor/cbor.ts'
import { parseCOSEKey } from '#cbor/cose-key.ts'
import { parseCertsOnly } from '#cms/certs-only.ts'
import { decryptEnvelope } from '#cms/decrypt.ts'
import { decryptEnvelopeStream } from '#cms/decrypt-stream.ts'
import { parseEnvelope } from '#cms/enveloped-data.ts'
import { describeCMS } from '#cms/inspect.ts'
import { parseSignedData } from '#cms/signed-data.ts'
import { parseTimeStampRequest, parseTimeStampResponse, parseTSTInfo } from '#cms/timestamp.ts'
import { counterSignaturesOf } from '#cms/verify.ts'
import { checkLineage, parseLineageFile } from '#signing/artifact/apk-lineage.ts'
import * as commands from '#commands/messages.ts'
import { encodePolicy, parsePolicy } from '#commands/policy/messages.ts'
import * as commandSamples from '#commands/testing.ts'
import { encodeList, parseList } from '#protocols/device-messages/messages.ts'
import { parseJSONObject } from '#jose/json.ts'
import { encodeLicense, encodeStatusList, leastSequence, parseLicense, parseStatusList } from '#licenses/messages.ts'
import { licenses, statusList } from '#licenses/samples.ts'
import { parseBundle, parseEntry, peekStatement } from '#orders/messages.ts'
import * as orders from '#orders/samples.ts'
import * as ddi from '#protocols/ddi/messages.ts'
import { parseChain, verifyChain } from '#devices/ownership/messages.ts'
import * as genuine from '#devices/genuine/messages.ts'
import { parsePackage } from '#devices/ownership/package.ts'
import * as ownership from '#devices/ownership/samples.ts'
import { readStatement } from '#devices/ownership/statement.ts'
import { parseJWK } from '#jose/jwk.ts'
import { parseStatedElement } from '#devices/birth/manifest.ts'
import { statedElement } from '#devices/birth/testing.ts'
import { bytesSource } from '#signing/artifact/blob.ts'
import { parseLibconfig } from '#signing/artifact/libconfig.ts'
import { parseManifest } from '#signing/artifact/manifest.ts'
import { contentOf, parseZip } from '#signing/artifact/zip.ts'
import { parseAuthenticode } from '#signing/artifact/spc.ts'
import { verifyArtifact } from '#signing/artifact/verify.ts'
import type { Beside, SigningFormat } from '#signing/format.ts'
import { apkLineage } from '#signing/formats/apk-lineage.ts'
import { apk } from '#signing/formats/apk.ts'
import { authenticodeCAB } from '#signing/formats/authenticode-cab.ts'
import { authenticodeMSI } from '#signing/formats/authenticode-msi.ts'
import { authenticodePE } from '#signing/formats/authenticode-pe.ts'
import { authenticodeScript } from '#signing/formats/authenticode-script.ts'
import { cms } from '#signing/formats/cms.ts'
import { coseSign } from '#signing/formats/cose-sign.ts'
import { coseSign1 } from '#signing/formats/cose-sign1.ts'
import { dsse } from '#signing/formats/dsse.ts'
import { jar } from '#signing/formats/jar.ts'
import { jws } from '#signing/formats/jws.ts'
import { mcuboot } from '#signing/formats/mcuboot.ts'
import { rauc } from '#signing/formats/rauc.ts'
import { swupdate } from '#signing/formats/swupdate.ts'
import { uefiVariable } from '#signing/formats/uefi-variable.ts'
import { goodAnswer } from '#signing/tsp/ntp-testing.ts'
import { encodeTimeQuestion, parseTimeAnswer, readingOf } from '#signing/tsp/ntp.ts'
import { parseEndorsementCertificate } from '#tpm2/endorsement.ts'
import { openKey } from '#tpm2/keys.ts'
import { objectName } from '#tpm2/name.ts'
import { publicKeyOf } from '#tpm2/public-key.ts'
import * as tpm2 from '#tpm2/structures.ts'
import { areas, octetsOf, statementOf, statements } from '#tpm2/testing.ts'
import { TPM } from '#tpm2/tpm.ts'
import { marshal, unmarshal, type Wire } from '#tpm2/wire.ts'
import { encodeUsage, parseUsage } from '#usage/messages.ts'
import { testChain } from '#usage/testing.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { parseCertificationRequest } from '#x509/certification-request.ts'
import { parseCertificateList } from '#x509/crl.ts'
import { decodeExtension, type Extension } from '#x509/extensions/extension.ts'
import { knownExtension } from '#x509/extensions/registry.ts'
import { describeObject } from '#x509/inspect.ts'
import { formatName, parseName } from '#x509/name.ts'
import { parseOCSPRequest, parseOCSPResponse } from '#x509/ocsp.ts'
import * as paths from './paths.ts'
import * as samples from './samples.ts'

export interface Target {
  readonly name: string
  /** Inputs that are right, to be broken. */
  readonly seeds: readonly Uint8Array[]
  /** Reads everything that a caller would look at. A TrustError is an answer; anything else that is thrown is a fault. */
  run(bytes: Uint8Array): unknown
  /** What any input must pass before it reaches the reader's inside. @throws when it does not */
  outer(bytes: Uint8Array): unknown
}

/** A SEQUENCE that fills the input. What is in it is the reader's own matter. */
const Sequence: Codec<void> = tagged(
  'SEQUENCE',
  0x30,
  (from) => void from.takeRest(),
  () => {},
)
const der = (name: string, seeds: readonly Uint8Array[], run: (bytes: Uint8Array) => unknown): Target => ({
  name,
  seeds,
  run,
  outer: (bytes) => decode(Sequence, bytes),
})

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1')
const lines = (...seeds: readonly string[]): readonly Uint8Array[] => seeds.map((seed) => new TextEncoder().encode(seed))
const utf8Text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)
/** For texts without an envelope: any input is as near to the reader's inside as any other. */
const anything = (): void => {}
const readExtensions = (extensions: readonly Extension[]): void => {
  for (const extension of extensions) {
    const type = knownExtension(extension.extnID)
    if (type !== undefined) decodeExtension(type, extension)
  }
}

const { random } = systemWorld()
async function* inPieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 50) yield bytes.subarray(at, at + 50)
}

/** What is read strictly and written again is the same octets. */
function checkSame(bytes: Uint8Array, again: Uint8Array): void {
  if (!equal(bytes, again)) throw new Error('it is other octets when it is written again')
}

/** What is left to try where a refusal is expected. */
async function orRefused(answer: Promise<unknown>): Promise<void> {
  try {
    await answer
  } catch (error) {
    if (!(error instanceof TrustError) || error.code === 'internal') throw error
  }
}

/** Readers of one wire: what is meant for one of them must be refused by the others, and not break them. */
async function eachOrRefused(...readers: readonly (() => unknown)[]): Promise<void> {
  for (const read of readers) await orRefused(Promise.try(read))
}

/** What a TPM structure was read from is what it is written as. */
function rewrite<T>(wire: Wire<T>, bytes: Uint8Array): T {
  const value = unmarshal(wire, bytes)
  if (!Buffer.from(marshal(wire, value)).equals(bytes)) throw new Error(`${wire.name} is written otherwise than it was read`)
  return value
}
const structure = <T>(name: string, wire: Wire<T>, seeds: readonly Uint8Array[], look?: (value: T) => unknown): Target => ({
  name: `tpm-${name}`,
  seeds,
  run: (bytes) => look?.(rewrite(wire, bytes)) ?? rewrite(wire, bytes),
  outer: anything,
})
/** TPM2_ReadPublic of each key: header, area, and its name twice. */
const tpmAnswers = areas.map((name) => {
  const area = unmarshal(tpm2.TPMT_PUBLIC, octetsOf(name))
  const said = marshal(tpm2.TPM2B_NAME, objectName(area))
  const parameters = Buffer.concat([marshal(tpm2.TPM2B_PUBLIC, area), said, said])
  const header = Buffer.from('80010000000000000000', 'hex')
  header.writeUInt32BE(10 + parameters.length, 2)
  return new Uint8Array(Buffer.concat([header, parameters]))
})

const AT = new Date('2027-06-01T00:00:00Z')
/** Extracts, and looks at everything that was found; whether it is trusted does not matter here. */
const judge = (format: SigningFormat, bytes: Uint8Array, beside: Beside = {}): Promise<unknown> =>
  verifyArtifact(format, bytesSource(bytes), { at: AT, anchors: [], beside })

/** With the content in the message, or beside it where it is not there. */
async function judgeBoth(format: SigningFormat, bytes: Uint8Array): Promise<void> {
  try {
    await judge(format, bytes)
  } catch (error) {
    if (!(error instanceof TrustError) || error.reason !== 'contentNotGiven') throw error
    await judge(format, bytes, { content: bytesSource(bytes) })
  }
}

export const targets: readonly Target[] = [
  { name: 'any', seeds: samples.elements, run: (bytes) => decode(ANY, bytes), outer: (bytes) => decode(Sequence, bytes) },
  {
    name: 'pem',
    seeds: [...samples.certificates, ...samples.certificationRequests].map((bytes) =>
      new TextEncoder().encode(encodePEM('CERTIFICATE', bytes)),
    ),
    run: (bytes) => parsePEM(text(bytes)),
    outer: (bytes) => {
      if (!text(bytes).includes('-----BEGIN ')) throw new Error('no block')
    },
  },
  der('public-key', samples.publicKeys, importPublicKey),
  der('certificate', samples.certificates, (bytes) => {
    const { issuer, subject, extensions } = parseCertificate(bytes)
    formatName(parseName(issuer))
    formatName(parseName(subject))
    readExtensions(extensions)
  }),
  der('certification-request', samples.certificationRequests, (bytes) => {
    const { subject, requestedExtensions } = parseCertificationRequest(bytes)
    formatName(parseName(subject))
    readExtensions(requestedExtensions)
  }),
  der('certificate-list', samples.certificateLists, (bytes) => {
    const list = parseCertificateList(bytes)
    readExtensions(list.extensions)
    for (const { extensions } of list.entries()) readExtensions(extensions)
  }),
  der('ocsp-request', samples.ocspRequests, parseOCSPRequest),
  der('ocsp-response', samples.ocspResponses, parseOCSPResponse),
  der('certs-only', samples.certificateBundles, parseCertsOnly),
  der('ber', samples.ber, (bytes) => berToDER(bytes)),
  der('signed-data', samples.signedMessages, (bytes) => {
    for (const signerInfo of parseSignedData(bytes, { encoding: 'ber' }).signerInfos) counterSignaturesOf(signerInfo)
  }),
  der('envelope', samples.envelopes, (bytes) =>
    decryptEnvelope(parseEnvelope(bytes, { encoding: 'ber' }), samples.sharedKey, random),
  ),
  der('envelope-stream', samples.envelopes.slice(1), async (bytes) => {
    const { unverifiedContent } = await decryptEnvelopeStream(inPieces(bytes), samples.sharedKey, random)
    await Array.fromAsync(unverifiedContent)
  }),
  der(
    'describe-cms',
    [...samples.signedMessages, ...samples.envelopes, ...samples.publishedMessages, ...samples.certificateBundles],
    describeCMS,
  ),
  der('time-stamp-request', samples.timeStampRequests, parseTimeStampRequest),
  der('time-stamp-response', samples.timeStampResponses, (bytes) => {
    const { content } = parseSignedData(parseTimeStampResponse(bytes), { encoding: 'ber' })
    if (content !== undefined) parseTSTInfo(content)
  }),
  {
    name: 'ntp-answer',
    seeds: [goodAnswer(encodeTimeQuestion(new Uint8Array(8)))],
    run(bytes) {
      const answer = parseTimeAnswer(bytes, 1.8e12)
      const { offset, distance } = readingOf(answer, { sentAt: 1.8e12, receivedAt: 1.8e12 + 4000 })
      if (!Number.isFinite(offset) || !(distance >= 0)) throw new Error('a reading is no number')
    },
    outer: anything,
  },
  der('format-cms', [...samples.signedMessages.filter((_, i) => i !== 1), ...samples.timeStampResponses], (bytes) =>
    judgeBoth(cms, bytes),
  ),
  der('authenticode', samples.authenticode, (bytes) => parseAuthenticode(bytes, '1.3.6.1.4.1.311.2.1.15')),
  {
    name: 'format-authenticode-pe',
    seeds: samples.programs,
    run: (bytes) => judge(authenticodePE, bytes),
    outer: anything,
  },
  {
    name: 'format-authenticode-msi',
    seeds: samples.installers,
    async run(bytes) {
      await judge(authenticodeMSI, bytes)
      await authenticodeMSI.detect(bytesSource(bytes))
    },
    outer: anything,
  },
  { name: 'format-authenticode-cab', seeds: samples.cabinets, run: (bytes) => judge(authenticodeCAB, bytes), outer: anything },
  // almost any change within a block is refused, so that this is a right answer like another
  {
    name: 'format-authenticode-script',
    seeds: samples.scripts,
    run: (bytes) => orRefused(judge(authenticodeScript, bytes)),
    outer: anything,
  },
  {
    name: 'format-jar',
    seeds: samples.archives,
    async run(bytes) {
      const source = bytesSource(bytes)
      const { entries } = await parseZip(source)
      // almost any change breaks a checksum, so that this is a right answer like another
      for (const entry of entries) await orRefused(Array.fromAsync(contentOf(source, entry)))
      await orRefused(judge(jar, bytes))
    },
    outer: anything,
  },
  {
    name: 'apk-lineage',
    seeds: samples.lineages,
    async run(bytes) {
      const levels = parseLineageFile(bytes)
      await orRefused(checkLineage(levels))
      await orRefused(judge(apkLineage, bytes))
    },
    outer: anything,
  },
  { name: 'format-apk', seeds: samples.packages, run: (bytes) => judge(apk, bytes), outer: anything },
  {
    name: 'format-mcuboot',
    seeds: samples.images,
    run: (bytes) => judge(mcuboot, bytes, { certificates: [samples.imageCertificate] }),
    outer: anything,
  },
  {
    name: 'mcuboot-encrypted',
    seeds: samples.hiddenImages,
    async run(bytes) {
      const { octets, read } = await decryptMCUboot(bytesSource(bytes), samples.hiddenImageKey)
      if (concat(await Array.fromAsync(read())).length !== octets) throw new Error('it is not as long as it says')
    },
    outer: anything,
  },
  { name: 'format-rauc', seeds: samples.bundles, run: (bytes) => judge(rauc, bytes), outer: anything },
  { name: 'format-uefi-variable', seeds: samples.variables, run: (bytes) => judge(uefiVariable, bytes), outer: anything },
  { name: 'format-swupdate', seeds: samples.updates, run: (bytes) => judge(swupdate, bytes), outer: anything },
  {
    name: 'libconfig',
    seeds: samples.descriptions,
    run: (bytes) => parseLibconfig(Buffer.from(bytes).toString('latin1')),
    outer: anything,
  },
  {
    name: 'cbor',
    seeds: samples.cborItems,
    run(bytes) {
      const value = parseCBOR(bytes, { encoding: 'any' })
      const encoded = encodeCBOR(value)
      const again = encodeCBOR(parseCBOR(encoded))
      if (!equal(again, encoded)) throw new Error('two encodings of one value')
    },
    outer: anything,
  },
  { name: 'cose-key', seeds: samples.coseKeys, run: parseCOSEKey, outer: anything },
  { name: 'format-cose-sign1', seeds: samples.coseMessages, run: (bytes) => judgeBoth(coseSign1, bytes), outer: anything },
  { name: 'format-cose-sign', seeds: samples.coseSignMessages, run: (bytes) => judgeBoth(coseSign, bytes), outer: anything },
  {
    name: 'json',
    seeds: lines(...samples.jsonTexts),
    async run(bytes) {
      const members = parseJSONObject(bytes)
      await orRefused(Promise.try(() => parseJWK(members)))
    },
    outer: anything,
  },
  {
    name: 'trust-list',
    seeds: samples.trustLists,
    // strict JSON around strict base64: as with JWS, a refusal is a right answer like another
    run: (bytes) => orRefused(Promise.try(() => encodeTrustList(parseTrustList(bytes)))),
    outer: anything,
  },
  {
    name: 'director-statement',
    seeds: [updates.encodeStatement(updateSamples.statement)],
    run: (bytes) => checkSame(bytes, updates.encodeStatement(updates.parseStatement(bytes))),
    outer: anything, // strict in the outermost item too: a refusal is a right answer
  },
  {
    name: 'release-manifest',
    seeds: [updates.encodeManifest(updateSamples.manifest)],
    run: (bytes) => checkSame(bytes, updates.encodeManifest(updates.parseManifest(bytes))),
    outer: anything, // strict in the outermost item too: a refusal is a right answer
  },
  {
    name: 'host-bundle',
    seeds: [encodeBundle(hostBundle)],
    run: (bytes) => checkSame(bytes, encodeBundle(parseHostBundle(bytes))),
    outer: anything, // strict in the outermost item too: a refusal is a right answer
  },
  {
    name: 'ddi-device',
    seeds: lines(
      '{"id":77,"time":"20261123T094500","status":{"result":{"progress":{"cnt":1,"of":2},"finished":"failure"},"execution":"closed","code":3,"details":["no slot",""]}}',
      '{"mode":"merge","data":{"board":"press","formats":"swupdate"}}',
      '{"confirmation":"denied","code":-1,"details":["not now"]}',
      '{"initiator":"fleet","remark":"always"}',
    ),
    run: (bytes) =>
      eachOrRefused(
        () => ddi.parseFeedback(bytes, 77),
        () => ddi.parseConfigData(bytes),
        () => ddi.parseConfirmation(bytes),
        () => ddi.parseAutoConfirmation(bytes),
      ),
    outer: anything,
  },
  {
    name: 'ddi-server',
    seeds: lines(
      '{"config":{"polling":{"sleep":"00:05:00"}},"_links":{"deploymentBase":{"href":"https://a/ddi/b/controller/v1/c/deploymentBase/77"}}}',
      `{"id":"77","deployment":{"download":"forced","update":"attempt","maintenanceWindow":"available","chunks":[{"part":"os","name":"a","version":"2","artifacts":[{"filename":"a.swu","size":9,"hashes":{"sha256":"${'0'.repeat(64)}"},"_links":{"download":{"href":"https://a/b"}}}]}]}}`,
    ),
    run: (bytes) =>
      eachOrRefused(
        () => ddi.parsePoll(bytes),
        () => ddi.parseDeployment(bytes),
      ),
    outer: anything,
  },
  {
    name: 'device-report',
    seeds: samples.deviceReports,
    run: (bytes) => orRefused(Promise.try(() => encodeReport(parseReport(bytes)))),
    outer: anything,
  },
  {
    name: 'format-jws',
    seeds: samples.jwsMessages,
    // almost any change breaks a text that is encoded, so that a refusal is a right answer like another
    run: (bytes) => orRefused(judgeBoth(jws, bytes)),
    outer: anything,
  },
  { name: 'format-dsse', seeds: samples.dsseEnvelopes, run: (bytes) => judge(dsse, bytes), outer: anything },
  {
    name: 'manifest',
    seeds: samples.manifests,
    run(bytes) {
      const { names, section } = parseManifest(bytes)
      for (const name of names) section(name)
    },
    outer: anything,
  },
  der('path', paths.pathSeeds, paths.readPath),
  der('path-evidence', paths.evidenceSeeds, paths.readEvidence),
  der('path-answer', paths.answerSeeds, paths.readAnswer),
  der(
    'describe',
    [
      ...samples.certificates,
      ...samples.certificationRequests,
      ...samples.certificateLists,
      ...samples.ocspRequests,
      ...samples.ocspResponses,
    ],
    describeObject,
  ),
  {
    name: 'checkpoint',
    seeds: lines(samples.checkpoint),
    run: (bytes) => parseSignedCheckpoint(utf8Text(bytes)),
    outer: anything,
  },
  { name: 'audit-proof', seeds: lines(samples.auditProof), run: (bytes) => parseProof(utf8Text(bytes)), outer: anything },
  {
    name: 'add-checkpoint',
    seeds: lines(samples.addCheckpoint),
    run: (bytes) => parseSignedCheckpoint(parseAddCheckpoint(utf8Text(bytes)).note),
    outer: anything,
  },
  { name: 'entry-bundle', seeds: [samples.entryBundle], run: parseEntryBundle, outer: anything },
  {
    name: 'order-statement',
    seeds: lines(...Object.values(orders.sampleStatements)),
    async run(bytes) {
      const text = utf8Text(bytes)
      for (const kind of ['ticket', 'log-head', 'job-end', 'endorsement-challenge', 'endorsement-answer'] as const)
        await orRefused(Promise.try(() => peekStatement(kind, text)))
    },
    outer: anything,
  },
  {
    name: 'birth-manifest',
    seeds: lines(statedElement),
    run: (bytes) => parseStatedElement(parseJSONObject(bytes), ''),
    outer: anything,
  },
  { name: 'order-entry', seeds: lines(...orders.sampleLines), run: (bytes) => parseEntry(utf8Text(bytes)), outer: anything },
  {
    name: 'ownership-statement',
    seeds: lines(...Object.values(ownership.sampleStatements).map(({ statement }) => statement)),
    async run(bytes) {
      const text = utf8Text(bytes)
      for (const kind of ['offer', 'answer', 'release', 'presence', 'notice'] as const)
        await orRefused(Promise.try(() => readStatement(kind, text)))
    },
    outer: anything,
  },
  {
    name: 'ownership-chain',
    seeds: lines(ownership.sampleStatements.release.statement),
    run: (bytes) => orRefused(Promise.try(() => verifyChain(parseChain(utf8Text(bytes)), { makers: ownership.sampleMakers }))),
    outer: anything,
  },
  {
    name: 'genuine-question',
    seeds: lines(JSON.stringify({ manufacturer: 'acme', productSerial: 'A-1042', nonce: 'A'.repeat(43) })),
    run: (bytes) => genuine.signedText(genuine.parseQuestion(bytes)),
    outer: anything,
  },
  {
    name: 'genuine-proof',
    seeds: lines(genuine.encodeProof({ key: new Uint8Array(91), signature: new Uint8Array(72) })),
    run: (bytes) => genuine.encodeProof(genuine.parseProof(bytes)),
    outer: anything,
  },
  {
    name: 'license',
    seeds: licenses.map(encodeLicense),
    run: (bytes) => encodeLicense(parseLicense(bytes, bytes[0] === 0x7b ? 'jws' : 'cwt')),
    outer: anything,
  },
  {
    name: 'license-status',
    seeds: [encodeStatusList(statusList)],
    run: (bytes) => leastSequence(parseStatusList(bytes), licenses[0].id),
    outer: anything,
  },
  {
    name: 'command',
    seeds: [commands.encodeCommand(commandSamples.command), commands.encodeCommand(commandSamples.agreed)],
    run: (bytes) => checkSame(bytes, commands.encodeCommand(commands.parseCommand(bytes))),
    outer: anything, // strict in the outermost item too: a refusal is a right answer
  },
  {
    name: 'command-policy',
    seeds: [encodePolicy(commandSamples.policy)],
    run: (bytes) => checkSame(bytes, encodePolicy(parsePolicy(bytes))),
    outer: anything, // strict in the outermost item too: a refusal is a right answer
  },
  {
    name: 'command-receipt',
    seeds: [commands.encodeReceipt(commandSamples.receipt)],
    run: (bytes) => checkSame(bytes, commands.encodeReceipt(commands.parseReceipt(bytes))),
    outer: anything, // strict in the outermost item too: a refusal is a right answer
  },
  {
    name: 'message-list',
    seeds: lines(
      encodeList([
        { number: 7, octets: Uint8Array.of(1, 2, 3) },
        { number: 9, octets: new Uint8Array() },
      ]),
    ),
    run: (bytes) => orRefused(Promise.try(() => parseList(bytes, 0))),
    outer: anything,
  },
  {
    name: 'usage-record',
    seeds: testChain('ab'.repeat(16), 2).map(encodeUsage),
    run: (bytes) => encodeUsage(parseUsage(bytes)),
    outer: anything,
  },
  { name: 'ownership-package', seeds: lines(ownership.samplePackage), run: (bytes) => parsePackage(bytes), outer: anything },
  {
    name: 'order-bundle',
    seeds: lines(orders.sampleBundle),
    run: (bytes) => parseBundle(bytes).lines.map((line) => parseEntry(line)),
    outer: anything,
  },
  {
    name: 'tile-path',
    seeds: lines('tile/0/x001/x234/067', 'tile/entries/000.p/7'),
    run: (bytes) => parseTilePath(utf8Text(bytes)),
    outer: anything,
  },
  structure('public-area', tpm2.TPMT_PUBLIC, areas.map(octetsOf), publicKeyOf),
  structure(
    'attest',
    tpm2.TPMS_ATTEST,
    statements.map((name) => statementOf(name).attest),
  ),
  structure(
    'signature',
    tpm2.TPMT_SIGNATURE,
    statements.map((name) => statementOf(name).signature),
  ),
  structure('creation-data', tpm2.TPMS_CREATION_DATA, [octetsOf('creationData')]),
  structure('ticket', tpm2.TPMT_TK, [octetsOf('creationTicket')]),
  structure('nv-public', tpm2.TPMS_NV_PUBLIC, [octetsOf('index')]),
  structure('context', tpm2.TPMS_CONTEXT, [octetsOf('context')]),
  structure('capability', tpm2.TPMS_CAPABILITY_DATA, [octetsOf('capability')]),
  structure('id-object', tpm2.TPM2B_ID_OBJECT, [octetsOf('credentialBlob')]),
  der(
    'endorsement-certificate',
    [octetsOf('endorsementCertificate'), octetsOf('endorsementCertificateRSA')],
    parseEndorsementCertificate,
  ),
  {
    name: 'tpm-answer',
    seeds: tpmAnswers,
    run: (bytes) => {
      const exchange = async (): Promise<Uint8Array> => bytes
      return bytes.length < 10 ? undefined : openKey(new TPM({ exchange, close: async () => {} }, random), 0x81000001)
    },
    outer: anything,
  },
]
