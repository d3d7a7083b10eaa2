/** REST: births, for stations and for the officers who say what may be born where. @module */
import { type Static, Type } from 'typebox'
import { isKeyAlgorithmId } from '#algorithms/table.ts'
import { TrustError } from '#base/errors.ts'
import { bear, challenge } from '#devices/birth/births.ts'
import type { BirthCertificate } from '#devices/birth/context.ts'
import { allowEndorsements, disallowEndorsement, ENDORSEMENTS_MAX } from '#devices/birth/endorsement-list.ts'
import { type ExternalKey, listExternalKeys, takeReceipt } from '#devices/birth/external-record.ts'
import { bearWithKey } from '#devices/birth/external.ts'
import { type BirthLine, createLine, disableLine, findLine, type LineTerms, listLines } from '#devices/birth/lines.ts'
import type { BirthEvidence } from '#devices/birth/messages.ts'
import {
  blockElement,
  findElements,
  importManifest,
  listManifestSigners,
  type ManifestSigner,
  type SecureElement,
  trustManifestSigner,
} from '#devices/birth/secure-elements.ts'
import { birthVariants } from '#devices/device.ts'
import { fingerprint } from '#x509/certificate.ts'
import type { CAServices } from '../compose.ts'
import { recordingRefusals } from './refusals.ts'
import { page, PAGE_DEFAULT, pageOf, pageQuery, record, route } from './route.ts'
import { Address, Base64, Empty, KeyAlgorithmName, octetsOf, Time, Uuid } from './shapes.ts'

const Name = Type.String({
  pattern: '^[a-z0-9][a-z0-9-]{0,62}$',
  description: '1 to 63 lower-case letters, digits and hyphens',
})
const Serial = Type.String({ minLength: 1, maxLength: 64, description: 'serial of the device' })
const SHA256 = Type.String({ pattern: '^[0-9a-f]{64}$', description: 'a SHA-256 in hexadecimal digits' })
const Variant = Type.Enum([...birthVariants])
/** Structures of TPMs and certificates are a few kilobytes. */
const Octets = Type.String({ pattern: '^[A-Za-z0-9+/]*={0,2}$', maxLength: 16_384, description: 'base64' })
const Request = Type.String({ pattern: '^[A-Za-z0-9+/]*={0,2}$', maxLength: 90_000, description: 'PKCS #10 (DER) in base64' })

const TermsFields = {
  authority: Address,
  profile: Type.Optional(Type.String({ description: 'a profile for births; idevid unless told' })),
  variants: Type.Array(Variant, { minItems: 1, uniqueItems: true }),
  productSerials: Type.Array(Type.String({ minLength: 1, maxLength: 80 }), {
    minItems: 1,
    maxItems: 256,
    description: 'serials that may be born; * stands for any run of characters',
  }),
  stations: Type.Optional(
    Type.Array(Type.String({ maxLength: 80 }), {
      maxItems: 256,
      description: 'as the audit log names them; whoever may bear, unless told',
    }),
  ),
  endorsementAuthorities: Type.Optional(
    Type.Array(Address, { maxItems: 64, description: 'trusted authorities of makers of TPMs' }),
  ),
  endorsementList: Type.Optional(
    Type.Boolean({ description: 'take endorsement keys that are on the list, without a certificate' }),
  ),
  requiresOrder: Type.Optional(Type.Boolean({ description: 'bear only what a production order gave to this line' })),
  units: Type.Optional(
    Type.Array(Base64, {
      maxItems: 64,
      description: 'certificates (DER) of who gets or makes keys, and signs their destruction',
    }),
  ),
}

const LineShape = record({
  id: Uuid,
  name: Name,
  model: Uuid,
  revision: Type.Optional(Uuid),
  authority: Type.String(),
  profile: Type.String(),
  variants: Type.Array(Variant),
  productSerials: Type.Array(Type.String()),
  stations: Type.Optional(Type.Array(Type.String())),
  endorsementAuthorities: Type.Array(Type.String()),
  endorsementList: Type.Boolean(),
  requiresOrder: Type.Boolean(),
  units: Type.Array(SHA256, { description: 'fingerprints of their certificates' }),
  state: Type.Enum(['enabled', 'disabled']),
  createdAt: Time,
})

