/** The whole installation fits into one file that only its owner can open, and comes back from it. @module */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CommandRefusal, runCommand } from '../server-process.ts'
import { type Chapter, fact, must, NotAsExpected } from '../story.ts'
import { grouped } from '../teller.ts'
import { officerCommand, RECOVERY_KEY_FILE, server, TOKEN_FILE, witness } from './server.ts'

interface Place {
  readonly directory: string
  readonly backup: string
  readonly recoveryKey: string
  /** Where the installation is restored. */
  readonly restored: string
}

const place = fact<Place>('the backup')

interface Made {
  readonly rows: number
  readonly octets: number
}
interface Verified {
  readonly verified: boolean
  readonly keysTried: number
  readonly certificates: number
}

const REASON = 'The trial factory plays the loss of its server'
const NEW_AUTHORITY = ['ca', 'create', 'spare', '--name', 'CN=Spare root,O=Example'] as const

export const backupChapter: Chapter = {
  title: 'The loss of the server',
  about: 'A backup is one encrypted file. What is restored from it issues nothing until somebody answers for what came after it.',
  steps: [
    {
      title: 'A backup is made while the server works',
      async run(scene) {
        const directory = mkdtempSync(join(tmpdir(), 'sealworks-trial-'))
        scene.atEnd(() => rmSync(directory, { recursive: true, force: true }))
        const [backup, restored] = [join(directory, 'trial.backup'), join(directory, 'restored')]
        scene.note(place, { directory, backup, restored, recoveryKey: join(scene.directory, RECOVERY_KEY_FILE) })
        const words = ['backup', 'create', '--to', backup, '--server', scene.known(server).process.tls]
        const who = ['--trust', join(scene.directory, 'tls-root.pem'), '--token-file', join(scene.directory, TOKEN_FILE)]
        const { rows, octets } = (await runCommand([...words, ...who])) as Made
        return { said: `${grouped(rows)} rows, ${grouped(Math.ceil(octets / 1000))} kB` }
      },
    },
    {
      title: 'sealworks backup verify: it is tried out',
      async run(scene) {
        const { backup, recoveryKey } = scene.known(place)
        const keys = ['--recovery-key', recoveryKey, '--verifier-key', scene.known(witness).logKey]
        const seen = (await runCommand(['backup', 'verify', backup, ...keys])) as Verified
        must(seen.verified, 'the audit log in the backup is not whole')
        return { said: `${grouped(seen.certificates)} certificates are in it, and ${seen.keysTried} keys sign` }
      },
    },
    {
      title: 'It is restored elsewhere',
      async run(scene) {
        const { backup, recoveryKey, restored } = scene.known(place)
        const keys = ['--recovery-key', recoveryKey, '--verifier-key', scene.known(witness).logKey]
        const { issues } = (await runCommand(['restore', backup, '--data', restored, ...keys])) as { readonly issues: boolean }
        must(!issues, 'it issues without having been told what came after the backup')
        return { said: 'everything is there, in another directory' }
      },
    },
    {
      title: 'What was restored issues nothing',
      async run(scene) {
        try {
          await scene.known(officerCommand)(...NEW_AUTHORITY, '--data', scene.known(place).restored)
        } catch (error) {
          if (!(error instanceof CommandRefusal)) throw error
          must(error.reason === 'issuanceClosed', `it was refused for ${error.reason} instead of issuanceClosed`)
          return { said: `refused: ${error.reason}` }
        }
        throw new NotAsExpected('a restored installation issued without knowing what came after its backup')
      },
    },
    {
      title: 'Somebody answers for it, and it issues',
      async run(scene) {
        const { restored } = scene.known(place)
        await runCommand(['restore', '--data', restored, '--override', REASON])
        await scene.known(officerCommand)(...NEW_AUTHORITY, '--data', restored)
        return { said: 'the reason stands in its audit log' }
      },
    },
  ],
}
