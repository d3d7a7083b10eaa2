import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { encodeCertificateList, type RevokedEntry } from '../crl.ts'
import { accessAt, authorityInfoAccess } from '../extensions/authority-information-access.ts'
import { crlDistributionPoints, distributionPointAt } from '../extensions/crl-distribution-points.ts'
import { crlNumber } from '../extensions/crl-extensions.ts'
import { extKeyUsage, keyPurposes } from '../extensions/extended-key-usage.ts'
import { extensionWith } from '../extensions/extension.ts'
import type { GeneralName } from '../extensions/general-name.ts'
import { nameConstraints } from '../extensions/name-constraints.ts'
import { ocspNoCheck } from '../extensions/ocsp-extensions.ts'
import { subjectAltName } from '../extensions/subject-alternative-name.ts'
import { parseCertificate } from '../certificate.ts'
import {
  type CertStatus,
  encodeCertID,
  encodeOCSPResponse,
  encodeResponseData,
  issuerHashes,
  ocspResponder,
  parseOCSPRequest,
} from '../ocsp.ts'
import { signatureIdentifier } from '../signed.ts'
import { DEPTH_MAX } from './budget.ts'
import { describeVerdict } from './describe.ts'
import { parsePeerName } from './peer-name.ts'
import type { PathReason } from './reasons.ts'
import { AT, certify, derName, type Party, party } from './testing.ts'
import { type RevocationInput, type VerifyInput, verifyCertificate } from './verify.ts'

/** @returns the reason of a refusal, or `valid` */
async function ask(input: Omit<VerifyInput, 'at'> & { readonly at?: Date }): Promise<PathReason | 'valid'> {
  const verdict = await verifyCertificate({ at: AT, ...input })
  return verdict.valid ? 'valid' : verdict.failure.reason
}

describe('building', () => {
  test('finds the way whatever the order, among certificates that lead nowhere', async () => {
    const [root, middle, line, device, other] = ['Root', 'Middle', 'Line', 'Device', 'Other'].map(party) as [
      ...[Party, Party, Party, Party, Party],
    ]
    const anchors = [await certify(root, root, { isAuthority: true })]
    const right = [
      await certify(root, middle, { isAuthority: true }),
      await certify(middle, line, { isAuthority: true, pathLenConstraint: 0 }),
    ]
    const wrong = [
      await certify(other, middle, { isAuthority: true }),
      await certify(root, { ...line, key: other.key }, { isAuthority: true }),
      await certify(line, middle, { isAuthority: true }),
      Uint8Array.of(0x30, 0),
    ]
    const certificate = await certify(line, device)
    await fc.assert(
      fc.asyncProperty(
        fc.shuffledSubarray([...right, ...wrong], { minLength: right.length + wrong.length }),
        async (intermediates) => {
          assert.equal(await ask({ certificate, anchors, intermediates }), 'valid')
        },
      ),
      { numRuns: 30 },
    )
    assert.equal(await ask({ certificate, anchors, intermediates: wrong }), 'pathSignature')
    assert.equal(await ask({ certificate, anchors: [], intermediates: right }), 'pathIssuerMissing')
    const { summary } = describeVerdict(await verifyCertificate({ at: AT, certificate, anchors, intermediates: wrong.slice(-1) }))
    assert.match(summary, /^No trusted issuer was found for "CN=Device".* Certificates at hand that cannot be read: 1\.$/)
  })

  test('a mesh in which everybody certified everybody costs no more than its limits', async () => {
    const parties = Array.from({ length: 14 }, (_, i) => party(`CA ${i}`))
    const [root, device] = [party('Root'), party('Device')]
    const mesh: Uint8Array[] = []
    for (const issuer of parties)
      for (const holder of parties) if (issuer !== holder) mesh.push(await certify(issuer, holder, { isAuthority: true }))
    const [first, last] = [parties[0] as Party, parties.at(-1) as Party]
    const certificate = await certify(first, device)
    const anchors = [await certify(root, root, { isAuthority: true })]
    assert.equal(await ask({ certificate, anchors, intermediates: mesh }), 'pathTooMuchWork', 'there is no way')
    const way = await certify(root, last, { isAuthority: true })
    assert.equal(await ask({ certificate, anchors, intermediates: [...mesh, way] }), 'valid', 'there is one')
  })

  test('authorities above each other are counted', async () => {
    const chain = Array.from({ length: DEPTH_MAX + 2 }, (_, i) => party(`CA ${i}`))
    const intermediates: Uint8Array[] = []
    for (let i = 1; i < chain.length; i++)
      intermediates.push(await certify(chain[i - 1] as Party, chain[i] as Party, { isAuthority: true }))
    const anchors = [await certify(chain[0] as Party, chain[0] as Party, { isAuthority: true })]
    const below = (depth: number): Promise<Uint8Array> => certify(chain[depth] as Party, party('Device'))
    assert.equal(await ask({ certificate: await below(DEPTH_MAX), anchors, intermediates }), 'valid')
    assert.equal(await ask({ certificate: await below(DEPTH_MAX + 1), anchors, intermediates }), 'pathTooDeep')
    assert.equal(await ask({ certificate: await below(2), anchors, intermediates, depthMax: 1 }), 'pathTooDeep')
  })

  test('an anchor is trusted itself, and an authority that has ended is not', async () => {
    const [root, device] = [party('Root'), party('Device')]
    const anchor = await certify(root, root, { isAuthority: true, notAfter: new Date('2031-01-01T00:00:00Z') })
    const certificate = await certify(root, device)
    assert.equal(await ask({ certificate: anchor, anchors: [anchor] }), 'valid')
    assert.equal(await ask({ certificate, anchors: [anchor] }), 'valid')
    assert.equal(await ask({ certificate, anchors: [anchor], at: new Date('2031-01-01T00:00:01Z') }), 'pathExpired')
  })
})

