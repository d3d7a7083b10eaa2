/**
 * One authority with a million certificates: OCSP answers signed ahead and asked for at random, and a start.
 *
 * Only when asked for by name: it takes some minutes and 2 GB of disk. `BENCH_CERTIFICATES` makes it smaller.
 *
 * @module
 */
import { changeRevocationPolicy } from '#ca/revocation-policy.ts'
import { encodeCertID, encodeOCSPRequest, issuerHashes } from '#x509/ocsp.ts'
import { type Figure, median } from './figure.ts'
import { load, post } from './load.ts'
import { checkAnswers } from './ocsp.ts'
import { makePlant, openPlant, type OpenedPlant, world } from './plant.ts'
import { startSealworks } from './server.ts'

const CERTIFICATES = Number(process.env['BENCH_CERTIFICATES'] ?? 1_000_000)
const QUESTIONS = 50_000
const CONNECTIONS = 32
const SECONDS = 3
const STARTS = 3

/** Of a certificate with the usual extensions. */
const CERTIFICATE_OCTETS = 650
const ROWS_EACH = 5000

export async function benchScale(): Promise<readonly Figure[]> {
  using plant = await makePlant()
  const name = `${(CERTIFICATES / 1e6).toPrecision(3)} million`
  const figures: Figure[] = []
  const serials: Uint8Array[] = []
  {
    await using opened = await openPlant(plant)
    await insertCertificates(opened, serials)
    await changeRevocationPolicy(opened.context, opened.ca.authorities, 'owner', { ocspMode: 'preSigned' }, 'system')
    const begun = performance.now()
    const before = process.cpuUsage()
    const signed = await opened.ca.ocsp.signAhead()
    const { user, system } = process.cpuUsage(before)
    if (signed < CERTIFICATES) throw new Error(`${signed} answers were signed ahead, of ${CERTIFICATES}`)
    figures.push(
      {
        name: 'scale.signAhead.perSecond',
        value: (signed * 1000) / (performance.now() - begun),
        unit: '/s',
        note: `${name}, signed and stored`,
      },
      { name: 'scale.signAhead.cpu', value: (user + system) / signed, unit: 'µs', note: 'for each answer' },
    )
  }
  const starts: number[] = []
  for (let i = 0; i < STARTS; i++) {
    await using server = await startSealworks(plant.dataDirectory)
    starts.push(server.readySeconds)
  }
  figures.push({ name: 'scale.start', value: median(starts), unit: 's', reach: { below: 3 }, note: `${name} certificates` })

  await using server = await startSealworks(plant.dataDirectory)
  const hashes = issuerHashes(plant.owner.certificate, 'sha1')
  const requests = Array.from({ length: QUESTIONS }, () => {
    const serial = serials[Math.floor(Math.random() * serials.length)] as Uint8Array
    return encodeOCSPRequest([encodeCertID(hashes, serial)])
  })
  const measured = await load(server, {
    port: server.publicPort,
    requests: requests.map((body) => post({ path: '/ocsp', host: 'localhost', contentType: 'application/ocsp-request', body })),
    connections: CONNECTIONS,
    oneRequestEach: false,
    warmUp: 8000,
    seconds: SECONDS,
    directory: plant.directory,
  })
  await checkAnswers(requests, measured)
  figures.push(
    {
      name: 'scale.ocsp.perSecond',
      value: measured.perSecond,
      unit: '/s',
      reach: { atLeast: 15_000 },
      note: `signed ahead, random of ${name}, ${CONNECTIONS} kept connections`,
    },
    { name: 'scale.ocsp.serverCPU', value: measured.serverMicroseconds ?? Number.NaN, unit: 'µs' },
  )
  return figures
}

/** As they come from issuance, but for their octets, which no answer needs. */
async function insertCertificates({ context, owner }: OpenedPlant, serials: Uint8Array[]): Promise<void> {
  const now = world.clock.now()
  const der = new Uint8Array(CERTIFICATE_OCTETS)
  const common = {
    organization_id: 'default',
    version: 1,
    authority_id: owner.id,
    profile: 'ldevid',
    subject: 'CN=SN-000000,O=Example Works',
    key_hash: new Uint8Array(32),
    not_before: now - 1000,
    not_after: now + 365 * 86_400_000,
    state: 'active',
    crl_shard: 0,
    der,
    created_at: now,
  }
  const columns = [...Object.keys(common), 'id', 'serial_number']
  for (let at = 0; at < CERTIFICATES; at += ROWS_EACH) {
    const rows = Array.from({ length: Math.min(ROWS_EACH, CERTIFICATES - at) }, (_, i) => {
      // the time of issuance and chance, see `issue.ts`: one each millisecond until now
      const serial = new Uint8Array(world.random.octets(16))
      new DataView(serial.buffer).setUint16(0, 0x4000)
      new DataView(serial.buffer).setUint32(2, (now - CERTIFICATES + at + i) % 2 ** 32)
      serials.push(serial)
      return [...Object.values(common), `planted-${String(at + i).padStart(9, '0')}`, serial]
    })
    await context.db.transaction((tx) => tx.insertMany('certificate', columns, rows))
  }
}
