/**
 * What authorities of every key algorithm issue, judged by the verifiers of others: OpenSSL, GnuTLS, NSS, strongSwan,
 * Botan, python-cryptography. Each also gets what it must refuse, so that a pass means something.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test, type TestContext } from 'node:test'
import type { KeyAlgorithmId } from '#algorithms/table.ts'
import { encodePEM } from '#asn1/pem.ts'
import { silentLog } from '#base/log.ts'
import { issueForRequest } from '#ca/by-hand.ts'
import { findCertificates, holdCertificate, revokeCertificate } from '#ca/certificates.ts'
import { issueCRL } from '#ca/crl.ts'
import { createEndpoint } from '#ca/endpoint.ts'
import { enrollment } from '#ca/enrollment.ts'
import { ocsp } from '#ca/ocsp.ts'
import { hierarchy, person, type TestCA, testCA, testKey, testRequest } from '#ca/testing.ts'
import { dispatcher, type Router } from '#protocols/dispatch.ts'
import { composeProtocols } from '#server/compose.ts'
import { issueListenerCertificate, TLS_AUTHORITY } from '#server/listener-certificate.ts'
import { listenFor, routerOf } from '#server/testing.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { extensionWith } from '#x509/extensions/extension.ts'
import { parseIPAddress } from '#x509/extensions/general-name.ts'
import { subjectAltName } from '#x509/extensions/subject-alternative-name.ts'
import { type NamePart, nameOf } from '#x509/name.ts'
import { encodeCertID, encodeOCSPRequest, issuerHashes } from '#x509/ocsp.ts'
import { HARDWARE_TYPE } from './plant.ts'
import { needs } from './programs.ts'

const tools = {
  openssl: needs('openssl'),
  certtool: needs('certtool', 'ocsptool'),
  gnutls: needs('gnutls-cli'),
  nss: needs('certutil', 'crlutil', 'tstclnt'),
  pki: needs('pki', 'strongswan-openssl'),
  python: needs('python3', 'python3-cryptography'),
  botan: needs('python3', 'python3-botan'),
}

/** One of each profile for those at the ends of chains. */
const GOOD = ['idevid', 'ldevid', 'tls-server', 'ra', 'ocsp-responder'] as const
const OUT_OF_USE = ['revoked', 'held'] as const
const OUT_OF_TIME = ['expired', 'early'] as const
type Leaf = (typeof GOOD)[number] | (typeof OUT_OF_USE)[number] | (typeof OUT_OF_TIME)[number]

const YEAR_AND_MORE_SECONDS = 400 * 86_400
const TWO_DAYS_SECONDS = 2 * 86_400

/** Two authorities in files: `root.pem`, `line1.pem`, and their CRLs as `root.crl`, `root.crl.pem` and so on. */
interface Files {
  readonly ca: TestCA
  readonly directory: string
  /** The path of `NAME.pem`, or of another file here. */
  at(name: string): string
  write(name: string, content: string | Uint8Array): string
  writeCRLs(): Promise<void>
  close(): Promise<void>
}

interface Issued extends Files {
  /** The same names over other keys of the same kind: what a forger would show. */
  readonly forged: Files
  /** The leaf and the authority below the root, in one file. */
  chain(leaf: Leaf): string
}

interface Outcome {
  readonly code: number
  /** Both streams. */
  readonly text: string
}

/** A program that is asked and answers by its exit code and its words. */
const run = (program: string, args: readonly string[], { input = '', env = {} } = {}): Promise<Outcome> =>
  new Promise((resolve) => {
    const options = { env: { ...process.env, LC_ALL: 'C', ...env }, timeout: 30_000 }
    const child = execFile(program, args, options, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : -1, text: stdout + stderr }),
    )
    child.stdin?.on('error', () => {}) // it may not wait for what it is told
    child.stdin?.end(input)
  })

function assertDone({ code, text }: Outcome, expected?: RegExp): void {
  assert.equal(code, 0, text)
  if (expected !== undefined) assert.match(text, expected)
}

function assertRefused({ code, text }: Outcome, expected: RegExp): void {
  assert.notEqual(code, 0, text)
  assert.match(text, expected)
}

