/** One device through two owners and two areas: what it may at each time is what its record and its chain of owners say. @module */
import { sign } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { encodePEM } from '#asn1/pem.ts'
import { type DeviceKey, type Identity, makeKey, privateKeyOf, requestFor } from '../device.ts'
import { born, connected, issued, refused } from '../enrolling.ts'
import { byOpenSSL } from '../programs.ts'
import { askStanding, checkCertificate, type KnownAuthority } from '../relying-party.ts'
import { CommandRefusal, runCommand } from '../server-process.ts'
import { type Chapter, fact, must, NotAsExpected, present, type Scene } from '../story.ts'
import { authorityPair, birthAuthority, endpoints, HARDWARE_TYPE, MAKER, ownerAuthority, OWNER } from './authorities.ts'
import { officer, officerCommand, server } from './server.ts'
import { line } from './station.ts'

const SECOND_OWNER = 'Example Works'
/** The press, as the maker's catalog has it. */
export const MODEL = 'press-8'
/** Names of organizations, as the catalog of devices writes them. */
export const parties = { maker: 'example-machines', first: 'example-plant', second: 'example-works' } as const
type Party = keyof typeof parties
const titles: Readonly<Record<Party, string>> = { maker: MAKER, first: OWNER, second: SECOND_OWNER }

/** Where it works: two areas of the first owner, one of the second. Each has an endpoint and an authority of the same name. */
const areas = [
  { name: 'hall', owner: 'first', authority: `CN=${OWNER} Hall,O=${OWNER}` },
  { name: 'yard', owner: 'first', authority: `CN=${OWNER} Yard,O=${OWNER}` },
  { name: 'works', owner: 'second', authority: `CN=${SECOND_OWNER} Devices,O=${SECOND_OWNER}` },
] as const satisfies readonly { readonly name: string; readonly owner: Party; readonly authority: string }[]
type Area = (typeof areas)[number]['name']

interface Press {
  readonly id: string
  readonly productSerial: string
  readonly birth: Identity
}

const areaAuthorities = fact<ReadonlyMap<Area, KnownAuthority>>('the authorities of the areas')
const press = fact<Press>('the device that is followed')
/** What it worked with in the hall. */
const leftBehind = fact<Identity>('the certificate of the hall')
/** What it works with, newest last. */
const papers = fact<readonly Identity[]>('the certificates of the device that is followed')