const Evidence = Type.Union([
  record(
    {
      type: Type.Literal('tpm'),
      challenge: Uuid,
      credential: Octets,
      key: Type.Union([Octets], { description: 'TPM2B_PUBLIC of the new key' }),
      attest: Type.Union([Octets], { description: 'TPMS_ATTEST of TPM2_Certify or TPM2_CertifyCreation' }),
      signature: Type.Union([Octets], { description: 'TPMT_SIGNATURE' }),
      creationData: Type.Optional(Type.Union([Octets], { description: 'TPM2B_CREATION_DATA, with TPM2_CertifyCreation' })),
      request: Type.Optional(Request),
    },
    'a key that a TPM certifies, and the answer to the challenge',
  ),
  record({ type: Type.Literal('secure-element'), request: Request }, 'a key that a manifest states'),
  record(
    {
      type: Type.Literal('software'),
      request: Request,
      vouched: Type.Optional(Type.Boolean({ description: 'the key is not in the device: somebody speaks for it' })),
    },
    'a key that the device made',
  ),
  record({ type: Type.Literal('external'), request: Request, unit: SHA256 }, 'a key that a unit made and wrote into the device'),
])

const BirthShape = record({
  certificateId: Uuid,
  certificate: Type.Union([Base64], { description: 'DER' }),
  chain: Type.Array(Base64),
})

const ExternalKeyShape = record({
  certificateId: Uuid,
  productSerial: Serial,
  maker: Type.Enum(['server', 'unit']),
  unit: SHA256,
  state: Type.Enum(['delivered', 'destroyed']),
  receipt: Type.Optional(Type.String({ description: 'JWS of the unit' })),
  createdAt: Time,
})

const SignerShape = record({ id: Uuid, name: Name, fingerprint: SHA256, state: Type.String(), createdAt: Time })
const ElementStateName = Type.Enum(['purchased', 'mounted', 'blocked'])
const ElementShape = record({
  id: Uuid,
  uniqueId: Type.String(),
  partNumber: Type.String(),
  manufacturer: Type.String(),
  groupId: Type.Optional(Type.String()),
  state: ElementStateName,
  certificateId: Type.Optional(Type.Union([Uuid], { description: 'the birth certificate of its device' })),
})

/** An entry with chains for several slots is some 40 KiB in base64url. */
const JWSPart = Type.String({ pattern: '^[A-Za-z0-9_-]+$', maxLength: 100_000 })
const ManifestEntryShape = record({
  payload: JWSPart,
  protected: JWSPart,
  header: Type.Optional(record({ uniqueId: Type.String({ maxLength: 64 }) })),
  signature: JWSPart,
})
const ENTRIES_MAX = 500
const MANIFEST_MAX_OCTETS = 16 << 20

const Counted = record({ imported: Type.Integer(), known: Type.Integer() })

