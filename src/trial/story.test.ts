/** How a story is played and told, and that its checks can fail. @module */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { EstRefusal } from '#protocols/est/client.ts'
import { utf8 } from '#base/bytes.ts'
import { systemWorld, type World } from '#base/world.ts'
import { hasMLDSA } from './chapters/post-quantum.ts'
import { chapters } from './chapters/registry.ts'
import { refused } from './enrolling.ts'
import { eachOf } from './parallel.ts'
import { play } from './play.ts'
import { choosePorts, HOST } from './ports.ts'
import { type Chapter, fact, must, type Outcome, present, type Scene, type Step } from './story.ts'
import { teller } from './teller.ts'
import { isHere, openToken } from './token.ts'
import { needs } from '../../test/interop/programs.ts'

/** Each look at the clock finds half a second gone. */
function steppingWorld(): World {
  let now = 0
  return { ...systemWorld(), clock: { now: () => (now += 500) } }
}

interface Telling {
  readonly terminal?: boolean
  readonly colors?: boolean
  readonly signal?: AbortSignal
}

async function playOut(steps: readonly Step[], { terminal = false, colors = false, signal }: Telling = {}) {
  let text = ''
  const chapter: Chapter = { title: 'A chapter', about: 'What it is about.', steps }
  const played = await play({
    chapters: [chapter],
    world: steppingWorld(),
    directory: '/nowhere',
    teller: teller({ write: (part) => (text += part), terminal, colors }),
    signal: signal ?? new AbortController().signal,
  })
  return { played, text: () => text }
}

const step = (title: string, run: (scene: Scene) => Outcome | Promise<Outcome>): Step => ({
  title,
  run: async (scene) => run(scene),
})

test('steps hand facts on, and what they count is added up', async () => {
  const number = fact<number>('a number')
  const tally = { what: 'things', count: 100, timed: true }
  const { played, text } = await playOut([
    step('One', (scene) => {
      scene.note(number, 7)
      return { said: 'made', tally }
    }),
    step('Two', (scene) => ({ said: `found ${scene.known(number)}`, tally })),
    step('Three', () => ({ said: 'not here', skipped: true })),
  ])
  assert.equal(played.ending, 'asExpected')
  assert.equal(played.steps, 3)
  assert.equal(played.skipped, 1)
  assert.deepEqual(played.tallies, [{ what: 'things', count: 200, seconds: 1 }])
  assert.equal(played.found(number), 7)
  assert.match(text(), /✓ One +500 ms {2}made, 200 a second\n/)
  assert.match(text(), /✓ Two +500 ms {2}found 7, 200 a second\n/)
  assert.match(text(), /– Three +500 ms {2}not here\n/)
})

test('a step that fails ends the story, and everything that was begun is ended, the last first', async () => {
  const ended: string[] = []
  const { played, text } = await playOut([
    step('Begin', (scene) => {
      scene.atEnd(() => ended.push('first'))
      scene.atEnd(() => ended.push('second'))
      return { said: '' }
    }),
    step('Fail', () => {
      must(false, 'it went wrong')
      return { said: '' }
    }),
    step('Never', () => assert.fail('played after a failure')),
  ])
  assert.equal(played.ending, 'failed')
  assert.equal(played.steps, 1)
  assert.match(text(), /✗ Fail\n {4}it went wrong\n$/)
  await played.end()
  await played.end()
  assert.deepEqual(ended, ['second', 'first'])
})

test('a fact that nobody left fails its step with its name', async () => {
  const { text } = await playOut([step('Ask', (scene) => ({ said: String(scene.known(fact('the moon'))) }))])
  assert.match(text(), /no step before has left "the moon"/)
})

test('an interruption does not wait for the step, and what the step still begins is ended at once', async () => {
  const ending = new AbortController()
  let begin: (() => void) | undefined
  let ended = false
  const { played } = await playOut(
    [
      step('Hang', (scene) => {
        begin = () => scene.atEnd(() => (ended = true))
        ending.abort()
        return new Promise(() => {})
      }),
    ],
    { signal: ending.signal },
  )
  assert.equal(played.ending, 'interrupted')
  await played.end()
  begin?.()
  assert.equal(ended, true)
})

