/**
 * People who give orders to machines, each with a key and certificate of their own in files, and the authority that issued them.
 * They are there before the server: it believes only those whose certificates it was given to start with.
 *
 * @module
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { encodePEM } from '#asn1/pem.ts'
import type { Client } from '#server/rest/client.ts'
import { makeKey, privateKeyOf, requestFor } from './device.ts'

/** Whoever says who may order what, the one who orders, and two who have to agree. */
export const people = {
  officer: 'Policy officer',
  operator: 'Shift operator',
  lead: 'Shift lead',
  safety: 'Safety officer',
} as const
export type Person = keyof typeof people

const FOLDER = 'people'
const AUTHORITY = 'people'
const AUTHORITY_NAME = 'CN=Example Plant People,O=Example Plant'
const COMPANY = [{ type: 'O', value: 'Example Plant' }] as const
/** For signing documents (RFC 9336). */
const PROFILE = 'statement-signing'
/** Under which the plant counts its commands; what others agree to is counted apart. */
export const ISSUERS = ['plant', 'plant/agreed'] as const

export interface Files {
  readonly key: string
  readonly certificate: string
}

export const filesOf = (directory: string, person: Person): Files => ({
  key: join(directory, FOLDER, `${person}.key`),
  certificate: join(directory, FOLDER, `${person}.pem`),
})

/** Who is behind all of them. */
export const peopleRoot = (directory: string): string => join(directory, FOLDER, 'root.pem')

/** Settings of the server. */
export const peopleLines = (directory: string): readonly string[] => [
  '[commands]',
  `issuer = "${ISSUERS[0]}"`,
  // whole paths: what is restored elsewhere goes on with the same people
  `anchors = ${JSON.stringify([peopleRoot(directory), filesOf(directory, 'officer').certificate])}`,
]

export interface PeopleOptions {
  readonly directory: string
  /** A command on the trial's own data directory. */
  run(...words: readonly string[]): Promise<unknown>
}

/** Made at the first start, found at later ones. */
export async function openPeople({ directory, run }: PeopleOptions): Promise<'new' | 'known'> {
  const { key: keyFile, certificate } = filesOf(directory, 'officer')
  if (existsSync(certificate)) return 'known' // written last
  mkdirSync(join(directory, FOLDER), { recursive: true, mode: 0o700 })
  const made = (await run('ca', 'create', AUTHORITY, '--name', AUTHORITY_NAME)) as { readonly certificate: string }
  writeFileSync(peopleRoot(directory), encodePEM('CERTIFICATE', Uint8Array.fromBase64(made.certificate)))
  const csr = `${keyFile}.csr`
  writeFileSync(csr, await newKey(directory, 'officer'))
  await run('cert', 'issue', '--csr', csr, '--ca', AUTHORITY, '--profile', PROFILE, '--out', certificate)
  return 'new'
}

/** Those whom the policy names get their certificates from the server, as anybody. */
export async function appointPeople(client: Client, directory: string): Promise<void> {
  for (const person of ['operator', 'lead', 'safety'] as const) {
    const { certificate: file } = filesOf(directory, person)
    if (existsSync(file)) continue
    const request = (await newKey(directory, person)).toBase64()
    const { certificate } = await client.call('issueCertificate', { body: { authority: AUTHORITY, profile: PROFILE, request } })
    writeFileSync(file, encodePEM('CERTIFICATE', Uint8Array.fromBase64(certificate)))
  }
}

/** @returns a request for its certificate: DER PKCS #10 */
async function newKey(directory: string, person: Person): Promise<Uint8Array> {
  const key = await makeKey()
  const privateKey = encodePEM('PRIVATE KEY', privateKeyOf(key).reveal('a person’s own file'))
  writeFileSync(filesOf(directory, person).key, privateKey, { mode: 0o600 })
  return requestFor(key, [...COMPANY, { type: 'CN', value: people[person] }])
}
