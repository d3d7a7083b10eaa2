/** Who may issue certificates, and where devices ask for them. @module */
import type { AnswerOf, InputOf } from '#server/rest/client.ts'
import { type KnownAuthority, knownAuthority } from '../relying-party.ts'
import { type Chapter, fact, must, present, type Scene } from '../story.ts'
import { officer } from './server.ts'

/** Issues births: the maker's. */
export const birthAuthority = fact<KnownAuthority>('the birth authority')
/** Issues what devices use at work: the owner's. */
export const ownerAuthority = fact<KnownAuthority>('the owner’s authority')

export const MAKER = 'Example Machines'
export const OWNER = 'Example Plant'

/** IANA's enterprise number for examples (RFC 5612); a maker has its own. */
export const HARDWARE_TYPE = '1.3.6.1.4.1.32473.1'

export const endpoints = {
  stations: 'stations',
  births: 'line',
  recorded: 'recorded',
  owner: 'plant',
  gateways: 'gateways',
  postQuantum: 'pq',
} as const

export type AuthorityAnswer = AnswerOf<'showAuthority'>

export const authoritiesChapter: Chapter = {
  title: 'Who may issue',
  about: 'A maker and an owner each have a root, which others trust, and below it an authority for the daily work.',
  steps: [
    {
      title: 'The maker’s root, and its birth authority',
      async run(scene) {
        const { known, said } = await authorityPair(scene, {
          root: { slug: 'birthroot', name: `CN=${MAKER} Birth Root,O=${MAKER}`, noExpiry: true },
          issuing: { slug: 'birth', name: `CN=${MAKER} Birth Authority,O=${MAKER}`, noExpiry: true },
          said: 'never expire: a machine may stand for 30 years',
        })
        scene.note(birthAuthority, known)
        return { said }
      },
    },
    {
      title: 'The owner’s root, and its plant authority',
      async run(scene) {
        const { known, said } = await authorityPair(scene, {
          root: { slug: 'ownerroot', name: `CN=${OWNER} Root,O=${OWNER}` },
          issuing: { slug: 'owner', name: `CN=${OWNER} Device Authority,O=${OWNER}` },
          said: 'for 20 and 10 years',
        })
        scene.note(ownerAuthority, known)
        return { said }
      },
    },
    {
      title: 'Three places to ask for certificates',
      async run(scene) {
        const client = scene.known(officer)
        const [birth, owner] = [scene.known(birthAuthority).address, scene.known(ownerAuthority).address]
        const existing = new Set((await client.call('listEndpoints', {})).endpoints.map(({ label }) => label))
        const wanted: readonly InputOf<'createEndpoint'>['body'][] = [
          { label: endpoints.stations, authority: birth, profile: 'ra', rules: { secrets: true } },
          {
            label: endpoints.births,
            authority: birth,
            profile: 'idevid',
            rules: { clientIssuers: [birth], hardwareType: HARDWARE_TYPE },
          },
          {
            label: endpoints.owner,
            authority: owner,
            profile: 'ldevid',
            isDefault: true,
            rules: { clientIssuers: [birth, owner] },
          },
        ]
        for (const body of wanted) if (!existing.has(body.label)) await client.call('createEndpoint', { body })
        return { said: 'for stations, for births, for the owner’s plant' }
      },
    },
  ],
}

interface NewAuthority {
  readonly slug: string
  readonly name: string
  readonly noExpiry?: boolean
  readonly keyAlgorithm?: string
  readonly keyStore?: string
  readonly issuer?: string
}

interface Pair {
  readonly root: NewAuthority
  readonly issuing: NewAuthority
  /** When they are new. */
  readonly said: string
}

/** A root and an authority below it, made at the first start and found at later ones. */
export async function authorityPair(
  scene: Scene,
  { root, issuing, said }: Pair,
): Promise<{ known: KnownAuthority; said: string }> {
  const { authority: top } = await madeOnce(scene, root)
  const { authority: daily, isOld } = await madeOnce(scene, { ...issuing, issuer: top.address })
  must(daily.issuer === top.address, `${daily.address} stands below ${daily.issuer} instead of ${top.address}`)
  must(daily.chain.length === 2 && daily.chain[1] === top.certificate, `the chain of ${daily.address} does not end at its root`)
  const chain = daily.chain.map((der) => Uint8Array.fromBase64(der))
  return { known: knownAuthority(daily.address, chain), said: isOld ? 'the same as last time' : said }
}

/** Made at the first start, found at later ones. */
export async function madeOnce(scene: Scene, wanted: NewAuthority): Promise<{ authority: AuthorityAnswer; isOld: boolean }> {
  const client = scene.known(officer)
  const found = newestOf(await client.call('listAuthorities', {}), wanted.slug)
  if (found !== undefined) return { authority: found, isOld: true }
  return { authority: await client.call('createAuthority', { body: wanted }), isOld: false }
}

/** The generation that issues. @throws NotAsExpected when there is none */
export const authorityOf = (list: AnswerOf<'listAuthorities'>, slug: string): AuthorityAnswer =>
  present(newestOf(list, slug), `there is no authority ${slug}`)

const newestOf = ({ authorities }: AnswerOf<'listAuthorities'>, slug: string): AuthorityAnswer | undefined =>
  authorities.find((one) => one.slug === slug && one.state === 'active')