async function makeAuthorities(keyAlgorithm: KeyAlgorithmId, publicUrl: string, noExpiry: boolean): Promise<Files> {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-verifiers-'))
  const ca = await testCA({ publicUrl })
  const { context, authorities } = ca
  const write: Files['write'] = (name, content) => {
    writeFileSync(join(directory, name), content)
    return join(directory, name)
  }
  ca.advance(-YEAR_AND_MORE_SECONDS)
  await hierarchy(ca, { keyAlgorithm, noExpiry })
  ca.advance(YEAR_AND_MORE_SECONDS)
  for (const { slug, certificate } of authorities.list()) write(`${slug}.pem`, encodePEM('CERTIFICATE', certificate.der))
  return {
    ca,
    directory,
    write,
    at: (name) => join(directory, name.includes('.') ? name : `${name}.pem`),
    async writeCRLs() {
      for (const authority of authorities.list()) {
        const { der } = await issueCRL(context, authority, 0, person)
        write(`${authority.slug}.crl`, der)
        write(`${authority.slug}.crl.pem`, encodePEM('X509 CRL', der))
      }
    },
    async close() {
      await ca[Symbol.asyncDispose]()
      rmSync(directory, { recursive: true })
    },
  }
}

/**
 * Authorities of one key algorithm with what they issue, each holder with another kind of key.
 *
 * @param publicUrl in the certificates
 * @param noExpiry of the authorities; those that end issue no birth certificates
 */
async function issueAll(keyAlgorithm: KeyAlgorithmId, publicUrl: string, noExpiry = true): Promise<Issued> {
  const make = (): Promise<Files> => makeAuthorities(keyAlgorithm, publicUrl, noExpiry)
  const [files, forged] = [await make(), await make()]
  const { ca, at, write } = files
  const { context, authorities } = ca
  const line1 = authorities.byAddress('line1')
  const endpoint = await createEndpoint(
    context,
    { label: 'births', protocol: 'est', authorityId: line1.id, profile: 'idevid', rules: { hardwareType: HARDWARE_TYPE } },
    person,
  )
  const names = [
    { type: 'dNSName', value: 'localhost' },
    { type: 'iPAddress', value: parseIPAddress('127.0.0.1') },
  ] as const
  async function issue(leaf: Leaf, profile: string, subject: readonly NamePart[], key = testKey()): Promise<string> {
    const extensions = profile === 'tls-server' ? [extensionWith(subjectAltName, names, true)] : []
    const { der } = await testRequest({ subject, key, extensions })
    const where = { authority: 'line1', profile, ...(profile === 'idevid' && { endpoint }) }
    const { certificate, certificateId } = await issueForRequest(context, authorities, where, der, person)
    write(`${leaf}.pem`, encodePEM('CERTIFICATE', certificate))
    return certificateId
  }
  async function atOtherTime<T>(seconds: number, work: () => Promise<T>): Promise<T> {
    ca.advance(seconds)
    const result = await work()
    ca.advance(-seconds)
    return result
  }
  const device = (value: string): NamePart => ({ type: 'serialNumber', value })

  if (noExpiry) await issue('idevid', 'idevid', [device('P-1')])
  await issue('ldevid', 'ldevid', [device('P-1'), { type: 'CN', value: 'Press 1' }], testKey('ecdsa-p384'))
  await issue('tls-server', 'tls-server', [], keyAlgorithm === 'rsa-3072' ? testKey('rsa-2048') : testKey())
  await issue('ra', 'ra', [{ type: 'CN', value: 'Station 1' }], testKey('rsa-3072'))
  await revokeCertificate(context, await issue('revoked', 'ldevid', [device('P-2')]), 'keyCompromise', person)
  await holdCertificate(context, await issue('held', 'ldevid', [device('P-3')]), person)
  await atOtherTime(-YEAR_AND_MORE_SECONDS, () => issue('expired', 'ldevid', [device('P-4')]))
  await atOtherTime(TWO_DAYS_SECONDS, () => issue('early', 'ldevid', [device('P-5')]))

  // a responder is made when it is first asked
  const certID = encodeCertID(issuerHashes(line1.certificate, 'sha256'), Uint8Array.of(1), 'sha256')
  await ocsp(context, authorities).answer(encodeOCSPRequest([certID]))
  const [responder] = await findCertificates(context, { profile: 'ocsp-responder' }, { limit: 1 })
  assert.ok(responder)
  write('ocsp-responder.pem', encodePEM('CERTIFICATE', responder.der))
  for (const each of [files, forged]) await each.writeCRLs()
  const both = (...names: readonly string[]): string => names.map((name) => readFileSync(at(name), 'utf8')).join('')
  write('crls.pem', both('line1.crl.pem', 'root.crl.pem'))
  return {
    ...files,
    forged,
    chain: (leaf) => write(`${leaf}-chain.pem`, both(leaf, 'line1')),
    async close() {
      await files.close()
      await forged.close()
    },
  }
}

