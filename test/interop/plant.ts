/**
 * A plant for the clients of others: real authorities on a real database behind real listeners, with an endpoint for
 * births and one for owners.
 *
 * @module
 */
import type { TestContext } from 'node:test'
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { encodePEM } from '#asn1/pem.ts'
import { silentLog } from '#base/log.ts'
import { type Secret, secret } from '#base/secret.ts'
import { createEndpoint, createEnrollmentSecret, type Endpoint } from '#ca/endpoint.ts'
import { enrollment, type Enrollment, type Identity } from '#ca/enrollment.ts'
import { issueCRL } from '#ca/crl.ts'
import { ocsp } from '#ca/ocsp.ts'
import { hierarchy, person, type TestCA, testCA } from '#ca/testing.ts'
import { composeProtocols } from '#server/compose.ts'
import { dispatcher, type Router } from '#protocols/dispatch.ts'
import { type EstClient, estClient, type EstClientOptions } from '#protocols/est/client.ts'
import { requestFor, type TestKey, testKey } from '#protocols/testing.ts'
import { derOf, face, listenFor, testdata } from '#server/testing.ts'
import { parseCertificationRequest } from '#x509/certification-request.ts'
import { nameOf, type NamePart } from '#x509/name.ts'

export const HARDWARE_TYPE = '1.3.6.1.4.1.99999.7.1'

/** A key with its certificate: a device, a station. */
export interface Holder {
  readonly key: TestKey
  /** DER */
  readonly certificate: Uint8Array
  readonly certificateId: string
}

export interface Plant {
  readonly ca: TestCA
  readonly enrollment: Enrollment
  /** Births: a station asks for IDevIDs. */
  readonly births: Endpoint
  /** Owners: a device with its IDevID or a one-time secret asks for an LDevID. The default endpoint. */
  readonly owner: Endpoint
  /** Another owner's endpoint, which lists nobody's certificates but its own. */
  readonly stranger: Endpoint
  readonly station: Holder
  /** `https://localhost:PORT`, where clients trust `tlsRoot`. */
  readonly origin: string
  readonly tlsRoot: Uint8Array
  readonly publicOrigin: string
  /** Issues at an endpoint as an officer would. */
  issue(endpoint: Endpoint, subject: readonly NamePart[], key?: TestKey): Promise<Holder>
  oneTimeSecret(endpoint: Endpoint, productSerial: string): Promise<{ userName: string; password: Secret }>
  client(label: string | undefined, who?: Holder, options?: Partial<EstClientOptions>): EstClient
  /** For programs that read files. Gone at the end of the test. */
  readonly directory: string
  writeFile(name: string, content: string | Uint8Array): string
}

const officer: Identity = { kind: 'person', principalId: 'officer' }

export async function plant(t: TestContext): Promise<Plant> {
  let route: Router = () => undefined // certificates carry the address, so the listener is there before them
  const publicListener = await listenFor(t, [(arrival) => route(arrival)])
  const publicOrigin = `http://127.0.0.1:${publicListener.address.port}`
  const ca = await testCA({ publicUrl: publicOrigin })
  t.after(() => ca[Symbol.asyncDispose]())
  const { context, authorities } = ca
  const service = enrollment(context, authorities, async () => {})
  const mounted = composeProtocols({ context, authorities, enrollment: service, ocsp: ocsp(context, authorities) })
  route = dispatcher(mounted, 'public', silentLog)

  await hierarchy(ca)
  for (const [slug, issuer] of [
    ['ownerroot', undefined],
    ['owner1', 'ownerroot'],
    ['owner2', 'ownerroot'],
  ] as const) {
    const profile = issuer === undefined ? 'root' : 'issuing'
    await authorities.create(
      {
        slug,
        name: nameOf([{ type: 'CN', value: slug }]),
        profile,
        keyAlgorithm: 'ecdsa-p256',
        ...(issuer !== undefined && { issuer }),
      },
      person,
    )
  }
  for (const authority of authorities.list()) await issueCRL(context, authority, 0, person)
  const make = (
    label: string,
    authority: string,
    profile: string,
    more: Partial<Parameters<typeof createEndpoint>[1]> = {},
  ): Promise<Endpoint> =>
    createEndpoint(
      context,
      { label, protocol: 'est', authorityId: authorities.byAddress(authority).id, profile, ...more },
      person,
    )

  const issue: Plant['issue'] = async (endpoint, subject, key = testKey()) => {
    const request = parseCertificationRequest(await requestFor(key, { subject: nameOf(subject) }))
    const answer = await service.enroll({ endpoint, operation: 'enroll', request, identity: officer })
    if (answer.state !== 'issued') throw new Error('an officer does not wait')
    return { key, certificate: answer.certificate, certificateId: answer.certificateId }
  }
  const station = await issue(await make('stations', 'line1', 'ra'), [{ type: 'CN', value: 'Station 1' }])
  const fingerprint = createHash('sha256').update(station.certificate).digest('hex')
  const births = await make('births', 'line1', 'idevid', {
    rules: {
      hardwareType: HARDWARE_TYPE,
      clientIssuers: ['line1.1'],
      registrationAuthorities: [{ fingerprint, productSerials: ['P-*'] }],
    },
  })
  const owner = await make('owner', 'owner1', 'ldevid', {
    isDefault: true,
    rules: { clientIssuers: ['line1.1', 'owner1.1'], secrets: true, firstEnrollmentOnReenroll: true },
  })
  const stranger = await make('stranger', 'owner2', 'ldevid', { rules: { clientIssuers: ['owner2.1'], secrets: true } })

  const listener = await listenFor(t, [dispatcher(mounted, 'tls', silentLog)], { tls: true })
  listener.present({
    ...face(),
    clientAuthorities: ['line1', 'owner1', 'owner2'].map((slug) => authorities.byAddress(slug).certificate.der),
  })
  const origin = `https://localhost:${listener.address.port}`
  const tlsRoot = derOf(testdata('server-root.pem'))
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-plant-'))
  t.after(() => rmSync(directory, { recursive: true }))

  return {
    ca,
    enrollment: service,
    births,
    owner,
    stranger,
    station,
    origin,
    tlsRoot,
    publicOrigin,
    issue,
    async oneTimeSecret(endpoint, productSerial) {
      return createEnrollmentSecret(context, { endpointId: endpoint.id, productSerial, validSeconds: 600 }, person)
    },
    client(label, who, options = {}) {
      const client = estClient({
        url: `${origin}/.well-known/est${label === undefined ? '' : `/${label}`}`,
        trust: [tlsRoot],
        ...(who !== undefined && { certificate: { chain: [who.certificate], privateKey: privateKeyOf(who.key) } }),
        ...options,
      })
      t.after(() => client.close())
      return client
    },
    directory,
    writeFile(name, content) {
      const path = join(directory, name)
      writeFileSync(path, content)
      return path
    },
  }
}

export const privateKeyOf = ({ privateKey }: TestKey): Secret =>
  secret(new Uint8Array(privateKey.export({ type: 'pkcs8', format: 'der' })))

export const pemOf = (der: Uint8Array): string => encodePEM('CERTIFICATE', der)
export const keyPEMOf = ({ privateKey }: TestKey): string => privateKey.export({ type: 'pkcs8', format: 'pem' })
