/** `sealworks serve`. @module */
import { once } from 'node:events'
import { createLog } from '#base/log.ts'
import { formatAddress } from '../address.ts'
import { command } from '../command.ts'
import { installationOptions, openConfiguration } from '../installation.ts'

export const commands = [
  command({
    noun: 'serve',
    summary: 'Run the server',
    details:
      'Writes its log to standard error, one JSON object a line. SIGTERM or SIGINT lets it finish what is under way and end.',
    example: 'sealworks serve --data ./data',
    options: installationOptions,
    stopsItself: true,
    async run(context, where) {
      const { serve } = await import('#server/serve.ts')
      const configuration = await openConfiguration(context, where)
      const { world } = context
      const write = (line: string): void => void process.stderr.write(line)
      const log = createLog({ level: configuration.config.log.level, clock: world.clock, write })
      const { addresses, stop } = await serve({ ...configuration, log })
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
