/**
 * Puts a server under load from a process of its own, so that client and server share nothing but the machine.
 *
 * @module
 */
import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Order, Report } from './http-load.ts'
import type { UnderLoad } from './server.ts'

export interface Load extends Omit<Order, 'requestsFile'> {
  /** Whole HTTP requests. */
  readonly requests: readonly Uint8Array[]
  /** For the files that the generator reads. */
  readonly directory: string
}

export interface Measured extends Report {
  readonly perSecond: number
  /** Processor time of the server for each answer, in µs; undefined where the system does not tell. */
  readonly serverMicroseconds: number | undefined
}

/** @throws Error unless every answer has the status 200 */
export async function load(server: UnderLoad, { requests, directory, ...rest }: Load): Promise<Measured> {
  const requestsFile = join(directory, 'requests.bin')
  writeFileSync(requestsFile, Buffer.concat(requests.flatMap((request) => [lengthOf(request), request])))
  const order: Order = { ...rest, requestsFile }
  const orderFile = join(directory, 'order.json')
  writeFileSync(orderFile, JSON.stringify(order))
  const before = server.cpuSeconds()
  const report = await run(orderFile)
  const after = server.cpuSeconds()
  const others = Object.keys(report.statuses).filter((status) => status !== '200')
  if (others.length > 0) throw new Error(`not every answer was good: ${JSON.stringify(report.statuses)}`)
  const answers = report.answered + rest.warmUp
  return {
    ...report,
    perSecond: report.answered / report.seconds,
    serverMicroseconds: before === undefined || after === undefined ? undefined : ((after - before) / answers) * 1e6,
  }
}

function lengthOf(request: Uint8Array): Uint8Array {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(request.length)
  return length
}

function run(orderFile: string): Promise<Report> {
  const program = fileURLToPath(new URL('http-load.ts', import.meta.url))
  const child = spawn(process.execPath, [program, orderFile], { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  child.stdout.setEncoding('utf8')
  child.stdout.on('data', (chunk: string) => (text += chunk))
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) =>
      code === 0 ? resolve(JSON.parse(text) as Report) : reject(new Error(`the load ended with ${code}`)),
    )
  })
}

export interface PostOptions {
  readonly path: string
  readonly host: string
  readonly contentType: string
  readonly body: Uint8Array | string
  readonly closes?: boolean
}

/** A whole HTTP request as its bytes. */
export function post({ path, host, contentType, body, closes = false }: PostOptions): Uint8Array {
  const fields = [`Host: ${host}`, `Content-Type: ${contentType}`, `Content-Length: ${Buffer.byteLength(body)}`]
  if (closes) fields.push('Connection: close')
  return Buffer.concat([Buffer.from(`POST ${path} HTTP/1.1\r\n${fields.join('\r\n')}\r\n\r\n`), Buffer.from(body)])
}
