/** A critical order needs two more people, each with a key of their own; the machine judges it itself, and obeys it once (R14). @module */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { encodePEM } from '#asn1/pem.ts'
import { exitCodes } from '#cli/exit-codes.ts'
import { TLS_ROOT_FILE } from '#server/init.ts'
import type { AnswerOf } from '#server/rest/client.ts'
import { makeKey, privateKeyOf, requestFor } from '../device.ts'
import { appointPeople, filesOf, ISSUERS, people, type Person } from '../people.ts'
import { HOST } from '../ports.ts'
import { type CommandAnswer, tryCommand } from '../server-process.ts'
import { type Chapter, fact, must, present, type Scene } from '../story.ts'
import { authorityOf } from './authorities.ts'
import { parties } from './life.ts'
import { AREA, done, machinePress, type Machine, refusedFor } from './machines.ts'
import { officer, personToken, server } from './server.ts'

const OPERATION = 'valve.open'
type Shown = AnswerOf<'showCommand'>

/** The order, by its id. */
const order = fact<string>('the order')
/** Each at a desk of their own. */
const desks = fact<Readonly<Record<Person, Desk>>>('the desks of those who order')
type Desk = (...words: readonly string[]) => Promise<CommandAnswer>

export const ordersChapter: Chapter = {
  title: 'A critical order',
  about:
    'Who orders and who agrees sign with keys of their own. The server only carries it: the machine checks every signature itself.',
  steps: [
    {
      title: 'sealworks command policy: who may, who agrees',
      async run(scene) {
        const machine = scene.known(machinePress)
        const valve = join(machine.home, 'valve')
        writeFileSync(valve, `#!/bin/sh\ncat >> '${valve}.log'\necho >> '${valve}.log'\necho the valve is open\n`, {
          mode: 0o755,
        })
        const operations = { [OPERATION]: { program: [valve] } }
        writeFileSync(join(machine.home, 'agent', 'commands.json'), JSON.stringify({ assurance: 2, operations }))
        await appointPeople(scene.known(officer), scene.directory)
        scene.note(desks, await openDesks(scene))
        const version = await putPolicy(scene)
        return { said: `version ${version}: the operator orders, shift lead and safety officer have to agree` }
      },
    },
    {
      title: 'The operator orders: open the valve',
      async run(scene) {
        const { productSerial } = scene.known(machinePress)
        const answer = await scene.known(desks).operator('send', productSerial, OPERATION, '--argument', 'position=40')
        must(answer.code === WAITS, `nobody has to agree: ${answer.errors}`)
        const { id, state } = answer.value as Shown
        scene.note(order, id)
        return { said: `${state}: nothing goes to the machine` }
      },
    },
    {
      title: 'One agrees, twice; and then another',
      async run(scene) {
        const id = scene.known(order)
        const { lead, safety } = scene.known(desks)
        must((await lead('approve', id)).code === WAITS, 'one was enough')
        const reason = await refusedFor(done(lead('approve', id)), 'commandSigned')
        const { value } = await safety('approve', id)
        return { said: `refused: ${reason}; with the second it is ${(value as Shown).state}` }
      },
    },
    {
      title: 'The machine asks, the operator answers, once',
      async run(scene) {
        const machine = scene.known(machinePress)
        const id = scene.known(order)
        const answered = scene.known(desks).operator('approve', id, '--wait', '20')
        // the machine looks while the operator waits at the desk
        let isOver = false
        void answered.finally(() => (isOver = true))
        const { world } = scene
        const begun = world.clock.now()
        while (!isOver && world.clock.now() - begun < ANSWER_MAX_SECONDS * 1000) {
          await machine.agent('run', '--once')
          await wait(LOOK_MILLISECONDS)
        }
        await done(answered)
        must(timesObeyed(machine) === 1, `the valve was opened ${timesObeyed(machine)} times`)
        return {
          said: 'the valve is open; the answer is good for this very question',
          tally: { what: 'orders obeyed', count: 1, timed: false },
        }
      },
    },
    {
      title: 'sealworks command receipt: what it signed',
      async run(scene) {
        const machine = scene.known(machinePress)
        const out = join(machine.home, 'receipt.cose')
        const receipt = (await done(scene.known(desks).operator('receipt', scene.known(order), '--out', out))) as Receipt
        must(receipt.result === 'done' && receipt.exitCode === 0, `the receipt says ${receipt.result}`)
        const { signatures } = await scene.known(officer).call('showCommand', { params: { id: scene.known(order) } })
        const said = Buffer.from(receipt.output ?? '', 'base64')
          .toString()
          .trim()
        return { said: `${receipt.result}: “${said}”; ordered and agreed by ${signatures.length}` }
      },
    },
    {
      title: 'A server in wrong hands sends it again',
      async run(scene) {
        const machine = scene.known(machinePress)
        const { message } = await scene.known(officer).call('showCommand', { params: { id: scene.known(order) } })
        const { asked, said } = await replayed(scene, machine, present(message, 'the server has not kept the order'))
        must(asked > 0, `the machine never asked that server: ${said}`)
        must(timesObeyed(machine) === 1, `the valve was opened ${timesObeyed(machine)} times`)
        return {
          said: 'the machine knows it, and does nothing',
          tally: { what: 'replays without effect', count: 1, timed: false },
        }
      },
    },
  ],
}

