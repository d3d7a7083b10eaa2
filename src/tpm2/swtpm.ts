/**
 * The control channel of a TPM in software: power, which real ones get from their board.
 *
 * Source: swtpm, `man swtpm_ioctl` and its `tpm_ioctl.h` (commands and results are big-endian on sockets).
 *
 * @module
 */
import { once } from 'node:events'
import { connect } from 'node:net'
import { concat } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { uint32 } from './hash.ts'
import type { SocketAddress } from './transport.ts'

const CMD_INIT = 2
const CMD_SHUTDOWN = 3
/** Local, and neither command takes long. */
const LIMIT_SECONDS = 10

/** Power off and on: registers are reset, what is loaded is gone. Startup comes next. @throws TrustError `unavailable` */
export const powerCycle = (control: SocketAddress): Promise<void> => tell(control, concat([uint32(CMD_INIT), uint32(0)]))

/** Ends the program. @throws TrustError `unavailable` */
export const powerOff = (control: SocketAddress): Promise<void> => tell(control, uint32(CMD_SHUTDOWN))

async function tell(control: SocketAddress, command: Uint8Array): Promise<void> {
  const place = 'path' in control ? control.path : `${control.host}:${control.port}`
  const unreachable = (problem: string, cause?: unknown): TrustError =>
    new TrustError('unavailable', 'tpmUnreachable', { facts: { place, problem }, cause })
  const socket = connect('path' in control ? { path: control.path } : { host: control.host, port: control.port })
  try {
    const signal = AbortSignal.timeout(LIMIT_SECONDS * 1000)
    await once(socket, 'connect', { signal })
    socket.write(command)
    const [answer] = (await once(socket, 'data', { signal })) as [Buffer]
    if (answer.length !== 4 || answer.readUInt32BE(0) !== 0) throw unreachable(`it answered ${answer.toString('hex', 0, 8)}`)
  } catch (error) {
    if (error instanceof TrustError) throw error
    throw unreachable((error as NodeJS.ErrnoException).code ?? 'no answer', error)
  } finally {
    socket.on('error', () => {})
    socket.destroy()
  }
}
