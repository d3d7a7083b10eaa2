/**
 * The trial factory as its user runs it, from outside: started, watched, broken, stopped.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, before, describe, test } from 'node:test'
import { needs } from '../../test/interop/programs.ts'

const PROGRAM = join(import.meta.dirname, 'main.ts')
const USUAL_PORTS = [8443, 8080, 8883] as const
const has = (program: string): boolean => spawnSync('which', [program]).status === 0

interface Trial {
  readonly child: ChildProcess
  readonly ended: Promise<{ readonly code: number | null; readonly text: string }>
  /** Resolves once its output has the text. */
  seen(text: string): Promise<void>
  text(): string
}

function start(directory: string, ...words: readonly string[]): Trial {
  const child = spawn(process.execPath, [PROGRAM, ...words], { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] })
  let text = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, text }))
  const seen = async (wanted: string): Promise<void> => {
    while (!text.includes(wanted)) {
      const end = await Promise.race([once(child.stdout, 'data').then(() => undefined), ended])
      assert.ok(end === undefined || text.includes(wanted), `it ended before it said "${wanted}":\n${text}`)
    }
  }
  return { child, ended, seen, text: () => text }
}

function newDirectory(t: { after(work: () => void): void }): string {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks trial '))
  t.after(() => rmSync(directory, { recursive: true }))
  return directory
}

