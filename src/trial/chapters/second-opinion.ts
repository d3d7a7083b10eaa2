/** The openssl of the machine, a program of others, comes to the same verdicts. @module */
import { parseCertificate } from '#x509/certificate.ts'
import { byOpenSSL, findOpenSSL, openssl, type OpenSSL, verifyWith } from '../programs.ts'
import { fetchCRL, type KnownAuthority, standingAddresses } from '../relying-party.ts'
import { type Chapter, must, present, type Scene } from '../story.ts'
import { birthAuthority, ownerAuthority } from './authorities.ts'
import { type OwnedDevice, ownedDevices } from './owners.ts'
import { lostDevice } from './revocation.ts'

export const secondOpinionChapter: Chapter = {
  title: 'A second opinion',
  about: 'The openssl of this machine knows nothing of this product. It looks at the same certificates, lists and answers.',
  steps: [
    {
      title: 'Is openssl on this machine?',
      async run(scene) {
        const tool = await findOpenSSL(scene)
        scene.note(openssl, tool)
        return tool === undefined ? { said: 'no: install openssl to see this chapter', skipped: true } : { said: tool.version }
      },
    },
    byOpenSSL('openssl verify: a birth certificate', async (scene, tool) =>
      verify(tool, atWork(scene).birth.certificate, scene.known(birthAuthority)),
    ),
    byOpenSSL('openssl verify: an owner’s certificate', async (scene, tool) =>
      verify(tool, atWork(scene).owner.certificate, scene.known(ownerAuthority)),
    ),
    byOpenSSL('openssl ocsp: the device at work', (scene, tool) => ocsp(scene, tool, atWork(scene), 'good')),
    byOpenSSL('openssl ocsp: the stolen device', (scene, tool) => ocsp(scene, tool, scene.known(lostDevice), 'revoked')),
    byOpenSSL('openssl crl: the owner’s list', async (scene, tool) => {
      const issuer = scene.known(ownerAuthority)
      const { certificate } = scene.known(lostDevice).owner
      const crl = await fetchCRL(certificate, issuer, scene.world)
      const path = tool.writeDER('owner.crl', crl.list.der)
      const trusted = tool.file('owner-chain.pem', ...issuer.chain)
      const { code, text } = await tool.run('crl', '-inform', 'DER', '-in', path, '-CAfile', trusted, '-noout', '-text')
      const serial = parseCertificate(certificate).serialNumber.toHex().toUpperCase()
      must(code === 0 && text.includes('verify OK'), text)
      must(text.toUpperCase().includes(`SERIAL NUMBER: ${serial}`), `openssl does not find ${serial} in the list`)
      return 'signature good, names the stolen device'
    }),
  ],
}

/** One that was not stolen. */
const atWork = (scene: Scene): OwnedDevice => present(scene.known(ownedDevices)[0], 'there are no devices')

async function verify(tool: OpenSSL, certificate: Uint8Array, { chain }: KnownAuthority): Promise<string> {
  const [issuing, root] = [present(chain[0], 'no authority'), present(chain[1], 'no root')]
  await verifyWith(tool, { certificate, between: [issuing], root })
  return 'OK, up to the root'
}

async function ocsp(scene: Scene, tool: OpenSSL, { owner }: OwnedDevice, expected: 'good' | 'revoked'): Promise<string> {
  const { chain } = scene.known(ownerAuthority)
  const path = tool.file('device.pem', owner.certificate)
  const issuer = tool.file('issuing.pem', present(chain[0], 'no authority'))
  const trusted = tool.file('chain.pem', ...chain)
  const url = standingAddresses(parseCertificate(owner.certificate)).ocsp
  const words = ['ocsp', '-issuer', issuer, '-cert', path, '-url', url, '-CAfile', trusted]
  const { code, text } = await tool.run(...words)
  must(code === 0 && text.includes('Response verify OK'), text)
  must(text.includes(`${path}: ${expected}`), `openssl does not say ${expected}: ${text}`)
  return expected
}
