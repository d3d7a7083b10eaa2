/**
 * A data directory as a plant has it: births and an owner, a station that asks for devices, devices with their births.
 *
 * @module
 */
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { encodePEM } from '#asn1/pem.ts'
import { systemWorld } from '#base/world.ts'
import type { Authority } from '#ca/authorities.ts'
import { issueForRequest } from '#ca/by-hand.ts'
import type { CAContext } from '#ca/context.ts'
import { createEndpoint, type Endpoint } from '#ca/endpoint.ts'
import { type Config, parseConfig } from '#config/config.ts'
import { type CAServices, openCA, openFoundation } from '#server/compose.ts'
import { initialize } from '#server/init.ts'
import { fingerprint } from '#x509/certificate.ts'
import { encodeCertificationRequest } from '#x509/certification-request.ts'
import { type Extension, extensionWith } from '#x509/extensions/extension.ts'
import { keyUsage } from '#x509/extensions/key-usage.ts'
import { subjectAltName } from '#x509/extensions/subject-alternative-name.ts'
import { nameOf, type NamePart } from '#x509/name.ts'

const ACTOR = 'person:bench'
const HARDWARE_TYPE = '1.3.6.1.4.1.99999.7.1'

export const world = systemWorld()

/** A key with its certificate, as TLS clients take it. */
export interface Holder {
  readonly certificate: string
  readonly key: string
}

export interface Plant extends Disposable {
  readonly directory: string
  readonly dataDirectory: string
  /** PEM: what clients of the TLS listener trust. */
  readonly tlsRoot: string
  /** The maker's authority, which the devices were born under. */
  readonly births: Authority
  /** The owner's authority, which issues at the default endpoint. */
  readonly owner: Authority
  readonly station: Holder
  readonly devices: readonly (Holder & { /** Of the certificate. */ readonly der: Uint8Array })[]
}

export interface PlantOptions {
  /** URL; a file in the directory unless told. */
  readonly database?: string
  /** Devices with a birth certificate. */
  readonly devices?: number
  /** Issuing authorities beside those that the plant needs. */
  readonly moreAuthorities?: number
}

/** Everything lies in a temporary directory, which goes with the plant. */
export async function makePlant({ devices = 0, moreAuthorities = 0, database }: PlantOptions = {}): Promise<Plant> {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-bench-'))
  const dataDirectory = join(directory, 'data')
  const options = { dataDirectory, config: configure(dataDirectory, database), world, environment: {} }
  const { tlsRootFile } = await initialize({ ...options, administrator: 'bench' })
  const foundation = await openFoundation(options)
  try {
    const ca = await openCA(foundation, options.config)
    const births = await createAuthority(ca, 'births', undefined)
    const owner = await createAuthority(ca, 'owner', undefined)
    for (let i = 0; i < moreAuthorities; i++) await createAuthority(ca, `line${i}`, 'births')
    const endpoint = (
      label: string,
      authority: Authority,
      profile: string,
      more: Partial<Parameters<typeof createEndpoint>[1]>,
    ) => createEndpoint(ca.context, { label, protocol: 'est', authorityId: authority.id, profile, ...more }, ACTOR)
    const birthEndpoint = await endpoint('births', births, 'idevid', { rules: { hardwareType: HARDWARE_TYPE } })
    const station = await certify(ca, 'births', 'ra', [{ type: 'CN', value: 'Station 1' }])
    await endpoint('owner', owner, 'ldevid', {
      isDefault: true,
      rules: {
        clientIssuers: [births.address],
        registrationAuthorities: [{ fingerprint: fingerprint(station.der).toHex(), productSerials: ['SN-*'] }],
      },
    })
    const holders = await Promise.all(
      Array.from({ length: devices }, (_, i) => certify(ca, 'births', 'idevid', subjectOf(i), birthEndpoint)),
    )
    return {
      directory,
      dataDirectory,
      tlsRoot: readFileSync(tlsRootFile, 'utf8'),
      births,
      owner,
      station: station.holder,
      devices: holders.map(({ holder, der }) => ({ ...holder, der })),
      [Symbol.dispose]: () => rmSync(directory, { recursive: true }),
    }
  } finally {
    await foundation.db.close()
  }
}

