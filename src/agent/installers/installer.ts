/**
 * How a component of the device is brought to another version: one shape for every way.
 *
 * Power may be cut at any moment, and the agent then does the step again that it had begun: each of them leaves the same when it
 * is done twice, and nothing that runs is touched before `activate`.
 *
 * @module
 */
import type { Facts } from '../facts.ts'

/** What is to be installed, when all checks are passed. */
export interface Installation {
  readonly component: string
  readonly version: string
  /** Where it lies: verified, in the agent's own directory. */
  readonly file: string
  /** SHA-256, hexadecimal. */
  readonly digest: string
  /** What {@link Installer.before} said. */
  readonly before: string
}

export interface Installer {
  /** Signing formats of what it takes; any when absent. */
  readonly formats?: readonly string[]
  /** @throws TrustError `policyRefused` when the artifact says itself that it is for another model or revision */
  checkArtifact?(file: string, facts: Facts): Promise<void>
  /** What {@link Installer.revert} has to know of the version that runs; kept until the update is over. */
  before(): Promise<string>
  /** Beside what runs. @throws TrustError `badProof` when what was written is not what was verified; `unavailable` when it failed */
  install(installation: Installation): Promise<void>
  /** From here on the next start, or the running program, is the new version. */
  activate(installation: Installation): Promise<void>
  /** Back to what ran before. @returns whether there is a way back */
  revert(installation: Installation): Promise<boolean>
  /** The new version is good: it stays. */
  commit(installation: Installation): Promise<void>
  /** SHA-256 of what is there to run, hexadecimal, where that can be measured; empty where there is nothing. */
  measure?(): Promise<string>
}