test('only a terminal gets a running line, and only where wanted colors', async () => {
  const steps = [
    step('Work', (scene) => {
      scene.progress(1, 2)
      return { said: 'done' }
    }),
  ]
  // oxlint-disable-next-line no-control-regex -- what moves the cursor is looked for
  const controls = /[\u001b\r]/
  assert.doesNotMatch((await playOut(steps)).text(), controls)
  const onTerminal = (await playOut(steps, { terminal: true })).text()
  assert.match(onTerminal, /Work {2}1 of 2/)
  assert.ok(!onTerminal.includes('\u001b[32m'))
  assert.ok((await playOut(steps, { terminal: true, colors: true })).text().includes('\u001b[32m✓'))
})

test('what a step says cannot move the cursor', async () => {
  const { text } = await playOut([step('Say', () => ({ said: 'a\u001b[2Jb' }))])
  assert.ok(!text().includes('\u001b'))
})

const answer = (status: number, sentence: string) => new EstRefusal({ status, headers: {}, body: utf8(sentence) })

test('a refusal counts only with the status and the word that were expected', async () => {
  const expected = { status: 403, reason: 'secretUsed' }
  const refuse = (error: Error) =>
    refused(async () => {
      throw error
    }, expected)
  assert.equal(await refuse(answer(403, 'It was used. (secretUsed)')), 'refused: 403 secretUsed')
  await assert.rejects(refuse(answer(401, 'It was used. (secretUsed)')), { name: 'NotAsExpected' })
  await assert.rejects(refuse(answer(403, 'Something else. (secretWrong)')), { name: 'NotAsExpected' })
  await assert.rejects(refuse(new Error('socket hang up')), { message: 'socket hang up' })
  await assert.rejects(
    refused(() => Promise.resolve(), expected),
    { name: 'NotAsExpected', message: /it was honored/ },
  )
})

test('many at once are no more than the most, and their results stay in order', async () => {
  let [now, most] = [0, 0]
  const seen: number[] = []
  const results = await eachOf(
    [5, 4, 3, 2, 1],
    2,
    async (item) => {
      most = Math.max(most, ++now)
      for (let turn = 0; turn < item; turn++) await new Promise(setImmediate)
      now -= 1
      return item * 10
    },
    (done) => seen.push(done),
  )
  assert.deepEqual(results, [50, 40, 30, 20, 10])
  assert.equal(most, 2)
  assert.deepEqual(seen, [1, 2, 3, 4, 5])
})

test('a port that is taken is passed over, and no port is given twice', async (t) => {
  const holder = createServer()
  await new Promise<void>((resolve) => holder.listen(0, HOST, resolve))
  t.after(() => holder.close())
  const taken = (holder.address() as AddressInfo).port
  const [one, two] = await choosePorts([[taken], [taken]])
  assert.notEqual(one, taken)
  assert.notEqual(two, taken)
  assert.notEqual(one, two)
  const free = present(one, 'no port')
  assert.deepEqual(await choosePorts([[taken, free]]), [free])
})

const softhsm = needs('softhsm2-util', 'libsofthsm2')

test('a token is made once, found again, and not forgotten where its library went (R10)', { skip: softhsm.skip }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks trial '))
  t.after(() => rmSync(directory, { recursive: true }))
  const { random } = systemWorld()
  const open = async (modules?: readonly string[]) => (await openToken(directory, random, modules))?.standing
  assert.equal(await open([]), undefined)
  assert.equal(await open(), 'new')
  assert.equal(await open(), 'known')
  assert.equal(await open([]), 'gone')
  assert.equal(isHere(await openToken(directory, random, [])), false)
})

test('only an OpenSSL that has ML-DSA is asked about it', () => {
  for (const version of ['OpenSSL 3.5.0 8 Apr 2025', 'OpenSSL 3.10.1', 'OpenSSL 4.0.0'])
    assert.equal(hasMLDSA(version), true, version)
  for (const version of ['OpenSSL 3.0.19 27 Jan 2026', 'OpenSSL 1.1.1w', 'LibreSSL 4.2.0', ''])
    assert.equal(hasMLDSA(version), false, version)
})

test('titles fit their column, and are told once', () => {
  const titles = chapters.flatMap(({ steps }) => steps.map(({ title }) => title))
  assert.ok(titles.length > 50)
  for (const title of titles) assert.ok(title.length <= 47, title)
  for (const { steps } of chapters) assert.equal(new Set(steps.map(({ title }) => title)).size, steps.length)
})