describe('a first start, and a second', () => {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks trial '))
  const trial = join(directory, '.sealworks', 'trial')
  const holders: Server[] = []
  let first: Awaited<Trial['ended']>

  before(async () => {
    // The usual ports are taken, by us if not by somebody else.
    for (const port of USUAL_PORTS) {
      const server = createServer()
      const listening = await new Promise<boolean>((resolve) => {
        server.once('error', () => resolve(false))
        server.listen(port, '127.0.0.1', () => resolve(true))
      })
      if (listening) holders.push(server)
    }
    first = await start(directory, '--exit').ended
  })
  after(() => {
    for (const server of holders) server.close()
    rmSync(directory, { recursive: true })
  })

  test('the story ends well, in plain text, on ports that were free (R28)', () => {
    assert.equal(first.code, 0, first.text)
    assert.doesNotMatch(first.text, /[\u001b\r✗]/)
    assert.match(first.text, /\d+ steps, all as they should be/)
    const ports = portsIn(first.text)
    for (const port of USUAL_PORTS) assert.ok(!ports.includes(port), `${port} was taken`)
  })

  test('it issues what it says (R1, R2)', () => {
    assert.match(first.text, /^ {2}birth certificates +200 /m)
    assert.match(first.text, /^ {2}owner’s certificates +200 /m)
    assert.match(first.text, /^ {2}renewals +21 /m)
    assert.match(first.text, /^ {2}certificates revoked +2$/m)
  })

  test('each cheat has its own refusal', () => {
    const refusals = [...first.text.matchAll(/refused: (\d{3} \w+)/g)].map(([, refusal]) => refusal)
    assert.deepEqual(refusals, [
      '403 secretUsed',
      '403 quotaUsedUp',
      '403 keyOfAnotherProduct',
      '409 productHasAnotherKey',
      '403 productSerialNotListed',
      '403 foreignProductSerial',
      '401 noCredentials',
      '403 certificateRevoked',
      '403 certificateRevoked',
      '403 deviceNotClaimed',
      '403 certificateRevoked',
    ])
  })

  const tools = needs('softhsm2-util')
  test('openssl is asked where it is, the links of rekeyed authorities included (R3)', () => {
    const isHere = spawnSync('openssl', ['version']).status === 0
    const [checks] = /^ {2}checks by openssl +\d+$/m.exec(first.text) ?? []
    const expected = tools.skip === false ? / 11$/ : / 10$/ // one more for what the token signed
    assert.match(checks ?? first.text, isHere ? expected : /no: install openssl/)
  })

  test('a device lives through two owners and two areas, and its chain says so with no server (R2, R6)', () => {
    assert.match(first.text, /It enrolls at its second owner .*by the certificate that it was born with/)
    assert.match(first.text, /is it genuine\? .*genuine; and one with the same label and another key: unknown/)
    assert.match(first.text, /verify-chain, with no server .*2 entries: Example Works owns it; cut short: ownershipStale/)
  })

  test('where SoftHSM is, a key stays in a token of the trial’s own, and pkcs11-tool sees it there (R10)', (t) => {
    if (!has('softhsm2-util')) {
      assert.match(first.text, /install softhsm2/)
      assert.match(first.text, /\d could not be played on this machine/)
      return t.skip(tools.skip || tools.path('softhsm2-util')) // the path of what is not there throws: in CI nothing is skipped
    }
    assert.match(first.text, /Before the PIN, the token signs nothing.*refused: tokenLocked/)
    assert.match(first.text, /^ {2}certificates signed in a token +20 /m)
    assert.match(first.text, has('pkcs11-tool') ? /finds this very key.*public key [0-9a-f]{12}/ : /install opensc/)
    assert.equal(readdirSync(join(trial, 'token', 'tokens')).length, 1)
    assert.equal(statSync(join(trial, 'token', 'pin')).mode & 0o777, 0o600)
    const pin = readFileSync(join(trial, 'token', 'pin'), 'utf8')
    for (const name of ['sealworks.toml', 'server.log']) assert.ok(!readFileSync(join(trial, name), 'utf8').includes(pin), name)
  })

  test('a branch is post-quantum from its root to the device and on the wire (R31)', () => {
    assert.match(first.text, /moves to it with an ML-DSA-65 key.*L1-0001: 5,\d{3} octets/)
    assert.match(first.text, /^ {2}checks of ML-DSA signatures +2$/m)
    assert.match(first.text, /TLS is hybrid.*X25519MLKEM768/)
  })

  test('firmware and a script are signed, verified by the maker’s root alone, and not with one bit turned (R9, R28)', () => {
    assert.match(first.text, /8 MB of firmware stay here.*\d{4} octets of CMS with a time stamp/)
    assert.match(first.text, /a script goes there.*a job signs it/)
    assert.match(first.text, /one bit turned.*valid by the maker’s root alone; and not valid/)
    if (spawnSync('openssl', ['version']).status !== 0) return
    assert.match(first.text, /openssl cms.*successful; and failure/)
    assert.match(first.text, /openssl ts.*Verification: OK/)
  })

  test('two models are updated over the air, in waves, and what is not for a machine is refused (R11, R12)', () => {
    assert.match(first.text, /two have not approved.*refused: releaseState; one approver is not enough; two are/)
    assert.match(first.text, /one drill first.*counted once its signed report says so, and not before/)
    assert.match(first.text, /other drills follow.*4 of 4 run 1\.1\.0/)
    assert.match(first.text, has('swupdate') && has('cpio') ? /The press is updated.*by SWUpdate/ : /install swupdate and cpio/)
    const refusals = [...first.text.matchAll(/refused: (update\w+)/g)].map(([, reason]) => reason)
    const wrong = ['updateOtherModel', 'updateOtherRevision', 'updateNotNewer', 'updateImage']
    assert.deepEqual(refusals, ['updateArtifactOther', ...wrong])
    assert.match(first.text, /^ {2}machines updated +5$/m)
    assert.match(first.text, /^ {2}wrong updates refused +5$/m)
  })

  test('a feature is licensed to one machine, and its twin has nothing of it (R13)', () => {
    assert.match(first.text, /looks at it offline.*licensed; no server was asked/)
    assert.match(first.text, /Its twin is given a copy.*refused: licenseOtherDevice/)
  })

  test('two agree to an order, the machine obeys it once, and not again when it is replayed (R14)', () => {
    assert.match(first.text, /One agrees, twice.*refused: commandSigned; with the second it is challenging/)
    assert.match(first.text, /what it signed.*done: “the valve is open”; ordered and agreed by 3/)
    assert.match(first.text, /sends it again.*the machine knows it, and does nothing/)
  })

  test('what a machine counted is billed, and a counter that was set back is found (R32)', () => {
    assert.match(first.text, /the bill .*2 lines of CSV/)
    assert.match(first.text, /sets the counter back.*refused, and alarm: set-back/)
  })

  test('machines talk by their certificates, until these are revoked (R7, R33)', () => {
    assert.match(first.text, /tells how warm it is.*iiot\/example-plant\/shop\/D1-0003\/up\/heat/)
    assert.match(
      first.text,
      has('mosquitto_pub') ? /mosquitto_pub.*its own topic is taken, another’s is not/ : /install mosquitto-clients/,
    )
    assert.match(first.text, /certificate is revoked.*its session was cut \d+ ms later, and it is not let in again/)
  })

  test('a witness has seen the theft, and its proof holds offline, a forged one does not (R28)', () => {
    assert.match(first.text, /audit check: the revocation, offline.*entry \d+ of \d+/)
    assert.match(first.text, /another reason in it.*refused: auditProofWrong/)
  })

  test('the directory and the token are for their owner only', () => {
    assert.equal(statSync(trial).mode & 0o777, 0o700)
    assert.equal(statSync(join(trial, 'administrator.token')).mode & 0o777, 0o600)
  })

  test('the second goes on with a new line on the same authorities and ports, stays up, signs its user in, and lets no third one in', async (t) => {
    const second = start(directory)
    t.after(() => second.child.kill('SIGTERM'))
    await second.seen('/sign-in?code=')
    await second.seen('\n')
    const text = second.text()
    assert.match(text, /station of line 2\b/)
    assert.match(text, /L2-0001 to L2-0200/)
    assert.match(text, /4 of 4 run 2\.1\.0/)
    assert.match(text, /version 2: the operator orders/)
    const wasThere = [...text.matchAll(/✓ (.*?) {2,}.*(?:the same(?: key)? as last time|done at an earlier start)/g)]
    const titles = new Set(wasThere.map(([, title]) => title))
    const hasToken = existsSync(join(trial, 'token'))
    for (const title of [
      'The maker’s root, and its birth authority',
      'The owner’s root, and its plant authority',
      'A root and an authority with ML-DSA-65',
      'The owner’s root and authority are rekeyed',
      'Who may say who orders machines about',
      'Two models, a shop, and who signs for them',
      ...(hasToken ? ['A token for keys is made ready (SoftHSM)', 'An authority with its key in the token'] : []),
    ])
      assert.ok(titles.has(title), title)
    // What was issued before names these addresses.
    assert.deepEqual(portsIn(text), portsIn(first.text))

    const url = new URL(/https:\S+\/sign-in\?code=\S+/.exec(text)?.[0] ?? '')
    assert.ok(text.trimEnd().endsWith(url.href), 'the link is the last thing said')
    const ca = readFileSync(join(trial, 'tls-root.pem'), 'utf8')
    const signIn = await exchange(url, ca, 'POST', `code=${url.searchParams.get('code')}`)
    assert.equal(signIn.status, 303)
    const cookie = signIn.cookie?.split(';')[0] ?? ''
    const page = await exchange(new URL('/', url), ca, 'GET', '', { cookie })
    assert.equal(page.status, 200)
    assert.match(page.body, /Trial factory/)
    assert.match(page.body, /Trial administrator/)

    const server = serverOf(directory)
    const other = await start(directory, '--exit').ended
    assert.equal(other.code, 1)
    assert.match(other.text, /✗ A witness of the record starts\n.*in use by sealworks audit witness \(process \d+\)/)
    process.kill(server, 0)

    second.child.kill('SIGTERM')
    assert.equal((await second.ended).code, 0)
    await assert.rejects(exchange(new URL('/', url), ca, 'GET', ''), { code: 'ECONNREFUSED' })
  })
})

