/** Keys in SoftHSM: the contract of every key store, what only tokens do, and what goes wrong with them. @module */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createPublicKey, generateKeyPairSync, verify } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import { promisify } from 'node:util'
import fc from 'fast-check'
import type { KeyAlgorithmId } from '#algorithms/table.ts'
import { utf8 } from '#base/bytes.ts'
import type { TrustError } from '#base/errors.ts'
import { silentLog } from '#base/log.ts'
import { secret } from '#base/secret.ts'
import { systemWorld } from '#base/world.ts'
import { migrate } from '#store/migrate.ts'
import { sqlite } from '#store/sqlite/index.ts'
import { needs } from '../../../test/interop/programs.ts'
import { keyStoreContract } from '../contract.ts'
import type { GuardedKeyStore } from '../key-ring.ts'
import type { Signer } from '../key-store.ts'
import { keysMigrations } from '../migrations.ts'
import { encodeFrame, frameReader, type ReadFrame } from './frames.ts'
import { type PKCS11KeyStoreOptions, pkcs11KeyStore } from './index.ts'
import { PIN, type SoftHSM, softHSM } from './testing.ts'

const tools = needs('softhsm2-util', 'libsofthsm2', 'pkcs11-tool', 'openssl')
const compiler = needs('softhsm2-util', 'libsofthsm2', 'gcc', 'libc-headers')
const run = promisify(execFile)
const world = systemWorld()
const message = utf8('firmware')
const ALL: readonly KeyAlgorithmId[] = [
  ...(['ecdsa-p256', 'ecdsa-p384', 'ecdsa-p521', 'rsa-2048', 'rsa-3072', 'rsa-4096', 'ed25519', 'ed448'] as const),
]

interface Fixture extends AsyncDisposable {
  readonly hsm: SoftHSM
  open(options?: Partial<PKCS11KeyStoreOptions>): GuardedKeyStore
}

/** Tokens in software and a database; every store that was opened is closed with them. */
async function fixture(labels: readonly string[] = ['one'], mechanisms?: string): Promise<Fixture> {
  const hsm = softHSM({ util: tools.path('softhsm2-util'), library: tools.path('libsofthsm2') }, mechanisms)
  for (const label of labels) await hsm.initialize(label)
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-pkcs11-'))
  const database = sqlite({ path: join(directory, 'test.db') })
  await migrate(database, keysMigrations, world)
  const stores: GuardedKeyStore[] = []
  return {
    hsm,
    open(options = {}) {
      const store = pkcs11KeyStore({
        database,
        world,
        log: silentLog,
        organizationId: 'default',
        id: 'hsm',
        module: hsm.library,
        tokens: labels.map((label) => ({ label })),
        pin: () => secret(utf8(PIN)),
        sessions: 4,
        checkEverySignature: false,
        environment: hsm.environment,
        ...options,
      })
      stores.push(store)
      return store
    },
    async [Symbol.asyncDispose]() {
      for (const store of stores) await store.close()
      await database.close()
      rmSync(directory, { recursive: true })
      hsm[Symbol.dispose]()
    },
  }
}

if (tools.skip === false) {
  keyStoreContract(
    'pkcs11 on SoftHSM',
    async () => {
      const under = await fixture()
      const store = under.open()
      await store.state()
      return { store, again: async () => under.open(), close: async () => under[Symbol.asyncDispose]() }
    },
    ALL,
  )
} else test('pkcs11 on SoftHSM keeps the key store contract', { skip: tools.skip }, () => {})

