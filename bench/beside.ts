/**
 * Programs of others in the same run, with keys of the same type: `cfssl serve` issues, `openssl ocsp` answers.
 *
 * cfssl keeps nothing and speaks plain HTTP; ours commits each certificate to disk and speaks mutual TLS. OpenSSL's
 * responder closes each connection and reads its index into memory; ours is asked both ways and reads its database.
 *
 * @module
 */
import { spawnSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { encodePEM, parseOnePEM } from '#asn1/pem.ts'
import { parseCertificate, type TBSCertificate } from '#x509/certificate.ts'
import { enroll } from './est.ts'
import { type Figure, median } from './figure.ts'
import { load, type Measured, post } from './load.ts'
import { checkAnswers, NONCE_OCTETS, questions } from './ocsp.ts'
import { deviceRequest, makePlant, type Plant, serialOf } from './plant.ts'
import { startOther, startSealworks, type UnderLoad } from './server.ts'

const ROUNDS = 3
const ISSUED = 4000
const ISSUING_CONNECTIONS = 32
const ASKED = 6000
const ASKING_CONNECTIONS = 16
const WARM_UP = 0.25

export async function benchBeside(): Promise<readonly Figure[]> {
  for (const program of ['cfssl', 'openssl']) {
    if (spawnSync(program, ['version']).error !== undefined)
      throw new Error(`${program} is not installed: apt-get install golang-cfssl openssl`)
  }
  return [...(await besideCfssl()), ...(await besideOpenSSL())]
}

async function besideCfssl(): Promise<readonly Figure[]> {
  using plant = await makePlant()
  using directory = temporary()
  await using ours = await startSealworks(plant.dataDirectory)
  await using theirs = await startCfssl(directory.path)
  const rates: { ours: Measured; theirs: Measured }[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const ders = await Promise.all(Array.from({ length: ISSUED }, (_, i) => deviceRequest(round * ISSUED + i)))
    const common = {
      connections: ISSUING_CONNECTIONS,
      oneRequestEach: false,
      warmUp: ISSUED * WARM_UP,
      directory: plant.directory,
    }
    rates.push({
      ours: await load(ours, {
        ...common,
        port: ours.tlsPort,
        tls: { trust: plant.tlsRoot, serverName: 'localhost', holders: [plant.station] },
        requests: ders.map(enroll),
      }),
      theirs: await load(theirs, { ...common, port: theirs.port, requests: ders.map(askCfssl) }),
    })
    for (const { body } of rates.at(-1)?.theirs.samples ?? []) checkCfssl(Buffer.from(body, 'base64').toString())
  }
  return compare('beside.cfssl', rates, {
    atLeast: 1,
    note: 'ours over mutual TLS and committed to disk, theirs over plain HTTP and kept nowhere',
  })
}

const askCfssl = (der: Uint8Array, number: number): Uint8Array =>
  post({
    path: '/api/v1/cfssl/sign',
    host: 'localhost',
    contentType: 'application/json',
    body: JSON.stringify({ certificate_request: encodePEM('CERTIFICATE REQUEST', der), hosts: [serialOf(number)] }),
  })

function checkCfssl(body: string): void {
  const { result } = JSON.parse(body) as { result?: { certificate?: string } }
  if (new X509Certificate(result?.certificate ?? '').publicKey.asymmetricKeyType !== 'ec') throw new Error('cfssl did not sign')
}

async function startCfssl(directory: string): Promise<UnderLoad & { readonly port: number }> {
  const made = spawnSync('cfssl', ['gencert', '-initca', '-'], {
    input: JSON.stringify({ CN: 'Bench', key: { algo: 'ecdsa', size: 256 } }),
  })
  const { cert, key } = JSON.parse(made.stdout.toString()) as { cert: string; key: string }
  writeFileSync(join(directory, 'ca.pem'), cert)
  writeFileSync(join(directory, 'ca-key.pem'), key)
  const profile = {
    usages: ['digital signature', 'client auth', 'server auth'],
    expiry: '8760h',
    crl_url: 'http://pki.bench.example/crl',
    ocsp_url: 'http://pki.bench.example/ocsp',
  }
  writeFileSync(join(directory, 'config.json'), JSON.stringify({ signing: { default: profile } }))
  const files = ['-ca', 'ca.pem', '-ca-key', 'ca-key.pem', '-config', 'config.json']
  return startOther(
    'cfssl',
    (port) => ['serve', '-address', '127.0.0.1', '-port', String(port), '-loglevel', '3', ...files],
    directory,
  )
}

async function besideOpenSSL(): Promise<readonly Figure[]> {
  using plant = await makePlant({ devices: 256 })
  using directory = temporary()
  await using theirs = await startOpenSSL(plant, directory.path)
  await using ours = await startSealworks(plant.dataDirectory)
  const rates: { ours: Measured; theirs: Measured; kept: Measured }[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const ask = async (server: UnderLoad, port: number, path: string, issuer: TBSCertificate, oneRequestEach: boolean) => {
      const each = questions(plant.devices, issuer, NONCE_OCTETS)
      const requests = Array.from({ length: ASKED }, (_, i) => each[i % each.length] as Uint8Array)
      const closes = oneRequestEach
      const measured = await load(server, {
        port,
        requests: requests.map((body) =>
          post({ path, host: 'localhost', contentType: 'application/ocsp-request', body, closes }),
        ),
        connections: ASKING_CONNECTIONS,
        oneRequestEach,
        warmUp: ASKED * WARM_UP,
        directory: plant.directory,
      })
      await checkAnswers(requests, measured)
      return measured
    }
    const measured = {
      ours: await ask(ours, ours.publicPort, '/ocsp', plant.births.certificate, true),
      kept: await ask(ours, ours.publicPort, '/ocsp', plant.births.certificate, false),
      theirs: await ask(theirs, theirs.port, '/', theirs.issuer, true),
    }
    rates.push(measured)
  }
  return [
    ...compare('beside.openssl', rates, {
      atLeast: 1.2,
      note: 'both sign for each question, over a connection of its own, as openssl ocsp closes it',
    }),
    {
      name: 'beside.openssl.keptRatio',
      value: median(rates.map(({ kept, theirs: other }) => kept.perSecond / other.perSecond)),
      unit: '',
      note: 'ours over kept connections, which openssl ocsp does not have',
    },
  ]
}

/** Its index names each of the devices' serial numbers in one line; it signs with its own authority's key. */
async function startOpenSSL(
  { devices }: Plant,
  directory: string,
): Promise<UnderLoad & { readonly port: number; readonly issuer: TBSCertificate }> {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', 'key.pem']
  spawnSync('openssl', ['req', '-x509', ...key, '-subj', '/CN=Bench', '-days', '30', '-out', 'ca.pem'], { cwd: directory })
  const issuer = parseCertificate(parseOnePEM(readFileSync(join(directory, 'ca.pem'), 'utf8'), 'CERTIFICATE'))
  const index = devices.map(({ der }, number) => {
    const serial = parseCertificate(der).serialNumber.toHex().toUpperCase()
    return `V\t99991231235959Z\t\t${serial}\tunknown\t/CN=${serialOf(number)}\n`
  })
  writeFileSync(join(directory, 'index.txt'), index.join(''))
  const files = ['-index', 'index.txt', '-CA', 'ca.pem', '-rsigner', 'ca.pem', '-rkey', 'key.pem']
  const server = await startOther('openssl', (port) => ['ocsp', '-port', String(port), '-ndays', '1', ...files], directory)
  return { ...server, issuer }
}

function compare(
  name: string,
  rates: readonly { readonly ours: Measured; readonly theirs: Measured }[],
  { atLeast, note }: { readonly atLeast: number; readonly note: string },
): readonly Figure[] {
  return [
    {
      name: `${name}.ratio`,
      value: median(rates.map(({ ours, theirs }) => ours.perSecond / theirs.perSecond)),
      unit: '',
      reach: { atLeast },
      note,
    },
    { name: `${name}.ours`, value: median(rates.map(({ ours }) => ours.perSecond)), unit: '/s' },
    { name: `${name}.theirs`, value: median(rates.map(({ theirs }) => theirs.perSecond)), unit: '/s' },
  ]
}

function temporary(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), 'sealworks-beside-'))
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true }) }
}
