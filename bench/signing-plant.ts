/**
 * A server with a signer, and what the command line needs to use it.
 *
 * @module
 */
import { spawn } from 'node:child_process'
import { hash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openAccess } from '#access/access.ts'
import { silentLog } from '#base/log.ts'
import { openApprovalsFor, openCA, openClock, openFoundation, openSigningFor } from '#server/compose.ts'
import { makeCertificate, makeKey } from '#x509/testing.ts'
import { configure, makePlant, world } from './plant.ts'
import { startSealworks } from './server.ts'

const ACTOR = 'person:bench'
const SIGNER = 'artifacts'
export const SEALWORKS = fileURLToPath(new URL('../bin/sealworks', import.meta.url))

export interface SigningPlant extends AsyncDisposable {
  /** @returns the path of a file in the plant's folder, written when there is content */
  inPlant(name: string, content?: Uint8Array | string): string
  /** Where the command line finds the server. */
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Of `sealworks sign`. */
  words(artifact: string, format: string, out: string, options?: readonly string[]): readonly string[]
}

export async function makeSigning(formats: readonly string[]): Promise<SigningPlant> {
  const plant = await makePlant()
  const token = await makeSigner(plant.dataDirectory, formats)
  const server = await startSealworks(plant.dataDirectory)
  const inPlant = (name: string, content?: Uint8Array | string): string => {
    const path = join(plant.directory, name)
    if (content !== undefined) writeFileSync(path, content, { mode: 0o600 })
    return path
  }
  return {
    inPlant,
    environment: {
      ...process.env,
      SEALWORKS_SERVER: `https://localhost:${server.tlsPort}`,
      SEALWORKS_TRUST: inPlant('tls.pem', plant.tlsRoot),
      SEALWORKS_TOKEN_FILE: inPlant('token', token),
    },
    words: (artifact, format, out, options = []) => [
      ...['sign', artifact, '--signer', SIGNER, '--format', format, '--out', out, '--force', ...options],
    ],
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]()
      plant[Symbol.dispose]()
    },
  }
}

/** @returns seconds and the most memory that it had, in octets; Linux only */
export async function runWatched(
  program: string,
  words: readonly string[],
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Promise<{ readonly seconds: number; readonly memoryPeak: number }> {
  const begun = performance.now()
  const child = spawn(program, words, { env: environment, stdio: ['ignore', 'ignore', 'inherit'] })
  let memoryPeak = 0
  const look = setInterval(() => {
    try {
      const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1]
      memoryPeak = Math.max(memoryPeak, Number(kilobytes ?? 0) * 1024)
    } catch {
      // it has just ended
    }
  }, 10)
  const code = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve))
  clearInterval(look)
  if (code !== 0) throw new Error(`${program} ${words.join(' ')} ended with ${code}`)
  return { seconds: (performance.now() - begun) / 1000, memoryPeak }
}

/** Octets that no file system packs. */
export function filler(length: number): Uint8Array {
  const octets = Buffer.alloc(length)
  for (let at = 0; at < octets.length; at += 64)
    octets.set(hash('sha512', String(at), 'buffer').subarray(0, octets.length - at), at)
  return octets
}

export async function secondsOf(work: () => void | Promise<void>): Promise<number> {
  const begun = performance.now()
  await work()
  return (performance.now() - begun) / 1000
}

/** @returns the token of a service that may use it */
async function makeSigner(dataDirectory: string, formats: readonly string[]): Promise<string> {
  const config = configure(dataDirectory)
  const foundation = await openFoundation({ config, world, environment: {} })
  try {
    const { db, audit, organizationId } = foundation
    const ca = await openCA(foundation, config)
    const access = openAccess({ database: db, world, audit, organizationId })
    const { id } = await access.createPrincipal({ kind: 'service', name: 'CI', roles: ['service'] }, ACTOR)
    const { token } = await access.createToken(id, { name: 'bench', lifetimeSeconds: 3600 }, ACTOR)
    const { publicKey } = await foundation.keys.generate(SIGNER, 'rsa-3072')
    const chain = [await makeCertificate(makeKey(), { subjectPublicKeyInfo: publicKey })]
    const { signers } = openSigningFor(foundation, ca, openApprovalsFor(foundation), openClock(config, world, silentLog))
    const users = { roles: ['service'], people: [] }
    await signers.create({ name: SIGNER, key: { label: SIGNER, chain }, formats, users, priority: 'normal' }, ACTOR)
    return new TextDecoder().decode(token.reveal('bench'))
  } finally {
    await foundation.keys.close()
    await foundation.db.close()
  }
}