const verifies = ({ publicKey }: Signer, text: Uint8Array, signature: Uint8Array): boolean =>
  verify('sha256', text, createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' }), signature)

/** Signs until it works, as a client that asks again would. @returns how often it did not */
async function signsAgain(signer: Signer): Promise<number> {
  for (let refusals = 0; ; refusals++) {
    try {
      assert.ok(verifies(signer, message, await signer.sign(message, 'ecdsa-sha256')))
      return refusals
    } catch (error) {
      assert.equal((error as TrustError).code, 'unavailable')
      assert.ok(refusals < 200, 'the token did not come back')
      await wait(50)
    }
  }
}

async function refusalOf(work: Promise<unknown>): Promise<TrustError> {
  try {
    await work
  } catch (error) {
    return error as TrustError
  }
  throw new assert.AssertionError({ message: 'should have been refused' })
}

/** As an operator of another program: `softhsm2-util --import` takes PKCS #8. */
async function importKey(hsm: SoftHSM, tokens: readonly string[], label: string, id = '0a'): Promise<void> {
  const file = join(hsm.directory, `${label}-${id}.pem`)
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  writeFileSync(file, privateKey.export({ type: 'pkcs8', format: 'pem' }))
  for (const token of tokens) await hsm.import(token, label, id, file)
}

describe('the second hand on the token', { skip: tools.skip }, () => {
  const tool = async (hsm: SoftHSM, ...words: readonly string[]): Promise<string> => {
    const given = ['--module', hsm.library, '--token-label', 'one', '--login', '--pin', PIN, ...words]
    return (await run(tools.path('pkcs11-tool'), given, { env: hsm.environment })).stdout
  }

  test('pkcs11-tool sees our keys as they were asked for: sensitive, never extractable, to sign with only', async () => {
    await using under = await fixture()
    const store = under.open()
    for (const algorithm of ['ecdsa-p256', 'rsa-2048'] as const) await store.generate(algorithm, algorithm)
    const listed = await tool(under.hsm, '--list-objects', '--type', 'privkey')
    for (const algorithm of ['ecdsa-p256', 'rsa-2048']) assert.match(listed, new RegExp(`label: +${algorithm}\n`))
    assert.equal([...listed.matchAll(/Access: +sensitive, always sensitive, never extractable, local/g)].length, 2)
    assert.equal([...listed.matchAll(/Usage: +sign\n/g)].length, 2)
  })

  test('what pkcs11-tool signs with our key, we verify; what we sign, openssl verifies', async () => {
    await using under = await fixture()
    const store = under.open()
    const signer = await store.generate('k1', 'rsa-2048')
    const file = (name: string): string => join(under.hsm.directory, name)
    writeFileSync(file('message'), message)
    await tool(
      under.hsm,
      ...['--sign', '--mechanism', 'SHA256-RSA-PKCS', '--label', 'k1'],
      ...['--input-file', file('message'), '--output-file', file('theirs')],
    )
    assert.ok(verifies(signer, message, readFileSync(file('theirs'))))
    writeFileSync(file('ours'), await signer.sign(message, 'rsa-pss-sha384'))
    const pem = createPublicKey({ key: Buffer.from(signer.publicKey), format: 'der', type: 'spki' })
    writeFileSync(file('key.pem'), pem.export({ type: 'spki', format: 'pem' }))
    const padding = ['-sigopt', 'rsa_padding_mode:pss', '-sigopt', 'rsa_pss_saltlen:digest']
    const words = ['dgst', '-sha384', '-verify', file('key.pem'), '-signature', file('ours'), ...padding, file('message')]
    assert.match((await run(tools.path('openssl'), words)).stdout, /Verified OK/)
  })

  for (const [type, algorithm] of [
    ['EC:prime256v1', 'ecdsa-p256'],
    ['EC:secp384r1', 'ecdsa-p384'],
    ['rsa:2048', 'rsa-2048'],
  ] as const) {
    test(`a ${type} key that pkcs11-tool made is opened, signs, and is ours from then on`, async () => {
      await using under = await fixture()
      const store = under.open()
      await tool(under.hsm, '--keypairgen', '--key-type', type, '--label', 'made elsewhere', '--id', '77')
      assert.deepEqual(await store.list(), [])
      const signer = await store.open('made elsewhere')
      assert.equal(signer.keyAlgorithm, algorithm)
      const scheme = algorithm === 'rsa-2048' ? 'rsa-sha256' : 'ecdsa-sha256'
      assert.ok(verifies(signer, message, await signer.sign(message, scheme)))
      assert.deepEqual(
        (await store.list()).map(({ label }) => label),
        ['made elsewhere'],
      )
      await assert.rejects(store.generate('made elsewhere', 'ecdsa-p256'), { code: 'conflict' })
    })
  }

  test('a label that the token has already is taken, though we never heard of it', async () => {
    await using under = await fixture()
    await importKey(under.hsm, ['one'], 'k1')
    await assert.rejects(under.open().generate('k1', 'ecdsa-p256'), { code: 'conflict', reason: 'keyLabelTaken' })
  })

  test('two private keys under one label are not guessed between', async () => {
    await using under = await fixture()
    await importKey(under.hsm, ['one'], 'k1', '0a')
    await importKey(under.hsm, ['one'], 'k1', '0b')
    await assert.rejects(under.open().open('k1'), { code: 'unavailable', reason: 'tokenKeyAmbiguous' })
  })
})

describe('what a token offers', { skip: tools.skip }, () => {
  test('is what its mechanism list says', async () => {
    await using under = await fixture(['one'], 'CKM_RSA_PKCS_KEY_PAIR_GEN,CKM_RSA_PKCS')
    const store = under.open()
    await store.state()
    assert.deepEqual(store.algorithms, ['rsa-2048', 'rsa-3072', 'rsa-4096'])
    await assert.rejects(store.generate('k1', 'ecdsa-p256'), { code: 'unsupported', reason: 'keyStoreAlgorithm' })
  })

  test('is nothing before it was seen, and a wrong name finds none', async () => {
    await using under = await fixture()
    const store = under.open({ tokens: [{ label: 'two' }] })
    assert.deepEqual(store.algorithms, [])
    const { state, tokens } = await store.state()
    assert.equal(state, 'gone')
    assert.match(tokens[0]?.problem ?? '', /no such token/)
    const refusal = await refusalOf(store.generate('k1', 'ecdsa-p256'))
    assert.equal(refusal.reason, 'tokenGone')
    assert.ok((refusal.retryAfterSeconds ?? 0) >= 1)
  })

  test('a library that is none is said to be none', async () => {
    await using under = await fixture()
    const { tokens } = await under.open({ module: join(under.hsm.directory, 'softhsm2.conf') }).state()
    assert.match(tokens[0]?.problem ?? '', /cannot be loaded/)
  })

  test('two tokens of one label are told apart by serial number only', async () => {
    await using under = await fixture(['same', 'same'])
    const { tokens } = await under.open({ tokens: [{ label: 'same' }] }).state()
    assert.match(tokens[0]?.problem ?? '', /name one by its serial number/)
  })
})

describe('the PIN', { skip: tools.skip }, () => {
  test('is asked for, given by a person, and kept for the next worker', async () => {
    await using under = await fixture()
    const store = under.open({ pin: () => undefined })
    assert.equal((await store.state()).state, 'locked')
    await assert.rejects(store.generate('k1', 'ecdsa-p256'), { code: 'unavailable', reason: 'tokenLocked' })
    await store.unlock(secret(utf8(PIN)))
    assert.equal((await store.state()).state, 'ready')
    const signer = await store.generate('k1', 'ecdsa-p256')
    under.hsm.remove()
    await refusalOf(signer.sign(message, 'ecdsa-sha256'))
    under.hsm.restore()
    await signsAgain(signer)
  })

  test('given once, serves also the token of the store that was away then', async () => {
    await using under = await fixture(['one', 'two'])
    under.hsm.removeOne(1)
    const store = under.open({ pin: () => undefined })
    await store.unlock(secret(utf8(PIN)))
    under.hsm.restoreOne(1)
    for (let tries = 0; (await store.state()).tokens.some(({ state }) => state !== 'ready'); tries++) {
      assert.ok(tries < 200, 'it waits for a PIN that was given')
      await wait(50)
    }
  })

  test('is found in its file once it is there, without a new start', async () => {
    await using under = await fixture()
    const pins: string[] = []
    const store = under.open({ pin: () => (pins[0] === undefined ? undefined : secret(utf8(pins[0]))) })
    await assert.rejects(store.generate('k1', 'ecdsa-p256'), { reason: 'tokenLocked' })
    pins.push(PIN)
    await Promise.all(['k1', 'k2'].map((label) => store.generate(label, 'ecdsa-p256')))
  })

  test('an authority opens with its key while the store is locked: only signing waits', async () => {
    await using under = await fixture()
    const made = await under.open().generate('k1', 'ecdsa-p256')
    const locked = await under.open({ pin: () => undefined }).open('k1')
    assert.deepEqual(locked.publicKey, made.publicKey)
    await assert.rejects(locked.sign(message, 'ecdsa-sha256'), { code: 'unavailable', reason: 'tokenLocked' })
  })

  test('is not in what can be printed', async () => {
    await using under = await fixture()
    const store = under.open({ pin: () => undefined })
    const refusal = await refusalOf(store.unlock(secret(utf8('97539753'))))
    const { inspect } = await import('node:util')
    assert.doesNotMatch(inspect([refusal, store, await store.state()], { depth: 20, showHidden: true }), /97539753/)
  })
})

describe('a token that goes', { skip: tools.skip }, () => {
  test('signing is unavailable while it is away, says when to ask again, and goes on when it is back', async () => {
    await using under = await fixture()
    const store = under.open()
    const signer = await store.generate('k1', 'ecdsa-p256')
    under.hsm.remove()
    const refusals: TrustError[] = []
    for (let i = 0; i < 20; i++) refusals.push(await refusalOf(signer.sign(message, 'ecdsa-sha256')))
    for (const refusal of refusals) {
      assert.equal(refusal.code, 'unavailable', refusal.message)
      assert.ok((refusal.retryAfterSeconds ?? 0) >= 1, refusal.message)
    }
    assert.equal((await store.state()).state, 'gone')
    assert.deepEqual((await store.list()).length, 1, 'what there is, is known without the token')
    under.hsm.restore()
    await signsAgain(signer)
    assert.equal((await store.state()).state, 'ready')
  })

  test('its worker is killed in the middle of signing: those in flight fail, nothing else does', async () => {
    await using under = await fixture(['one', 'two'])
    const first = under.open({ id: 'first', tokens: [{ label: 'one' }] })
    const second = under.open({ id: 'second', tokens: [{ label: 'two' }] })
    const signer = await first.generate('k1', 'rsa-3072')
    const other = await second.generate('k1', 'rsa-2048')
    const [victim] = await workersOf(under.hsm)
    const jobs = Array.from({ length: 200 }, () => signer.sign(message, 'rsa-sha256'))
    const others = Array.from({ length: 50 }, () => other.sign(message, 'rsa-sha256'))
    await wait(20)
    process.kill(victim as number, 'SIGKILL')
    const results = await Promise.allSettled(jobs)
    const failed = results.filter((result) => result.status === 'rejected')
    assert.ok(failed.length > 0, 'the kill came too late to be seen')
    for (const { reason } of failed) {
      assert.equal((reason as TrustError).code, 'unavailable')
      assert.ok(((reason as TrustError).retryAfterSeconds ?? 0) >= 1)
    }
    for (const result of results) if (result.status === 'fulfilled') assert.ok(verifies(signer, message, result.value))
    for (const signature of await Promise.all(others)) assert.ok(verifies(other, message, signature))
    for (let tries = 0; ; tries++) {
      const again = await signer.sign(message, 'rsa-sha256').catch(() => undefined)
      if (again !== undefined) break
      assert.ok(tries < 200)
      await wait(50)
    }
  })

  test('R22: of two tokens with one key, one is taken away under load: no signature is lost, none is wrong', async () => {
    await using under = await fixture(['one', 'two'])
    await importKey(under.hsm, ['one', 'two'], 'k1')
    const store = under.open()
    const signer = await store.open('k1')
    assert.equal((await store.state()).tokens.filter(({ state }) => state === 'ready').length, 2)
    let taken = 0
    let made = 0
    let running = true
    const clients = Array.from({ length: 8 }, async (_, client) => {
      while (running) {
        const text = utf8(`${client} ${made++}`)
        assert.ok(verifies(signer, text, await signer.sign(text, 'ecdsa-sha256')))
      }
    })
    for (const index of [0, 1, 0]) {
      await wait(250)
      under.hsm.removeOne(index)
      taken++
      for (let tries = 0; (await store.state()).tokens[index]?.state === 'ready'; tries++) {
        assert.ok(tries < 200, 'its absence is not noticed')
        await wait(20)
      }
      await wait(100)
      under.hsm.restoreOne(index)
      for (let tries = 0; (await store.state()).tokens[index]?.state !== 'ready'; tries++) {
        assert.ok(tries < 200, 'its return is not noticed')
        await wait(20)
      }
    }
    running = false
    await Promise.all(clients)
    assert.equal(taken, 3)
    assert.ok(made > 100)
  })

  test('a key is not destroyed while a token that may hold it is away', async () => {
    await using under = await fixture(['one', 'two'])
    await importKey(under.hsm, ['one', 'two'], 'k1')
    const store = under.open()
    const signer = await store.open('k1')
    await store.state()
    under.hsm.removeOne(1)
    const elsewhere = under.open()
    await assert.rejects(elsewhere.destroy('k1'), { code: 'unavailable' })
    await signsAgain(signer)
    under.hsm.restoreOne(1)
    await under.open().destroy('k1')
    await assert.rejects(under.open().open('k1'), { code: 'notFound' })
    await assert.rejects(signer.sign(message, 'ecdsa-sha256'), { code: 'notFound' })
  })

  test('a copy that is another key is never signed with', async () => {
    await using under = await fixture(['one', 'two'])
    await importKey(under.hsm, ['one'], 'k1')
    const signer = await under.open({ tokens: [{ label: 'one' }] }).open('k1')
    await importKey(under.hsm, ['two'], 'k1')
    const store = under.open()
    const both = await store.open('k1')
    await store.state()
    for (let i = 0; i < 20; i++) assert.ok(verifies(signer, message, await both.sign(message, 'ecdsa-sha256')))
    const wrong = await under.open({ tokens: [{ label: 'two' }] }).open('k1')
    await assert.rejects(wrong.sign(message, 'ecdsa-sha256'), { code: 'unavailable', reason: 'tokenKeyOther' })
  })
})

/** Process ids of token workers that serve these tokens. */
async function workersOf(hsm: SoftHSM): Promise<readonly number[]> {
  const { stdout } = await run('ps', ['-eo', 'pid=,args='])
  const ours = stdout.split('\n').filter((line) => line.includes('keys/pkcs11/main.ts'))
  return ours.map((line) => Number.parseInt(line, 10)).filter((id) => environmentOf(id).includes(hsm.directory))
}

function environmentOf(id: number): string {
  try {
    return readFileSync(`/proc/${id}/environ`, 'utf8')
  } catch {
    return ''
  }
}

describe('a library that lies', { skip: compiler.skip }, () => {
  interface Liar extends Fixture {
    order(word: string): void
    logins(): readonly string[]
  }

  async function liar(): Promise<Liar> {
    const under = await fixture()
    const at = (name: string): string => join(under.hsm.directory, name)
    const source = join(import.meta.dirname, 'testdata', 'lying-token.c')
    await run(compiler.path('gcc'), ['-shared', '-fPIC', '-O1', '-o', at('lying.so'), source, '-ldl'])
    const environment = {
      ...under.hsm.environment,
      LYING_TOKEN_LIBRARY: under.hsm.library,
      LYING_TOKEN_ORDERS: at('orders'),
      LYING_TOKEN_LOGINS: at('logins'),
    }
    writeFileSync(at('logins'), '')
    return {
      ...under,
      open: (options = {}) => under.open({ module: at('lying.so'), environment, ...options }),
      order: (word) => writeFileSync(at('orders'), word),
      logins: () => readFileSync(at('logins'), 'utf8').split('\n').slice(0, -1),
    }
  }

  const lies = [
    { word: 'wrong', reason: 'tokenSignatureWrong' },
    { word: 'short', reason: 'tokenSignatureWrong' },
    { word: 'long', reason: 'tokenGone' },
    { word: 'crash', reason: 'tokenGone' },
    { word: 'gone', reason: 'tokenGone' },
    { word: 'no-mechanism', reason: 'tokenMechanism' },
  ]
  for (const { word, reason } of lies) {
    test(`${word}: signing is unavailable, and works again when the library does`, async () => {
      await using under = await liar()
      await under.open().generate('k1', 'ecdsa-p256')
      const signer = await under.open().open('k1')
      under.order(word)
      const refusal = await refusalOf(signer.sign(message, 'ecdsa-sha256'))
      assert.equal(refusal.code, 'unavailable')
      assert.equal(refusal.reason, reason, refusal.message)
      under.order('')
      await signsAgain(signer)
    })
  }

  test('a key whose first signature is wrong is not made', async () => {
    await using under = await liar()
    const store = under.open()
    await store.state()
    under.order('wrong')
    await assert.rejects(store.generate('k1', 'ecdsa-p256'), { code: 'unavailable', reason: 'tokenSignatureWrong' })
    assert.deepEqual(await store.list(), [])
  })

  test('every RSA signature is verified: one that turns wrong later does not get out', async () => {
    await using under = await liar()
    const signer = await under.open().generate('k1', 'rsa-2048')
    await signer.sign(message, 'rsa-sha256')
    under.order('wrong')
    await assert.rejects(signer.sign(message, 'rsa-sha256'), { code: 'unavailable', reason: 'tokenSignatureWrong' })
  })

  test('so is every signature where that is set', async () => {
    await using under = await liar()
    const signer = await under.open({ checkEverySignature: true }).generate('k1', 'ecdsa-p256')
    await signer.sign(message, 'ecdsa-sha256')
    under.order('wrong')
    await assert.rejects(signer.sign(message, 'ecdsa-sha256'), { code: 'unavailable', reason: 'tokenSignatureWrong' })
  })

  test('a crash in the middle fails those in flight, and this process goes on', async () => {
    await using under = await liar()
    const signer = await under.open().generate('k1', 'ecdsa-p256')
    const jobs = Array.from({ length: 100 }, () => signer.sign(message, 'ecdsa-sha256'))
    under.order('crash')
    for (const result of await Promise.allSettled([...jobs, signer.sign(message, 'ecdsa-sha256')])) {
      if (result.status === 'fulfilled') assert.ok(verifies(signer, message, result.value))
      else assert.equal((result.reason as TrustError).code, 'unavailable')
    }
    under.order('')
    await signsAgain(signer)
  })

  test('a library that hangs does not stop the event loop, nor closing', async () => {
    await using under = await liar()
    const store = under.open()
    const signer = await store.generate('k1', 'ecdsa-p256')
    under.order('hang')
    const hanging = refusalOf(signer.sign(message, 'ecdsa-sha256'))
    let turns = 0
    for (; turns < 20; turns++) await wait(5)
    assert.equal(turns, 20)
    await store.close()
    assert.equal((await hanging).code, 'unavailable')
  })

  test('R22: a wrong PIN is tried once, however often a signature is asked for, and however many processes start', async () => {
    await using under = await liar()
    await under.open().generate('k1', 'ecdsa-p256')
    assert.deepEqual(under.logins(), ['0x0'])
    const wrong = { pin: () => secret(utf8('97539753')) }
    for (let process = 0; process < 3; process++) {
      const store = under.open(wrong)
      const signer = await store.open('k1')
      for (let i = 0; i < 5; i++)
        await assert.rejects(signer.sign(message, 'ecdsa-sha256'), { code: 'unavailable', reason: 'tokenPinWrong' })
      assert.equal((await store.state()).state, 'pinWrong')
    }
    assert.deepEqual(under.logins(), ['0x0', '0xa0'])
    const store = under.open(wrong)
    await store.state()
    await assert.rejects(store.unlock(secret(utf8('11112222'))), { code: 'forbidden', reason: 'tokenPinRefused' })
    await store.unlock(secret(utf8(PIN)))
    assert.deepEqual(under.logins(), ['0x0', '0xa0', '0xa0', '0x0'])
    await signsAgain(await store.open('k1'))
  })
})

test('frames arrive whole, however they were cut', () => {
  const frames = fc.array(fc.record({ id: fc.nat(), kind: fc.nat(255), body: fc.uint8Array({ maxLength: 200 }) }), {
    minLength: 1,
    maxLength: 20,
  })
  fc.assert(
    fc.property(frames, fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1 }), (sent, cuts) => {
      const taken: ReadFrame[] = []
      const read = frameReader(1000, (frame) => taken.push(frame))
      const octets = Buffer.concat(sent.map(encodeFrame))
      for (let at = 0, i = 0; at < octets.length; i++) {
        const size = cuts[i % cuts.length] as number
        read(octets.subarray(at, at + size))
        at += size
      }
      assert.deepEqual(
        taken.map(({ id, kind, body }) => ({ id, kind, body: new Uint8Array(body) })),
        sent.map(({ id, kind, body }) => ({ id, kind, body })),
      )
    }),
  )
})

test('a frame that is too long is refused before it is collected', () => {
  const read = frameReader(100, () => {})
  assert.throws(() => read(encodeFrame({ id: 1, kind: 1, body: new Uint8Array(101) }).subarray(0, 9)), RangeError)
})
