/** `sealworks init`: what must never be made twice. @module */
import { resolve } from 'node:path'
import { formatAddress } from '../address.ts'
import { command, required, text } from '../command.ts'
import { checkWritable } from '../files.ts'
import { installationOptions, openConfiguration } from '../installation.ts'

export const commands = [
  command({
    noun: 'init',
    summary: 'Make a data directory ready, once',
    details:
      'Makes the database, the audit log with its key, the key-wrapping key, the TLS root of this installation, and the first person. Certificate authorities come later, by `sealworks ca create`.',
    example: 'sealworks init --data ./data --administrator "Ada Berg" --token-file ./ada.token',
    options: {
      ...installationOptions,
      administrator: required(text('NAME', 'the first person, who makes the others')),
      tokenFile: text('FILE', 'where to write a token for the command line (mode 0600, 90 days)'),
    },
    async run(context, { administrator, tokenFile, ...where }) {
      const { config, dataDirectory, environment, world } = await openConfiguration(context, where)
      if (tokenFile !== undefined) checkWritable(context, tokenFile, false)
      const { initialize } = await import('#server/init.ts')
      const made = await initialize({
        dataDirectory,
        config,
        world,
        environment,
        administrator,
        ...(tokenFile !== undefined && { tokenFile: resolve(context.directory, tokenFile) }),
      })
      const console = config.server.listenConsole ?? config.server.listen
      const origin = console === undefined ? '' : `https://${formatAddress(console)}`
      const value = {
        dataDirectory,
        administratorId: made.administratorId,
        link: `${origin}/sign-in?code=${Buffer.from(made.link.reveal('hand the link to its person')).toString()}`,
        linkExpiresAt: made.linkExpiresAt.toISOString(),
        tlsRootFile: made.tlsRootFile,
        auditVerifierKey: made.auditVerifierKey,
        tokenFile: tokenFile ?? null,
      }
      const lines = [
        `${dataDirectory} is ready.`,
        '',
        `Sign in, once, until ${value.linkExpiresAt}:`,
        `  ${value.link}`,
        'Clients of this server trust:',
        `  ${value.tlsRootFile}`,
        'This key verifies the audit log; keep a copy elsewhere:',
        `  ${value.auditVerifierKey}`,
        ...(tokenFile === undefined ? [] : ['Token for the command line:', `  ${tokenFile}`]),
        '',
        `Next: sealworks serve --data ${dataDirectory}`,
      ]
      return { value, text: `${lines.join('\n')}\n` }
    },
  }),
]
