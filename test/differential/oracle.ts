/**
 * python-cryptography as a second opinion: one process, one object after the other.
 *
 * @module
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { join } from 'node:path'

export type Kind = 'certificate' | 'certification-request' | 'certificate-list'
const letters: Readonly<Record<Kind, string>> = { certificate: 'C', 'certification-request': 'R', 'certificate-list': 'L' }

/** Why it was not taken, or undefined when it was. */
export type Opinion = string | undefined

export interface Oracle {
  /** Opinions in the order of the objects. */
  ask(kind: Kind, objects: readonly Uint8Array[]): Promise<readonly Opinion[]>
  close(): Promise<void>
}

/** @param python path of the interpreter that has python-cryptography */
export function startOracle(python: string): Oracle {
  const child = spawn(python, [join(import.meta.dirname, 'oracle.py')], { stdio: ['pipe', 'pipe', 'pipe'] })
  let said = '' // its Rust half reports a panic here, which is also an answer
  child.stderr.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-2000)))
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return {
    async ask(kind, objects) {
      const asked = (async () => {
        for (const der of objects) {
          const head = Buffer.alloc(5)
          head.write(letters[kind], 0, 'latin1')
          head.writeUInt32BE(der.length, 1)
          child.stdin.write(head)
          if (!child.stdin.write(der)) await new Promise((resolve) => child.stdin.once('drain', resolve))
        }
      })()
      const opinions: Opinion[] = []
      while (opinions.length < objects.length) {
        const { value, done } = await lines.next()
        if (done === true) throw new Error(`the oracle ended before it had answered: ${said}`)
        opinions.push(value === 'ok' ? undefined : value.slice('no '.length))
      }
      await asked
      return opinions
    },
    async close() {
      child.stdin.end()
      await ended(child)
    },
  }
}

const ended = (child: ChildProcess): Promise<void> =>
  new Promise((resolve) => {
    if (child.exitCode !== null) resolve()
    else child.once('close', () => resolve())
  })