for (const keyAlgorithm of ['ecdsa-p256', 'ecdsa-p384', 'rsa-3072'] as const) {
  describe(`R1, R3: what ${keyAlgorithm} authorities issue`, () => {
    let files: Issued
    before(async () => {
      files = await issueAll(keyAlgorithm, 'http://pki.test')
    })
    after(() => files.close())

    test('OpenSSL verifies', { skip: tools.openssl.skip }, async () => {
      const { at, forged } = files
      const openssl = tools.openssl.path('openssl')
      const verify = (leaf: Leaf, more: readonly string[] = [], from: Files = files): Promise<Outcome> =>
        run(openssl, ['verify', '-x509_strict', '-CAfile', from.at('root'), '-untrusted', from.at('line1'), ...more, at(leaf)])
      const withLists = ['-crl_check_all', '-CRLfile', at('crls.pem')]
      for (const leaf of GOOD) {
        assertDone(await verify(leaf, withLists), /: OK$/m)
        assertRefused(await verify(leaf, [], forged), /unable to get local issuer certificate|signature failure/)
      }
      for (const leaf of OUT_OF_USE) {
        assertRefused(await verify(leaf, withLists), /certificate revoked/)
        assertDone(await verify(leaf), /: OK$/m) // nothing else is wrong with it
      }
      assertRefused(await verify('expired'), /certificate has expired/)
      assertRefused(await verify('early'), /certificate is not yet valid/)
      assertRefused(await verify('idevid', ['-crl_check']), /unable to get certificate CRL/)
      assertRefused(await verify('idevid', ['-crl_check', '-CRLfile', forged.at('line1.crl.pem')]), /CRL/)
      for (const [leaf, purpose, fits] of [
        ['idevid', 'sslclient', true],
        ['ldevid', 'sslclient', true],
        ['ldevid', 'sslserver', true],
        ['ra', 'sslclient', true],
        ['ra', 'sslserver', false],
        ['tls-server', 'sslserver', true],
        ['tls-server', 'sslclient', false],
        ['ocsp-responder', 'ocsphelper', true],
        ['ocsp-responder', 'sslserver', false],
      ] as const) {
        const outcome = await verify(leaf, ['-purpose', purpose])
        if (fits) assertDone(outcome)
        else assertRefused(outcome, /unsuitable certificate purpose/)
      }
      assertDone(await verify('tls-server', ['-verify_hostname', 'localhost', '-verify_ip', '127.0.0.1']))
      assertRefused(await verify('tls-server', ['-verify_hostname', 'elsewhere.example']), /hostname mismatch/)

      // its exit code does not tell
      const list = async (from: Files): Promise<string> =>
        (await run(openssl, ['crl', '-verify', '-CAfile', from.at('line1'), '-in', at('line1.crl.pem'), '-noout'])).text
      assert.match(await list(files), /verify OK/)
      assert.match(await list(forged), /verify failure/)
    })

    test('GnuTLS verifies', { skip: tools.certtool.skip }, async () => {
      const { at, chain, forged } = files
      const certtool = tools.certtool.path('certtool')
      const verify = (leaf: Leaf, more: readonly string[] = [], from: Files = files): Promise<Outcome> => {
        const trust = ['--verify-profile', 'medium', '--load-ca-certificate', from.at('root')]
        return run(certtool, ['--verify', ...trust, ...more, '--infile', chain(leaf)])
      }
      const withList = ['--load-crl', at('line1.crl.pem')]
      for (const leaf of GOOD) {
        assertDone(await verify(leaf, withList), /Verified\. The certificate is trusted/)
        assertRefused(
          await verify(leaf, [], forged),
          /Not verified\. .*(issuer is unknown|signature in the certificate is invalid)/,
        )
      }
      for (const leaf of OUT_OF_USE) {
        assertRefused(await verify(leaf, withList), /chain is revoked/)
        assertDone(await verify(leaf))
      }
      assertRefused(await verify('expired'), /uses expired certificate/)
      assertRefused(await verify('early'), /not yet (valid|activated)/)
      assertDone(await verify('ldevid', ['--verify-purpose', '1.3.6.1.5.5.7.3.2']))
      assertRefused(await verify('ra', ['--verify-purpose', '1.3.6.1.5.5.7.3.1']), /purpose/)
      assertDone(await verify('tls-server', ['--verify-hostname', 'localhost']))
      assertRefused(await verify('tls-server', ['--verify-hostname', 'elsewhere.example']), /does not match|not match/)

      // its exit code does not tell
      const list = async (from: Files): Promise<string> =>
        (await run(certtool, ['--verify-crl', '--load-ca-certificate', from.at('line1'), '--infile', at('line1.crl.pem')])).text
      assert.match(await list(files), /Verified\. The certificate is trusted/)
      assert.match(await list(forged), /Not verified\./)
    })

    test('NSS verifies', { skip: tools.nss.skip }, async () => {
      const { at, forged } = files
      const database = await nssDatabase(files)
      const certutil = tools.nss.path('certutil')
      for (const leaf of [...GOOD, ...OUT_OF_USE, ...OUT_OF_TIME])
        assertDone(await run(certutil, ['-A', ...database, '-n', leaf, '-t', ',,', '-a', '-i', at(leaf)]))
      // its exit code does not tell
      const verify = async (name: string, usage: string, option = database): Promise<string> =>
        (await run(certutil, ['-V', ...option, '-e', '-l', '-n', name, '-u', usage])).text
      const valid = /certificate is valid/
      for (const leaf of OUT_OF_USE) assert.match(await verify(leaf, 'C'), valid) // nothing else is wrong with it
      const crlutil = tools.nss.path('crlutil')
      const load = (path: string): Promise<Outcome> => run(crlutil, ['-I', ...database, '-t', '1', '-i', path])
      for (const address of ['root', 'line1']) assertDone(await load(at(`${address}.crl`)))
      assert.match((await run(crlutil, ['-L', ...database, '-n', 'line1'])).text, /Entry 2/)
      assertRefused(await load(forged.at('line1.crl')), /unable to import CRL/)

      for (const [name, usage] of [
        ['root', 'L'],
        ['line1', 'L'],
        ['line1', 'Y'],
        ['idevid', 'C'],
        ['ldevid', 'C'],
        ['ldevid', 'V'],
        ['ra', 'C'],
        ['ocsp-responder', 'O'],
      ] as const) {
        assert.match(await verify(name, usage), valid)
      }
      // it still thinks of RSA key transport, which is not offered here: an RSA server needs keyEncipherment for it
      assert.match(await verify('tls-server', 'V'), keyAlgorithm === 'rsa-3072' ? /key usage inadequate/ : valid)
      for (const leaf of OUT_OF_USE) assert.match(await verify(leaf, 'C'), /has been revoked/)
      for (const leaf of OUT_OF_TIME) assert.match(await verify(leaf, 'C'), /has expired|not valid at this time/)
      assert.match(await verify('tls-server', 'C'), /not approved for application/)
      assert.match(await verify('ldevid', 'O'), /not approved for application/)

      const foreign = await nssDatabase(forged)
      assertDone(await run(certutil, ['-A', ...foreign, '-n', 'ldevid', '-t', ',,', '-a', '-i', at('ldevid')]))
      assert.match(await verify('ldevid', 'C', foreign), /issuer is not recognized|signature/)
    })

    test('strongSwan verifies', { skip: tools.pki.skip }, async () => {
      const { at, forged } = files
      const verify = (leaf: Leaf, from: Files = files): Promise<Outcome> => {
        const chain = ['root', 'line1'].flatMap((name) => ['--cacert', from.at(name), '--crl', from.at(`${name}.crl`)])
        return run(tools.pki.path('pki'), ['--verify', '--in', at(leaf), ...chain])
      }
      for (const leaf of GOOD) {
        assertDone(await verify(leaf), /certificate trusted, lifetimes valid(, certificate not revoked)?/)
        assertRefused(await verify(leaf, forged), /untrusted|no issuer certificate found/)
      }
      assertRefused(await verify('revoked'), /reason: key compromise/)
      assertRefused(await verify('held'), /reason: certificate hold/)
      for (const leaf of OUT_OF_TIME) assertRefused(await verify(leaf), /certificate invalid/)
    })

    test('python-cryptography reads and verifies', { skip: tools.python.skip }, async () => {
      const { at, forged } = files
      const leaves = [...GOOD, ...OUT_OF_USE].map((leaf) => at(leaf))
      const ask = async (from: Files): Promise<Outcome> =>
        run(tools.python.path('python3'), ['-c', PYTHON, from.at('root'), from.at('line1'), at('line1.crl'), ...leaves])
      const outcome = await ask(files)
      assertDone(outcome)
      const serial = (name: string): string => BigInt(`0x${parseCertificate(derAt(at(name))).serialNumber.toHex()}`).toString()
      assert.deepEqual(JSON.parse(outcome.text), {
        read: leaves.length,
        listed: { [serial('revoked')]: 'key_compromise', [serial('held')]: 'certificate_hold' },
      })
      assertRefused(await ask(forged), /InvalidSignature/)
    })
  })
}