export const lifeChapter: Chapter = {
  title: 'A device’s life: two owners, three places of work',
  about:
    'Its record says whose it is and where it works; a chain that maker and owners sign says so to anybody. It gets no more than that.',
  steps: [
    {
      title: 'The maker, two owners, and their areas',
      async run(scene) {
        const isOld = await makeParties(scene)
        await makeAreas(scene)
        return { said: isOld ? 'the same as last time' : 'each with a key of its own; each area with an authority of its own' }
      },
    },
    {
      title: 'It is born, and its record begins',
      async run(scene) {
        const client = scene.known(officer)
        const productSerial = `P${scene.known(line).number}-0001`
        const birth = await born(scene, endpoints.recorded, productSerial)
        const { items } = await client.call('findDevices', { query: { productSerial } })
        const { id } = present(items[0], `${productSerial} has no record`)
        for (const act of ['releaseDevice', 'shipDevice'] as const) await client.call(act, { params: { id }, body: {} })
        scene.note(press, { id, productSerial, birth })
        scene.note(papers, [])
        const { birth: record } = await client.call('showDeviceHistory', { params: { id } })
        return { said: `${productSerial}, AL${present(record, 'it has no birth record').assurance}; tested and shipped` }
      },
    },
    {
      title: 'Nobody’s yet: no area lets it in',
      run: async (scene) => turnedAway(scene, 'hall', scene.known(press).birth, 'deviceNotClaimed'),
    },
    {
      title: 'The maker offers it, the owner accepts',
      async run(scene) {
        const { released, owner } = await sell(scene, { device: scene.known(press).id, to: 'first' })
        must(released === 'released', `the transfer is ${released}`)
        return { said: `released by the maker, and now with ${owner}` }
      },
    },
    {
      title: 'It enrolls in the hall with its birth',
      async run(scene) {
        await enroll(scene, 'hall', scene.known(press).birth)
        await mustBe(scene, 'onboarding', 'first/hall')
        await enroll(scene, 'hall', lastOf(scene))
        await mustBe(scene, 'active', 'first/hall')
        return { said: 'active once it was seen to use its certificate' }
      },
    },
    {
      title: 'It moves to the yard: new, in use, old refused',
      async run(scene) {
        const client = scene.known(officer)
        const inHall = lastOf(scene)
        await client.call('moveDevice', { params: { id: scene.known(press).id }, body: { area: 'yard' } })
        await enroll(scene, 'yard', inHall)
        await standingIs(scene, inHall, 'hall', 'good')
        must(await isLetIn(scene, inHall), 'it is shut out of the hall before it can work in the yard')
        await enroll(scene, 'yard', lastOf(scene))
        must(!(await isLetIn(scene, inHall)), 'the certificate of the hall is still good for something')
        await mustBe(scene, 'active', 'first/yard')
        scene.note(leftBehind, inHall)
        return { said: 'the hall’s is good until the yard’s was used, and no longer' }
      },
    },
    {
      title: 'It is sold: first the old owner’s is revoked',
      async run(scene) {
        const inYard = lastOf(scene)
        const between = async (): Promise<void> => {
          await standingIs(scene, scene.known(leftBehind), 'hall', 'affiliationChanged')
          await standingIs(scene, inYard, 'yard', 'affiliationChanged')
          must(!(await isLetIn(scene, inYard)), 'the certificate of the yard is still good for something')
          await mustBe(scene, 'transfer-pending', 'first/yard')
        }
        const { owner } = await sell(scene, { device: scene.known(press).id, to: 'second', between })
        return { said: `between the two it can do nothing; then it is with ${owner}` }
      },
    },
    {
      title: 'The first owner’s certificate opens nothing',
      run: async (scene) => turnedAway(scene, 'works', lastOf(scene), 'certificateRevoked'),
    },
    {
      title: 'It enrolls at its second owner',
      async run(scene) {
        await enroll(scene, 'works', scene.known(press).birth)
        await enroll(scene, 'works', lastOf(scene))
        await mustBe(scene, 'active', 'second/works')
        return { said: 'by the certificate that it was born with, as at the first' }
      },
    },
    {
      title: 'A stranger asks: is it genuine?',
      async run(scene) {
        const { birth } = scene.known(press)
        const said = [await verdictOn(scene, birth.key), await verdictOn(scene, await makeKey())]
        must(said.join() === 'genuine,unknown', `the answers are ${said.join(' and ')}`)
        return { said: 'genuine; and one with the same label and another key: unknown' }
      },
    },
    {
      title: 'sealworks device verify-chain, with no server',
      async run(scene) {
        const client = scene.known(officer)
        const { id, birth } = scene.known(press)
        const { chain } = await client.call('showOwnership', { params: { id } })
        const { items } = await client.call('listOrganizationKeys', { params: { name: parties.maker } })
        const [maker, certificate] = [at(scene, 'maker.jwk'), at(scene, 'birth.pem')]
        writeFileSync(maker, JSON.stringify(present(items[0], 'the maker has no key').jwk))
        writeFileSync(certificate, encodePEM('CERTIFICATE', birth.certificate))
        const read = (name: string, entries: readonly string[]): Promise<unknown> => {
          writeFileSync(at(scene, name), entries.map((entry) => `${entry}\n`).join(''))
          const trust = ['--maker', maker, '--certificate', certificate, '--epoch', '2']
          return runCommand(['device', 'verify-chain', at(scene, name), ...trust])
        }
        const [whole, refusal] = await Promise.all([
          read('owners', chain),
          read('cut', chain.slice(0, 1)).catch((error: unknown) => error),
        ])
        const { owner, epoch } = whole as { readonly owner: string; readonly epoch: number }
        must(owner === parties.second && epoch === 2, `the chain says that it is ${owner}’s, in epoch ${epoch}`)
        if (!(refusal instanceof CommandRefusal)) throw new NotAsExpected('a chain without its last owner passed for a whole one')
        return { said: `${chain.length} entries: ${titles.second} owns it; cut short: ${refusal.reason}` }
      },
    },
    byOpenSSL('openssl cms -verify: the maker’s voucher', async (scene, tool) => {
      const { productSerial } = scene.known(press)
      const [signer, domain, voucher] = [await voucherSigner(scene), at(scene, 'domain.pem'), at(scene, 'vcj')]
      const works = present(scene.known(areaAuthorities).get('works'), 'the second owner has no authority')
      writeFileSync(domain, encodePEM('CERTIFICATE', works.certificate.der))
      const words = ['--key', signer.label, '--certificates', signer.file, '--domain', domain]
      await scene.known(officerCommand)('device', 'voucher', productSerial, ...words, '--out', voucher, '--force')
      const root = present(scene.known(birthAuthority).chain.at(-1), 'the maker has no root')
      const trust = ['-CAfile', tool.file('maker-root.pem', root), '-purpose', 'any']
      const { code, text } = await tool.run('cms', '-verify', '-inform', 'DER', '-in', voucher, ...trust)
      must(code === 0 && text.includes(`"serial-number":"${productSerial}"`), text)
      return 'signed by the maker, names the device and whom it may trust'
    }),
  ],
}

