/** An act that waits for people: the same command does it once they have agreed. @module */
import type { AnswerOf } from '#server/rest/client.ts'
import type { Answer } from './command.ts'
import { exitCodes } from './exit-codes.ts'

type Waiting = Extract<AnswerOf<'sign'>, { readonly state: 'waiting' }>

export function waitsFor(value: Waiting): Answer {
  const { id, least, description } = value.approval
  const text = `It waits for ${least} to agree: ${description}\nApprove it with "sealworks approval approve ${id}", then run this command again.\n`
  return { value, text, exitCode: exitCodes.waitsForApproval }
}
