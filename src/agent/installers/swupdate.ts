/**
 * SWUpdate, as it is on the device: it verifies the archive again, by the same anchors, and knows its own board.
 *
 * Source: SWUpdate 2022.12, "Software Management" (hardware compatibility) and its command line.
 *
 * @module
 */
import { open } from 'node:fs/promises'
import { TrustError } from '#base/errors.ts'
import type { Facts } from '../facts.ts'
import { commandInstaller } from './command.ts'
import type { Installer } from './installer.ts'
import type { Call } from '../program.ts'

export interface SWUpdateSettings {
  readonly program: string
  /** As `sw-description` names the board; the model unless told. */
  readonly board: string | undefined
  /** More of its options, such as its configuration. */
  readonly options: readonly string[]
  readonly activate?: Call
  readonly revert?: Call
  readonly timeoutSeconds: number
}

const boardOf = ({ board }: SWUpdateSettings, { model }: Facts): string => board ?? model

/** @param keyring file of PEM: the anchors that the trust list has for software */
export function swupdateInstaller(
  settings: SWUpdateSettings,
  { facts, keyring, directory }: { readonly facts: Facts; readonly keyring: string; readonly directory: string },
): Installer {
  const { program, options, activate, revert, timeoutSeconds } = settings
  const board = `${boardOf(settings, facts)}:${facts.revision ?? ''}`
  const install: Call = [program, ...options, '-k', keyring, '--cert-purpose', 'codeSigning', '-H', board, '-i', '{file}']
  const commands = commandInstaller(
    { install, timeoutSeconds, ...(activate !== undefined && { activate }), ...(revert !== undefined && { revert }) },
    directory,
  )
  return {
    ...commands,
    async install(installation) {
      try {
        await commands.install(installation)
      } catch (error) {
        if (!isDone(error)) throw error
      }
    },
    formats: ['swupdate'],
    checkArtifact: (file) => checkHardware(file, boardOf(settings, facts), facts.revision),
  }
}

/** 2022.12 asks itself once a second how it stands, and ends with 1 where it finds itself waiting for the next update already. */
const isDone = (error: unknown): boolean =>
  error instanceof TrustError && /\bSWUPDATE successful\b/.test(String(error.facts['detail']))

const DESCRIPTION_MAX_OCTETS = 1 << 20

/**
 * Refuses before SWUpdate does. What it would match as a pattern (`#RE:`) is not matched here: a release names its revisions.
 *
 * @throws TrustError `policyRefused`
 */
async function checkHardware(path: string, board: string, revision: string | undefined): Promise<void> {
  const { fileSource } = await import('#signing/artifact/blob.ts')
  const { parseCpio } = await import('#signing/artifact/cpio.ts')
  const { isGroup, isList, parseLibconfig } = await import('#signing/artifact/libconfig.ts')
  const file = await open(path)
  try {
    const source = fileSource(file, (await file.stat()).size)
    const [first] = (await parseCpio(source)).entries
    if (first?.name !== 'sw-description' || first.data.length > DESCRIPTION_MAX_OCTETS) throw other('it has no description')
    const text = new TextDecoder().decode(await source.read(first.data.offset, first.data.length))
    const root = parseLibconfig(text)
    const software = isGroup(root) ? root.group.get('software') : undefined
    if (software === undefined || !isGroup(software)) throw other('it describes no software')
    const own = software.group.get(board)
    const list =
      (own !== undefined && isGroup(own) ? own.group.get('hardware-compatibility') : undefined) ??
      software.group.get('hardware-compatibility')
    if (list === undefined || !isList(list)) throw other(`it says nothing of the board ${board}`)
    if (revision === undefined || !list.includes(revision))
      throw other(
        `it is for ${board} ${list.filter((one) => typeof one === 'string').join(', ')}, this is ${revision ?? 'unknown'}`,
      )
  } finally {
    await file.close()
  }
}

const other = (detail: string): TrustError => new TrustError('policyRefused', 'updateArtifactModel', { facts: { detail } })
