/** People with keys, a policy, and commands that pass; for tests and benchmarks. Not part of any program. @module */
import { sign } from 'node:crypto'
import { utf8 } from '#base/bytes.ts'
import type { COSESigner } from '#cbor/cose-signing.ts'
import { keyPurposes, type KeyPurpose } from '#x509/extensions/extended-key-usage.ts'
import { basicConstraints } from '#x509/extensions/basic-constraints.ts'
import { extKeyUsage } from '#x509/extensions/extended-key-usage.ts'
import { extensionWith } from '#x509/extensions/extension.ts'
import { keyUsage } from '#x509/extensions/key-usage.ts'
import { encodeName, nameOf } from '#x509/name.ts'
import { makeCertificate, makeKey, rootExtensions, type TestKey } from '#x509/testing.ts'
import { fingerprint } from '#x509/certificate.ts'
import { type Command, encodeCommand, type Receipt } from './messages.ts'
import { encodePolicy, operatorTrust, type CommandedDevice, type Freshness, type Policy } from './policy/messages.ts'
import { type Form, joinCommand, signCommand, signPolicy } from './signing.ts'

/** Within the validity of every certificate here. */
export const AT = new Date('2027-06-01T12:00:00Z')
export const secondsAfter = (seconds: number): Date => new Date(AT.getTime() + seconds * 1000)

export interface Person {
  readonly name: string
  readonly signer: COSESigner
  readonly certificate: Uint8Array
  readonly key: TestKey
}

const rootKey = makeKey()
const rootName = encodeName(nameOf([{ type: 'CN', value: 'People' }]))
/** DER: an authority that issues to people who may sign. */
export const peopleRoot = await makeCertificate(rootKey, {
  issuer: rootName,
  subject: rootName,
  extensions: rootExtensions(rootKey),
})

let serial = 0
/** With a certificate of the people's authority. */
export async function person(name: string, purpose: KeyPurpose = 'documentSigning'): Promise<Person> {
  const key = makeKey()
  const certificate = await makeCertificate(rootKey, {
    serialNumber: Uint8Array.of(1, ++serial),
    issuer: rootName,
    subject: encodeName(nameOf([{ type: 'CN', value: name }])),
    subjectPublicKeyInfo: key.spki,
    extensions: [
      extensionWith(basicConstraints, { cA: false }),
      extensionWith(keyUsage, ['digitalSignature'], true),
      extensionWith(extKeyUsage, [keyPurposes[purpose]], true),
    ],
  })
  return { name, certificate, key, signer: signerOf(key, certificate) }
}

export const signerOf = ({ privateKey }: TestKey, certificate: Uint8Array): COSESigner => ({
  keyAlgorithm: 'ecdsa-p256',
  signatureAlgorithm: 'ecdsa-sha256',
  certificates: [certificate],
  sign: async (message) => new Uint8Array(sign('sha256', message, privateKey)),
})

/** Orders. */
export const ada = await person('ada')
/** Agree. */
export const bo = await person('bo')
export const cy = await person('cy')
/** Signs policies, and is pinned for that. */
export const officer = await person('officer')
/** Whom devices trust for commands. */
export const anchors: readonly Uint8Array[] = [peopleRoot, officer.certificate]

export const policy: Policy = {
  area: 'carworks/paint',
  version: 3,
  issuedAt: AT,
  issuers: ['plant', 'plant/agreed'],
  roles: [
    { name: 'operator', members: [{ name: 'ada' }] },
    { name: 'shift-lead', members: [{ name: 'bo' }, { name: 'cy', certificate: fingerprint(cy.certificate) }] },
  ],
  operations: [
    { operation: 'lamp.on', operators: ['operator'], mode: 'time', assurance: 0, lifeSeconds: 30 },
    {
      operation: 'valve.open',
      operators: ['operator'],
      approvers: { roles: ['shift-lead'], least: 2 },
      mode: 'challenge',
      assurance: 2,
      lifeSeconds: 600,
    },
    { operation: 'press.stop', operators: ['operator', 'shift-lead'], mode: 'time', assurance: 4, lifeSeconds: 30 },
  ],
}

export const device: CommandedDevice = {
  birthKey: new Uint8Array(32).fill(7),
  name: 'acme/P-1',
  area: 'carworks/paint',
  epoch: 1,
  assurance: 2,
}

export const command: Command = {
  id: new Uint8Array(16).fill(1),
  issuer: 'plant',
  audience: { birthKey: device.birthKey, device: device.name },
  counter: 5,
  notBefore: AT,
  expiresAt: secondsAfter(30),
  operation: 'lamp.on',
  arguments: new Map<string, string | number>([
    ['level', 3],
    ['zone', 'left'],
  ]),
  area: device.area,
  epoch: device.epoch,
  priority: 'normal',
  operator: 'ada',
  mode: 'time',
}

/** One that two people have to agree to, and that answers the device. */
export const agreed: Command = {
  ...command,
  id: new Uint8Array(16).fill(2),
  issuer: 'plant/agreed',
  operation: 'valve.open',
  mode: 'challenge',
  expiresAt: secondsAfter(600),
}
export const receipt: Receipt = {
  ...{ command: command.id, message: new Uint8Array(32), birthKey: device.birthKey },
  ...{ result: 'done', exitCode: 0, output: new Uint8Array(0), counter: 1, at: AT },
}

export const nonce = utf8('0123456789abcdef')

export const fresh: Freshness = { now: secondsAfter(1), lastSeen: AT, counter: 4, last: undefined, nonce: undefined }
export const answering: Freshness = { ...fresh, nonce: { octets: nonce, ageSeconds: 3 } }

export const trust = operatorTrust(policy, anchors)

interface Signers {
  readonly operator?: Person
  readonly approvers?: readonly Person[]
  readonly nonce?: Uint8Array
  readonly form?: Form
  readonly birthKey?: Uint8Array
}

/** As the server puts it together from what each of them signs. */
export async function signed(what: Command, { operator = ada, approvers = [], ...more }: Signers = {}): Promise<Uint8Array> {
  const { form = approvers.length === 0 ? 'single' : 'several', birthKey = device.birthKey } = more
  const toSign = { payload: encodeCommand(what), form, birthKey }
  const answered = more.nonce === undefined ? toSign : { ...toSign, nonce: more.nonce }
  const parts = [await signCommand(operator.signer, answered)]
  for (const { signer } of approvers) parts.push(await signCommand(signer, toSign))
  return joinCommand(parts)
}

export const signedPolicy = (what: Policy = policy, by: Person = officer): Promise<Uint8Array> =>
  signPolicy(by.signer, encodePolicy(what))