export interface OpenedPlant extends AsyncDisposable {
  readonly context: CAContext
  readonly owner: Authority
  readonly endpoint: Endpoint
  readonly ca: CAServices
}

/** In this process, while no server has it. */
export async function openPlant({ dataDirectory }: Plant): Promise<OpenedPlant> {
  const config = configure(dataDirectory)
  const foundation = await openFoundation({ config, world, environment: {} })
  const ca = await openCA(foundation, config)
  return {
    context: ca.context,
    owner: ca.authorities.byAddress('owner'),
    endpoint: await ca.enrollment.openEndpoint('est', undefined),
    ca,
    [Symbol.asyncDispose]: () => foundation.db.close(),
  }
}

/** One client on one machine asks for all, which the limit for each address would keep from it. */
export function configure(dataDirectory: string, database?: string): Config {
  const file = [
    '[server]',
    'listen = "127.0.0.1:0"',
    'listenPublic = "127.0.0.1:0"',
    'publicUrl = "http://pki.bench.example"',
    'requestsPerSecondPerAddress = 0',
    'requestsPerConnectionMax = 0',
    '[log]',
    'level = "warn"',
    ...(database === undefined ? [] : ['[store]', `url = "${database}"`]),
    '',
  ].join('\n')
  mkdirSync(dataDirectory, { recursive: true, mode: 0o700 })
  writeFileSync(join(dataDirectory, 'sealworks.toml'), file)
  return parseConfig({ file, environment: {}, dataDirectory })
}

const createAuthority = ({ authorities }: CAServices, slug: string, issuer: string | undefined): Promise<Authority> =>
  authorities.create(
    {
      slug,
      name: nameOf([
        { type: 'O', value: 'Example Works' },
        { type: 'CN', value: `Authority ${slug}` },
      ]),
      profile: issuer === undefined ? 'root' : 'issuing',
      keyAlgorithm: 'ecdsa-p256',
      noExpiry: true,
      ...(issuer !== undefined && { issuer }),
    },
    ACTOR,
  )

async function certify(ca: CAServices, authority: string, profile: string, subject: readonly NamePart[], endpoint?: Endpoint) {
  const key = makeKey()
  const where = { authority, profile, ...(endpoint !== undefined && { endpoint }) }
  const { certificate: der } = await issueForRequest(ca.context, ca.authorities, where, await requestOf(key, subject), ACTOR)
  const holder: Holder = {
    certificate: encodePEM('CERTIFICATE', der),
    key: key.privateKey.export({ type: 'pkcs8', format: 'pem' }),
  }
  return { der, holder }
}

export const serialOf = (number: number): string => `SN-${String(number).padStart(6, '0')}`

const subjectOf = (number: number): readonly NamePart[] => [
  { type: 'O', value: 'Example Works' },
  { type: 'CN', value: serialOf(number) },
  { type: 'serialNumber', value: serialOf(number) },
]

export interface Key {
  readonly privateKey: KeyObject
  /** DER SubjectPublicKeyInfo */
  readonly spki: Uint8Array
}

export function makeKey(): Key {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return { privateKey, spki: new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })) }
}

/** @returns DER PKCS #10 */
export const requestOf = (key: Key, subject: readonly NamePart[], extensions: readonly Extension[] = []): Promise<Uint8Array> =>
  encodeCertificationRequest(
    { subject: nameOf(subject), publicKey: key.spki, extensions },
    { signatureAlgorithm: 'ecdsa-sha256', sign: (message) => new Uint8Array(sign('sha256', message, key.privateKey)) },
  )

/** As devices ask for an owner's certificate: a name of three parts, a key usage, a host name. */
export const deviceRequest = (number: number): Promise<Uint8Array> =>
  requestOf(makeKey(), subjectOf(number), [
    extensionWith(keyUsage, ['digitalSignature'], true),
    extensionWith(subjectAltName, [{ type: 'dNSName', value: serialOf(number) }], false),
  ])