interface BotanOptions {
  readonly from?: Files
  readonly hostname?: string
  /** Paths, with commas between. */
  readonly crls?: string
}

const BOTAN = `
import sys, botan2
cert = lambda path: botan2.X509Cert(buf=open(path, "rb").read())
hostname, crls, root, line1, *leaves = sys.argv[1:]
lists = [botan2.X509CRL(buf=open(crl, "rb").read()) for crl in crls.split(",") if crl]
trusted, between = cert(root), cert(line1)
for leaf in leaves:
    code = cert(leaf).verify(
        intermediates=[between], trusted=[trusted], hostname=hostname or None, crls=lists)
    print(botan2.X509Cert.validation_status(code))
`

for (const keyAlgorithm of ['ecdsa-p256', 'rsa-3072'] as const) {
  test(`R1, R3: Botan verifies what ${keyAlgorithm} authorities issue`, { skip: tools.botan.skip }, async (t) => {
    const files = await issueAll(keyAlgorithm, 'http://pki.test', false)
    t.after(() => files.close())
    const { at, forged } = files
    const verify = (leaves: readonly string[], { from, hostname = '', crls = '' }: BotanOptions = {}): Promise<Outcome> => {
      const { at: issuer } = from ?? files
      const authorities = [issuer('root'), issuer('line1')]
      return run(tools.botan.path('python3'), ['-c', BOTAN, hostname, crls, ...authorities, ...leaves.map((leaf) => at(leaf))])
    }
    const good = GOOD.filter((leaf) => leaf !== 'idevid')
    assertDone(await verify(good), /^(Verified\n){4}$/)
    assertDone(
      await verify(good, { from: forged }),
      /^((Cannot establish trust|Certificate issuer not found|Signature error)\n){4}$/,
    )
    assertDone(await verify(OUT_OF_USE), /^(Verified\n){2}$/) // nothing else is wrong with them
    const crls = [at('root.crl'), at('line1.crl')].join()
    assertDone(await verify(OUT_OF_USE, { crls }), /^(Certificate is revoked\n){2}$/)
    // it wants the certificate's address in the list, where RFC 5280 (6.3.3) takes one without for complete
    assertDone(await verify(['ldevid'], { crls }), /^No CRL with matching distribution point for certificate\n$/)
    assertDone(await verify(OUT_OF_TIME), /^Certificate has expired\nCertificate is not yet valid\n$/)
    assertDone(await verify(['tls-server'], { hostname: 'localhost' }), /^Verified\n$/)
    assertDone(await verify(['tls-server'], { hostname: 'elsewhere.example' }), /^Certificate does not match provided name\n$/)
  })
}