const WAITS = exitCodes.waitsForApproval
const ANSWER_MAX_SECONDS = 20
const LOOK_MILLISECONDS = 100

interface Receipt {
  readonly result: string
  readonly exitCode?: number
  readonly output?: string
}

const timesObeyed = ({ home }: Machine): number => {
  const log = join(home, 'valve.log')
  return existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n').length : 0
}

async function openDesks(scene: Scene): Promise<Readonly<Record<Person, Desk>>> {
  const { process } = scene.known(server)
  const common = { SEALWORKS_SERVER: process.tls, SEALWORKS_TRUST: join(scene.directory, TLS_ROOT_FILE) }
  const deskOf = async (person: Person, role: 'pki-officer' | 'approver'): Promise<Desk> => {
    const environment = { ...common, SEALWORKS_TOKEN: await personToken(scene, `Trial ${people[person].toLowerCase()}`, role) }
    const { key, certificate } = filesOf(scene.directory, person)
    const signs = (verb: string | undefined): readonly string[] =>
      verb === 'receipt' ? [] : ['--key', key, '--certificate', certificate]
    return (...words) => tryCommand(['command', ...words, ...signs(words[0])], environment)
  }
  return {
    officer: await deskOf('officer', 'pki-officer'),
    operator: await deskOf('operator', 'pki-officer'),
    lead: await deskOf('lead', 'approver'),
    safety: await deskOf('safety', 'approver'),
  }
}

/** @returns its version: one above that of the last start */
async function putPolicy(scene: Scene): Promise<number> {
  const area = `${parties.first}/${AREA}`
  const { items } = await scene.known(officer).call('listCommandPolicies', {})
  const version = (items.find((one) => one.area === area)?.version ?? 0) + 1
  const member = (person: Person) => ({ name: people[person], certificate: filesOf(scene.directory, person).certificate })
  const policy = {
    ...{ area, version, issuers: ISSUERS },
    roles: [
      { name: 'operator', members: [member('operator')] },
      { name: 'agreeing', members: [member('lead'), member('safety')] },
    ],
    operations: [
      {
        ...{ operation: OPERATION, operators: ['operator'], approvers: { roles: ['agreeing'], least: 2 } },
        ...{ mode: 'challenge', assurance: 2, lifeSeconds: 600 },
      },
    ],
  }
  const file = join(scene.directory, 'people', 'policy.json')
  writeFileSync(file, JSON.stringify(policy))
  await done(scene.known(desks).officer('policy', '--put', file))
  return version
}

/**
 * Somebody has a certificate that machines of the plant believe, and a copy of what the server once sent.
 *
 * @returns how often the machine asked for orders there, and what it said
 */
async function replayed(
  scene: Scene,
  { home, agent }: Machine,
  message: string,
): Promise<{ readonly asked: number; readonly said: string }> {
  const client = scene.known(officer)
  const key = await makeKey()
  const request = await requestFor(key, [{ type: 'CN', value: HOST }], { address: HOST })
  const { address: authority } = authorityOf(await client.call('listAuthorities', {}), 'owner')
  const made = await client.call('issueCertificate', { body: { authority, profile: 'tls-server', request: request.toBase64() } })
  const chain = [made.certificate, ...made.chain].map((der) => encodePEM('CERTIFICATE', Uint8Array.fromBase64(der)))
  let asked = 0
  const hostile = createServer(
    {
      key: encodePEM('PRIVATE KEY', privateKeyOf(key).reveal('a server in wrong hands')),
      cert: [...new Set(chain)].join(''),
      requestCert: true,
      rejectUnauthorized: false,
    },
    ({ url = '' }, response) => {
      const [, kind] = /^\/device\/messages\/([a-z-]+)\?/.exec(url) ?? []
      if (kind === undefined) return void response.writeHead(404).end()
      const messages = kind === 'command' ? [{ number: ++asked, message }] : []
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ messages }))
    },
  )
  await new Promise<void>((resolve) => hostile.listen(0, HOST, resolve))
  const settings = join(home, 'agent', 'agent.json')
  const before = readFileSync(settings, 'utf8')
  const { port } = hostile.address() as AddressInfo
  try {
    writeFileSync(settings, JSON.stringify({ ...(JSON.parse(before) as object), server: `https://${HOST}:${port}` }))
    const { value, errors } = await agent('run', '--once')
    return { asked, said: errors || (value as { readonly lines: readonly string[] }).lines.join('; ') }
  } finally {
    writeFileSync(settings, before)
    hostile.closeAllConnections()
    hostile.close()
  }
}