describe('name constraints', () => {
  const mailbox = (text: string): GeneralName => ({ type: 'rfc822Name', value: text })
  const host = (text: string): GeneralName => ({ type: 'dNSName', value: text })
  const uri = (text: string): GeneralName => ({ type: 'uniformResourceIdentifier', value: text })
  const ip = (...octets: number[]): GeneralName => ({ type: 'iPAddress', value: Uint8Array.from(octets) })
  const other = (typeID: string): GeneralName => ({ type: 'otherName', value: { typeID, value: Uint8Array.of(5, 0) } })
  const textOf = ({ value }: GeneralName): string =>
    typeof value === 'string' ? value : value instanceof Uint8Array ? value.join('.') : JSON.stringify(value)
  const id: GeneralName = { type: 'registeredID', value: '1.2.3' }
  const cases: readonly [limit: GeneralName, name: GeneralName, within: PathReason | 'valid', outside: PathReason | 'valid'][] = [
    [host('plant.example'), host('press.plant.example'), 'valid', 'pathNameExcluded'],
    [host('plant.example'), host('implant.example'), 'pathNameNotPermitted', 'valid'],
    [host('press.plant.example'), host('*.plant.example'), 'pathNameNotPermitted', 'pathNameExcluded'],
    [host('a.press.plant.example'), host('*.plant.example'), 'pathNameNotPermitted', 'valid'],
    [host('plant.example'), host('*.plant.example'), 'valid', 'pathNameExcluded'],
    [host('plant.example'), mailbox('a@other.example'), 'valid', 'valid'],
    [mailbox('plant.example'), mailbox('Ada@PLANT.example'), 'valid', 'pathNameExcluded'],
    [mailbox('.plant.example'), mailbox('ada@plant.example'), 'pathNameNotPermitted', 'valid'],
    [mailbox('ada@plant.example'), mailbox('Ada@plant.example'), 'pathNameNotPermitted', 'valid'],
    [mailbox('plant.example'), mailbox('"a b"@plant.example'), 'pathNameUnreadable', 'pathNameUnreadable'],
    [uri('plant.example'), uri('opc.tcp://x@plant.example:4840/a'), 'valid', 'pathNameExcluded'],
    [uri('plant.example'), uri('urn:plant.example:a'), 'pathNameUnreadable', 'pathNameUnreadable'],
    [uri('plant.example'), uri('https://other.example\\@plant.example/'), 'pathNameUnreadable', 'pathNameUnreadable'],
    [uri('plant.example'), uri('https://192.0.2.1/'), 'pathNameUnreadable', 'pathNameUnreadable'],
    [ip(10, 0, 0, 0, 255, 0, 0, 0), ip(10, 1, 2, 3), 'valid', 'pathNameExcluded'],
    [ip(10, 0, 0, 0, 255, 0, 0, 0), ip(11, 1, 2, 3), 'pathNameNotPermitted', 'valid'],
    [ip(10, 0, 0, 0, 255, 0, 255, 0), ip(10, 1, 2, 3), 'pathNameUnreadable', 'pathNameUnreadable'],
    [other('1.2.3'), other('1.2.3'), 'pathNameUnreadable', 'pathNameUnreadable'],
    [other('1.2.3'), other('1.2.4'), 'valid', 'valid'],
    [id, id, 'pathNameUnreadable', 'pathNameUnreadable'],
  ]
  for (const [base, name, within, outside] of cases) {
    test(`${base.type} ${textOf(base)} and ${textOf(name)}`, async () => {
      const [root, line, device] = [party('Root'), party('Line'), party('Device')]
      const anchors = [await certify(root, root, { isAuthority: true })]
      const certificate = await certify(line, device, { extensions: [extensionWith(subjectAltName, [name])] })
      for (const [side, expected] of [
        ['permittedSubtrees', within],
        ['excludedSubtrees', outside],
      ] as const) {
        const limits = extensionWith(nameConstraints, { [side]: [{ base, minimum: 0 }] }, true)
        const intermediates = [await certify(root, line, { isAuthority: true, extensions: [limits] })]
        assert.equal(await ask({ certificate, anchors, intermediates }), expected, side)
      }
    })
  }
})