test(
  'Botan 2 reads no certificate without an end (RFC 5280, 4.1.2.5), so none of birth',
  { skip: tools.botan.skip },
  async (t) => {
    const files = await makeAuthorities('ecdsa-p256', 'http://pki.test', true)
    t.after(() => files.close())
    const { at } = files
    const chain = [at('root'), at('line1'), at('line1')]
    assertRefused(await run(tools.botan.path('python3'), ['-c', BOTAN, '', '', ...chain]), /Bad parameter/)
  },
)

const PYTHON = `
import json, sys, warnings
warnings.simplefilter('ignore')
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding
read = lambda path: open(path, 'rb').read()
root, line, *leaves = [x509.load_pem_x509_certificate(read(path)) for path in [sys.argv[1], sys.argv[2], *sys.argv[4:]]]
def check(issuer, signed, tbs):
    key = issuer.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signed.signature, tbs, ec.ECDSA(signed.signature_hash_algorithm))
    else:
        key.verify(signed.signature, tbs, padding.PKCS1v15(), signed.signature_hash_algorithm)
check(root, root, root.tbs_certificate_bytes)
check(root, line, line.tbs_certificate_bytes)
for leaf in leaves:
    assert leaf.issuer == line.subject
    assert [e.value for e in leaf.extensions] != []
    check(line, leaf, leaf.tbs_certificate_bytes)
crl = x509.load_der_x509_crl(read(sys.argv[3]))
check(line, crl, crl.tbs_certlist_bytes)
reason = lambda entry: entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.name
print(json.dumps({'read': len(leaves), 'listed': {str(e.serial_number): reason(e) for e in crl}}))
`

