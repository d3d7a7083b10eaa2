/** Programs of this machine that are not ours, asked for their opinion. @module */
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { encodePEM } from '#asn1/pem.ts'
import { fact, must, type Outcome, type Scene, type Step } from './story.ts'

/** Standard output and standard error together, with the exit code. */
export interface ProgramAnswer {
  /** -1 when the program is not there or did not end in time. */
  readonly code: number
  readonly text: string
}

/** An answer takes milliseconds, over loopback too. */
const TIMEOUT_MILLISECONDS = 20_000

/** @param environment beside our own */
export const runProgram = (
  program: string,
  words: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<ProgramAnswer> =>
  new Promise((resolve) => {
    const options = { timeout: TIMEOUT_MILLISECONDS, env: { ...process.env, ...environment } }
    execFile(program, words, options, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1
      resolve({ code, text: stdout + stderr })
    })
  })

export interface OpenSSL {
  /** Such as `OpenSSL 3.0.19`. */
  readonly version: string
  run(...words: readonly string[]): Promise<ProgramAnswer>
  /** @returns the path of a file with these certificates */
  file(name: string, ...certificates: readonly Uint8Array[]): string
  writeDER(name: string, der: Uint8Array): string
}

/** Undefined where the machine has no openssl. */
export const openssl = fact<OpenSSL | undefined>('openssl')

export async function findOpenSSL(scene: Scene): Promise<OpenSSL | undefined> {
  const { code, text } = await runProgram('openssl', ['version'])
  if (code !== 0) return undefined
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-trial-'))
  scene.atEnd(() => rmSync(directory, { recursive: true, force: true }))
  const write = (name: string, content: string | Uint8Array): string => {
    const path = join(directory, name)
    writeFileSync(path, content)
    return path
  }
  return {
    version: text.replace(/ \(.*/s, '').trim(),
    run: (...words) => runProgram('openssl', words),
    file: (name, ...certificates) => write(name, certificates.map((der) => encodePEM('CERTIFICATE', der)).join('')),
    writeDER: write,
  }
}

/** A step that says what openssl said, or that there is no openssl. @param look what to say, undefined where there is nothing to look at */
export function byOpenSSL(title: string, look: (scene: Scene, tool: OpenSSL) => Promise<string | undefined>): Step {
  return {
    title,
    async run(scene): Promise<Outcome> {
      const tool = scene.known(openssl)
      const said = tool === undefined ? undefined : await look(scene, tool)
      if (said === undefined) return { said: 'not looked at', skipped: true }
      return { said, tally: { what: 'checks by openssl', count: 1, timed: false } }
    },
  }
}

export interface Path {
  readonly certificate: Uint8Array
  /** What may stand between; they are trusted for nothing. */
  readonly between: readonly Uint8Array[]
  readonly root: Uint8Array
}

/** @throws NotAsExpected unless openssl finds a way to this root, and to no other */
export async function verifyWith(tool: OpenSSL, { certificate, between, root }: Path): Promise<void> {
  const files = ['-CAfile', tool.file('root.pem', root), '-untrusted', tool.file('between.pem', ...between)]
  const { code, text } = await tool.run('verify', '-x509_strict', ...files, tool.file('device.pem', certificate))
  must(code === 0 && /: OK\s*$/.test(text), text)
}
