/**
 * Issuing in process: everything between a request's octets and a signed certificate's, without the database, beside
 * the three operations that no implementation can leave out.
 *
 * Each certificate is issued in a turn of the event loop of its own, as one that a lone request asks for: the many of a busy
 * turn go to the thread pool (`base/turn.ts`). The two take turns, one certificate each, so that both see the same processor and the same caches; the medians are
 * compared.
 *
 * @module
 */
import { createPublicKey, sign, verify } from 'node:crypto'
import { importPublicKey } from '#algorithms/public-key.ts'
import { rehearse, signRehearsed } from '#ca/issue.ts'
import { ldevid } from '#ca/profiles/ldevid.ts'
import { planCertificate } from '#ca/request-rules.ts'
import { parseCertificate, verifyCertificateSignature } from '#x509/certificate.ts'
import { type CertificationRequest, checkProofOfPossession, parseCertificationRequest } from '#x509/certification-request.ts'
import { type Figure, median } from './figure.ts'
import { deviceRequest, makeKey, makePlant, openPlant } from './plant.ts'

const REQUESTS = 512
const WARM_UP = 6000
const MEASURED = 12_000

export async function benchIssue(): Promise<readonly Figure[]> {
  using plant = await makePlant()
  await using opened = await openPlant(plant)
  const { context, owner, endpoint } = opened
  const requests = await Promise.all(Array.from({ length: REQUESTS }, (_, i) => deviceRequest(i)))
  const applicant = { kind: 'registration-authority', mayAskFor: () => true } as const

  const issue = async (der: Uint8Array): Promise<Uint8Array> => {
    const request = parseCertificationRequest(der)
    const publicKey = importPublicKey(request.subjectPublicKeyInfo)
    await checkProofOfPossession(request, publicKey)
    const asked = { authority: owner, profile: ldevid, request, publicKey, applicant, endpoint, renewal: false }
    return (await signRehearsed(rehearse(context, planCertificate(asked)))).der
  }
  const parsed = requests.map(parseCertificationRequest)
  const { tbsCertificate } = parseCertificate(await issue(requests[0] as Uint8Array))
  const { privateKey } = makeKey()
  const bare = (number: number): void => {
    const { subjectPublicKeyInfo, certificationRequestInfo, signature } = parsed[number] as CertificationRequest
    const key = createPublicKey({ key: Buffer.from(subjectPublicKeyInfo), format: 'der', type: 'spki' })
    verify('sha256', certificationRequestInfo, key, signature)
    sign('sha256', tbsCertificate, privateKey)
  }

  const ours = new Float64Array(MEASURED)
  const theirs = new Float64Array(MEASURED)
  for (let i = -WARM_UP; i < MEASURED; i++) {
    const der = requests[(i + WARM_UP) % REQUESTS] as Uint8Array
    await new Promise(setImmediate)
    const start = performance.now()
    const certificate = await issue(der)
    const between = performance.now()
    bare((i + WARM_UP) % REQUESTS)
    const end = performance.now()
    if (i % REQUESTS === 0 && !(await verifyCertificateSignature(parseCertificate(certificate), owner.publicKey)))
      throw new Error('a certificate does not verify')
    if (i < 0) continue
    ours[i] = (between - start) * 1000
    theirs[i] = (end - between) * 1000
  }
  const [issued, least] = [median([...ours]), median([...theirs])]
  return [
    {
      name: 'issue.ratio',
      value: least / issued,
      unit: '',
      reach: { atLeast: 0.8 },
      note: 'bare key import, verify and sign, over parse, proof of possession, profile, lint, sign and encode; P-256',
    },
    { name: 'issue.time', value: issued, unit: 'µs' },
    { name: 'issue.bare', value: least, unit: 'µs' },
  ]
}
