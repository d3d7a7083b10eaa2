/**
 * TPMs in software for tests: each in a directory of its own, with endorsement certificates for RSA (template L-1) and
 * P-384 (H-3) from an authority of its own.
 *
 * @module
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { cpSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, type TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import { parsePEM } from '#asn1/pem.ts'
import { systemWorld } from '#base/world.ts'
import { powerOff } from '#tpm2/swtpm.ts'
import { TPM } from '#tpm2/tpm.ts'
import { openSocket, type SocketAddress } from '#tpm2/transport.ts'
import { needs } from './programs.ts'

const run = promisify(execFile)

export const tpmPrograms = needs('swtpm', 'swtpm_setup', 'swtpm_localca', 'certtool')
export const tpmTools = needs('swtpm', 'swtpm_setup', 'swtpm_localca', 'certtool', 'tpm2', 'libtss2-tcti-swtpm')

export interface SoftwareTPM {
  readonly directory: string
  readonly server: SocketAddress
  readonly control: SocketAddress
  /** DER: roots and issuers of its endorsement certificate. */
  readonly anchors: readonly Uint8Array[]
  readonly issuers: readonly Uint8Array[]
  /** Opened and started; closed at the end of the test. */
  open(): Promise<TPM>
  /** Runs a tpm2-tools command in the directory; close our own connection first, since swtpm serves one client. */
  tool(name: string, ...words: readonly string[]): Promise<string>
  file(name: string): string
}

export interface MakeOptions {
  /** TCP instead of UNIX sockets: tpm2-tools need it. */
  readonly tcp?: boolean
  /** Of another maker and with other seeds than the other TPMs of this test file, which are one and the same when they begin. */
  readonly another?: boolean
}

/** Making one takes about a second; a copy of its state is as good as a new one. */
let first: Promise<string> | undefined
const prepared: string[] = []
after(() => {
  for (const directory of prepared) rmSync(directory, { recursive: true, force: true })
})

async function prepare(): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-tpm-'))
  prepared.push(directory)
  const file = (name: string): string => join(directory, name)
  mkdirSync(file('state'))
  mkdirSync(file('ca'))
  writeFileSync(
    file('localca.conf'),
    `statedir = ${file('ca')}\nsigningkey = ${file('ca/signkey.pem')}\nissuercert = ${file('ca/issuercert.pem')}\ncertserial = ${file('ca/certserial')}\n`,
  )
  writeFileSync(file('localca.options'), '--platform-manufacturer Sealworks\n--platform-version 1\n--platform-model Test\n')
  writeFileSync(
    file('setup.conf'),
    `create_certs_tool = ${tpmPrograms.path('swtpm_localca')}\ncreate_certs_tool_config = ${file('localca.conf')}\ncreate_certs_tool_options = ${file('localca.options')}\n`,
  )
  await run(tpmPrograms.path('swtpm_setup'), [
    ...['--tpm2', '--tpm-state', file('state'), '--createek', '--create-ek-cert', '--overwrite', '--pcr-banks', 'sha1,sha256'],
    ...['--config', file('setup.conf'), '--logfile', file('setup.log')],
  ])
  return directory
}

export async function makeTPM(t: TestContext, { tcp = false, another = false }: MakeOptions = {}): Promise<SoftwareTPM> {
  const original = await (another ? prepare() : (first ??= prepare()))
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-tpm-'))
  const file = (name: string): string => join(directory, name)
  cpSync(join(original, 'state'), file('state'), { recursive: true })
  cpSync(join(original, 'ca'), file('ca'), { recursive: true })
  const { server, control, words } = tcp ? await overTCP() : overSockets(directory)
  const child = spawn(
    tpmPrograms.path('swtpm'),
    ['socket', '--tpm2', '--tpmstate', `dir=${file('state')}`, ...words, '--flags', 'not-need-init,startup-clear'],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const opened = new Set<TPM>()
  t.after(async () => {
    for (const tpm of opened) await tpm.close()
    if (child.exitCode === null) await powerOff(control).catch(() => child.kill())
    await ended
    rmSync(directory, { recursive: true, force: true })
  })
  await listening(child, server)

  const certificates = (pattern: string): readonly Uint8Array[] =>
    globSync(pattern, { cwd: file('ca') }).flatMap((name) =>
      parsePEM(readFileSync(join(file('ca'), name), 'latin1')).map(({ der }) => der),
    )
  return {
    directory,
    server,
    control,
    anchors: certificates('*rootca-cert.pem'),
    issuers: certificates('issuercert.pem'),
    file,
    async open() {
      const tpm = new TPM(await openSocket(server), systemWorld().random)
      opened.add(tpm)
      await tpm.startup()
      return tpm
    },
    async tool(name, ...words) {
      if (!('port' in server)) throw new Error('tpm2-tools need TCP')
      const env = { ...process.env, TPM2TOOLS_TCTI: `swtpm:host=127.0.0.1,port=${server.port}`, TSS2_LOG: 'all+NONE' }
      const { stdout } = await run(tpmTools.path('tpm2'), [name, ...words], { cwd: directory, env, timeout: 20_000 })
      return stdout
    },
  }
}

interface Places {
  readonly server: SocketAddress
  readonly control: SocketAddress
  readonly words: readonly string[]
}

function overSockets(directory: string): Places {
  const [server, control] = [{ path: join(directory, 'tpm.sock') }, { path: join(directory, 'control.sock') }]
  return {
    server,
    control,
    words: ['--server', `type=unixio,path=${server.path}`, '--ctrl', `type=unixio,path=${control.path}`],
  }
}

/** The tools expect the control channel at the next port. */
async function overTCP(): Promise<Places> {
  for (let tries = 0; tries < 20; tries++) {
    const port = await freePort(0)
    if (port === undefined || (await freePort(port + 1)) === undefined) continue
    const host = '127.0.0.1'
    return {
      server: { host, port },
      control: { host, port: port + 1 },
      words: ['--server', `type=tcp,port=${port}`, '--ctrl', `type=tcp,port=${port + 1}`],
    }
  }
  throw new Error('no two ports after each other are free')
}

async function freePort(wanted: number): Promise<number | undefined> {
  const server = createServer()
  return new Promise((resolve) => {
    server.once('error', () => resolve(undefined))
    server.listen(wanted, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : undefined))
    })
  })
}

/** Only a connection tells; swtpm serves the next client when this one has left. */
async function listening(child: ChildProcess, server: SocketAddress): Promise<void> {
  let said = ''
  child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()))
  for (let tries = 0; tries < 200; tries++) {
    if (child.exitCode !== null) throw new Error(`swtpm ended: ${said}`)
    try {
      await (await openSocket(server)).close()
      return
    } catch {
      // not yet
    }
    await pause(20)
  }
  throw new Error(`swtpm does not listen: ${said}`)
}
