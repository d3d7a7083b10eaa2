/**
 * What a device knows of itself without asking anybody: what it was born as, whose it is, and where it stands.
 *
 * `device.json` is written by whoever sets the device up: the line says manufacturer, model and revision, the owner's name,
 * epoch and area are the owner's to say.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { TrustError } from '#base/errors.ts'
import { isJSONObject, parseJSONObject } from '#jose/json.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { attributeOf, parseName } from '#x509/name.ts'
import type { Device } from './device.ts'

export interface Facts {
  readonly manufacturer: string
  readonly model: string
  readonly revision: string | undefined
  readonly productSerial: string
  /** SHA-256 of its birth key (SubjectPublicKeyInfo). */
  readonly birthKey: Uint8Array
  /** Its name; empty before anybody claimed it. */
  readonly owner: string
  /** Of its ownership; 0 before anybody claimed it. */
  readonly epoch: number
  readonly area: string | undefined
}

const FILE = 'device.json'
const FILE_MAX_OCTETS = 16 << 10
const NAME_MAX_CHARACTERS = 64

const malformed = (detail: string): TrustError => new TrustError('malformed', 'agentFile', { facts: { file: FILE, detail } })

/** @throws TrustError `notFound` where nobody wrote it, or the device is not set up; `malformed` */
export async function factsOf(device: Device): Promise<Facts> {
  const octets = device.directory.read(FILE)
  if (octets === undefined) throw new TrustError('notFound', 'agentFileMissing', { facts: { file: FILE } })
  const { manufacturer, model, revision, owner = {}, area, ...others } = parseJSONObject(octets, FILE_MAX_OCTETS)
  const [other] = Object.keys(others)
  if (other !== undefined) throw malformed(`${other.slice(0, 40)} is none of manufacturer, model, revision, owner and area`)
  const { name = '', epoch = 0 } = isJSONObject(owner) ? owner : {}
  if (typeof epoch !== 'number' || !Number.isSafeInteger(epoch) || epoch < 0) throw malformed('the owner’s epoch is no number')
  const { chain } = await device.born()
  const { subject, subjectPublicKeyInfo } = parseCertificate(chain[0] as Uint8Array) // `born` checked that it is there
  return {
    manufacturer: nameIn(manufacturer, 'manufacturer'),
    model: nameIn(model, 'model'),
    revision: revision === undefined ? undefined : nameIn(revision, 'revision'),
    productSerial: attributeOf(parseName(subject), 'serialNumber') ?? '',
    birthKey: new Uint8Array(createHash('sha256').update(subjectPublicKeyInfo).digest()),
    owner: name === '' ? '' : nameIn(name, 'the owner’s name'),
    epoch,
    area: area === undefined ? undefined : nameIn(area, 'area'),
  }
}

function nameIn(value: unknown, what: string): string {
  if (typeof value === 'string' && value !== '' && value.length <= NAME_MAX_CHARACTERS) return value
  throw malformed(`${what} is no name of up to ${NAME_MAX_CHARACTERS} characters`)
}
