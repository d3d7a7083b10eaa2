/** `sealworks serve`. @module */
import { once } from 'node:events'
import { TrustError } from '#base/errors.ts'
import { createLog, type Log } from '#base/log.ts'
import { formatAddress } from '../address.ts'
import { type Answer, command, type Context, integer } from '../command.ts'
import { installationOptions, openConfiguration } from '../installation.ts'

export const commands = [
  command({
    noun: 'serve',
    summary: 'Run the server',
    details:
      'Writes its log to standard error, one JSON object a line. SIGTERM or SIGINT lets it finish what is under way and end.',
    example: 'sealworks serve --data ./data',
    options: {
      ...installationOptions,
      workers: integer('N', 0, 64, 'threads that take connections (setting server.workers)'),
    },
    stopsItself: true,
    async run(context, where) {
      const { isInitialized, serve } = await import('#server/serve.ts')
      const configuration = await openConfiguration(context, where)
      const { world } = context
      const write = (line: string): void => void process.stderr.write(line)
      const log = createLog({ level: configuration.config.log.level, clock: world.clock, write })
      if (!isInitialized(configuration.dataDirectory)) return serveNothingYet(context, configuration, log)
      const { addresses, stop } = await serve({ ...withWorkers(configuration, where.workers), log, write })
      const { tls, console } = addresses
      const value = {
        tls: `https://${formatAddress(tls)}`,
        public: `http://${formatAddress(addresses.public)}`,
        console: console === undefined ? null : `https://${formatAddress(console)}`,
        dataDirectory: configuration.dataDirectory,
        process: process.pid,
      }
      const lines = [`${value.tls}  everything`, `${value.public}  CRLs, OCSP, CA certificates`]
      if (value.console !== null) lines.push(`${value.console}  console`)
      const ended = async (): Promise<void> => {
        if (!context.signal.aborted) await once(context.signal, 'abort')
        await stop()
      }
      return { value, text: `${lines.join('\n')}\n`, until: ended() }
    },
  }),
]

type Configuration = Awaited<ReturnType<typeof openConfiguration>>

const withWorkers = (configuration: Configuration, workers: number | undefined): Configuration =>
  workers === undefined
    ? configuration
    : { ...configuration, config: { ...configuration.config, server: { ...configuration.config.server, workers } } }

/** Before `init` (decision 1): loopback, health, and a page that says what to run. */
async function serveNothingYet(
  { world, signal }: Context,
  { config, dataDirectory }: Awaited<ReturnType<typeof openConfiguration>>,
  log: Log,
): Promise<Answer> {
  const { serveUninitialized } = await import('#server/uninitialized.ts')
  const { server } = config
  if (server.listen === undefined) throw new TrustError('unavailable', 'notInitialized')
  const { listener, fingerprint } = await serveUninitialized({ listen: server.listen, limits: server, world, log })
  const value = {
    tls: `https://${formatAddress(listener.address)}`,
    fingerprint,
    dataDirectory,
    process: process.pid,
    initialized: false,
  }
  const lines = [
    `${dataDirectory} is not ready: run "sealworks init" first.`,
    `${value.tls}  says so, with a certificate made in memory:`,
    `  SHA-256 ${fingerprint}`,
  ]
  const ended = async (): Promise<void> => {
    if (!signal.aborted) await once(signal, 'abort')
    await listener.stop()
  }
  return { value, text: `${lines.join('\n')}\n`, until: ended() }
}