export function birthRoutes({ devices: { births } }: Pick<CAServices, 'devices'>) {
  return [
    route({
      id: 'listBirthLines',
      method: 'GET',
      path: '/api/v1/birth-lines',
      permission: 'birth.read',
      summary: 'Where devices are born',
      response: record({ items: Type.Array(LineShape) }),
      handle: async () => ({ items: (await listLines(births)).map(lineShape) }),
    }),
    route({
      id: 'showBirthLine',
      method: 'GET',
      path: '/api/v1/birth-lines/{name}',
      permission: 'birth.read',
      summary: 'One line',
      params: Type.Object({ name: Name }),
      response: LineShape,
      handle: async (_, { params: { name } }) => lineShape(await findLine(births, name)),
    }),
    route({
      id: 'createBirthLine',
      method: 'POST',
      path: '/api/v1/birth-lines',
      permission: 'birth.manage',
      summary: 'Say which devices are born where, how, and under which authority',
      body: record({ name: Name, model: Uuid, revision: Type.Optional(Uuid), ...TermsFields }),
      response: LineShape,
      status: 201,
      async handle({ actor }, { body: { name, model, revision, ...terms } }) {
        const wanted = { name, modelId: model, terms: termsOf(terms), ...(revision !== undefined && { revisionId: revision }) }
        const attempt = { actor, act: 'birth.create-line', object: `line:${name}` }
        return lineShape(await recordingRefusals(births.audit, attempt, () => createLine(births, wanted, actor)))
      },
    }),
    route({
      id: 'disableBirthLine',
      method: 'POST',
      path: '/api/v1/birth-lines/{name}/disable',
      permission: 'birth.manage',
      summary: 'Let nothing be born at a line any more',
      params: Type.Object({ name: Name }),
      body: Empty,
      response: LineShape,
      async handle({ actor }, { params: { name } }) {
        const attempt = { actor, act: 'birth.disable-line', object: `line:${name}` }
        return lineShape(await recordingRefusals(births.audit, attempt, () => disableLine(births, name, actor)))
      },
    }),
    route({
      id: 'challengeBirth',
      method: 'POST',
      path: '/api/v1/births/challenges',
      permission: 'birth.issue',
      summary: 'A challenge that only the TPM of the device can read',
      body: record({
        line: Name,
        productSerial: Serial,
        endorsementKey: Type.Union([Octets], { description: 'TPM2B_PUBLIC' }),
        endorsementCertificate: Type.Optional(
          Type.Union([Octets], { description: 'DER; left out where the key is on the list' }),
        ),
        intermediates: Type.Optional(Type.Array(Octets, { maxItems: 8 })),
        attestationKey: Type.Union([Octets], { description: 'TPM2B_PUBLIC' }),
      }),
      response: record({
        id: Uuid,
        credentialBlob: Type.Union([Octets], { description: 'TPM2B_ID_OBJECT' }),
        secret: Type.Union([Octets], { description: 'TPM2B_ENCRYPTED_SECRET' }),
        nonce: Type.Union([Octets], { description: 'the qualifyingData of the statement' }),
        expiresAt: Time,
      }),
      status: 201,
      async handle({ actor }, { body: { line, productSerial, endorsementCertificate, intermediates = [], ...keys } }) {
        const asked = {
          line,
          productSerial,
          endorsementKey: octetsOf(keys.endorsementKey),
          attestationKey: octetsOf(keys.attestationKey),
          ...(endorsementCertificate !== undefined && { endorsementCertificate: octetsOf(endorsementCertificate) }),
          intermediates: intermediates.map(octetsOf),
        }
        const { id, credentialBlob, secret, nonce, expiresAt } = await challenge(births, asked, actor)
        return {
          id,
          credentialBlob: credentialBlob.toBase64(),
          secret: secret.toBase64(),
          nonce: nonce.toBase64(),
          expiresAt: timeOf(expiresAt),
        }
      },
    }),
    route({
      id: 'bearDevice',
      method: 'POST',
      path: '/api/v1/births',
      permission: 'birth.issue',
      summary: 'Issue the birth certificate of a device whose key is proven',
      body: record({ line: Name, productSerial: Serial, evidence: Evidence }),
      response: BirthShape,
      status: 201,
      handle: async ({ actor }, { body: { line, productSerial, evidence } }) =>
        birthShape(await bear(births, { line, productSerial, evidence: evidenceOf(evidence) }, actor)),
    }),
    route({
      id: 'bearDeviceWithKey',
      method: 'POST',
      path: '/api/v1/births/external-keys',
      permission: 'birth.issue',
      summary: 'Make a key for a device that cannot, and give it once, encrypted to its unit',
      body: record({ line: Name, productSerial: Serial, keyAlgorithm: KeyAlgorithmName, unit: SHA256 }),
      response: record({
        ...BirthShape.properties,
        encryptedKey: Type.Union([Base64], { description: 'CMS AuthEnvelopedData (DER) with the PrivateKeyInfo' }),
      }),
      status: 201,
      answersSecret: true,
      async handle({ actor }, { body }) {
        const { keyAlgorithm } = body
        if (!isKeyAlgorithmId(keyAlgorithm)) throw new TrustError('unsupported', 'keyAlgorithm')
        const delivered = await bearWithKey(births, { ...body, keyAlgorithm }, actor)
        return { ...birthShape(delivered), encryptedKey: delivered.encryptedKey.toBase64() }
      },
    }),
    route({
      id: 'listExternalKeys',
      method: 'GET',
      path: '/api/v1/births/external-keys',
      permission: 'birth.read',
      summary: 'Keys that were made outside of their devices, newest first',
      query: Type.Object({ state: Type.Optional(Type.Enum(['delivered', 'destroyed'])), ...pageQuery }),
      response: page(ExternalKeyShape),
      async handle(_, { query: { state, limit = PAGE_DEFAULT, cursor } }) {
        const found = await listExternalKeys(births, {
          limit,
          ...(state !== undefined && { state }),
          ...(cursor !== undefined && { after: cursor }),
        })
        return pageOf(found.map(externalKeyShape), found.length < limit ? undefined : found.at(-1)?.certificateId)
      },
    }),
    route({
      id: 'receiveKeyReceipt',
      method: 'POST',
      path: '/api/v1/births/external-keys/{certificateId}/receipt',
      permission: 'birth.issue',
      summary: 'Take the word of a unit that a key is in its device and nowhere else',
      params: Type.Object({ certificateId: Uuid }),
      body: record({ receipt: Type.String({ pattern: '^[A-Za-z0-9_.-]+$', maxLength: 65_536, description: 'JWS, compact' }) }),
      response: ExternalKeyShape,
      async handle({ actor }, { params: { certificateId }, body: { receipt } }) {
        const { certificate: der } = await births.issuer.again(certificateId)
        return externalKeyShape(await takeReceipt(births, { certificateId, der }, new TextEncoder().encode(receipt), actor))
      },
    }),
    route({
      id: 'allowEndorsements',
      method: 'POST',
      path: '/api/v1/endorsements',
      permission: 'birth.manage',
      summary: 'Put endorsement keys of TPMs on the list',
      body: record({
        source: Type.String({ minLength: 1, maxLength: 200, description: 'who states them' }),
        keys: Type.Array(SHA256, { minItems: 1, maxItems: ENDORSEMENTS_MAX, description: 'SHA-256 of SubjectPublicKeyInfo' }),
      }),
      response: Counted,
      handle: ({ actor }, { body: { source, keys } }) => allowEndorsements(births, { source, hashes: keys }, actor),
    }),
    route({
      id: 'disallowEndorsement',
      method: 'DELETE',
      path: '/api/v1/endorsements/{key}',
      permission: 'birth.manage',
      summary: 'Take an endorsement key from the list',
      params: Type.Object({ key: SHA256 }),
      handle: ({ actor }, { params: { key } }) => disallowEndorsement(births, key, actor),
    }),
    route({
      id: 'listManifestSigners',
      method: 'GET',
      path: '/api/v1/manifest-signers',
      permission: 'birth.read',
      summary: 'Whose manifests of secure elements are believed',
      response: record({ items: Type.Array(SignerShape) }),
      handle: async () => ({ items: (await listManifestSigners(births)).map(signerShape) }),
    }),
    route({
      id: 'trustManifestSigner',
      method: 'POST',
      path: '/api/v1/manifest-signers',
      permission: 'birth.manage',
      summary: 'Believe manifests that this certificate signs',
      body: record({ name: Name, certificate: Type.Union([Octets], { description: 'DER' }) }),
      response: SignerShape,
      status: 201,
      handle: async ({ actor }, { body: { name, certificate } }) =>
        signerShape(await trustManifestSigner(births, { name, certificate: octetsOf(certificate) }, actor)),
    }),
    route({
      id: 'importManifest',
      method: 'POST',
      path: '/api/v1/secure-elements',
      permission: 'birth.manage',
      summary: 'Take the chips that a signed manifest states, all or none',
      body: record({ entries: Type.Array(ManifestEntryShape, { minItems: 1, maxItems: ENTRIES_MAX }) }),
      bodyMaxOctets: MANIFEST_MAX_OCTETS,
      response: Counted,
      handle: ({ actor }, { body: { entries } }) => importManifest(births, entries, actor),
    }),
    route({
      id: 'listSecureElements',
      method: 'GET',
      path: '/api/v1/secure-elements',
      permission: 'birth.read',
      summary: 'Secure elements, newest first',
      query: Type.Object({
        uniqueId: Type.Optional(Type.String({ maxLength: 64 })),
        state: Type.Optional(ElementStateName),
        ...pageQuery,
      }),
      response: page(ElementShape),
      async handle(_, { query: { limit = PAGE_DEFAULT, cursor, ...filter } }) {
        const found = await findElements(births, filter, { limit, ...(cursor !== undefined && { after: cursor }) })
        return pageOf(found.map(elementShape), found.length < limit ? undefined : found.at(-1)?.id)
      },
    }),
    route({
      id: 'blockSecureElement',
      method: 'POST',
      path: '/api/v1/secure-elements/{uniqueId}/block',
      permission: 'birth.manage',
      summary: 'Let no device be born with a chip',
      params: Type.Object({ uniqueId: Type.String({ pattern: '^[0-9a-fA-F]{2,64}$' }) }),
      body: Empty,
      response: ElementShape,
      handle: async ({ actor }, { params: { uniqueId } }) => elementShape(await blockElement(births, uniqueId, actor)),
    }),
  ] as const
}

