/**
 * Runs a witness in this process, until it is asked to end.
 *
 * @module
 */
import { once } from 'node:events'
import { parseVerifierKey } from '#audit/note-key.ts'
import { witness } from '#audit/witness.ts'
import { serveWitness } from '#audit/witness-server.ts'
import { createWitness, openWitness, type WitnessAlgorithm } from '#audit/witness-state.ts'
import { asTrustError, TrustError } from '#base/errors.ts'
import { parseAddress } from '#config/setting.ts'
import { lockDirectory } from '#store/directory-lock.ts'
import { formatAddress } from './address.ts'
import type { Answer, Context } from './command.ts'
import { UsageError } from './usage.ts'

export interface WitnessValues {
  readonly directory: string
  /** The name of a witness to make. */
  readonly create: string | undefined
  /** Of the key that is made. */
  readonly algorithm: WitnessAlgorithm | undefined
  readonly logs: readonly string[]
  readonly listen: string | undefined
}

const LISTEN_DEFAULT = '127.0.0.1:8090'

export async function runWitness(
  context: Context,
  { directory, create, algorithm, logs, listen }: WitnessValues,
): Promise<Answer> {
  const address = parseAddress(listen ?? LISTEN_DEFAULT)
  if (address === undefined) throw new UsageError('--listen must be HOST:PORT or [IPV6]:PORT.')
  if (create !== undefined) createWitness(directory, create, algorithm)
  const { name, verifierKey } = openWitness(directory)
  const keys = logs.map((log) => {
    const key = parseVerifierKey(log)
    if (key.kind !== 'log') throw new TrustError('malformed', 'verifierKey')
    return key
  })
  const made = { name, verifierKey }
  if (keys.length === 0) return { value: made, text: `${verifierKey}\n` }
  // two processes on one record could each vouch for another log
  const lock = lockDirectory(directory, 'sealworks audit witness')
  try {
    const home = openWitness(directory) // again: what another process saw until we had the lock counts
    const server = await serveWitness({
      witness: witness({ ...home, logs: keys, clock: context.world.clock }),
      ...address,
      onError: (error) => context.say(asTrustError(error).message),
    })
    const url = `http://${formatAddress({ ...address, port: server.port })}`
    const ended = async (): Promise<void> => {
      if (!context.signal.aborted) await once(context.signal, 'abort')
      await server.stop()
      lock.release()
    }
    const value = { ...made, url, logs: keys.map(({ name }) => name) }
    return { value, text: `${url}  witness ${name}\n${verifierKey}\n`, until: ended() }
  } catch (error) {
    lock.release()
    throw error
  }
}
