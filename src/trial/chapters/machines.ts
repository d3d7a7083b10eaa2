/** Machines at work, each with the agent of this product on it: what the chapters after this one update, license, order about and bill. @module */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { encodePEM } from '#asn1/pem.ts'
import { TLS_ROOT_FILE } from '#server/init.ts'
import { type Identity, makeKey, privateKeyOf } from '../device.ts'
import { born } from '../enrolling.ts'
import { eachOf } from '../parallel.ts'
import { filesOf, peopleRoot } from '../people.ts'
import { type CommandAnswer, CommandRefusal, runCommand, tryCommand } from '../server-process.ts'
import { type Chapter, fact, must, NotAsExpected, present, type Scene } from '../story.ts'
import { authorityOf, authorityPair, birthAuthority, endpoints, HARDWARE_TYPE, MAKER, OWNER } from './authorities.ts'
import { MODEL as PRESS, parties, sell } from './life.ts'
import { DIRECTOR, officer, server } from './server.ts'
import { line } from './station.ts'

const DRILL = 'drill-3'
export const models = { drill: `${parties.maker}/${DRILL}`, press: `${parties.maker}/${PRESS}` } as const
export const AREA = 'shop'
/** What the makers and the owner sign with; each is for one purpose. */
export const signers = { images: 'machine-images', releases: 'machine-releases', licenses: 'machine-licenses' } as const

export interface Machine {
  readonly id: string
  readonly productSerial: string
  readonly birth: Identity
  /** What it was born with, and its agent's own directory. */
  readonly home: string
  /** Its agent's command line. */
  agent(...words: readonly string[]): Promise<CommandAnswer>
}

/** Four drills and a press. The last drill is recorded at the server with another revision than it has. */
export const drills = fact<readonly [Machine, Machine, Machine, Machine]>('the drills')
export const machinePress = fact<Machine>('the press')

const directory = fact<string>('the directory of the machines')
const trustList = fact<string>('whom machines trust')

export const REVISION = 'b'
export const OTHER_REVISION = 'c'

export const machinesChapter: Chapter = {
  title: 'Machines at work',
  about:
    'Five machines of two models come to the owner’s shop. On each runs this product’s agent, which knows whom it trusts for what.',
  steps: [
    {
      title: 'Two models, a shop, and who signs for them',
      async run(scene) {
        await makeCatalog(scene)
        const isOld = await makeSigners(scene)
        const place = join(scene.directory, 'machines', String(scene.known(line).number))
        mkdirSync(place, { recursive: true, mode: 0o700 })
        scene.note(directory, place)
        return { said: isOld ? 'the same as last time' : 'one signer each for images, releases, licenses and the director' }
      },
    },
    {
      title: 'sealworks trust-list: two people sign it',
      async run(scene) {
        const { one, both } = await signTrustList(scene)
        scene.note(trustList, both)
        const alone = await tryCommand(['agent', 'trust', one, '--directory', join(scene.known(directory), 'nobody')])
        must(alone.code !== 0, 'a machine believes one alone')
        return { said: 'it says whom machines trust for what; one signature is not enough' }
      },
    },
    {
      title: 'Four drills and a press are born and sold',
      async run(scene) {
        const { number } = scene.known(line)
        const drillOf = (at: number, revision: string) => ({
          label: DRILLS,
          model: models.drill,
          serial: `D${number}-000${at}`,
          revision,
        })
        const wanted = [
          ...[1, 2, 3].map((at) => drillOf(at, REVISION)),
          drillOf(4, OTHER_REVISION),
          { label: endpoints.recorded, model: models.press, serial: `P${number}-0002`, revision: REVISION },
        ]
        const made = await eachOf(
          wanted,
          wanted.length,
          (one) => bear(scene, one),
          (done) => scene.progress(done, wanted.length),
        )
        const [a, b, c, d, e] = made
        must(a !== undefined && b !== undefined && c !== undefined && d !== undefined && e !== undefined, 'a machine is missing')
        scene.note(drills, [a, b, c, d])
        scene.note(machinePress, e)
        return { said: `${a.productSerial} to ${d.productSerial}, ${e.productSerial}: ${OWNER} has them` }
      },
    },
    {
      title: 'sealworks agent enroll, on each',
      async run(scene) {
        const all = [...scene.known(drills), scene.known(machinePress)]
        await eachOf(
          all,
          all.length,
          async (machine) => {
            await setUp(scene, machine)
            await done(machine.agent('report'))
            const { state } = await scene.known(officer).call('showDevice', { params: { id: machine.id } })
            must(state === 'active', `${machine.productSerial} is ${state}`)
          },
          (count) => scene.progress(count, all.length),
        )
        return {
          said: `${all.length} work, and said so in signed reports`,
          tally: { what: 'agents enrolled', count: all.length, timed: true },
        }
      },
    },
  ],
}

const DRILLS = 'drills'

