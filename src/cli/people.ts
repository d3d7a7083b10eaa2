/** People and services by the name that someone typed. @module */
import { TrustError } from '#base/errors.ts'
import type { AnswerOf } from '#server/rest/client.ts'
import type { Caller } from './connection.ts'

export type Principal = AnswerOf<'showPrincipal'>

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const PAGE = 500

/** @param written a name or an id @throws TrustError `notFound` */
export async function findPrincipal(client: Caller, written: string): Promise<Principal> {
  if (UUID.test(written)) return client.call('showPrincipal', { params: { id: written } })
  for await (const principal of allPrincipals(client)) if (principal.name === written) return principal
  throw new TrustError('notFound', 'principalUnknown')
}

export async function* allPrincipals(client: Caller): AsyncIterable<Principal> {
  for (let cursor: string | undefined; ;) {
    const page: AnswerOf<'listPrincipals'> = await client.call('listPrincipals', {
      query: { limit: PAGE, ...(cursor !== undefined && { cursor }) },
    })
    yield* page.items
    cursor = page.next
    if (cursor === undefined) return
  }
}
