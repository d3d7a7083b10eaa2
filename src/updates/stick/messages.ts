/**
 * Updates on a stick: names of directories and files, for whoever writes one and for the devices that read it.
 *
 *     devices/SERIAL/7.director.cose    what lets this device install, by the sequence of the statement
 *     devices/SERIAL/7.release.cose     the manifest of the release that it names
 *     artifacts/SHA-256                 the files of all of them, once each
 *     artifacts/SHA-256.NAME.p7m        the same in an envelope, for those who can open it
 *
 * Nothing of it is believed for its name or place: a device takes of it what it would take over the air.
 *
 * @module
 */
import type { DirectorStatement } from '../messages.ts'

export const STATEMENT_SUFFIX = '.director.cose'
export const MANIFEST_SUFFIX = '.release.cose'
export const ARTIFACTS = 'artifacts'

/** Serials may have characters that lead elsewhere in a file system. */
export const folderOf = ({ productSerial }: Pick<DirectorStatement['device'], 'productSerial'>): string =>
  `devices/${encodeURIComponent(productSerial).replace(/^\./, '%2E')}`

export const statementFile = ({ device, sequence }: Pick<DirectorStatement, 'device' | 'sequence'>): string =>
  `${folderOf(device)}/${sequence}${STATEMENT_SUFFIX}`

export const manifestFile = ({ device, sequence }: Pick<DirectorStatement, 'device' | 'sequence'>): string =>
  `${folderOf(device)}/${sequence}${MANIFEST_SUFFIX}`

export const artifactFile = (sha256: Uint8Array): string => `${ARTIFACTS}/${sha256.toHex()}`

export const SEALED_SUFFIX = '.p7m'

/** @param name of those who can open it: a stick may have several */
export const sealedFile = (sha256: Uint8Array, name: string): string => `${artifactFile(sha256)}.${name}${SEALED_SUFFIX}`
