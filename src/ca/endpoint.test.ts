import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { TrustError } from '#base/errors.ts'
import { secret } from '#base/secret.ts'
import { utf8 } from '#base/bytes.ts'
import {
  changeRules,
  createEndpoint,
  createEnrollmentSecret,
  disableEndpoint,
  type Endpoint,
  type EnrollmentSecret,
  listEndpoints,
  matchesPattern,
  type NewEndpoint,
  noRules,
  openEndpoint,
  openEnrollmentSecret,
} from './endpoint.ts'
import { enrollment } from './enrollment.ts'
import { hierarchy, person, type TestCA, testCA } from './testing.ts'

const make = (ca: TestCA, more: Partial<NewEndpoint> = {}): Promise<Endpoint> =>
  createEndpoint(ca.context, { label: 'line-1', protocol: 'est', authorityId: 'somebody', profile: 'ldevid', ...more }, person)

describe('labels', () => {
  test('RFC 7030, 3.2.2: letters, digits and hyphens, and no operation', async () => {
    await using ca = await testCA()
    const operations = ['cacerts', 'simpleenroll', 'simplereenroll', 'fullcmc', 'serverkeygen', 'csrattrs']
    for (const label of ['', '-a', 'Line1', 'a_b', 'a/b', 'a.b', 'ä', 'a b', 'a\n', 'x'.repeat(64), ...operations])
      await assert.rejects(make(ca, { label }), { code: 'malformed', reason: 'endpointLabel' }, label)
    for (const label of ['a', '1', 'line-1', 'x'.repeat(63), 'cacerts2']) assert.equal((await make(ca, { label })).label, label)
    assert.equal((await listEndpoints(ca.context)).length, 5)
  })

  test('a label stands for one endpoint of a protocol for good', async () => {
    await using ca = await testCA()
    const { id } = await make(ca)
    await assert.rejects(make(ca), { code: 'conflict', reason: 'endpointTaken' })
    await disableEndpoint(ca.context, id, person)
    await assert.rejects(make(ca), { code: 'conflict', reason: 'endpointTaken' })
  })

  test('of several that are made at once, one gets it', async () => {
    await using ca = await testCA()
    const settled = await Promise.allSettled(Array.from({ length: 5 }, () => make(ca, { isDefault: true })))
    assert.equal(settled.filter(({ status }) => status === 'fulfilled').length, 1)
    for (const one of settled)
      if (one.status === 'rejected') assert.ok(one.reason instanceof TrustError && one.reason.code === 'conflict')
  })
})

describe('decision 23: the default', () => {
  test('answers without a label, and there is at most one', async () => {
    await using ca = await testCA()
    const open = (label?: string): Promise<Endpoint> => openEndpoint(ca.context, 'est', label)
    await make(ca)
    await assert.rejects(open(), { code: 'notFound', reason: 'endpointUnknown' })
    const second = await make(ca, { label: 'second', isDefault: true })
    assert.equal((await open()).id, second.id)
    assert.equal((await open('second')).id, second.id)
    await assert.rejects(make(ca, { label: 'third', isDefault: true }), { code: 'conflict', reason: 'endpointDefaultTaken' })
    await assert.rejects(open('third'), { code: 'notFound' })
  })

  test('one that is disabled answers nobody and leaves its place', async () => {
    await using ca = await testCA()
    const { id, label } = await make(ca, { isDefault: true })
    await disableEndpoint(ca.context, id, person)
    for (const name of [undefined, label])
      await assert.rejects(openEndpoint(ca.context, 'est', name), { code: 'notFound', reason: 'endpointUnknown' })
    const next = await make(ca, { label: 'next', isDefault: true })
    assert.equal((await openEndpoint(ca.context, 'est', undefined)).id, next.id)
    const standing = (await listEndpoints(ca.context)).map(({ label, state, isDefault }) => [label, state, isDefault])
    assert.deepEqual(standing, [
      ['line-1', 'disabled', false],
      ['next', 'enabled', true],
    ])
  })
})

