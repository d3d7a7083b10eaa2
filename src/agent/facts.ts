/**
 * What a device knows of itself without asking anybody: what it was born as, whose it is, and where it stands.
 *
 * `device.json` is written by whoever sets the device up: the line says model and revision, the owner says epoch and area.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { TrustError } from '#base/errors.ts'
import { parseJSONObject } from '#jose/json.ts'
import { parseCertificate } from '#x509/certificate.ts'
import type { Device } from './device.ts'

export interface Facts {
  /** SHA-256 of its birth key (SubjectPublicKeyInfo). */
  readonly birthKey: Uint8Array
  /** `acme/press-7` */
  readonly model: string
  readonly revision: string
  /** Of its ownership; 0 before anybody claimed it. */
  readonly epoch: number
  /** `carworks/paint`; empty where it is in none. */
  readonly area: string
}

const FILE_MAX_OCTETS = 16 << 10
const NAME_MAX_CHARACTERS = 200

const malformed = (detail: string): TrustError =>
  new TrustError('malformed', 'agentFile', { facts: { file: 'device.json', detail } })

/** @throws TrustError `notFound` where nobody wrote it, or the device is not set up; `malformed` */
export async function factsOf(device: Device): Promise<Facts> {
  const octets = device.directory.read('device.json')
  if (octets === undefined) throw new TrustError('notFound', 'agentFileMissing', { facts: { file: 'device.json' } })
  const { model, revision = '', epoch = 0, area = '', ...others } = parseJSONObject(octets, FILE_MAX_OCTETS)
  const [other] = Object.keys(others)
  if (other !== undefined) throw malformed(`${other.slice(0, 40)} is none of model, revision, epoch and area`)
  for (const name of [model, revision, area])
    if (typeof name !== 'string' || name.length > NAME_MAX_CHARACTERS) throw malformed('model, revision and area are names')
  if (model === '') throw malformed('it says no model')
  if (typeof epoch !== 'number' || !Number.isSafeInteger(epoch) || epoch < 0) throw malformed('epoch is a whole number')
  const { chain } = await device.born()
  const { subjectPublicKeyInfo } = parseCertificate(chain[0] as Uint8Array) // `born` checked that it is there
  return {
    birthKey: new Uint8Array(createHash('sha256').update(subjectPublicKeyInfo).digest()),
    model: model as string,
    revision: revision as string,
    epoch,
    area: area as string,
  }
}