/** Files of this chapter, of this start. */
function at(scene: Scene, name: string): string {
  const directory = join(scene.directory, 'life')
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  return join(directory, `${scene.known(press).productSerial}.${name}`)
}

const lastOf = (scene: Scene): Identity => present(scene.known(papers).at(-1), 'it has no certificate to work with')

/** @returns whether they were there */
async function makeParties(scene: Scene): Promise<boolean> {
  const client = scene.known(officer)
  const known = new Set((await client.call('listOrganizations', {})).items.map(({ name }) => name))
  const labels = new Set((await client.call('listKeys', {})).keys.map(({ label }) => label))
  for (const [party, name] of Object.entries(parties) as readonly [Party, string][]) {
    const kind = party === 'maker' ? ('manufacturer' as const) : ('owner' as const)
    if (!known.has(name)) await client.call('createOrganization', { body: { name, title: titles[party], kind } })
    const label = `owner-${name}`
    if (!labels.has(label)) await client.call('createKey', { body: { label, keyAlgorithm: 'ecdsa-p256' } })
    await client.call('setOrganizationKey', { params: { name }, body: { label } })
  }
  const { items } = await client.call('listModels', {})
  if (!items.some(({ name }) => name === MODEL)) {
    await client.call('createModel', {
      body: {
        ...{ manufacturer: parties.maker, name: MODEL, title: 'Press 8', compatible: {} },
        ...{ variants: ['software'], assuranceMin: 2, hardwareType: HARDWARE_TYPE },
      },
    })
  }
  return known.has(parties.second)
}

async function makeAreas(scene: Scene): Promise<void> {
  const client = scene.known(officer)
  const births = scene.known(birthAuthority).address
  const [, root] = scene.known(ownerAuthority).chain
  must(root !== undefined, 'the first owner has no root')
  const hasEndpoint = new Set((await client.call('listEndpoints', {})).endpoints.map(({ label }) => label))
  if (!hasEndpoint.has(endpoints.recorded)) {
    const rules = { secrets: true, hardwareType: HARDWARE_TYPE }
    await client.call('createEndpoint', { body: { label: endpoints.recorded, authority: births, profile: 'idevid', rules } })
    const rule = { kind: 'birth', variant: 'software', assurance: 2, unknown: 'record' } as const
    const model = `${parties.maker}/${MODEL}`
    await client.call('setEndpointDevices', { params: { label: endpoints.recorded }, body: { rule: { ...rule, model } } })
  }
  const found = new Map<Area, KnownAuthority>()
  const hasArea = new Set((await client.call('listAreas', {})).items.map(({ name }) => name))
  for (const { name, owner, authority } of areas) {
    const { known } = await authorityPair(scene, {
      root: { slug: `${owner}root`, name: `CN=${titles[owner]} Areas,O=${titles[owner]}` },
      issuing: { slug: name, name: authority },
      said: '',
    })
    found.set(name, known)
    const organization = parties[owner]
    const terms = { title: name, authority: known.address, profiles: ['ldevid'], assuranceMin: 2 }
    if (!hasArea.has(name)) await client.call('createArea', { body: { owner: organization, name, ...terms } })
    if (hasEndpoint.has(name)) continue
    // the yard is entered from the hall as well
    const clientIssuers = [births, ...[...found.values()].map(({ address }) => address)]
    await client.call('createEndpoint', {
      body: { label: name, authority: known.address, profile: 'ldevid', rules: { clientIssuers } },
    })
    const rule = { kind: 'area', area: `${organization}/${name}`, unknown: 'refuse' } as const
    await client.call('setEndpointDevices', { params: { label: name }, body: { rule } })
  }
  scene.note(areaAuthorities, found)
}

interface Sale {
  readonly device: string
  readonly to: Party
  /** Looks at it when it was let go and not yet taken. */
  between?(): Promise<void>
}

/** Offered, accepted, released, and taken. */
export async function sell(scene: Scene, { device, to, between }: Sale): Promise<{ released: string; owner: string }> {
  const client = scene.known(officer)
  const offer = await client.call('offerDevice', { body: { device, to: parties[to], terms: `invoice 47${to.length}` } })
  must(offer.state !== 'waiting', 'the offer waits for a person, which nobody asked for')
  const { id } = offer
  await client.call('acceptTransfer', { params: { id } })
  const { state } = await client.call('releaseTransfer', { params: { id } })
  await between?.()
  await client.call('completeTransfer', { params: { id } })
  const { owner, state: now } = await client.call('showDevice', { params: { id: device } })
  must(now === 'claimed' && owner === parties[to], `it is ${now}, and ${owner ?? 'nobody'}’s`)
  return { released: state, owner: titles[to] }
}