interface Terms {
  readonly authority: string
  readonly profile?: string
  readonly variants: LineTerms['variants']
  readonly productSerials: readonly string[]
  readonly stations?: readonly string[]
  readonly endorsementAuthorities?: readonly string[]
  readonly endorsementList?: boolean
  readonly requiresOrder?: boolean
  readonly units?: readonly string[]
}

const termsOf = ({
  profile = 'idevid',
  endorsementAuthorities = [],
  endorsementList = false,
  units = [],
  ...terms
}: Terms): LineTerms => ({ ...terms, profile, endorsementAuthorities, endorsementList, units })

type GivenEvidence = Static<typeof Evidence>

function evidenceOf(given: GivenEvidence): BirthEvidence {
  if (given.type !== 'tpm') return { ...given, request: octetsOf(given.request) }
  const { type, challenge: id, creationData, request } = given
  return {
    type,
    challenge: id,
    credential: octetsOf(given.credential),
    key: octetsOf(given.key),
    attest: octetsOf(given.attest),
    signature: octetsOf(given.signature),
    ...(creationData !== undefined && { creationData: octetsOf(creationData) }),
    ...(request !== undefined && { request: octetsOf(request) }),
  }
}

const timeOf = (at: number): string => new Date(at).toISOString()

const lineShape = ({ id, name, modelId, revisionId, terms, state, createdAt }: BirthLine) => ({
  id,
  name,
  model: modelId,
  ...(revisionId !== undefined && { revision: revisionId }),
  authority: terms.authority,
  profile: terms.profile,
  variants: [...terms.variants],
  productSerials: [...terms.productSerials],
  ...(terms.stations !== undefined && { stations: [...terms.stations] }),
  endorsementAuthorities: [...terms.endorsementAuthorities],
  endorsementList: terms.endorsementList,
  requiresOrder: terms.requiresOrder === true,
  units: terms.units.map((unit) => fingerprint(octetsOf(unit)).toHex()),
  state,
  createdAt: timeOf(createdAt),
})

const birthShape = ({ certificateId, certificate, chain }: BirthCertificate) => ({
  certificateId,
  certificate: certificate.toBase64(),
  chain: chain.map((der) => der.toBase64()),
})

const externalKeyShape = ({ receipt, createdAt, ...key }: ExternalKey) => ({
  ...key,
  ...(receipt !== undefined && { receipt }),
  createdAt: timeOf(createdAt),
})

const signerShape = ({ id, name, fingerprint: print, state, createdAt }: ManifestSigner) => ({
  ...{ id, name, fingerprint: print, state },
  createdAt: timeOf(createdAt),
})

const elementShape = ({ groupId, certificateId, ...element }: SecureElement) => ({
  ...element,
  ...(groupId !== undefined && { groupId }),
  ...(certificateId !== undefined && { certificateId }),
})