/** @returns what it printed @throws CommandRefusal */
export async function done(command: Promise<CommandAnswer>): Promise<unknown> {
  const { code, value, errors } = await command
  if (code !== 0) throw new CommandRefusal(errors, `it ended with ${code}: ${JSON.stringify(value)}`)
  return value
}

/** @returns the stable word @throws NotAsExpected when it was done, or refused for another reason */
export async function refusedFor(command: Promise<unknown>, ...reasons: readonly string[]): Promise<string> {
  try {
    await command
  } catch (error) {
    if (!(error instanceof CommandRefusal)) throw error
    const { reason = '' } = error
    must(reasons.includes(reason), `it was refused for ${reason} instead of ${reasons.join(' or ')}: ${error.message}`)
    return reason
  }
  throw new NotAsExpected(`it was done; it should be refused for ${reasons.join(' or ')}`)
}

async function makeCatalog(scene: Scene): Promise<void> {
  const client = scene.known(officer)
  const { items } = await client.call('listModels', {})
  const births = scene.known(birthAuthority).address
  if (!items.some(({ name }) => name === DRILL)) {
    const terms = {
      title: 'Drill 3',
      compatible: {},
      variants: ['software' as const],
      assuranceMin: 2,
      hardwareType: HARDWARE_TYPE,
    }
    await client.call('createModel', { body: { manufacturer: parties.maker, name: DRILL, ...terms } })
    for (const model of [DRILL, PRESS])
      for (const name of [REVISION, OTHER_REVISION])
        await client.call('createRevision', { params: { manufacturer: parties.maker, model }, body: { name, compatible: {} } })
  }
  const labels = new Set((await client.call('listEndpoints', {})).endpoints.map(({ label }) => label))
  if (!labels.has(DRILLS)) {
    const rules = { secrets: true, hardwareType: HARDWARE_TYPE }
    await client.call('createEndpoint', { body: { label: DRILLS, authority: births, profile: 'idevid', rules } })
    const rule = { kind: 'birth', variant: 'software', assurance: 2, unknown: 'refuse', model: models.drill } as const
    await client.call('setEndpointDevices', { params: { label: DRILLS }, body: { rule } })
  }
  const { known } = await authorityPair(scene, {
    root: { slug: 'firstroot', name: `CN=${OWNER} Areas,O=${OWNER}` },
    issuing: { slug: AREA, name: `CN=${OWNER} Shop,O=${OWNER}` },
    said: '',
  })
  if (labels.has(AREA)) return
  const terms = { title: 'Shop', authority: known.address, profiles: ['ldevid'], assuranceMin: 2 }
  await client.call('createArea', { body: { owner: parties.first, name: AREA, ...terms } })
  const rules = { clientIssuers: [births, known.address] }
  await client.call('createEndpoint', { body: { label: AREA, authority: known.address, profile: 'ldevid', rules } })
  const rule = { kind: 'area', area: `${parties.first}/${AREA}`, unknown: 'refuse' } as const
  await client.call('setEndpointDevices', { params: { label: AREA }, body: { rule } })
}

interface NewSigner {
  readonly name: string
  readonly authority: string
  readonly by: string
  readonly profile: string
  readonly formats: readonly string[]
  readonly role?: 'server:updates' | 'server:licenses'
}

/** @returns whether they were there */
async function makeSigners(scene: Scene): Promise<boolean> {
  const client = scene.known(officer)
  const existing = new Set((await client.call('listSigners', {})).items.map(({ name }) => name))
  const maker = scene.known(birthAuthority).address
  // whoever says what a machine installs is not below those who make it: they could not do each other's part
  const owner = authorityOf(await client.call('listAuthorities', {}), 'owner').address
  const statements = { profile: 'statement-signing', formats: ['cose-sign1'] }
  const wanted: readonly NewSigner[] = [
    { name: signers.images, authority: maker, by: MAKER, profile: 'code-signing', formats: ['cms', 'swupdate'] },
    { name: FOREIGN, authority: owner, by: OWNER, profile: 'code-signing', formats: ['cms', 'swupdate'] },
    { name: signers.releases, authority: maker, by: MAKER, ...statements, role: 'server:updates' },
    { name: DIRECTOR, authority: owner, by: OWNER, ...statements, role: 'server:updates' },
    {
      name: signers.licenses,
      authority: maker,
      by: MAKER,
      ...statements,
      formats: ['cose-sign1', 'jws'],
      role: 'server:licenses',
    },
  ]
  for (const { name, authority, by, profile, formats, role } of wanted) {
    if (existing.has(name)) continue
    const key = `signer-${name}`
    await client.call('createKey', { body: { label: key, keyAlgorithm: 'ecdsa-p256' } })
    const issue = { authority, profile, subject: `CN=${by} ${name},O=${by}` }
    await client.call('createSigner', {
      body: { name, key, issue, formats: [...formats], ...(role !== undefined && { users: { roles: [role] } }) },
    })
  }
  return existing.has(signers.licenses)
}