/** It asks where the area enrolls, with a new key, and shows a certificate that it has. */
async function enroll(scene: Scene, area: Area, shown: Identity): Promise<void> {
  const { productSerial } = scene.known(press)
  const subject = [{ type: 'serialNumber' as const, value: productSerial }]
  const key = await makeKey()
  const certificate = await connected(scene, area, { identity: shown }, async (client) =>
    issued(await client.simpleEnroll((channelBinding) => requestFor(key, subject, { channelBinding }))),
  )
  const issuer = present(scene.known(areaAuthorities).get(area), `${area} has no authority`)
  await checkCertificate(certificate, { issuer, publicKey: key.publicKey, subject: `serialNumber=${productSerial}` })
  scene.note(papers, [...scene.known(papers), { key, certificate }])
}

async function turnedAway(scene: Scene, area: Area, identity: Identity, reason: string) {
  const request = await requestFor(await makeKey(), [{ type: 'serialNumber', value: scene.known(press).productSerial }])
  const said = await connected(scene, area, { identity }, (client) =>
    refused(() => client.simpleEnroll(request), { status: 403, reason }),
  )
  return { said, tally: { what: 'requests refused', count: 1, timed: false } }
}

/** @param place as `PARTY/AREA` */
async function mustBe(scene: Scene, state: string, place: `${Party}/${Area}`): Promise<void> {
  const { id } = scene.known(press)
  const now = await scene.known(officer).call('showDevice', { params: { id } })
  const [party, area] = place.split('/') as [Party, Area]
  const wanted = `${parties[party]}/${area}`
  must(now.state === state && now.area === wanted, `it is ${now.state} in ${now.area ?? 'no area'}, not ${state} in ${wanted}`)
}

/** What anybody is told by OCSP. @param expected `good`, or why it is revoked */
async function standingIs(scene: Scene, { certificate }: Identity, area: Area, expected: string): Promise<void> {
  const issuer = present(scene.known(areaAuthorities).get(area), `${area} has no authority`)
  const standing = await askStanding(certificate, issuer, scene.world)
  const said = standing.type === 'revoked' ? standing.reason : standing.type
  must(said === expected, `OCSP says ${said} of the certificate of the ${area} instead of ${expected}`)
}

/** What the server decides at each connection. */
async function isLetIn(scene: Scene, { certificate }: Identity): Promise<boolean> {
  const client = scene.known(officer)
  const { certificates } = await client.call('findCertificates', { query: { productSerial: scene.known(press).productSerial } })
  const record = certificates.find((one) => one.certificate === certificate.toBase64())
  const { id } = present(record, 'the server does not find the certificate')
  return (await client.call('decideCertificate', { params: { id } })).isUsable
}

/** The question is public: the device signs a number of the server's, with the name on its label. */
async function verdictOn(scene: Scene, { privateKey, publicKey }: DeviceKey): Promise<string> {
  const client = scene.known(server).client('')
  const { productSerial } = scene.known(press)
  const { nonce } = await client.call('askGenuine', { body: { manufacturer: parties.maker, productSerial } })
  const text = `sealworks: is this device genuine? 1\n${parties.maker}\n${productSerial}\n${nonce}\n`
  const signature = new Uint8Array(sign('sha256', text, privateKey)).toBase64()
  const { verdict } = await client.call('answerGenuine', { body: { nonce, key: publicKey.toBase64(), signature } })
  return verdict
}

/** A key for the vouchers of this line, which goes to the server. @returns its label there, and the file of its certificates */
async function voucherSigner(scene: Scene): Promise<{ readonly label: string; readonly file: string }> {
  const client = scene.known(officer)
  const label = `vouchers-${scene.known(line).number}`
  const key = await makeKey()
  const request = await requestFor(key, [
    { type: 'O', value: MAKER },
    { type: 'CN', value: `${MAKER} Vouchers` },
  ])
  const authority = scene.known(birthAuthority).address
  const made = await client.call('issueCertificate', {
    body: { authority, profile: 'code-signing', request: request.toBase64() },
  })
  const privateKey = privateKeyOf(key).reveal('key import').toBase64()
  await client.call('importKey', { body: { label, privateKey } })
  const certificates = [made.certificate, ...made.chain].map((der) => encodePEM('CERTIFICATE', Uint8Array.fromBase64(der)))
  const file = at(scene, 'vouchers.pem')
  writeFileSync(file, [...new Set(certificates)].join(''))
  return { label, file }
}