describe('rules', () => {
  test('without any, nobody may ask for anything', async () => {
    await using ca = await testCA()
    await hierarchy(ca)
    const endpoint = await make(ca, { authorityId: ca.authorities.byAddress('line1').id })
    assert.deepEqual(endpoint.rules, noRules)
    const { authenticate } = enrollment(ca.context, ca.authorities, async () => {})
    const station = ca.authorities.byAddress('line1').certificate.der
    await assert.rejects(authenticate(endpoint, { chain: [station], basic: undefined }), { reason: 'issuerNotListed' })
    const basic = { userName: 'a', password: secret(utf8('b')) }
    await assert.rejects(authenticate(endpoint, { chain: [], basic }), { reason: 'secretsNotHere' })
  })

  const fingerprint = 'ab'.repeat(32)
  const malformed: readonly [name: string, rules: object][] = [
    ['a fingerprint in capitals', { registrationAuthorities: [{ fingerprint: 'AB'.repeat(32), productSerials: ['*'] }] }],
    ['a fingerprint with colons', { registrationAuthorities: [{ fingerprint: 'ab:cd', productSerials: ['*'] }] }],
    ['a station without product serials', { registrationAuthorities: [{ fingerprint, productSerials: [] }] }],
    ['an empty pattern', { registrationAuthorities: [{ fingerprint, productSerials: [''] }] }],
    ['an unknown rule of a station', { registrationAuthorities: [{ fingerprint, productSerials: ['*'], mayRevoke: true }] }],
    ['an unknown rule', { anyone: true }],
    ['secrets that are no flag', { secrets: 'yes' }],
    ['a hardware type that is a name', { hardwareType: 'pump' }],
    ['a host name that is empty', { names: [''] }],
    ['no list', { clientIssuers: 'line1.1' }],
  ]
  for (const [name, rules] of malformed) {
    test(`malformed: ${name}`, async () => {
      await using ca = await testCA()
      const refusal = { code: 'malformed', reason: 'endpointRules' }
      await assert.rejects(make(ca, { rules }), refusal)
      const { id } = await make(ca)
      await assert.rejects(changeRules(ca.context, id, { ...noRules, ...rules }, person), refusal)
      assert.deepEqual((await openEndpoint(ca.context, 'est', 'line-1')).rules, noRules)
    })
  }

  test('changed rules hold from the next request on, and the change is in the audit log', async () => {
    await using ca = await testCA()
    await hierarchy(ca)
    const { id } = await make(ca, { authorityId: ca.authorities.byAddress('line1').id, profile: 'tls-server' })
    const service = enrollment(ca.context, ca.authorities, async () => {})
    const rules = { ...noRules, secrets: true, names: ['*.plant.example'] }
    const open = (): Promise<Endpoint> => openEndpoint(ca.context, 'est', 'line-1')
    assert.equal((await open()).rules.secrets, false)
    await changeRules(ca.context, id, rules, person)
    assert.deepEqual((await open()).rules, rules)
    const { userName, password } = await createEnrollmentSecret(ca.context, { endpointId: id, validSeconds: 60 }, person)
    const identity = await service.authenticate(await open(), { chain: [], basic: { userName, password } })
    assert.equal(identity.kind, 'secret')
    await changeRules(ca.context, id, { ...rules, secrets: false }, person)
    await assert.rejects(service.authenticate(await open(), { chain: [], basic: { userName, password } }), {
      reason: 'secretsNotHere',
    })
    const acts = (await ca.entries()).filter(({ act }) => act === 'endpoint.change')
    assert.deepEqual(
      acts.map(({ actor, outcome }) => [actor, outcome]),
      [
        [person, 'done'],
        [person, 'done'],
      ],
    )
    await assert.rejects(changeRules(ca.context, 'nobody', rules, person), { code: 'notFound', reason: 'endpointUnknown' })
    await assert.rejects(disableEndpoint(ca.context, 'nobody', person), { code: 'notFound', reason: 'endpointUnknown' })
  })
})

