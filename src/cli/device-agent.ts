/** What `sealworks agent` does, apart from its words. @module */
import { resolve } from 'node:path'
import { type Agent, openAgent, runAgent, runOnce } from '#agent/agent.ts'
import type { Settings } from '#agent/directory.ts'
import type { Outcome } from '#agent/enroll.ts'
import { parsePEM } from '#asn1/pem.ts'
import { utf8 } from '#base/bytes.ts'
import { formatName, parseName } from '#x509/name.ts'
import type { Answer, Context } from './command.ts'
import { exitCodes } from './exit-codes.ts'
import { readInput, writeOutput } from './files.ts'

async function withAgent<T>(context: Context, place: string, work: (agent: Agent) => Promise<T>): Promise<T> {
  await using agent = openAgent(place, context.world)
  return await work(agent)
}

interface EnrollValues {
  readonly server: string
  readonly label: string | undefined
  readonly trust: readonly string[]
  readonly certificate: string
  readonly key: string
  readonly keys: Settings['keys'] | undefined
  readonly tpm: string | undefined
  readonly trustList: string | undefined
  readonly trustLists: string | undefined
}

export async function enroll(context: Context, place: string, values: EnrollValues): Promise<Answer> {
  const { server, label, keys = 'software', tpm, trustLists } = values
  const trust: string[] = []
  for (const file of values.trust) trust.push(...certificatesIn(await readInput(context, file)).map((der) => der.toBase64()))
  const first = values.trustList === undefined ? undefined : await readInput(context, values.trustList)
  const settings: Settings = {
    server: new URL(server).origin,
    ...(label !== undefined && { label }),
    trust,
    keys,
    ...(tpm !== undefined && { tpm }),
    identity: { certificate: resolve(context.directory, values.certificate), key: resolve(context.directory, values.key) },
    ...(trustLists !== undefined && { trustLists }),
  }
  return withAgent(context, place, async (agent) => {
    if (first !== undefined) await agent.takeTrust(first)
    return answerOf(await agent.enroll(settings))
  })
}

const certificatesIn = (octets: Uint8Array): readonly Uint8Array[] =>
  octets[0] === 0x30
    ? [octets]
    : parsePEM(new TextDecoder('latin1').decode(octets)).flatMap(({ label, der }) => (label === 'CERTIFICATE' ? [der] : []))

export const renew = (context: Context, place: string, options: { readonly now: boolean }): Promise<Answer> =>
  withAgent(context, place, async (agent) => answerOf(await agent.renew(options)))

const exitCodeOf = {
  approval: exitCodes.waitsForApproval,
  server: exitCodes.notReached,
  mending: exitCodes.refused,
  nothing: exitCodes.failed,
} as const

function answerOf(outcome: Outcome): Answer {
  if (outcome.state === 'waiting') {
    const until = outcome.until.toISOString()
    return {
      value: { state: outcome.state, waitsFor: outcome.waitsFor, until, why: outcome.why },
      text: `Not yet: ${outcome.why}\nTried again from ${until}.\n`,
      exitCode: exitCodeOf[outcome.waitsFor],
    }
  }
  const { subject, notAfter } = outcome.certificate
  const name = formatName(parseName(subject))
  return {
    value: { state: outcome.state, subject: name, notAfter: notAfter.toISOString() },
    text: `Enrolled as ${name}, until ${notAfter.toISOString()}.\n`,
  }
}

export const status = (context: Context, place: string): Promise<Answer> =>
  withAgent(context, place, async (agent) => ({ value: agent.status() }))

export const trust = (context: Context, place: string, files: readonly string[]): Promise<Answer> =>
  withAgent(context, place, async (agent) => {
    for (const file of files) await agent.takeTrust(await readInput(context, file))
    return { value: agent.status().trustList }
  })

export const report = (context: Context, place: string): Promise<Answer> =>
  withAgent(context, place, async (agent) => ({ value: { report: await agent.report() } }))

export const verify = (
  context: Context,
  place: string,
  {
    file,
    signature,
    format,
  }: { readonly file: string; readonly signature: string | undefined; readonly format: string | undefined },
): Promise<Answer> =>
  withAgent(context, place, async ({ directory }) => {
    const { verifyFile } = await import('#agent/verify.ts')
    const found = await verifyFile(
      { directory, world: context.world },
      {
        file: resolve(context.directory, file),
        ...(signature !== undefined && { signature: resolve(context.directory, signature) }),
        ...(format !== undefined && { format }),
      },
    )
    const signatures = found.signatures.map(({ verdict, signer, untouched, problem }) => ({
      verdict,
      untouched: untouched ?? null,
      signer: signer === undefined ? null : formatName(parseName(signer.subject)),
      problem: problem?.message ?? null,
    }))
    const lines = signatures.map(
      ({ verdict, signer, problem }) => `  ${verdict}: ${signer ?? 'signer not known'}${problem === null ? '' : `: ${problem}`}`,
    )
    return {
      value: { valid: found.valid, format: found.format, signatures },
      text: `${found.valid ? 'VALID' : 'NOT VALID'}  ${file}: ${found.format}\n${lines.join('\n')}\n`,
      exitCode: found.valid ? exitCodes.done : exitCodes.verificationFailed,
    }
  })

export const update = (
  context: Context,
  place: string,
  { from, confirm, deny }: { readonly from: string | undefined; readonly confirm: boolean; readonly deny: boolean },
): Promise<Answer> =>
  withAgent(context, place, async ({ device, directory }) => {
    const { decideConsent, sentenceOf, updateOverAir } = await import('#agent/update-ddi.ts')
    const { updateFrom } = await import('#agent/update-stick.ts')
    directory.recover()
    if (confirm || deny) decideConsent(device, confirm ? 'confirmed' : 'denied')
    const over = from === undefined ? await updateOverAir(device) : undefined
    const results =
      from === undefined ? (over === undefined ? [] : [over]) : await updateFrom(device, resolve(context.directory, from))
    const isGood = results.every((one) => one === 'restarting' || one.result === 'installed')
    const lines = results.length === 0 ? ['There is nothing to install.'] : results.map(sentenceOf)
    return {
      value: { updates: results.map((one) => (one === 'restarting' ? { result: one } : one)) },
      text: `${lines.join('\n')}\n`,
      exitCode: isGood ? exitCodes.done : exitCodes.refused,
    }
  })

export const prove = (
  context: Context,
  place: string,
  { file, out, force }: { readonly file: string; readonly out: string; readonly force: boolean },
): Promise<Answer> =>
  withAgent(context, place, async ({ device }) => {
    const { prove: signProof } = await import('#agent/prove.ts')
    const octets = utf8(await signProof(device, await readInput(context, file)))
    writeOutput(context, { file: out, octets, isSecret: false, force })
    return { value: { file: out }, text: `${out} is written.\n` }
  })

export function run(context: Context, place: string, pollSeconds: number): Promise<Answer> {
  return withAgent(context, place, async (agent) => {
    await runAgent(agent, context.world, { pollSeconds, signal: context.signal, say: (line) => context.say(line) })
    return { value: agent.status() }
  })
}

export const round = (context: Context, place: string): Promise<Answer> =>
  withAgent(context, place, async (agent) => {
    const { lines, failed } = await runOnce(agent)
    return {
      value: { lines },
      text: lines.map((line) => `${line}\n`).join(''),
      exitCode: failed ? exitCodes.failed : exitCodes.done,
    }
  })
