/**
 * Issuing with ML-DSA-65 in process: a device's request with such a key, signed by an authority with such a key, beside
 * the bare signature over the same certificate. The two take turns; the medians are compared.
 *
 * @module
 */
import { sign, verify } from 'node:crypto'
import { generateKey } from '#algorithms/private-key.ts'
import { rehearse, signRehearsed } from '#ca/issue.ts'
import { ldevid } from '#ca/profiles/ldevid.ts'
import { provenKey } from '#ca/proof.ts'
import { planCertificate } from '#ca/request-rules.ts'
import { parseCertificate, verifyCertificateSignature } from '#x509/certificate.ts'
import { encodeCertificationRequest, parseCertificationRequest } from '#x509/certification-request.ts'
import { nameOf } from '#x509/name.ts'
import { type Figure, median } from './figure.ts'
import { makePlant, openPlant, serialOf } from './plant.ts'

const ALGORITHM = 'ml-dsa-65'
const REQUESTS = 64
const WARM_UP = 300
const MEASURED = 1500

export async function benchIssueMLDSA(): Promise<readonly Figure[]> {
  using plant = await makePlant()
  await using opened = await openPlant(plant)
  const { context, ca, endpoint } = opened
  const name = nameOf([{ type: 'CN', value: 'Lattice' }])
  const authority = await ca.authorities.create(
    { slug: 'lattice', name, profile: 'root', keyAlgorithm: ALGORITHM },
    'person:bench',
  )
  const requests = await Promise.all(Array.from({ length: REQUESTS }, (_, i) => request(i)))
  const applicant = { kind: 'registration-authority', mayAskFor: () => true } as const

  const issue = async (der: Uint8Array): Promise<Uint8Array> => {
    const parsed = parseCertificationRequest(der)
    const publicKey = await provenKey(context, parsed)
    const asked = { authority, profile: ldevid, request: parsed, publicKey, applicant, endpoint, renewal: false }
    return (await signRehearsed(rehearse(context, planCertificate(asked)))).der
  }
  const { tbsCertificate } = parseCertificate(await issue(requests[0] as Uint8Array))
  const { privateKey, publicKey } = await generateKey(ALGORITHM)
  if (!verify(null, tbsCertificate, publicKey, sign(null, tbsCertificate, privateKey))) throw new Error('no bare signature')

  const ours = new Float64Array(MEASURED)
  const theirs = new Float64Array(MEASURED)
  for (let i = -WARM_UP; i < MEASURED; i++) {
    const der = requests[(i + WARM_UP) % REQUESTS] as Uint8Array
    const start = performance.now()
    const certificate = await issue(der)
    const between = performance.now()
    sign(null, tbsCertificate, privateKey)
    const end = performance.now()
    if (i % REQUESTS === 0 && !(await verifyCertificateSignature(parseCertificate(certificate), authority.publicKey)))
      throw new Error('a certificate does not verify')
    if (i < 0) continue
    ours[i] = (between - start) * 1000
    theirs[i] = (end - between) * 1000
  }
  const [issued, least] = [median([...ours]), median([...theirs])]
  return [
    {
      name: 'issueMLDSA.ratio',
      value: least / issued,
      unit: '',
      reach: { atLeast: 0.5 },
      note: 'bare sign on the event loop, over all of issuing: key import, proof of possession, profile, lint, sign on the thread pool; ML-DSA-65',
    },
    { name: 'issueMLDSA.time', value: issued, unit: 'µs' },
    { name: 'issueMLDSA.bare', value: least, unit: 'µs' },
  ]
}

async function request(number: number): Promise<Uint8Array> {
  const { publicKey, privateKey } = await generateKey(ALGORITHM)
  const subject = nameOf([{ type: 'serialNumber', value: serialOf(number) }])
  const spki = new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }))
  const signer = {
    signatureAlgorithm: ALGORITHM,
    sign: (message: Uint8Array) => new Uint8Array(sign(null, message, privateKey)),
  } as const
  return encodeCertificationRequest({ subject, publicKey: spki }, signer)
}
