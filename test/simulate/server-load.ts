/**
 * A plant that never tires: stations ask for births, devices for their owner's certificates, officers revoke.
 *
 * Who gets no answer asks the very same thing again, as a device must that lost its connection. What everybody was told
 * is kept, to be compared with what the server kept.
 *
 * @module
 */
import { createHash, hash, randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { equal, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { secret } from '#base/secret.ts'
import { type EstClient, estClient, type EstClientOptions, EstRefusal } from '#protocols/est/client.ts'
import { type OCSPClient, ocspClient } from '#protocols/ocsp/client.ts'
import { requestFor, type TestKey, testKey } from '#protocols/testing.ts'
import { type AnswerOf, type Client, httpsTransport, type InputOf, RemoteRefusal, restClient } from '#server/rest/client.ts'
import { parseCertificate, serialHex } from '#x509/certificate.ts'
import { parseCertificateList } from '#x509/crl.ts'
import { nameOf } from '#x509/name.ts'
import { encodeCertID, encodeOCSPRequest, issuerHashes } from '#x509/ocsp.ts'
import type { Installation } from './server-process.ts'

/** A certificate as its holder received it. */
export interface Received {
  readonly endpoint: string
  readonly certificate: Uint8Array
}

export interface Told {
  readonly received: Received[]
  /** Hex serial numbers whose revocation was acknowledged. */
  readonly revoked: Set<string>
  /** Of certificates issued by hand: the hash of each key, and what came back, if anything. */
  readonly byHand: { readonly keyHash: string; readonly certificate: Uint8Array | undefined }[]
  /** One-time secrets handed out: user names. */
  readonly secrets: string[]
  /** CRL numbers as they were handed out, in this order. */
  readonly crlNumbers: number[]
  /** Questions without an answer, which were asked again. */
  lost: number
  /** Questions that were told to come again, and were asked again. */
  unavailable: number
  /** Refusals that were due. */
  refused: number
  /** What should not have happened. */
  readonly problems: string[]
}

export interface Plant {
  readonly told: Told
  readonly admin: Client
  /** What OCSP says of a certificate of the line, by the plant's own client unless told. */
  statusOf(certificate: Uint8Array, responder?: OCSPClient): Promise<string>
  /** Makes products until `stop` is aborted, then finishes those under way. */
  work(lines: number, stop: AbortSignal): Promise<void>
  /** So many births asked for at once. */
  burst(count: number): Promise<void>
  /** Asks for the state of every certificate by a fresh CRL, and by OCSP for at most so many. */
  checkStanding(askedMax?: number): Promise<void>
  close(): void
}

export interface PlantOptions {
  readonly stationConnections?: number | undefined
  /** How long OCSP may say good of a certificate after its revocation was acknowledged, by another server of the same plant. */
  readonly revokedWithinMilliseconds?: number | undefined
  /** How long clients wait for an answer. */
  readonly answerWithinSeconds?: number | undefined
}

export const HARDWARE_TYPE = '1.3.6.1.4.1.99999.7.1'
/** Longer than several restarts in a row take on a busy machine; who waits longer found a server that hangs. */
const PATIENCE_MILLISECONDS = 120_000
const STATION_CONNECTIONS = 8

type Call = <Id extends Parameters<Client['call']>[0]>(id: Id, input: InputOf<Id>) => Promise<AnswerOf<Id>>

/** Authorities, endpoints and a station, made over REST while nothing disturbs. */
export async function openPlant(
  installation: Installation,
  random: () => number,
  { stationConnections = STATION_CONNECTIONS, revokedWithinMilliseconds = 0, answerWithinSeconds = 10 }: PlantOptions = {},
): Promise<Plant> {
  const { origin, tlsRoot, tlsRootPEM, token } = installation
  const told: Told = {
    received: [],
    revoked: new Set(),
    byHand: [],
    secrets: [],
    crlNumbers: [],
    lost: 0,
    unavailable: 0,
    refused: 0,
    problems: [],
  }
  const admin = restClient({ transport: httpsTransport({ server: origin, trust: { rootsPEM: tlsRootPEM } }), token })
  const call: Call = (id, input) => untilAnswered(() => admin.call(id, input))

  await admin.call('createAuthority', { body: { slug: 'root', name: 'CN=Root,O=Example', noExpiry: true } })
  const line = await admin.call('createAuthority', {
    body: { slug: 'line1', issuer: 'root', name: 'CN=Line 1,O=Example', noExpiry: true },
  })
  const line1 = parseCertificate(Uint8Array.fromBase64(line.certificate))
  const asOCSPClient = ocspClient({ url: `${installation.publicOrigin}/ocsp/line1.1`, timeoutSeconds: answerWithinSeconds })
  const stationKey = testKey()
  const station = await admin.call('issueCertificate', {
    body: {
      authority: 'line1',
      profile: 'ra',
      request: (await requestFor(stationKey, { subject: nameOf([{ type: 'CN', value: 'Station 1' }]) })).toBase64(),
    },
  })
  const stationCertificate = Uint8Array.fromBase64(station.certificate)
  const fingerprint = createHash('sha256').update(stationCertificate).digest('hex')
  await admin.call('createEndpoint', {
    body: {
      label: 'births',
      authority: 'line1',
      profile: 'idevid',
      rules: {
        hardwareType: HARDWARE_TYPE,
        clientIssuers: ['line1.1'],
        registrationAuthorities: [{ fingerprint, productSerials: ['P-*'] }],
      },
    },
  })
  await admin.call('createEndpoint', {
    body: {
      label: 'owner',
      authority: 'line1',
      profile: 'ldevid',
      isDefault: true,
      rules: { clientIssuers: ['line1.1'], secrets: true },
    },
  })
  const atStation = estAt('births', { key: stationKey, certificate: stationCertificate }, { connectionsMax: stationConnections })

  let closed = false

  interface Holder {
    readonly key: TestKey
    readonly certificate: Uint8Array
  }

  function estAt(label: string, who: Holder | undefined, more: Partial<EstClientOptions> = {}): EstClient {
    return estClient({
      url: `${origin}/.well-known/est/${label}`,
      trust: [tlsRoot],
      timeoutSeconds: answerWithinSeconds,
      ...(who !== undefined && {
        certificate: {
          chain: [who.certificate],
          privateKey: secret(new Uint8Array(who.key.privateKey.export({ type: 'pkcs8', format: 'der' }))),
        },
      }),
      ...more,
    })
  }

  async function untilAnswered<T>(ask: () => Promise<T>): Promise<T> {
    const began = performance.now()
    for (;;) {
      try {
        return await ask()
      } catch (error) {
        const kind = kindOf(error)
        if (kind === 'answer' || closed || performance.now() - began > PATIENCE_MILLISECONDS) throw error
        told[kind]++
        await delay(50 + random() * 100) // sooner would take the time that the server needs to start
      }
    }
  }

  async function enroll(endpoint: string, client: EstClient, request: Uint8Array, operation: 'simpleEnroll' | 'simpleReenroll') {
    const ask = () => untilAnswered(() => client[operation](request))
    // now and then the same question is under way twice, and once more later
    const answers = random() < 0.15 ? await Promise.all([ask(), ask()]) : [await ask()]
    if (random() < 0.15) answers.push(await ask())
    const certificates = answers.map((answer) => (answer.state === 'issued' ? answer.certificate : new Uint8Array(0)))
    const certificate = certificates[0] as Uint8Array
    if (!certificates.every((one) => equal(one, certificate))) told.problems.push(`one request at ${endpoint}, two certificates`)
    told.received.push({ endpoint, certificate })
    return certificate
  }

  async function expectRefusal(reason: string, ask: () => Promise<unknown>): Promise<void> {
    try {
      await untilAnswered(ask)
      told.problems.push(`done, though ${reason} was due`)
    } catch (error) {
      if (!(error instanceof EstRefusal) || error.reason !== reason) throw error
      told.refused++
    }
  }

  const requestOf = (key: TestKey, productSerial: string): Promise<Uint8Array> =>
    requestFor(key, { subject: nameOf([{ type: 'serialNumber', value: productSerial }]) })

  async function product(productSerial: string): Promise<void> {
    const key = testKey()
    const birth = { key, certificate: await enroll('births', atStation, await requestOf(key, productSerial), 'simpleEnroll') }
    if (random() < 0.1) {
      const another = await requestOf(testKey(), productSerial)
      await expectRefusal('productHasAnotherKey', () => atStation.simpleEnroll(another))
      const clone = await requestOf(key, `${productSerial}-clone`)
      await expectRefusal('keyOfAnotherProduct', () => atStation.simpleEnroll(clone))
    }
    const owned = random() < 0.3 ? await enrollWithSecret(productSerial) : await enrollWithBirth(birth, productSerial)
    if (random() < 0.15) await revoke(random() < 0.5 ? birth.certificate : owned)
    if (random() < 0.08) await issueList()
    if (random() < 0.05) await issueByHand(productSerial)
  }

  async function enrollWithBirth(birth: Holder, productSerial: string): Promise<Uint8Array> {
    const first: { key: TestKey; certificate: Uint8Array } = { key: testKey(), certificate: new Uint8Array(0) }
    const asBorn = estAt('owner', birth)
    try {
      first.certificate = await enroll('owner', asBorn, await requestOf(first.key, productSerial), 'simpleEnroll')
    } finally {
      asBorn.close()
    }
    if (random() < 0.5) return first.certificate
    const asOwned = estAt('owner', first)
    try {
      return await enroll('owner', asOwned, await requestOf(testKey(), productSerial), 'simpleReenroll')
    } finally {
      asOwned.close()
    }
  }

  async function enrollWithSecret(productSerial: string): Promise<Uint8Array> {
    // its answer carries the password and is never given twice: when it was lost, another one is made
    const { userName, password } = await call('createEnrollmentSecret', { params: { label: 'owner' }, body: { productSerial } })
    told.secrets.push(userName)
    const client = estAt('owner', undefined, { basic: { userName, password: secret(utf8(password)) } })
    try {
      const certificate = await enroll('owner', client, await requestOf(testKey(), productSerial), 'simpleEnroll')
      if (random() < 0.3) {
        const second = await requestOf(testKey(), productSerial)
        await expectRefusal('secretUsed', () => client.simpleEnroll(second))
      }
      return certificate
    } finally {
      client.close()
    }
  }

  async function revoke(certificate: Uint8Array): Promise<void> {
    const serialNumber = serialHex(parseCertificate(certificate))
    const { certificates } = await call('findCertificates', { query: { serialNumber } })
    const id = certificates[0]?.id
    if (id === undefined) return void told.problems.push(`the certificate ${serialNumber} is not found`)
    try {
      await call('revokeCertificate', { params: { id }, body: { reason: 'cessationOfOperation' } })
    } catch (error) {
      // the first try was done, and its answer lost
      if (!(error instanceof RemoteRefusal) || error.reason !== 'certificateRevoked') throw error
    }
    told.revoked.add(serialNumber)
    const began = performance.now()
    for (;;) {
      const status = await statusOf(certificate)
      if (status === 'revoked') return
      if (status === 'tryLater') told.unavailable++
      else if (performance.now() - began >= revokedWithinMilliseconds)
        return void told.problems.push(`${serialNumber} is revoked, and OCSP says ${status}`)
      await delay(50)
    }
  }

  async function statusOf(certificate: Uint8Array, responder = asOCSPClient): Promise<string> {
    const certID = encodeCertID(issuerHashes(line1, 'sha256'), parseCertificate(certificate).serialNumber, 'sha256')
    const response = await untilAnswered(() => responder.ask(encodeOCSPRequest([certID])))
    return response.type === 'answer' ? (response.answer.responses[0]?.status.type ?? 'nothing') : response.type
  }

  async function issueList(): Promise<ReadonlySet<string>> {
    const due = new Set(told.revoked)
    const { crlNumber, crl } = await call('issueCRL', { params: { address: 'line1' }, body: {} })
    told.crlNumbers.push(crlNumber)
    const listed = serialsOf(crl ?? '')
    for (const serialNumber of due.difference(listed)) told.problems.push(`CRL ${crlNumber} lacks the revoked ${serialNumber}`)
    return listed
  }

  /** With a key that makes it safe to repeat: once, or nobody knows, but never twice. */
  async function issueByHand(productSerial: string): Promise<void> {
    const key = testKey()
    const body = { authority: 'line1', profile: 'ldevid', request: (await requestOf(key, productSerial)).toBase64() }
    const keyHash = hash('sha256', key.publicKey)
    try {
      const answer = await call('issueCertificate', { body, idempotencyKey: randomBytes(16).toString('hex') })
      told.byHand.push({ keyHash, certificate: Uint8Array.fromBase64(answer.certificate) })
    } catch (error) {
      if (!(error instanceof RemoteRefusal) || error.reason !== 'idempotencyRunning') throw error
      told.byHand.push({ keyHash, certificate: undefined })
    }
  }

  /** @returns whether it went well */
  async function attempt(work: () => Promise<void>): Promise<boolean> {
    try {
      await work()
      return true
    } catch (error) {
      told.problems.push(error instanceof Error ? `${error.name}: ${error.message}` : String(error))
      return false
    }
  }

  return {
    told,
    admin,
    statusOf,
    async burst(count) {
      const requests = await Promise.all(Array.from({ length: count }, (_, number) => requestOf(testKey(), `P-burst-${number}`)))
      const birth = (request: Uint8Array) =>
        attempt(async () => void (await enroll('births', atStation, request, 'simpleEnroll')))
      await Promise.all(requests.map(birth))
    },
    async checkStanding(askedMax = Infinity) {
      const listed = await issueList()
      const every = Math.ceil(told.received.length / askedMax)
      for (const [number, { certificate }] of told.received.entries()) {
        const serialNumber = serialHex(parseCertificate(certificate))
        const isRevoked = told.revoked.has(serialNumber)
        if (listed.has(serialNumber) !== isRevoked) told.problems.push(`${serialNumber}: the CRL and its acknowledgments differ`)
        if (number % every !== 0) continue
        const status = await statusOf(certificate)
        if (status !== (isRevoked ? 'revoked' : 'good')) told.problems.push(`${serialNumber}: OCSP says ${status}`)
      }
    },
    async work(lines, stop) {
      const line = async (_: unknown, number: number): Promise<void> => {
        let goesOn = true
        for (let count = 1; goesOn && !stop.aborted; count++) goesOn = await attempt(() => product(`P-${number}-${count}`))
      }
      await Promise.all(Array.from({ length: lines }, line))
    },
    close() {
      closed = true
      atStation.close()
      asOCSPClient.close()
      admin.close()
    },
  }
}

const serialsOf = (crl: string): ReadonlySet<string> =>
  new Set([...parseCertificateList(Uint8Array.fromBase64(crl)).entries()].map(({ serialNumber }) => serialNumber.toHex()))

const SERVICE_UNAVAILABLE = 503

/** No answer, or one that says why and when to ask again; everything else is an answer. */
function kindOf(error: unknown): 'lost' | 'unavailable' | 'answer' {
  if (error instanceof EstRefusal) {
    const says = error.status === SERVICE_UNAVAILABLE && error.reason !== undefined && error.retryAfterSeconds !== undefined
    return says ? 'unavailable' : 'answer'
  }
  if (error instanceof TrustError) return error.code === 'unavailable' ? 'lost' : 'answer'
  if (!(error instanceof RemoteRefusal)) return 'answer'
  return error.code === 'unavailable' ? 'unavailable' : error.code === 'unreachable' ? 'lost' : 'answer'
}
