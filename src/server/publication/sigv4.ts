/**
 * AWS Signature Version 4, which S3 and those who speak it ask for.
 *
 * Source: AWS General Reference, "Create a signed AWS API request"; Amazon S3, "Signature Calculations for the
 * Authorization Header: Transferring Payload in a Single Chunk".
 *
 * @module
 */
import { createHmac, hash } from 'node:crypto'

export interface SignableRequest {
  readonly method: string
  readonly url: URL
  /** Lower-case names; all of them are signed. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
}

export interface SigningOptions {
  readonly region: string
  readonly service: string
  readonly accessKey: string
  readonly secretKey: string
  readonly at: Date
}

/** @returns all headers to send, `authorization` among them */
export function signV4(request: SignableRequest, options: SigningOptions): Record<string, string> {
  const { method, url, body } = request
  const { region, service, accessKey, secretKey } = options
  const time = options.at.toISOString().replace(/[-:]|\.\d{3}/g, '')
  const day = time.slice(0, 8)
  const headers: Record<string, string> = {
    ...request.headers,
    host: url.host,
    'x-amz-content-sha256': hash('sha256', body),
    'x-amz-date': time,
  }
  const names = Object.keys(headers).toSorted()
  const signedHeaders = names.join(';')
  const canonical = [
    method,
    canonicalPath(url),
    canonicalQuery(url),
    ...names.map((name) => `${name}:${(headers[name] as string).trim().replace(/ +/g, ' ')}`),
    '',
    signedHeaders,
    headers['x-amz-content-sha256'],
  ].join('\n')
  const scope = `${day}/${region}/${service}/aws4_request`
  const toSign = ['AWS4-HMAC-SHA256', time, scope, hash('sha256', canonical)].join('\n')
  const key = [day, region, service, 'aws4_request'].reduce<string | Buffer>((so, part) => hmac(so, part), `AWS4${secretKey}`)
  const signature = hmac(key, toSign).toString('hex')
  const authorization = `AWS4-HMAC-SHA256 Credential=${accessKey}/${scope}, SignedHeaders=${signedHeaders}, Signature=${signature}`
  return { ...headers, authorization }
}

const hmac = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest()

/** S3 signs each part of the path encoded once; others twice, but this signs for S3 only. */
const canonicalPath = ({ pathname }: URL): string =>
  pathname
    .split('/')
    .map((part) => encode(decodeURIComponent(part)))
    .join('/')

const canonicalQuery = ({ searchParams }: URL): string =>
  [...searchParams]
    .map(([name, value]) => `${encode(name)}=${encode(value)}`)
    .toSorted()
    .join('&')

/** RFC 3986, 2.3: all but the unreserved characters. */
const encode = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
