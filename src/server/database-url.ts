/**
 * The URL that the store takes. The configuration keeps the password apart, where it is not printed.
 *
 * @module
 */
import type { Config } from '#config/config.ts'
import { readSecret } from '#config/secret-file.ts'

/** @throws TrustError `notFound` when the password is named and is not there */
export function databaseURLOf(
  { store: { url, password } }: Config,
  environment: Readonly<Record<string, string | undefined>>,
): string {
  if (url.engine === 'sqlite') return `sqlite:${url.location}`
  if (password === undefined) return url.location
  const withPassword = new URL(url.location)
  const octets = readSecret(password, environment).reveal('sign in to PostgreSQL')
  withPassword.password = encodeURIComponent(new TextDecoder().decode(octets))
  return withPassword.href
}