const derAt = (path: string): Uint8Array => Uint8Array.fromBase64(readFileSync(path, 'utf8').replace(/-----[^-]+-----|\s/g, ''))

/** A fresh database with the authorities in it. @returns its option */
async function nssDatabase({ at, directory }: Files): Promise<readonly string[]> {
  const certutil = tools.nss.path('certutil')
  const option = ['-d', `sql:${mkdtempSync(join(directory, 'nss-'))}`]
  assertDone(await run(certutil, ['-N', ...option, '--empty-password']))
  assertDone(await run(certutil, ['-A', ...option, '-n', 'root', '-t', 'CT,,', '-a', '-i', at('root')]))
  assertDone(await run(certutil, ['-A', ...option, '-n', 'line1', '-t', ',,', '-a', '-i', at('line1')]))
  return option
}

/** A public listener that answers for the authorities. */
async function publish(t: TestContext, keyAlgorithm: KeyAlgorithmId): Promise<Issued & { readonly address: string }> {
  let route: Router = () => undefined // certificates carry the address, so the listener is there before them
  const listener = await listenFor(t, [(arrival) => route(arrival)])
  const publicUrl = `http://127.0.0.1:${listener.address.port}`
  const issued = await issueAll(keyAlgorithm, publicUrl)
  t.after(() => issued.close())
  const { context, authorities } = issued.ca
  const services = {
    context,
    authorities,
    enrollment: enrollment(context, authorities, async () => {}),
    ocsp: ocsp(context, authorities),
  }
  route = dispatcher(composeProtocols(services), 'public', silentLog)
  return { ...issued, address: `${publicUrl}/ocsp/line1.1` }
}

for (const keyAlgorithm of ['ecdsa-p384', 'rsa-3072'] as const) {
  test(`R3: GnuTLS and OpenSSL ask the responder of an ${keyAlgorithm} authority`, { skip: tools.certtool.skip }, async (t) => {
    const { at, forged, address } = await publish(t, keyAlgorithm)
    const ask = (leaf: Leaf, { issuer = at('line1'), signer = at('line1') } = {}): Promise<Outcome> => {
      const question = ['--load-issuer', issuer, '--load-signer', signer, '--load-cert', at(leaf)]
      return run(tools.certtool.path('ocsptool'), ['--ask', ...question])
    }
    assertDone(await ask('ldevid'), /Certificate Status: good[^]*Verifying OCSP Response: Success/)
    for (const leaf of OUT_OF_USE) {
      assert.match((await ask(leaf)).text, /Certificate Status: revoked[^]*Verifying OCSP Response: Success/)
    }
    assertRefused(await ask('ldevid', { issuer: forged.at('line1') }), /Response Status: unauthorized/)
    assertRefused(await ask('ldevid', { signer: forged.at('line1') }), /Signer cert is not trusted|signature/)

    if (tools.openssl.skip !== false) return
    const openssl = (leaf: Leaf, from: string): Promise<Outcome> => {
      const question = ['-issuer', at('line1'), '-cert', at(leaf), '-url', address, '-CAfile', from]
      return run(tools.openssl.path('openssl'), ['ocsp', ...question, '-verify_other', at('line1')])
    }
    assert.match((await openssl('ldevid', at('root'))).text, /: good[^]*Response verify OK/)
    assert.match((await openssl('revoked', at('root'))).text, /: revoked[^]*Response verify OK/)
    assert.match((await openssl('ldevid', forged.at('root'))).text, /Response Verify Failure/)
  })
}

