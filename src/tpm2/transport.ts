/**
 * Ways to a TPM: the kernel's device, or the socket of a TPM in software. One command at a time, each with a time
 * limit; a TPM that was silent once is not asked again on that connection, since its answer may still come.
 *
 * Source: Linux, `drivers/char/tpm/tpm-dev-common.c` (one write, then reads); swtpm(8) (bare commands and answers on its server socket).
 *
 * @module
 */
import { type FileHandle, open } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { TrustError } from '#base/errors.ts'
import { MESSAGE_MAX_OCTETS } from './wire.ts'

export interface Transport {
  /**
   * @param command whole, with its header
   * @returns the whole answer, as long as its header says
   * @throws TrustError `unavailable` for no answer, `malformed` for what is none; the connection is closed then
   */
  exchange(command: Uint8Array, options: ExchangeOptions): Promise<Uint8Array>
  close(): Promise<void>
}

export interface ExchangeOptions {
  /** For the refusal's sentence. */
  readonly name: string
  readonly limitSeconds: number
}

/** A path of a UNIX socket, or a port. */
export type SocketAddress = { readonly path: string } | { readonly host: string; readonly port: number }

/** Tag, size and code. */
export const HEADER_OCTETS = 10
/** A socket on this machine, or one hop away: longer is no TPM. */
const CONNECT_LIMIT_SECONDS = 5

const unreachable = (place: string, problem: string, cause?: unknown): TrustError =>
  new TrustError('unavailable', 'tpmUnreachable', { facts: { place, problem }, cause })
const silent = (name: string, limitSeconds: number): TrustError =>
  new TrustError('unavailable', 'tpmSilent', { facts: { command: name, seconds: limitSeconds } })
const other = (name: string, detail: string): TrustError =>
  new TrustError('malformed', 'tpmAnswerOther', { facts: { command: name, detail } })
const problemOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? 'no answer'

/**
 * @param path with the kernel's resource manager, so that several programs share the TPM's few slots
 * @throws TrustError `unavailable`
 */
export async function openDevice(path = '/dev/tpmrm0'): Promise<Transport> {
  const file = await open(path, 'r+').catch((cause: unknown) => {
    throw unreachable(path, problemOf(cause), cause)
  })
  let broken = false
  return {
    async exchange(command, { name, limitSeconds }) {
      if (broken) throw unreachable(path, 'it was closed')
      try {
        return await within(limitSeconds, exchangeOverDevice(file, command, name), () => silent(name, limitSeconds))
      } catch (error) {
        broken = true
        void file.close().catch(() => {}) // waits for the read that hangs
        throw error instanceof TrustError ? error : unreachable(path, problemOf(error), error)
      }
    },
    async close() {
      if (!broken) await file.close()
      broken = true
    },
  }
}

async function exchangeOverDevice(file: FileHandle, command: Uint8Array, name: string): Promise<Uint8Array> {
  await file.write(command)
  const buffer = new Uint8Array(MESSAGE_MAX_OCTETS)
  let length = 0
  let size = HEADER_OCTETS
  while (length < size) {
    const { bytesRead } = await file.read(buffer, length, buffer.length - length, null)
    if (bytesRead === 0) throw other(name, 'it is cut short')
    length += bytesRead
    if (length >= HEADER_OCTETS) size = sizeOf(buffer)
    if (size < HEADER_OCTETS || size > MESSAGE_MAX_OCTETS) throw other(name, `it says that it has ${size} octets`)
  }
  if (length > size) throw other(name, 'more octets follow it')
  return buffer.subarray(0, size)
}

async function within<T>(limitSeconds: number, work: Promise<T>, refusal: () => Error): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(refusal()), limitSeconds * 1000)
  try {
    return await Promise.race([work, promise])
  } finally {
    clearTimeout(timer)
    work.catch(() => {}) // may still fail, when nobody waits any more
  }
}

const sizeOf = (answer: Uint8Array): number => new DataView(answer.buffer, answer.byteOffset).getUint32(2)

/** @throws TrustError `unavailable` */
export async function openSocket(address: SocketAddress): Promise<Transport> {
  const place = 'path' in address ? address.path : `${address.host}:${address.port}`
  const socket = await connected(address, place)
  let waiting:
    | { readonly name: string; readonly resolve: (octets: Uint8Array) => void; readonly reject: (error: Error) => void }
    | undefined
  let broken: Error | undefined
  let received = new Uint8Array(0)

  const fail = (error: Error): void => {
    broken ??= error
    socket.destroy()
    const { reject } = waiting ?? {}
    waiting = undefined
    reject?.(error)
  }
  socket.on('data', (chunk: Buffer) => {
    if (waiting === undefined) return fail(unreachable(place, 'it spoke without being asked'))
    const { name, resolve } = waiting
    if (received.length + chunk.length > MESSAGE_MAX_OCTETS)
      return fail(other(name, `it is longer than ${MESSAGE_MAX_OCTETS} octets`))
    const joined = new Uint8Array(received.length + chunk.length)
    joined.set(received)
    joined.set(chunk, received.length)
    received = joined
    if (received.length < HEADER_OCTETS) return
    const size = sizeOf(received)
    if (size < HEADER_OCTETS || size > MESSAGE_MAX_OCTETS) return fail(other(name, `it says that it has ${size} octets`))
    if (received.length < size) return
    if (received.length > size) return fail(other(name, 'more octets follow it'))
    waiting = undefined
    const answer = received
    received = new Uint8Array(0)
    resolve(answer)
  })
  socket.on('error', (error) => fail(unreachable(place, problemOf(error), error)))
  socket.on('close', () => fail(unreachable(place, 'it closed the connection')))

  return {
    async exchange(command, { name, limitSeconds }) {
      if (broken !== undefined) throw unreachable(place, 'the connection is closed', broken)
      if (waiting !== undefined) throw new TypeError('a TPM takes one command at a time')
      const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>()
      waiting = { name, resolve, reject }
      const timer = setTimeout(() => fail(silent(name, limitSeconds)), limitSeconds * 1000)
      socket.write(command)
      try {
        return await promise
      } finally {
        clearTimeout(timer)
      }
    },
    async close() {
      broken ??= unreachable(place, 'it was closed here')
      if (socket.closed) return
      const { promise, resolve } = Promise.withResolvers<void>()
      socket.once('close', () => resolve())
      socket.end()
      socket.destroySoon()
      await promise
    },
  }
}

async function connected(address: SocketAddress, place: string): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const socket = connect('path' in address ? { path: address.path } : { host: address.host, port: address.port, noDelay: true })
  socket.once('connect', () => resolve())
  socket.once('error', reject)
  const timer = setTimeout(() => reject(new Error('no connection')), CONNECT_LIMIT_SECONDS * 1000)
  try {
    await promise
    return socket
  } catch (error) {
    socket.on('error', () => {})
    socket.destroy()
    throw unreachable(place, problemOf(error), error)
  } finally {
    clearTimeout(timer)
    socket.off('error', reject)
  }
}