/** Signs software as well, and no machine trusts it. */
export const FOREIGN = 'foreign-images'

/** @returns the list as one signed it, and as both did */
async function signTrustList(scene: Scene): Promise<{ readonly one: string; readonly both: string }> {
  const place = scene.known(directory)
  const at = (name: string): string => join(place, name)
  const client = scene.known(officer)
  const pinned = async (name: string): Promise<string> => {
    const { key } = await client.call('showSigner', { params: { name } })
    return pem(at(`${name}.pem`), present(key.certificates[0], `${name} has no certificate`))
  }
  const [authority, root] = scene.known(birthAuthority).chain
  const anchors = [
    `software=${pem(at('maker-root.pem'), present(root, 'the maker has no root').toBase64())}`,
    // SWUpdate finds no way over certificates that come with a signature: it is told of the issuer too
    `software=${pem(at('maker.pem'), present(authority, 'the maker has no authority').toBase64())}`,
    `director=${await pinned(DIRECTOR)}`,
    `license=${await pinned(signers.licenses)}`,
    `command=${peopleRoot(scene.directory)}`,
    `command=${filesOf(scene.directory, 'officer').certificate}`,
  ]
  const keys: string[] = []
  for (const name of ['first', 'second']) {
    const key = await makeKey()
    writeFileSync(at(`${name}.pub`), encodePEM('PUBLIC KEY', key.publicKey))
    writeFileSync(at(`${name}.key`), encodePEM('PRIVATE KEY', privateKeyOf(key).reveal('who signs trust lists')), { mode: 0o600 })
    keys.push(at(`${name}.key`))
  }
  const both = ['--signer', at('first.pub'), '--signer', at('second.pub'), '--threshold', '2', '--expires', '2036-01-01']
  const out = (name: string): readonly string[] => ['--out', at(name), '--force']
  const list = anchors.flatMap((anchor) => ['--anchor', anchor])
  await runCommand(['trust-list', 'create', '--name', 'machines', ...both, ...list, ...out('list.json')])
  const [first = '', second = ''] = keys
  await runCommand(['trust-list', 'sign', at('list.json'), '--key', first, ...out('one.json')])
  await runCommand(['trust-list', 'sign', at('one.json'), '--key', second, ...out('both.json')])
  return { one: at('one.json'), both: at('both.json') }
}

interface Unborn {
  readonly label: string
  readonly model: string
  readonly serial: string
  /** As the server records it. */
  readonly revision: string
}

/** Planned, born, tested, shipped, sold. */
async function bear(scene: Scene, { label, model, serial: productSerial, revision }: Unborn): Promise<Machine> {
  const client = scene.known(officer)
  const { id } = await client.call('registerDevice', { body: { model, productSerial, revision } })
  const birth = await born(scene, label, productSerial)
  for (const act of ['releaseDevice', 'shipDevice'] as const) await client.call(act, { params: { id }, body: {} })
  await sell(scene, { device: id, to: 'first' })
  const home = join(scene.known(directory), productSerial)
  mkdirSync(home, { recursive: true, mode: 0o700 })
  const agent = (...words: readonly string[]): Promise<CommandAnswer> =>
    tryCommand(['agent', ...words, '--directory', join(home, 'agent')])
  return { id, productSerial, home, birth, agent }
}

/** What the line and the owner put onto it, and its first certificate in the shop. */
async function setUp(scene: Scene, { home, productSerial, birth, agent }: Machine): Promise<void> {
  const at = (name: string): string => join(home, name)
  writeFileSync(at('birth.key'), encodePEM('PRIVATE KEY', privateKeyOf(birth.key).reveal('the machine’s own file')), {
    mode: 0o600,
  })
  const certificate = pem(at('birth.pem'), birth.certificate.toBase64())
  const { process } = scene.known(server)
  // servers of the plant have certificates of the owner's authority as well
  const owners = authorityOf(await scene.known(officer).call('listAuthorities', {}), 'owner')
  const plant = pem(at('plant.pem'), present(owners.chain.at(-1), 'the owner has no root'))
  const trust = ['--trust', join(scene.directory, TLS_ROOT_FILE), '--trust', plant, '--trust-list', scene.known(trustList)]
  const identity = ['--certificate', certificate, '--key', at('birth.key')]
  await done(agent('enroll', '--server', process.tls, '--label', AREA, ...trust, ...identity))
  const model = productSerial.startsWith('D') ? DRILL : PRESS
  const owner = { name: parties.first, epoch: 1 }
  writeFileSync(
    join(home, 'agent', 'device.json'),
    JSON.stringify({ manufacturer: parties.maker, model, revision: REVISION, owner, area: AREA }),
  )
}

function pem(path: string, certificate: string): string {
  writeFileSync(path, encodePEM('CERTIFICATE', Uint8Array.fromBase64(certificate)))
  return path
}