for (const keyAlgorithm of ['ecdsa-p256', 'ecdsa-p384', 'rsa-3072'] as const) {
  describe(`R7, R28: a listener whose certificate comes from an ${keyAlgorithm} root`, () => {
    interface Listening {
      readonly port: string
      /** Paths of the root's certificate, and of another root's with the same name. */
      readonly root: string
      readonly forged: string
    }

    async function listening(t: TestContext): Promise<Listening> {
      const ca = await testCA()
      t.after(() => ca[Symbol.asyncDispose]())
      const { context, authorities } = ca
      const directory = mkdtempSync(join(tmpdir(), 'sealworks-tls-'))
      t.after(() => rmSync(directory, { recursive: true }))
      const name = nameOf([{ type: 'CN', value: 'TLS root' }])
      const [root, forged] = await Promise.all(
        [TLS_AUTHORITY, 'forged'].map(async (slug) => {
          const { certificate } = await authorities.create({ slug, name, profile: 'root', keyAlgorithm }, person)
          writeFileSync(join(directory, slug), encodePEM('CERTIFICATE', certificate.der))
          return join(directory, slug)
        }),
      )
      const names = ['localhost', '127.0.0.1']
      const { identity } = await issueListenerCertificate(context, authorities, { names, validityDays: 30 })
      const hello = routerOf(async () => ({ status: 200, headers: {}, body: 'hello' }))
      const listener = await listenFor(t, [hello], { tls: true })
      listener.present({ identity, clientAuthorities: [] })
      return { port: String(listener.address.port), root: root as string, forged: forged as string }
    }

    test('OpenSSL connects and knows it', { skip: tools.openssl.skip }, async (t) => {
      const { port, root, forged } = await listening(t)
      const connect = (version: string, { host = 'localhost', trust = root } = {}): Promise<Outcome> => {
        const expected = ['-servername', host, '-verify_hostname', host, '-verify_return_error', '-CAfile', trust]
        return run(tools.openssl.path('openssl'), ['s_client', '-connect', `127.0.0.1:${port}`, version, ...expected])
      }
      for (const [version, name] of [
        ['-tls1_2', 'TLSv1.2'],
        ['-tls1_3', 'TLSv1.3'],
      ] as const) {
        const outcome = await connect(version)
        assertDone(outcome, /Verification: OK/)
        assert.match(outcome.text, new RegExp(`New, ${name.replace('.', '\\.')}, Cipher is`))
        assertRefused(await connect(version, { host: 'elsewhere.example' }), /hostname mismatch/)
        assertRefused(await connect(version, { trust: forged }), /unable to get local issuer|self-signed certificate/)
      }
      assertRefused(await connect('-tls1_1'), /alert|no protocols available|unsupported protocol/)
    })

    test('GnuTLS connects and knows it', { skip: tools.gnutls.skip }, async (t) => {
      const { port, root, forged } = await listening(t)
      const connect = (version: string, { host = 'localhost', trust = root } = {}): Promise<Outcome> => {
        const expected = ['--x509cafile', trust, '--verify-hostname', host, '--sni-hostname', host]
        const priority = `NORMAL:-VERS-ALL:+VERS-${version}`
        return run(tools.gnutls.path('gnutls-cli'), ['-p', port, '--priority', priority, ...expected, '127.0.0.1'])
      }
      for (const version of ['TLS1.2', 'TLS1.3']) {
        const outcome = await connect(version)
        assertDone(outcome, /Status: The certificate is trusted/)
        assert.match(outcome.text, new RegExp(`Description: \\(${version.replace('.', '\\.')}`))
        assertRefused(await connect(version, { host: 'elsewhere.example' }), /name in the certificate does not match/)
        assertRefused(await connect(version, { trust: forged }), /issuer is unknown/)
      }
    })

    test('NSS connects and knows it', { skip: tools.nss.skip }, async (t) => {
      const { port, root } = await listening(t)
      const option = ['-d', `sql:${mkdtempSync(join(root, '../nss-'))}`]
      const certutil = tools.nss.path('certutil')
      assertDone(await run(certutil, ['-N', ...option, '--empty-password']))
      const connect = (version: string, host = 'localhost'): Promise<Outcome> =>
        run(tools.nss.path('tstclnt'), [
          '-h',
          '127.0.0.1',
          '-p',
          port,
          '-a',
          host,
          '-V',
          `${version}:${version}`,
          '-Q',
          ...option,
        ])
      assertRefused(await connect('tls1.3'), /issuer/i)
      assertDone(await run(certutil, ['-A', ...option, '-n', 'root', '-t', 'C,,', '-a', '-i', root]))
      for (const version of ['tls1.2', 'tls1.3']) {
        assertDone(await connect(version))
        assertRefused(await connect(version, 'elsewhere.example'), /domain name/)
      }
    })
  })
}
