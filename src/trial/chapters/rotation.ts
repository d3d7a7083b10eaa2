/** The owner’s root gets a new key, and nobody has to visit a machine for it: links lead from either root to the other. @module */
import { makeKey, requestFor } from '../device.ts'
import { connected, issued } from '../enrolling.ts'
import { byOpenSSL, verifyWith } from '../programs.ts'
import { checkCertificate, type KnownAuthority, knownAuthority } from '../relying-party.ts'
import { type Chapter, fact, must, present, type Scene } from '../story.ts'
import { type AuthorityAnswer, authorityOf } from './authorities.ts'
import { birthSubject, birthSubjectText } from './births.ts'
import { ownedDevices } from './owners.ts'
import { officer } from './server.ts'

interface Rotated {
  /** Of the first generation, as it was delivered. */
  readonly oldRoot: Uint8Array
  readonly oldAuthority: AuthorityAnswer
  readonly newRoot: Uint8Array
  readonly newAuthority: KnownAuthority
  /** The new root’s key certified by the old one, and the other way round. */
  readonly links: readonly Uint8Array[]
}

const rotated = fact<Rotated>('the rotated authorities')
const renewed = fact<Uint8Array>('a certificate by the new key')

export const rotationChapter: Chapter = {
  title: 'Authorities get new keys',
  about: 'The owner’s root and authority go on with new keys. Certificates that link old and new keep both sides in trust.',
  steps: [
    {
      title: 'The owner’s root and authority are rekeyed',
      async run(scene) {
        const client = scene.known(officer)
        const before = await client.call('listAuthorities', {})
        // Once: each start would make one more generation for good.
        const isOld = authorityOf(before, 'ownerroot').generation > 1
        for (const slug of isOld ? [] : ['ownerroot', 'owner'])
          await client.call('rotateAuthority', {
            params: { address: authorityOf(before, slug).address },
            body: { mode: 'rekey' },
          })
        const { authorities } = await client.call('listAuthorities', {})
        const [oldRoot, oldAuthority] = ['ownerroot.1', 'owner.1'].map((wanted) =>
          present(
            authorities.find(({ address }) => address === wanted),
            `${wanted} is gone`,
          ),
        )
        const [newRoot, newAuthority] = ['ownerroot', 'owner'].map((slug) => authorityOf({ authorities }, slug))
        must(
          oldRoot !== undefined && oldAuthority !== undefined && newRoot !== undefined && newAuthority !== undefined,
          'no authority',
        )
        must(newAuthority.issuer === newRoot.address, `${newAuthority.address} stands below ${newAuthority.issuer}`)
        // Roots are offered beside the links, but openssl takes one that it was not given for a dead end.
        const selfSigned = new Set(authorities.filter(({ slug }) => slug === 'ownerroot').map(({ certificate }) => certificate))
        scene.note(rotated, {
          oldRoot: Uint8Array.fromBase64(oldRoot.certificate),
          oldAuthority,
          newRoot: Uint8Array.fromBase64(newRoot.certificate),
          newAuthority: knownAuthority(
            newAuthority.address,
            newAuthority.chain.map((der) => Uint8Array.fromBase64(der)),
          ),
          links: newRoot.links.filter((der) => !selfSigned.has(der)).map((der) => Uint8Array.fromBase64(der)),
        })
        return { said: isOld ? 'done at an earlier start' : `${newRoot.address} and ${newAuthority.address}, and two links` }
      },
    },
    {
      title: 'A device renews, and is signed by the new key',
      async run(scene) {
        const issuer = scene.known(rotated).newAuthority
        const { productSerial, owner } = present(scene.known(ownedDevices)[1], 'there are no devices')
        const key = await makeKey()
        const certificate = await connected(scene, undefined, { identity: owner }, async (client) =>
          issued(
            await client.simpleReenroll((channelBinding) => requestFor(key, birthSubject(productSerial), { channelBinding })),
          ),
        )
        await checkCertificate(certificate, { issuer, publicKey: key.publicKey, subject: birthSubjectText(productSerial) })
        scene.note(renewed, certificate)
        return { said: `${productSerial}, with nothing changed on it`, tally: { what: 'renewals', count: 1, timed: false } }
      },
    },
    byOpenSSL('openssl verify: the new one by the old root', async (scene, tool) => {
      const { newAuthority, oldRoot, links } = scene.known(rotated)
      const authority = present(newAuthority.chain[0], 'no authority')
      await verifyWith(tool, { certificate: scene.known(renewed), between: [authority, ...links], root: oldRoot })
      return 'OK, over a link'
    }),
    byOpenSSL('openssl verify: an old one by the new root', async (scene, tool) => {
      const { oldAuthority, newRoot, oldRoot, links } = scene.known(rotated)
      const certificate = await newestOf(scene, oldAuthority)
      const authority = Uint8Array.fromBase64(oldAuthority.certificate)
      await verifyWith(tool, { certificate, between: [authority], root: oldRoot })
      await verifyWith(tool, { certificate, between: [authority, ...links], root: newRoot })
      return 'OK, and by the old root as before'
    }),
  ],
}

/** A device certificate that the authority issued before it got its new key. */
async function newestOf(scene: Scene, { address }: AuthorityAnswer): Promise<Uint8Array> {
  const query = { authority: address, profile: 'ldevid', limit: 1 }
  const { certificates } = await scene.known(officer).call('findCertificates', { query })
  return Uint8Array.fromBase64(present(certificates[0], `${address} has issued nothing`).certificate)
}
