import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { describe, test } from 'node:test'
import { TrustError } from '#base/errors.ts'
import { dice } from '../../tools/fuzz/dice.ts'
import { type Mutant, mutant } from '../../tools/fuzz/mutation.ts'
import { certificateLists, certificates, certificationRequests } from '../../tools/fuzz/samples.ts'
import { needs } from '../interop/programs.ts'
import { type Divergence, LARGE_ARC, theyAccept, weAccept } from './divergences.ts'
import { type Kind, type Opinion, startOracle } from './oracle.ts'
import { readers } from './readers.ts'

const samples: Readonly<Record<Kind, readonly Uint8Array[]>> = {
  certificate: certificates,
  'certification-request': certificationRequests,
  'certificate-list': certificateLists,
}
const kinds = Object.keys(samples) as Kind[]
const SEED = 20260102
const MUTANTS = 3000

function opinionOf(kind: Kind, der: Uint8Array): Opinion {
  try {
    readers[kind](der)
    return undefined
  } catch (error) {
    assert.ok(error instanceof TrustError, String(error))
    const { code, reason, facts, message } = error
    return `${code} ${reason} ${[facts['extension'], facts['detail'] ?? message].filter((one) => one !== undefined).join(' ')}`
  }
}

function mutantsOf(kind: Kind, count: number): readonly Mutant[] {
  const chance = dice(SEED)
  return Array.from({ length: count }, () => mutant(samples[kind], chance))
}

describe('python-cryptography, a strict parser by others, agrees or the difference is written down', () => {
  const tools = needs('python3', 'python3-cryptography')
  for (const kind of kinds) {
    test(`${kind}: what is right, and ${MUTANTS} that are broken`, { skip: tools.skip }, async () => {
      const oracle = startOracle(tools.path('python3'))
      try {
        assert.deepEqual(
          await oracle.ask(kind, samples[kind]),
          samples[kind].map(() => undefined),
        )
        const mutants = mutantsOf(kind, MUTANTS)
        const theirs = await oracle.ask(
          kind,
          mutants.map(({ bytes }) => bytes),
        )
        const ours = mutants.map(({ bytes }) => opinionOf(kind, bytes))
        const agreed = ours.map((opinion, i) => (opinion === undefined) === (theirs[i] === undefined))
        const unexplained = mutants.flatMap(({ bytes, steps }, i) => {
          if (agreed[i] === true || explained(kind, ours[i], theirs[i])) return []
          return [{ ours: ours[i], theirs: theirs[i], steps, der: bytes.toHex() }]
        })
        assert.deepEqual(unexplained, [])
        const both = ours.filter((opinion, i) => opinion === undefined && agreed[i] === true).length
        const neither = ours.filter((opinion, i) => opinion !== undefined && agreed[i] === true).length
        assert.ok(both > MUTANTS / 10, `only ${both} were accepted by both`)
        assert.ok(neither > MUTANTS / 2, `only ${neither} were refused by both`)
      } finally {
        await oracle.close()
      }
    })
  }
})

function explained(kind: Kind, ours: Opinion, theirs: Opinion): boolean {
  const matches = (rows: readonly Divergence[], said: string): boolean =>
    rows.some(({ kinds, error }) => (kinds?.includes(kind) ?? true) && error.test(said))
  return ours === undefined ? matches(weAccept, theirs ?? '') : matches(theyAccept, ours)
}

describe('GnuTLS takes what we take', () => {
  const tools = needs('certtool')
  const options: Readonly<Record<Kind, string>> = {
    certificate: '--certificate-info',
    'certification-request': '--crq-info',
    'certificate-list': '--crl-info',
  }
  /** A process each, so only some. */
  const MUTANTS_ASKED = 12
  for (const kind of kinds) {
    test(`${kind}: what is right, and ${MUTANTS_ASKED} that are broken and still DER`, { skip: tools.skip }, () => {
      const asked = [
        ...samples[kind],
        ...mutantsOf(kind, 400)
          .filter(
            ({ bytes, steps }) => steps.length > 0 && opinionOf(kind, bytes) === undefined && !bytes.toHex().includes(LARGE_ARC),
          )
          .slice(0, MUTANTS_ASKED)
          .map(({ bytes }) => bytes),
      ]
      assert.equal(asked.length, samples[kind].length + MUTANTS_ASKED)
      for (const der of asked) {
        const { status, stderr } = spawnSync(tools.path('certtool'), [options[kind], '--inder'], { input: der })
        assert.equal(status, 0, `${stderr.toString()}\n${der.toHex()}`)
      }
    })
  }
})