describe('purposes and names of peers', () => {
  test('a certificate is for what it says, and an authority above bounds it', async () => {
    const [root, line, device] = [party('Root'), party('Line'), party('Device')]
    const anchors = [await certify(root, root, { isAuthority: true })]
    const purposes = (...names: (keyof typeof keyPurposes)[]) => [
      extensionWith(
        extKeyUsage,
        names.map((name) => keyPurposes[name]),
      ),
    ]
    const certificate = await certify(line, device, { extensions: purposes('clientAuth') })
    const open = [await certify(root, line, { isAuthority: true })]
    const narrow = [await certify(root, line, { isAuthority: true, extensions: purposes('codeSigning') })]
    assert.equal(await ask({ certificate, anchors, intermediates: open, purpose: 'tls-client' }), 'valid')
    assert.equal(await ask({ certificate, anchors, intermediates: open, purpose: 'tls-server' }), 'pathPurpose')
    assert.equal(await ask({ certificate, anchors, intermediates: narrow, purpose: 'tls-client' }), 'pathPurpose')
  })

  test('a wildcard is the whole first label and stands for one', async () => {
    const root = party('Root')
    const anchors = [await certify(root, root, { isAuthority: true })]
    const names: GeneralName[] = [
      { type: 'dNSName', value: '*.plant.example' },
      { type: 'iPAddress', value: Uint8Array.of(10, 0, 0, 1) },
      { type: 'rfc822Name', value: 'Ada@plant.example' },
    ]
    const certificate = await certify(root, party('press.cn.example'), { extensions: [extensionWith(subjectAltName, names)] })
    for (const [name, expected] of [
      ['dns:press.plant.example', 'valid'],
      ['dns:PRESS.plant.example.', 'valid'],
      ['dns:a.press.plant.example', 'pathPeerName'],
      ['dns:plant.example', 'pathPeerName'],
      ['dns:press.cn.example', 'pathPeerName'],
      ['ip:10.0.0.1', 'valid'],
      ['ip:10.0.0.2', 'pathPeerName'],
      ['email:Ada@PLANT.example', 'valid'],
      ['email:ada@plant.example', 'pathPeerName'],
    ] as const)
      assert.equal(await ask({ certificate, anchors, peerName: parsePeerName(name) }), expected, name)
    assert.throws(() => parsePeerName('press.plant.example'), { code: 'malformed', reason: 'peerNameText' })
  })
})

