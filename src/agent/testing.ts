/** A device with an agent that is set up, and whoever may say what it installs; for tests. Not part of any program. @module */
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { TestContext } from 'node:test'
import { encodePEM } from '#asn1/pem.ts'
import { systemWorld, uuidv7, type World } from '#base/world.ts'
import { testKey } from '#protocols/testing.ts'
import { bytesSource } from '#signing/artifact/blob.ts'
import { AT, quantumAuthority, root, signedWith, type TrialSigner, trialSigner } from '#signing/artifact/testing.ts'
import { cms } from '#signing/formats/cms.ts'
import { trialMessage } from '#signing/messages-testing.ts'
import {
  type Artifact,
  DIRECTOR_TYPE,
  type DirectorStatement,
  encodeManifest,
  encodeStatement,
  MANIFEST_TYPE,
  manifestDigest,
  type ReleaseManifest,
} from '#updates/messages.ts'
import { artifactFile, manifestFile, statementFile } from '#updates/stick/messages.ts'
import { makeCertificate, makeKey, TEST_NOT_AFTER } from '#x509/testing.ts'
import { encodeName, nameOf } from '#x509/name.ts'
import { type Agent, openAgent } from './agent.ts'
import type { Settings } from './directory.ts'
import { encodeTrustList, signTrustList } from './trust-list.ts'
import type { Signed } from './update-check.ts'

export const sha256 = (octets: Uint8Array): Uint8Array => new Uint8Array(createHash('sha256').update(octets).digest())

/** Software of the maker, and the director of whoever has the device. */
export interface Makers {
  readonly software: TrialSigner
  /** Signs manifests of releases. */
  readonly releases: TrialSigner
  readonly director: TrialSigner
}

export const makers = async (): Promise<Makers> => ({
  software: await trialSigner('ecdsa-p256'),
  releases: await trialSigner('ecdsa-p256', 'documentSigning'),
  director: await trialSigner('ecdsa-p256', 'documentSigning', TEST_NOT_AFTER, quantumAuthority), // not below the software's root
})

export interface Born {
  readonly serial: string
  /** SHA-256 of its birth key. */
  readonly birthKey: Uint8Array
  readonly directory: string
  readonly settings: Settings
}

export interface DeviceFile {
  readonly manufacturer: string
  readonly model: string
  readonly revision?: string
  readonly owner?: { readonly name: string; readonly epoch: number }
  readonly area?: string
}

export const scratch = (t: TestContext): string => {
  const place = mkdtempSync(join(tmpdir(), 'sealworks-update-'))
  t.after(() => rmSync(place, { recursive: true, force: true }))
  return place
}

/** A device as it leaves the line and comes to its owner: with trust list, `device.json` and `updates.json`. */
export async function bornDevice(
  place: string,
  { director }: Makers,
  { serial, file, components }: { readonly serial: string; readonly file: DeviceFile; readonly components: readonly object[] },
): Promise<Born> {
  const home = join(place, serial)
  mkdirSync(home, { recursive: true })
  const key = makeKey()
  const subject = encodeName(nameOf([{ type: 'serialNumber', value: serial }]))
  const certificate = await makeCertificate(key, { subject })
  writeFileSync(join(home, 'birth.pem'), encodePEM('CERTIFICATE', certificate))
  writeFileSync(join(home, 'birth.key'), key.privateKey.export({ type: 'pkcs8', format: 'pem' }))
  const directory = join(home, 'agent')
  const settings: Settings = {
    server: 'https://localhost:1',
    trust: [],
    keys: 'software',
    identity: { certificate: join(home, 'birth.pem'), key: join(home, 'birth.key') },
  }
  const agent = openAgent(directory, { ...systemWorld(), clock: { now: () => AT.getTime() } })
  agent.directory.configure(settings)
  await agent.takeTrust(await trustListOf({ software: [root], director: [director.answering.certificates[0]] }))
  agent.directory.write('device.json', JSON.stringify(file), 'test')
  agent.directory.write('updates.json', JSON.stringify({ components }), 'test')
  await agent[Symbol.asyncDispose]()
  return { serial, birthKey: sha256(key.spki), directory, settings }
}

