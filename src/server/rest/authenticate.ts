/**
 * Who asks: a token in the Authorization header, or a browser's session cookie.
 *
 * @module
 */
import type { Access } from '#access/access.ts'
import { actorOf } from '#access/principals.ts'
import { checkCsrfToken } from '#access/sessions.ts'
import { TrustError } from '#base/errors.ts'
import type { Arrival } from '#protocols/dispatch.ts'
import type { Caller } from './route.ts'

/** `__Host-`: only over HTTPS, only from this very host, for all its paths (RFC 6265bis, 4.1.3.2). */
export const SESSION_COOKIE = '__Host-sealworks'

const CSRF_HEADER = 'x-csrf-token'

export const anonymous: Caller = { actor: 'anonymous', principal: undefined }

/** @returns {@link anonymous} without credentials @throws TrustError `unauthenticated` with wrong ones, `forbidden` for a forged form */
export async function authenticate(access: Access, { method, headers }: Pick<Arrival, 'method' | 'headers'>): Promise<Caller> {
  const authorization = headers['authorization']
  if (authorization !== undefined) {
    const token = /^Bearer +([^\s]+)$/i.exec(authorization)?.[1]
    if (token === undefined) throw new TrustError('unauthenticated', 'bearerNeeded')
    const principal = await access.authenticateToken(token)
    return { actor: actorOf(principal), principal }
  }
  const session = sessionOf(headers)
  if (session === undefined) return anonymous
  const principal = await access.authenticateSession(session)
  // A browser sends cookies by itself, also when another site makes it ask; a token it does not.
  if (method !== 'GET' && method !== 'HEAD') checkCsrfToken(session, headers[CSRF_HEADER])
  return { actor: actorOf(principal), principal }
}

/** @returns the session's secret as the browser sent it */
export function sessionOf(headers: Arrival['headers']): string | undefined {
  for (const part of headers['cookie']?.split(';') ?? []) {
    const mark = part.indexOf('=')
    if (mark > 0 && part.slice(0, mark).trim() === SESSION_COOKIE) return part.slice(mark + 1).trim()
  }
  return undefined
}

/** @param maxAgeSeconds 0 makes the browser forget it */
export const sessionCookie = (session: string, maxAgeSeconds: number): string =>
  `${SESSION_COOKIE}=${session}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=${maxAgeSeconds}`
