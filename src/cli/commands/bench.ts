/** `sealworks bench`: the load generators, which are programs of their own. @module */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { TrustError } from '#base/errors.ts'
import { command, many } from '../command.ts'

const PROGRAM = join(import.meta.dirname, '..', '..', '..', 'bench', 'main.ts')

export const commands = [
  command({
    noun: 'bench',
    summary: 'Run the built-in load generators',
    details: 'Words after -- go to the generator as they are. It prints each ratio to the bare operation of the same run.',
    example: 'sealworks bench issue -- --no-keep',
    operands: { words: many('WORD', 'what the generator is told') },
    stopsItself: true,
    async run(context, { words }) {
      if (!existsSync(PROGRAM))
        throw new TrustError('notFound', 'fileUnreadable', { facts: { file: PROGRAM, problem: 'ENOENT' } })
      const json = context.json ? ['--json'] : []
      const child = spawn(process.execPath, [PROGRAM, ...words, ...json], { stdio: ['ignore', 'pipe', 'inherit'] })
      context.signal.addEventListener('abort', () => void child.kill('SIGTERM'), { once: true })
      const chunks: Uint8Array[] = []
      child.stdout.on('data', (chunk: Uint8Array) => {
        if (context.json) chunks.push(chunk)
        else process.stdout.write(chunk) // as it comes: a run takes its time
      })
      const [code] = (await once(child, 'close')) as [number | null]
      const value: unknown = context.json && code === 0 ? JSON.parse(Buffer.concat(chunks).toString()) : null
      return { value, text: '', exitCode: code ?? 1 }
    },
  }),
]