export async function trustListOf(anchors: Readonly<Record<string, readonly Uint8Array[]>>): Promise<Uint8Array> {
  const { publicKey, sign } = testKey()
  const list = { name: 'engines', version: 1, expires: new Date('2036-01-01T00:00:00Z'), threshold: 1, keys: [publicKey] }
  return signTrustList(encodeTrustList({ ...list, anchors }), {
    keyAlgorithm: 'ecdsa-p256',
    signatureAlgorithm: 'ecdsa-sha256',
    sign: async (message) => sign(message),
  })
}

export interface Update extends Signed {
  readonly says: DirectorStatement
  /** By SHA-256, hexadecimal. */
  readonly files: ReadonlyMap<string, Uint8Array>
}

export interface Wanted {
  readonly image: Uint8Array
  readonly format?: { readonly id: string; readonly signed: Uint8Array }
  readonly counter: number
  readonly sequence: number
  /** Of the manifest, before it is signed. */
  readonly manifest?: Partial<ReleaseManifest>
  /** Of the statement, before it is signed. */
  readonly statement?: Partial<DirectorStatement>
}

/** A release of the makers, and the statement that lets this device install it; CMS beside the image unless told. */
export async function updateFor(
  { software, releases, director }: Makers,
  { serial, birthKey }: Pick<Born, 'serial' | 'birthKey'>,
  file: DeviceFile,
  wanted: Wanted,
): Promise<Update> {
  const { image, format, counter, sequence } = wanted
  const name = `motor-${counter}.bin`
  const artifactOf = (named: string, id: string, octets: Uint8Array): Artifact => ({
    ...{ name: named, format: id, octets: octets.length, sha256: sha256(octets) },
  })
  const signature = format === undefined ? (await signedWith(cms, bytesSource(image), software)).octets : undefined
  const artifacts =
    format === undefined || signature !== undefined
      ? [artifactOf(name, 'cms', image), artifactOf(`${name}.p7s`, 'cms', signature ?? new Uint8Array(0))]
      : [artifactOf(name, format.id, format.signed)]
  const { manufacturer, model, revision, owner, area } = file
  const manifest: ReleaseManifest = {
    release: uuidv7(systemWorld()),
    component: 'motor',
    version: `${counter}.0`,
    counter,
    models: [{ manufacturer, model, revisions: revision === undefined ? [] : [revision] }],
    artifacts,
    ...wanted.manifest,
  }
  const { release, component, version, source, requires, feature } = manifest
  const says: DirectorStatement = {
    id: uuidv7(systemWorld()),
    device: { manufacturer, productSerial: serial, birthKey },
    owner: owner ?? { name: 'nobody', epoch: 0 },
    ...(area !== undefined && { area }),
    model,
    revisions: manifest.models[0]?.revisions ?? [],
    ...{
      component,
      release,
      version,
      counter: manifest.counter,
      artifacts: manifest.artifacts,
      manifest: manifestDigest(manifest),
    },
    ...(source !== undefined && { source }),
    ...(requires !== undefined && { requires }),
    ...(feature !== undefined && { feature }),
    ...{ action: String(sequence), sequence },
    issuedAt: new Date(AT.getTime() - 60_000),
    expiresAt: new Date(AT.getTime() + 7 * 86_400_000),
    kind: 'install',
    ...wanted.statement,
  }
  const files = [...(format === undefined ? [image] : [format.signed]), ...(signature === undefined ? [] : [signature])]
  return {
    says,
    statement: await trialMessage(director, { form: 'cose', typ: DIRECTOR_TYPE, payload: encodeStatement(says) }),
    manifest: await trialMessage(releases, { form: 'cose', typ: MANIFEST_TYPE, payload: encodeManifest(manifest) }),
    files: new Map(files.map((octets) => [sha256(octets).toHex(), octets])),
  }
}

/** As a person with a stick writes it. */
export function writeStick(stick: string, { says, statement, manifest, files }: Update): void {
  const write = (name: string, octets: Uint8Array): void => {
    mkdirSync(dirname(join(stick, name)), { recursive: true })
    writeFileSync(join(stick, name), octets)
  }
  write(statementFile(says), statement)
  write(manifestFile(says), manifest)
  for (const octets of files.values()) write(artifactFile(sha256(octets)), octets)
}

/** The agent of a device, as it starts. */
export function started(t: TestContext, { directory }: Born, world: World = worldAt(AT)): Agent {
  const agent = openAgent(directory, world)
  t.after(() => agent[Symbol.asyncDispose]())
  return agent
}

export const worldAt = (at: Date): World => ({ ...systemWorld(), clock: { now: () => at.getTime() } })