describe('one-time secrets', () => {
  test('are for an endpoint that answers, for a bounded time', async () => {
    await using ca = await testCA()
    const { id } = await make(ca)
    for (const validSeconds of [-1, 0, 59, 90 * 86_400 + 1])
      await assert.rejects(createEnrollmentSecret(ca.context, { endpointId: id, validSeconds }, person), {
        code: 'malformed',
        reason: 'secretLifetime',
      })
    await assert.rejects(createEnrollmentSecret(ca.context, { endpointId: 'nobody', validSeconds: 60 }, person), {
      code: 'notFound',
    })
    await disableEndpoint(ca.context, id, person)
    await assert.rejects(createEnrollmentSecret(ca.context, { endpointId: id, validSeconds: 60 }, person), { code: 'notFound' })
  })

  test('open at their own endpoint, with their own password, until they end', async () => {
    await using ca = await testCA()
    const [one, other] = [await make(ca), await make(ca, { label: 'other' })]
    const made = await createEnrollmentSecret(ca.context, { endpointId: one.id, productSerial: 'A-1', validSeconds: 60 }, person)
    const open = (endpoint: Endpoint, userName = made.userName, password = made.password): Promise<EnrollmentSecret> =>
      openEnrollmentSecret(ca.context, endpoint.id, userName, password)
    const text = Buffer.from(made.password.reveal('test')).toString()
    assert.equal(text.length, 40, '160 bits')
    const { productSerial, isUsed } = await open(one)
    assert.deepEqual([productSerial, isUsed], ['A-1', false])
    const refusal = { code: 'unauthenticated', reason: 'secretWrong' }
    await assert.rejects(open(other), refusal)
    await assert.rejects(open(one, 'nobody'), refusal)
    for (const wrong of ['', `${text} `, text.slice(1)])
      await assert.rejects(open(one, made.userName, secret(utf8(wrong))), refusal)
    const rows = await ca.context.db.query('SELECT * FROM enrollment_secret')
    for (const value of rows.flatMap((row) => Object.values(row)))
      assert.ok(value !== text && !(value instanceof Uint8Array && Buffer.from(value).includes(text)), 'the password is kept')
    ca.advance(61)
    await assert.rejects(open(one), refusal)
  })
})

describe('patterns', () => {
  /** Few characters, so that chance makes both matches and near misses. */
  const text = fc.string({ unit: fc.constantFrom('a', 'b', '-', '.'), maxLength: 12 })
  const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '-', '.', '*', '*'), maxLength: 8 })
  const oracle = (pattern: string): RegExp =>
    new RegExp(
      `^${pattern
        .split('*')
        .map((part) => RegExp.escape(part))
        .join('[^]*')}$`,
    )

  test('match as the regular expression of the same meaning does', () => {
    let matches = 0
    fc.assert(
      fc.property(pattern, text, (pattern, text) => {
        const expected = oracle(pattern).test(text)
        if (expected) matches++
        assert.equal(matchesPattern(pattern, text), expected)
      }),
      { numRuns: 2000 },
    )
    assert.ok(matches > 100, 'hardly anything matched')
  })

  test('filled in, a pattern matches', () => {
    fc.assert(
      fc.property(
        fc.array(text, { minLength: 1, maxLength: 5 }),
        fc.array(text, { minLength: 4, maxLength: 4 }),
        (parts, gaps) => {
          const filled = parts.map((part, i) => part + (i < parts.length - 1 ? (gaps[i] as string) : '')).join('')
          assert.ok(matchesPattern(parts.join('*'), filled))
        },
      ),
    )
  })

  test('without an asterisk only itself matches; other signs mean nothing', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (a, b) => matchesPattern(a.replaceAll('*', ''), b) === (a.replaceAll('*', '') === b)),
    )
    for (const [pattern, text, matches] of [
      ['*', '', true],
      ['*', 'anything\nat all', true],
      ['', '', true],
      ['', 'a', false],
      ['L1-*', 'L1-', true],
      ['L1-*', 'l1-0001', false],
      ['L1-*', ' L1-0001', false],
      ['ab*ba', 'aba', false], // the two ends do not overlap
      ['a*a*a', 'aa', false],
      ['L?-1', 'L1-1', false],
      ['L[0-9]', 'L1', false],
      ['.*', 'L1', false],
    ] as const) {
      assert.equal(matchesPattern(pattern, text), matches, `${pattern} ${text}`)
    }
  })
})
