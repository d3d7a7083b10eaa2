/** A branch that a quantum computer does not break: ML-DSA-65 from the root to the device, and ML-KEM on the wire. @module */
import { createPublicKey, X509Certificate } from 'node:crypto'
import { connect } from 'node:tls'
import { encodePEM } from '#asn1/pem.ts'
import { formatSize } from '../teller.ts'
import { type Identity, makeKey, requestFor } from '../device.ts'
import { connected, issued } from '../enrolling.ts'
import { openssl, type OpenSSL, verifyWith } from '../programs.ts'
import { askStanding, checkCertificate, type KnownAuthority } from '../relying-party.ts'
import { type Chapter, fact, must, present, type Scene } from '../story.ts'
import { authorityPair, birthAuthority, endpoints, OWNER } from './authorities.ts'
import { birthSubject, birthSubjectText, devices } from './births.ts'
import { officer, server } from './server.ts'

const postQuantumAuthority = fact<KnownAuthority>('the post-quantum authority')
const postQuantumDevice = fact<Identity>('the post-quantum device')

const ALGORITHM = 'ml-dsa-65'
/** The first with ML-DSA. */
const OPENSSL_LEAST = [3, 5] as const
/** What TLS 1.3 agrees on with whoever has it. */
const HYBRID_GROUP = 'X25519MLKEM768'

export const postQuantumChapter: Chapter = {
  title: 'After quantum computers',
  about:
    'The same again with ML-DSA (FIPS 204), which a quantum computer does not break. Its signatures are almost 50 times as long.',
  steps: [
    {
      title: 'A root and an authority with ML-DSA-65',
      async run(scene) {
        const { known, said } = await authorityPair(scene, {
          root: { slug: 'pqroot', name: `CN=${OWNER} PQ Root,O=${OWNER}`, keyAlgorithm: ALGORITHM },
          issuing: { slug: 'pq', name: `CN=${OWNER} PQ Device Authority,O=${OWNER}`, keyAlgorithm: ALGORITHM },
          said: 'each signs with ML-DSA-65',
        })
        scene.note(postQuantumAuthority, known)
        const client = scene.known(officer)
        const { endpoints: existing } = await client.call('listEndpoints', {})
        if (!existing.some(({ label }) => label === endpoints.postQuantum)) {
          const rules = { clientIssuers: [scene.known(birthAuthority).address] }
          const body = { label: endpoints.postQuantum, authority: known.address, profile: 'ldevid', rules }
          await client.call('createEndpoint', { body })
        }
        return { said }
      },
    },
    {
      title: 'A device moves to it with an ML-DSA-65 key',
      async run(scene) {
        const { birth, productSerial } = present(scene.known(devices)[0], 'there are no devices')
        const key = await makeKey(ALGORITHM)
        const certificate = await connected(scene, endpoints.postQuantum, { identity: birth }, async (client) =>
          issued(await client.simpleEnroll((channelBinding) => requestFor(key, birthSubject(productSerial), { channelBinding }))),
        )
        const issuer = scene.known(postQuantumAuthority)
        await checkCertificate(certificate, { issuer, publicKey: key.publicKey, subject: birthSubjectText(productSerial) })
        scene.note(postQuantumDevice, { key, certificate })
        const tally = { what: 'post-quantum certificates', count: 1, timed: false }
        return {
          said: `${productSerial}: ${formatSize(certificate.length)}, its birth ${formatSize(birth.certificate.length)}`,
          tally,
        }
      },
    },
    {
      title: 'OCSP says good, in ML-DSA-65 as well',
      async run(scene) {
        const { certificate } = scene.known(postQuantumDevice)
        const { type } = await askStanding(certificate, scene.known(postQuantumAuthority), scene.world)
        must(type === 'good', `OCSP says ${type} of a certificate that was just issued`)
        return { said: 'good; answer and responder are checked' }
      },
    },
    {
      title: 'Another program checks the signatures',
      async run(scene) {
        const tool = scene.known(openssl)
        const tally = { what: 'checks of ML-DSA signatures', count: 2, timed: false }
        return { said: tool !== undefined && hasMLDSA(tool.version) ? await asked(scene, tool) : byNode(scene), tally }
      },
    },
    {
      title: 'The key exchange of TLS is hybrid',
      async run(scene) {
        const group = await groupOf(scene)
        must(group === HYBRID_GROUP, `the server agreed on ${group} with a client that has ${HYBRID_GROUP}`)
        return { said: `${group}: what is recorded today stays closed` }
      },
    },
  ],
}

async function asked(scene: Scene, tool: OpenSSL): Promise<string> {
  const [issuing, root] = chainOf(scene)
  await verifyWith(tool, { certificate: scene.known(postQuantumDevice).certificate, between: [issuing], root })
  return `${tool.version}: OK, up to the root`
}

/** The OpenSSL that Node.js is linked with is the one that made the signatures: a second look, no second program. */
function byNode(scene: Scene): string {
  const [issuing, root] = chainOf(scene).map((der) => new X509Certificate(der))
  const device = new X509Certificate(scene.known(postQuantumDevice).certificate)
  must(issuing !== undefined && root !== undefined, 'no chain')
  const pairs = [
    [device, issuing],
    [issuing, root],
  ] as const
  for (const [certificate, issuer] of pairs) {
    must(certificate.checkIssued(issuer), `${certificate.subject} is not by ${issuer.subject}`)
    const key = createPublicKey({ key: issuer.publicKey.export({ type: 'spki', format: 'der' }), type: 'spki', format: 'der' })
    must(certificate.verify(key), `the signature on ${certificate.subject} is wrong`)
    must(!certificate.verify(device.publicKey), 'any key verifies it')
  }
  return `node:crypto, OpenSSL ${process.versions.openssl} (no openssl ${OPENSSL_LEAST.join('.')} on PATH)`
}

function chainOf(scene: Scene): readonly [Uint8Array, Uint8Array] {
  const [issuing, root] = scene.known(postQuantumAuthority).chain
  return [present(issuing, 'no authority'), present(root, 'no root')]
}

/** @param version such as `OpenSSL 3.5.1 1 Jul 2025`; LibreSSL counts by itself and has no ML-DSA */
export function hasMLDSA(version: string): boolean {
  const [, major = 0, minor = 0] = (/^OpenSSL (\d+)\.(\d+)/.exec(version) ?? []).map(Number)
  return major > OPENSSL_LEAST[0] || (major === OPENSSL_LEAST[0] && minor >= OPENSSL_LEAST[1])
}

/** What a client that is told nothing agrees on with the server. */
function groupOf(scene: Scene): Promise<string | undefined> {
  const { process: running, tlsRoot } = scene.known(server)
  const { hostname, port } = new URL(running.tls)
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port), ca: encodePEM('CERTIFICATE', tlsRoot) }, () => {
      const info = socket.getEphemeralKeyInfo()
      resolve(info !== null && 'name' in info ? info.name : undefined)
      socket.destroy()
    })
    socket.once('error', reject)
  })
}
