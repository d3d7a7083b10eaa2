/**
 * Processes under load: started on a port that is theirs alone, watched for what they use, and ended.
 *
 * @module
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { holderOf } from '#server/port-holder.ts'

const READY_MAX_SECONDS = 30
const LOOK_MILLISECONDS = 5

export interface UnderLoad extends AsyncDisposable {
  readonly process: number
  /** Processor time of the process and its threads so far, user and system; undefined where the system does not tell. */
  cpuSeconds(): number | undefined
  /** Most memory that it had, in octets. */
  memoryPeak(): number | undefined
}

export interface Served extends UnderLoad {
  readonly tlsPort: number
  readonly publicPort: number
  /** From its start to the first good answer of its health page. */
  readonly readySeconds: number
}

/** Our own server as users start it; `NODE_OPTIONS=--cpu-prof` reaches it as it reaches any. */
export async function startSealworks(dataDirectory: string): Promise<Served> {
  const program = fileURLToPath(new URL('../bin/sealworks', import.meta.url))
  const begun = performance.now()
  const child = spawn(program, ['serve', '--data', dataDirectory, '--json', ...workersAsked()], {
    cwd: dataDirectory,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const answer = JSON.parse(await firstObject(child)) as { tls: string; public: string; process: number }
  const publicPort = Number(new URL(answer.public).port)
  while ((await fetch(`${answer.public}/health/ready`)).status !== 200) await wait(LOOK_MILLISECONDS)
  const readySeconds = (performance.now() - begun) / 1000
  checkOwner(answer.process, publicPort)
  return { ...watch(child, answer.process), tlsPort: Number(new URL(answer.tls).port), publicPort, readySeconds }
}

/** `WORKERS=2 npm run bench` measures the server with two threads that take connections. */
function workersAsked(): readonly string[] {
  const { WORKERS } = process.env
  return WORKERS === undefined ? [] : ['--workers', WORKERS]
}

/** A program of others that listens on a port of our choice. Linux only, see `port-holder.ts`. */
export async function startOther(
  program: string,
  argumentsFor: (port: number) => readonly string[],
  cwd: string,
): Promise<UnderLoad & { readonly port: number }> {
  const port = await freePort()
  const child = spawn(program, argumentsFor(port), { cwd, stdio: 'ignore' })
  const id = child.pid
  if (id === undefined) throw new Error(`${program} did not start`)
  // Looked up and not tried: openssl's responder waits for ever for a connection that was opened and closed.
  for (let waited = 0; holderOf(port) === undefined; waited += LOOK_MILLISECONDS) {
    if (child.exitCode !== null || waited > READY_MAX_SECONDS * 1000)
      throw new Error(`${program} does not listen on port ${port}`)
    await wait(LOOK_MILLISECONDS)
  }
  checkOwner(id, port)
  return { ...watch(child, id), port }
}

function watch(child: ChildProcess, id: number): UnderLoad {
  return {
    process: id,
    cpuSeconds: () => {
      const stat = readProcess(id, 'stat')
      if (stat === undefined) return undefined
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS
    },
    memoryPeak: () => {
      const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(readProcess(id, 'status') ?? '')?.[1]
      return kilobytes === undefined ? undefined : Number(kilobytes) * 1024
    },
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null || child.signalCode !== null) return
      child.kill('SIGTERM')
      await once(child, 'exit')
    },
  }
}

/** USER_HZ: 100 on every Linux that runs Node. */
const CLOCK_TICKS = 100

function readProcess(id: number, name: string): string | undefined {
  try {
    return readFileSync(`/proc/${id}/${name}`, 'utf8')
  } catch {
    return undefined
  }
}

async function firstObject(child: ChildProcess): Promise<string> {
  let text = ''
  child.stdout?.setEncoding('utf8')
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`the server ended with ${code}`)
  })
  const reading = (async () => {
    for await (const chunk of child.stdout ?? []) {
      text += chunk as string
      if (isWhole(text)) return text
    }
    throw new Error('the server said nothing')
  })()
  return Promise.race([reading, ended])
}

function isWhole(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** A figure of a server that another one answered for would be worth nothing. */
function checkOwner(id: number, port: number): void {
  const holder = holderOf(port)
  if (holder !== undefined && !holder.endsWith(` ${id}`))
    throw new Error(`port ${port} belongs to ${holder} and not to process ${id}`)
}
