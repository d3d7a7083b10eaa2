/**
 * How a refusal or a mistake is told: a sentence for people, a problem document (RFC 9457) for programs.
 *
 * @module
 */
import { asTrustError, type TrustErrorCode } from '#base/errors.ts'
import { exitCodeOf, exitCodes } from './exit-codes.ts'
import { UsageError } from './usage.ts'

export interface Report {
  readonly exitCode: number
  readonly text: string
}

/** The fields that a refusal has, whether it was made here or came from a server. */
interface Refusal {
  readonly code: TrustErrorCode | 'unreachable'
  readonly reason: string
  readonly message: string
  /** Under which the server's log knows it. */
  readonly requestId?: string | undefined
}

export function reportOf(thrown: unknown, { json, verbose }: { readonly json: boolean; readonly verbose: boolean }): Report {
  if (thrown instanceof UsageError) {
    const exitCode = exitCodes.wrongUsage
    const document = { type: 'urn:sealworks:usage', title: 'Wrong usage', detail: thrown.message, exitCode, help: thrown.help }
    return { exitCode, text: json ? line(document) : `${thrown.message}\nSee: ${thrown.help}\n` }
  }
  const { code, reason, message, requestId } = refusalOf(thrown)
  const exitCode = code === 'unreachable' ? exitCodes.notReached : exitCodeOf[code]
  // What nobody foresaw is shown whole: on the command line there is no server log to look into.
  const unforeseen = code === 'internal' && thrown instanceof Error ? thrown : undefined
  const detail = unforeseen === undefined || isRefusal(thrown) ? message : `Something went wrong: ${unforeseen.message}`
  const stack = verbose && thrown instanceof Error ? `${thrown.stack ?? ''}\n` : ''
  const instance = requestId === undefined ? {} : { instance: `urn:sealworks:request:${requestId}` }
  const title = titles[exitCode] ?? 'Failed'
  const document = { type: `urn:sealworks:error:${code}`, title, detail, ...instance, reason, exitCode }
  const where = code === 'internal' && requestId !== undefined ? `Request id: ${requestId}\n` : ''
  return { exitCode, text: json ? line(document) : `${detail}\n${where}${stack}` }
}

const line = (document: object): string => `${JSON.stringify(document)}\n`

const titles: Readonly<Record<number, string>> = {
  [exitCodes.failed]: 'Failed',
  [exitCodes.notAllowed]: 'Not signed in or not allowed',
  [exitCodes.notFound]: 'Not found',
  [exitCodes.conflict]: 'Conflict',
  [exitCodes.refused]: 'Refused by policy or quota',
  [exitCodes.notReached]: 'Not reached',
  [exitCodes.verificationFailed]: 'Verification failed',
}

function isRefusal(thrown: unknown): thrown is Refusal {
  return (
    thrown instanceof Error &&
    'code' in thrown &&
    'reason' in thrown &&
    (thrown.code === 'unreachable' || Object.hasOwn(exitCodeOf, String(thrown.code)))
  )
}

const refusalOf = (thrown: unknown): Refusal => (isRefusal(thrown) ? thrown : asTrustError(thrown))
