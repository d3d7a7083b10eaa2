/** A key that nobody can copy: made in a PKCS #11 token, and used there. @module */
import { type Identity, makeKey, requestFor } from '../device.ts'
import { connected, issued } from '../enrolling.ts'
import { eachOf } from '../parallel.ts'
import { byOpenSSL, verifyWith } from '../programs.ts'
import { checkCertificate, type KnownAuthority, knownAuthority } from '../relying-party.ts'
import { type Chapter, fact, must, type Outcome, present, type Scene, type Step } from '../story.ts'
import { isHere, publicKeysIn, type TrialToken } from '../token.ts'
import { authorityOf, birthAuthority, endpoints, madeOnce, OWNER } from './authorities.ts'
import { birthSubject, birthSubjectText, devices } from './births.ts'
import { CONNECTIONS_AT_ONCE } from './owners.ts'
import { officer, officerCommand, refusalOf, token, TOKEN_STORE } from './server.ts'

/** Issues what the token signs. */
const tokenAuthority = fact<KnownAuthority>('the authority in the token')
const signedInToken = fact<readonly Identity[]>('the certificates that the token signed')

const SLUG = 'gateways'
const GATEWAYS = 20

export const tokenChapter: Chapter = {
  title: 'A key in a token',
  about: 'As in a hardware security module (here SoftHSM): the key is made there and never leaves. Somebody has to give the PIN.',
  steps: [
    inToken('Before the PIN, the token signs nothing', async (scene) => {
      const client = scene.known(officer)
      must((await stateOf(scene)) === 'locked', `the key store is ${await stateOf(scene)} although nobody gave the PIN`)
      const body = { label: `${TOKEN_STORE}:too-early`, keyAlgorithm: 'ecdsa-p256' } as const
      const reason = await refusalOf(() => client.call('createKey', { body }))
      must(reason === 'tokenLocked', `it was refused for ${reason} instead of tokenLocked`)
      return { said: `refused: ${reason}` }
    }),
    inToken('sealworks key unlock: the officer gives it', async (scene, { pinFile }) => {
      await scene.known(officerCommand)('key', 'unlock', TOKEN_STORE, '--pin-file', pinFile)
      const state = await stateOf(scene)
      must(state === 'ready', `the key store is ${state} with its PIN`)
      return { said: 'ready; the PIN is in memory only' }
    }),
    inToken('An authority with its key in the token', async (scene) => {
      const client = scene.known(officer)
      const { address: issuer } = authorityOf(await client.call('listAuthorities', {}), 'ownerroot')
      const name = `CN=${OWNER} Gateway Authority,O=${OWNER}`
      const { authority, isOld } = await madeOnce(scene, { slug: SLUG, name, issuer, keyStore: TOKEN_STORE })
      const chain = authority.chain.map((der) => Uint8Array.fromBase64(der))
      scene.note(tokenAuthority, knownAuthority(authority.address, chain))
      const { endpoints: existing } = await client.call('listEndpoints', {})
      if (!existing.some(({ label }) => label === endpoints.gateways)) {
        const rules = { clientIssuers: [scene.known(birthAuthority).address] }
        const body = { label: endpoints.gateways, authority: authority.address, profile: 'ldevid', rules }
        await client.call('createEndpoint', { body })
      }
      return { said: isOld ? 'the same key as last time' : 'ECDSA P-256, never leaves the token' }
    }),
    inToken(`${GATEWAYS} gateways get certificates signed there`, async (scene) => {
      const issuer = scene.known(tokenAuthority)
      const identities = await eachOf(
        scene.known(devices).slice(0, GATEWAYS),
        CONNECTIONS_AT_ONCE,
        async ({ productSerial, birth }): Promise<Identity> => {
          const key = await makeKey()
          const certificate = await connected(scene, endpoints.gateways, { identity: birth }, async (client) =>
            issued(
              await client.simpleEnroll((channelBinding) => requestFor(key, birthSubject(productSerial), { channelBinding })),
            ),
          )
          await checkCertificate(certificate, { issuer, publicKey: key.publicKey, subject: birthSubjectText(productSerial) })
          return { key, certificate }
        },
        (done) => scene.progress(done, GATEWAYS),
      )
      scene.note(signedInToken, identities)
      const tally = { what: 'certificates signed in a token', count: identities.length, timed: true }
      return { said: `${identities.length} checked`, tally }
    }),
    inToken('pkcs11-tool finds this very key in the token', async (scene, opened) => {
      const listed = await publicKeysIn(opened)
      if (listed === undefined) return { said: 'not looked at: install opensc', skipped: true }
      const point = scene.known(tokenAuthority).certificate.subjectPublicKeyInfo.subarray(-POINT_OCTETS).toHex()
      must(listed.toLowerCase().includes(point), `pkcs11-tool does not list the key of the authority:\n${listed}`)
      return { said: `public key ${point.slice(2, 14)}…` }
    }),
    byOpenSSL('openssl verify: a gateway’s certificate', async (scene, tool) => {
      if (!isHere(scene.known(token))) return undefined
      const { certificate } = present(scene.known(signedInToken)[0], 'no certificate')
      const [issuing, root] = scene.known(tokenAuthority).chain
      await verifyWith(tool, { certificate, between: [present(issuing, 'no authority')], root: present(root, 'no root') })
      return 'OK, up to the owner’s root'
    }),
  ],
}

/** An uncompressed point of P-256, which ends the SubjectPublicKeyInfo. */
const POINT_OCTETS = 65

/** A step that needs the token. */
function inToken(title: string, run: (scene: Scene, opened: TrialToken) => Promise<Outcome>): Step {
  return {
    title,
    async run(scene) {
      const opened = scene.known(token)
      return isHere(opened) ? run(scene, opened) : { said: 'needs softhsm2', skipped: true }
    },
  }
}

async function stateOf(scene: Scene): Promise<string | undefined> {
  const { stores } = await scene.known(officer).call('listKeyStores', {})
  return stores.find(({ id }) => id === TOKEN_STORE)?.state
}