describe('revocation', async () => {
  const [root, device, responder, stranger] = ['Root', 'Device', 'Responder', 'Stranger'].map(party) as [
    Party,
    Party,
    Party,
    Party,
  ]
  const anchor = await certify(root, root, { isAuthority: true })
  const certificate = await certify(root, device, { serialNumber: 9 })
  const input = (revocation: RevocationInput) => ({ certificate, anchors: [anchor], revocation })
  const hours = (count: number): Date => new Date(AT.getTime() + count * 3_600_000)

  const list = (entries: readonly RevokedEntry[], number = 1n, times = [hours(-1), hours(1)] as const): Promise<Uint8Array> =>
    encodeCertificateList(
      {
        issuer: derName('Root'),
        thisUpdate: times[0],
        nextUpdate: times[1],
        extensions: [extensionWith(crlNumber, number)],
      },
      entries,
      root.key.signer,
    )

  test('the newest list that is current decides', async () => {
    const revoked = await list([{ serialNumber: Uint8Array.of(9), revokedAt: hours(-2), reason: 'keyCompromise' }], 2n, [
      hours(-0.5),
      hours(1),
    ])
    const clean = await list([])
    const old = await list([], 1n, [hours(-9), hours(-8)])
    assert.equal(await ask(input({ demand: 'required', lists: [clean] })), 'valid')
    assert.equal(await ask(input({ demand: 'required', lists: [clean, revoked] })), 'pathRevoked')
    assert.equal(await ask(input({ demand: 'required', lists: [old] })), 'pathRevocationUnknown')
    assert.equal(await ask(input({ demand: 'known', lists: [old] })), 'valid')
    assert.equal(await ask(input({ demand: 'required' })), 'pathRevocationUnknown')
  })

  interface Answering {
    readonly by?: Party
    readonly certs?: readonly Uint8Array[]
    readonly status?: CertStatus
    readonly serialNumber?: number
    readonly thisUpdate?: Date
    readonly nextUpdate?: Date
    readonly nonce?: Uint8Array
  }

  async function answer(given: Answering = {}): Promise<Uint8Array> {
    const { by = root, certs = [], status = { type: 'good' }, serialNumber = 9, thisUpdate = hours(-1), nonce } = given
    const signatureAlgorithm = signatureIdentifier('ecdsa-sha256')
    const who = ocspResponder({ publicKey: by.key.spki, signatureAlgorithm, certificates: certs })
    const certID = encodeCertID(issuerHashes(parseCertificate(anchor), 'sha256'), Uint8Array.of(serialNumber), 'sha256')
    const { nextUpdate = hours(1) } = given
    const data = encodeResponseData(who, {
      producedAt: thisUpdate,
      responses: [{ certID, status, thisUpdate, nextUpdate }],
      nonce,
    })
    return encodeOCSPResponse(who, data, await by.key.signer.sign(data))
  }

  const signing = extensionWith(extKeyUsage, [keyPurposes.OCSPSigning])
  const noCheck = extensionWith(ocspNoCheck, null)
  const delegate = (extensions = [signing, noCheck], issuer = root): Promise<Uint8Array> =>
    certify(issuer, responder, { extensions, serialNumber: 11 })

  const cases: readonly [name: string, given: () => Promise<Answering>, expected: PathReason | 'valid'][] = [
    ['the issuer itself', async () => ({}), 'valid'],
    ['revoked', async () => ({ status: { type: 'revoked', revokedAt: hours(-2) } }), 'pathRevoked'],
    ['unknown', async () => ({ status: { type: 'unknown' } }), 'pathRevocationUnknown'],
    ['of another certificate', async () => ({ serialNumber: 10 }), 'pathRevocationUnknown'],
    ['too old', async () => ({ thisUpdate: hours(-3), nextUpdate: hours(-2) }), 'pathRevocationUnknown'],
    ['from the future', async () => ({ thisUpdate: hours(2), nextUpdate: hours(3) }), 'pathRevocationUnknown'],
    ['a delegate', async () => ({ by: responder, certs: [await delegate()] }), 'valid'],
    [
      'a delegate whose own state nobody knows',
      async () => ({ by: responder, certs: [await delegate([signing])] }),
      'pathRevocationUnknown',
    ],
    ['one without the right', async () => ({ by: responder, certs: [await delegate([noCheck])] }), 'pathRevocationUnknown'],
    [
      "a stranger's delegate",
      async () => ({ by: responder, certs: [await delegate(undefined, { ...stranger, name: 'Root' })] }),
      'pathRevocationUnknown',
    ],
    ['a stranger', async () => ({ by: stranger, certs: [] }), 'pathRevocationUnknown'],
  ]
  for (const [name, given, expected] of cases) {
    test(`OCSP: ${name}`, async () => {
      assert.equal(await ask(input({ demand: 'required', answers: [await answer(await given())] })), expected)
    })
  }

  test('OCSP: what is asked now must repeat the nonce, and lists are fetched when nobody answers', async () => {
    const nonce = Uint8Array.of(1, 2, 3, 4)
    const asked: string[] = []
    const pointed = await certify(root, device, {
      serialNumber: 9,
      extensions: [
        extensionWith(authorityInfoAccess, [accessAt('ocsp', 'http://ocsp.example/')]),
        extensionWith(crlDistributionPoints, [distributionPointAt('http://crl.example/a.crl')]),
      ],
    })
    const evidence = (repeats: boolean, lists: boolean): RevocationInput => ({
      demand: 'required',
      nonce,
      port: {
        async askResponder(uri, request) {
          asked.push(uri)
          const { nonce: sent } = parseOCSPRequest(request)
          return answer(repeats && sent !== undefined ? { nonce: sent } : {})
        },
        async fetchList(uri) {
          asked.push(uri)
          return lists ? list([]) : undefined
        },
      },
    })
    const given = { certificate: pointed, anchors: [anchor] }
    assert.equal(await ask({ ...given, revocation: evidence(true, false) }), 'valid')
    assert.deepEqual(asked.splice(0), ['http://ocsp.example/'])
    assert.equal(await ask({ ...given, revocation: evidence(false, true) }), 'valid')
    assert.deepEqual(asked.splice(0), ['http://ocsp.example/', 'http://crl.example/a.crl'])
    assert.equal(await ask({ ...given, revocation: evidence(false, false) }), 'pathRevocationUnknown')
  })

  test('the description names certificate, rule and section, and says what is not known', async () => {
    const revoked = await list([{ serialNumber: Uint8Array.of(9), revokedAt: hours(-2), reason: 'keyCompromise' }])
    const bad = describeVerdict(await verifyCertificate({ at: AT, ...input({ demand: 'known', lists: [revoked] }) }))
    assert.equal(bad.section, 'RFC 5280, 6.1.3 (a)(3)')
    assert.match(bad.summary, /^The issuer revoked "CN=Device" at 2029-12-31T22:00:00.000Z \(keyCompromise\)/)
    assert.deepEqual(
      bad.path.map(({ subject, revocation }) => [subject, revocation]),
      [
        ['CN=Root', 'unasked'],
        ['CN=Device', 'revoked'],
      ],
    )
    const unknown = describeVerdict(await verifyCertificate({ at: AT, ...input({ demand: 'known' }) }))
    assert.match(unknown.summary, /is valid.*Whether any of its certificates was revoked is not known\.$/)
  })
})