describe('a trial that is disturbed', () => {
  // one directory for all: what each leaves is where the next goes on
  const directory = mkdtempSync(join(tmpdir(), 'sealworks trial '))
  after(() => rmSync(directory, { recursive: true }))

  test('by its user: it leaves no server behind', async (t) => {
    const one = start(directory)
    t.after(() => one.child.kill('SIGTERM'))
    await one.seen('The administrator appoints')
    const server = serverOf(directory)
    one.child.kill('SIGINT')
    const { code, text } = await one.ended
    assert.equal(code, 130)
    assert.match(text, /Interrupted\./)
    assert.throws(() => process.kill(server, 0), { code: 'ESRCH' })
  })

  test('by a server that is killed: that fails the story', async (t) => {
    const trial = start(directory, '--exit')
    t.after(() => trial.child.kill('SIGTERM'))
    await trial.seen('Devices are born')
    process.kill(serverOf(directory), 'SIGKILL')
    const { code, text } = await trial.ended
    assert.equal(code, 1)
    assert.match(text, /✗ /)
    assert.match(text, /The server ended by itself \(signal SIGKILL\)\./)
    assert.doesNotMatch(text, /all as they should be/)
  })

  test('by an initialization that was broken off: that is told with what to do', async () => {
    rmSync(join(directory, '.sealworks', 'trial', 'tls-root.pem')) // written last
    const { code, text } = await start(directory, '--exit').ended
    assert.equal(code, 1)
    assert.match(text, /remove \.sealworks\/trial and start again/)
  })
})

test('a directory that cannot be made fails the first step', async (t) => {
  const directory = newDirectory(t)
  writeFileSync(join(directory, '.sealworks'), 'in the way')
  const { code, text } = await start(directory, '--exit').ended
  assert.equal(code, 1)
  assert.match(text, /✗ A data directory is made ready\n.*ENOTDIR/)
})

test('an unknown word is wrong usage, and makes nothing', async (t) => {
  const directory = newDirectory(t)
  assert.equal((await start(directory, '--help').ended).code, 0)
  const { code, text } = await start(directory, '--exti').ended
  assert.equal(code, 2)
  assert.match(text, /--exit/)
  assert.equal(existsSync(join(directory, '.sealworks')), false)
})

const portsIn = (text: string): readonly number[] =>
  [...(/The server starts.*/.exec(text)?.[0] ?? '').matchAll(/127\.0\.0\.1:(\d+)/g)].map(([, port]) => Number(port))

/** The process that holds the trial's data directory. */
function serverOf(directory: string): number {
  const file = new DatabaseSync(join(directory, '.sealworks', 'trial', 'lock.db'), { readOnly: true })
  try {
    return Number(file.prepare('SELECT pid FROM holder').get()?.['pid'])
  } finally {
    file.close()
  }
}

interface Reply {
  readonly status: number | undefined
  readonly cookie: string | undefined
  readonly body: string
}

const exchange = (
  url: URL,
  ca: string,
  method: string,
  body: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<Reply> =>
  new Promise((resolve, reject) => {
    const type = { 'content-type': 'application/x-www-form-urlencoded', 'content-length': String(Buffer.byteLength(body)) }
    const sent = request(
      url,
      { method, ca, agent: false, headers: { ...headers, ...(method === 'POST' && type) } },
      (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
        response.on('end', () =>
          resolve({ status: response.statusCode, cookie: response.headers['set-cookie']?.[0], body: text }),
        )
      },
    )
    sent.on('error', reject)
    sent.end(body)
  })
