/** What the server and the thread that looks at artifacts tell each other. @module */
import type { SentError } from '#base/sent.ts'
import type { Choices, SignatureRequest } from '../format.ts'

export type ToThread =
  | {
      readonly kind: 'prepare'
      readonly id: number
      readonly file: string
      /** The one that was asked for, or those that the signer signs: the first that the artifact shows. */
      readonly formats: readonly string[]
      readonly choices: Choices
    }
  | { readonly kind: 'attach'; readonly id: number; readonly answers: readonly Uint8Array[]; readonly out: string }
  | { readonly kind: 'drop'; readonly id: number }

export type FromThread =
  /** Octets read so far. */
  | { readonly kind: 'progress'; readonly id: number; readonly read: number }
  | { readonly kind: 'prepared'; readonly id: number; readonly format: string; readonly requests: readonly SignatureRequest[] }
  | { readonly kind: 'written'; readonly id: number; readonly written: Written }
  | { readonly kind: 'failed'; readonly id: number; readonly error: SentError }

/** The signed artifact, or the signature beside it. */
export interface Written {
  readonly octets: number
  /** SHA-256, hexadecimal. */
  readonly digest: string
  readonly isBeside: boolean
  /** What a file beside the artifact is usually called. */
  readonly suffix?: string
}
