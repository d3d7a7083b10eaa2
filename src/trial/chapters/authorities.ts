/** Who may issue certificates, and where devices ask for them. @module */
import type { AnswerOf, InputOf } from '#server/rest/client.ts'
import { type KnownAuthority, knownAuthority } from '../relying-party.ts'
import { type Chapter, fact, must, type Scene } from '../story.ts'
import { officer } from './server.ts'

/** Issues births: the maker's. */
export const birthAuthority = fact<KnownAuthority>('the birth authority')
/** Issues what devices use at work: the owner's. */
export const ownerAuthority = fact<KnownAuthority>('the owner’s authority')

export const MAKER = 'Example Machines'
const OWNER = 'Example Plant'

/** IANA's enterprise number for examples (RFC 5612); a maker has its own. */
const HARDWARE_TYPE = '1.3.6.1.4.1.32473.1'

export const endpoints = { stations: 'stations', births: 'line', owner: 'plant' } as const

type AuthorityAnswer = AnswerOf<'showAuthority'>

export const authoritiesChapter: Chapter = {
  title: 'Who may issue',
  about: 'A maker and an owner each have a root, which others trust, and below it an authority for the daily work.',
  steps: [
    {
      title: 'The maker’s root, and its birth authority',
      run: (scene) =>
        pair(scene, {
          root: { slug: 'birthroot', name: `CN=${MAKER} Birth Root,O=${MAKER}`, noExpiry: true },
          issuing: { slug: 'birth', name: `CN=${MAKER} Birth Authority,O=${MAKER}`, noExpiry: true },
          known: birthAuthority,
          said: 'never expire: a machine may stand for 30 years',
        }),
    },
    {
      title: 'The owner’s root, and its plant authority',
      run: (scene) =>
        pair(scene, {
          root: { slug: 'ownerroot', name: `CN=${OWNER} Root,O=${OWNER}` },
          issuing: { slug: 'owner', name: `CN=${OWNER} Device Authority,O=${OWNER}` },
          known: ownerAuthority,
          said: 'for 20 and 10 years',
        }),
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
}

interface Pair {
  readonly root: NewAuthority
  readonly issuing: NewAuthority
  readonly known: typeof birthAuthority
  readonly said: string
}

/** Made at the first start, found at later ones. */
async function pair(scene: Scene, { root, issuing, known, said }: Pair) {
  const client = scene.known(officer)
  const { authorities } = await client.call('listAuthorities', {})
  const make = async (wanted: NewAuthority, issuer?: string): Promise<AuthorityAnswer> =>
    authorities.find(({ slug }) => slug === wanted.slug) ??
    client.call('createAuthority', { body: { ...wanted, ...(issuer !== undefined && { issuer }) } })
  const top = await make(root)
  const daily = await make(issuing, top.address)
  must(daily.issuer === top.address, `${daily.address} stands below ${daily.issuer} instead of ${top.address}`)
  must(daily.chain.length === 2 && daily.chain[1] === top.certificate, `the chain of ${daily.address} does not end at its root`)
  scene.note(
    known,
    knownAuthority(
      daily.address,
      daily.chain.map((der) => Uint8Array.fromBase64(der)),
    ),
  )
  const isOld = authorities.some(({ slug }) => slug === issuing.slug)
  return { said: isOld ? 'the same as last time' : said }
}
