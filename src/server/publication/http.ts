/** Publication by HTTP PUT (RFC 9110, 9.3.4), plain or signed as S3 wants it. @module */
import { TrustError } from '#base/errors.ts'
import type { Secret } from '#base/secret.ts'
import type { World } from '#base/world.ts'
import { signV4 } from './sigv4.ts'
import type { PublicationTarget } from './target.ts'

/** A list of 50 MB over a slow line; what takes longer is tried again. */
const TIMEOUT_MILLISECONDS = 120_000

/** @param token goes as `Authorization: Bearer` */
export const putTarget = (url: string, token: Secret | undefined): PublicationTarget => ({
  id: `put ${url}`,
  put: (path, octets, mediaType) =>
    send(`${url}/${path}`, octets, {
      'content-type': mediaType,
      ...(token !== undefined && { authorization: `Bearer ${textOf(token)}` }),
    }),
})

export interface S3Options {
  /** With the bucket, as a path or as the first label of the host: `https://s3.example/bucket/prefix`. */
  readonly url: string
  readonly region: string
  readonly accessKey: string
  readonly secretKey: Secret
}

export const s3Target = (options: S3Options, { clock }: Pick<World, 'clock'>): PublicationTarget => ({
  id: `s3 ${options.url}`,
  put(path, octets, mediaType) {
    const url = `${options.url}/${path}`
    const headers = signV4(
      { method: 'PUT', url: new URL(url), headers: { 'content-type': mediaType }, body: octets },
      {
        region: options.region,
        service: 's3',
        accessKey: options.accessKey,
        secretKey: textOf(options.secretKey),
        at: new Date(clock.now()),
      },
    )
    return send(url, octets, headers)
  },
})

const textOf = (value: Secret): string => Buffer.from(value.reveal('sign in where CRLs are published')).toString().trim()

async function send(url: string, octets: Uint8Array, headers: Readonly<Record<string, string>>): Promise<void> {
  const { host: _, ...sent } = headers as Record<string, string> // fetch writes it from the URL
  let status: number
  try {
    const answer = await fetch(url, {
      method: 'PUT',
      headers: sent,
      body: octets as Uint8Array<ArrayBuffer>,
      redirect: 'error', // a list that went elsewhere is not where relying parties look
      signal: AbortSignal.timeout(TIMEOUT_MILLISECONDS),
    })
    await answer.arrayBuffer()
    status = answer.status
  } catch (cause) {
    const problem = cause instanceof Error ? (cause.cause instanceof Error ? cause.cause.message : cause.message) : 'no answer'
    throw new TrustError('unavailable', 'publicationUnreachable', { facts: { url, problem }, cause })
  }
  if (status < 200 || status > 299) throw new TrustError('unavailable', 'publicationRefused', { facts: { url, status } })
}
