/** `sealworks node`: a factory's issuing node. Loads no database. @module */
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { isKeyAlgorithmId } from '#algorithms/table.ts'
import { createLog } from '#base/log.ts'
import { formatAddress } from '../address.ts'
import { command, type Context, flag, integer, many, required, text } from '../command.ts'
import { openArtifact, readInput, writeOutput } from '../files.ts'
import { fields } from '../terminal.ts'
import { UsageError } from '../usage.ts'

const data = required(text('DIR', "the node's directory: one job each"))

/** Loaded when they are used: help needs none of it. */
const work = () => import('#orders/node/directory.ts')

const textIn = async (context: Context, file: string): Promise<string> =>
  new TextDecoder().decode(await readInput(context, file)).trim()

export const commands = [
  command({
    noun: 'node',
    verb: 'init',
    summary: "Make a job's key and counters, and the request for its ticket",
    details:
      'The sheet says by which key the ticket will be signed: compare the fingerprint of the maker that is printed. With --tpm, key and counters are in a TPM, and a copy of the directory is worth nothing.',
    example: 'sealworks node init --data job-1 --order press-7.sheet --tpm device:/dev/tpmrm0 --out node.request',
    options: {
      data,
      order: required(text('FILE', 'the sheet that "order sheet" gave')),
      tpm: text('PLACE', 'device:/dev/tpmrm0, socket:PATH or tcp:HOST:PORT; without it, key and counters are files'),
      keyAlgorithm: text('ALGORITHM', 'without a TPM: ecdsa-p256 unless told, or another that authorities may have'),
      out: required(text('FILE', 'where the request goes')),
      force: flag('replace the file if it is there'),
    },
    async run(context, { data, order, tpm, keyAlgorithm = 'ecdsa-p256', out, force }) {
      if (!isKeyAlgorithmId(keyAlgorithm))
        throw new UsageError(`--key-algorithm: ${keyAlgorithm} is not offered.`, ['node', 'init'])
      const { initNode } = await work()
      const directory = resolve(context.directory, data)
      const sheet = await textIn(context, order)
      const made = await initNode({ directory, sheet, keyAlgorithm, world: context.world, ...(tpm !== undefined && { tpm }) })
      writeOutput(context, { file: out, octets: `${made.request}\n`, isSecret: false, force })
      const value = { order: made.order, maker: made.maker, request: out }
      return { value, text: `${fields(value)}Send ${out} to the maker, whose key has this fingerprint.\n` }
    },
  }),

  command({
    noun: 'node',
    verb: 'answer',
    summary: 'Show the maker whose TPM this node has (tier N1)',
    example: 'sealworks node answer --data job-1 node.challenge --out node.answer',
    operands: { file: required(text('FILE', 'the challenge that "order challenge" gave')) },
    options: { data, out: required(text('FILE', 'where the answer goes')), force: flag('replace the file if it is there') },
    async run(context, { data, file, out, force }) {
      const { answerChallenge } = await work()
      const answer = await answerChallenge(resolve(context.directory, data), await textIn(context, file), context.world)
      writeOutput(context, { file: out, octets: `${answer}\n`, isSecret: false, force })
      return { value: { file: out }, text: `Send ${out} to the maker.\n` }
    },
  }),

  command({
    noun: 'node',
    verb: 'ticket',
    summary: 'Take the ticket that the maker signed',
    example: 'sealworks node ticket --data job-1 press-7.ticket',
    operands: { file: required(text('FILE', 'the ticket')) },
    options: { data },
    async run(context, { data, file }) {
      const { takeTicket } = await work()
      const ticket = await takeTicket(resolve(context.directory, data), await textIn(context, file), context.world)
      const { id: job, order, quota, scrapAllowance, tier, serials, notAfter } = ticket
      const value = { job, order, tier, quota, scrapAllowance, serials, until: new Date(notAfter).toISOString() }
      return { value, text: fields(value) }
    },
  }),

  command({
    noun: 'node',
    verb: 'image',
    summary: 'Take an image that the node hands out to stations',
    details:
      'It stays encrypted on the disk. Only what the ticket names and one of its signers signed is taken; POST /line/image hands it out.',
    example: 'sealworks node image --data job-1 press-7.image --signature press-7.p7s',
    operands: { file: required(text('FILE', 'what "order image" wrote')) },
    options: { data, signature: required(text('FILE', 'the detached CMS signature over the plain image')) },
    async run(context, { data, file, signature }) {
      const { takeImage } = await work()
      await using source = await openArtifact(context, file)
      const wanted = { sealed: source.createReadStream({ autoClose: false }), signature: await readInput(context, signature) }
      const image = await takeImage(resolve(context.directory, data), wanted, context.world)
      return { value: { image }, text: fields({ image }) }
    },
  }),

  command({
    noun: 'node',
    verb: 'run',
    summary: 'Issue birth certificates to the stations of the ticket',
    details:
      'Stations speak EST (RFC 7030) with their certificates; POST /line/good and /line/scrap say how each device did. They trust the certificate that is written to tls.pem in the directory.',
    example: 'sealworks node run --data job-1 --listen 10.1.0.5:8443 --name node.line',
    options: {
      data,
      listen: text('HOST:PORT', '127.0.0.1 and a free port unless told'),
      name: many('NAME', 'host name or address by which stations reach it; taken at the first start'),
    },
    stopsItself: true,
    async run(context, { data, listen = '127.0.0.1:0', name }) {
      const { serveNode } = await import('#server/node-line.ts')
      const [, host = '', port = ''] = /^\[?([^\]]+?)\]?:(\d{1,5})$/.exec(listen) ?? []
      if (host === '' || Number(port) > 65_535) throw new UsageError('--listen must be HOST:PORT.', ['node', 'run'])
      const { world, signal } = context
      const write = (line: string): void => void process.stderr.write(line)
      const running = await serveNode({
        directory: resolve(context.directory, data),
        listen: { host, port: Number(port) },
        names: name.length === 0 ? [host, 'localhost'] : name,
        world,
        log: createLog({ level: 'info', clock: world.clock, write }),
      })
      const { course, left } = running.node.state()
      const value = {
        est: `https://${formatAddress(running.address)}/.well-known/est`,
        line: `https://${formatAddress(running.address)}/line`,
        issued: course.issued,
        left,
        process: process.pid,
      }
      const ended = async (): Promise<void> => {
        if (!signal.aborted) await once(signal, 'abort')
        await running.stop()
      }
      return { value, text: fields(value), until: ended() }
    },
  }),

  command({
    noun: 'node',
    verb: 'status',
    summary: 'How far the job is; also while the node runs',
    example: 'sealworks node status --data job-1',
    options: { data },
    async run(context, { data }) {
      const { nodeReport } = await work()
      const { ticket, course, burned, chain, state } = await nodeReport(resolve(context.directory, data))
      const { issued, good, scrap, refused } = course
      const { quota, scrapAllowance } = ticket
      const value = {
        job: ticket.id,
        order: ticket.order,
        state,
        quota,
        scrapAllowance,
        issued,
        good,
        scrap,
        burned,
        refused,
        entries: chain.size,
      }
      return { value, text: fields(value) }
    },
  }),

  command({
    noun: 'node',
    verb: 'export',
    summary: 'Write what the maker has not seen, for a stick or a network',
    example: 'sealworks node export --data job-1 --from 2031 --out-dir stick',
    options: {
      data,
      from: integer('N', 0, 100_000_000, 'the first entry; all unless told. "order import" says where the next begins'),
      outDir: required(text('DIR', 'where the bundles go')),
      force: flag('replace files that are there'),
    },
    async run(context, { data, from = 0, outDir, force }) {
      const { exportLog } = await work()
      const { encodeBundle } = await import('#orders/messages.ts')
      const { world } = context
      mkdirSync(resolve(context.directory, outDir), { recursive: true })
      const files: string[] = []
      const { size } = await exportLog(resolve(context.directory, data), { from, world }, (bundle) => {
        const file = join(outDir, `${bundle.from}.bundle`)
        writeOutput(context, { file, octets: encodeBundle(bundle), isSecret: false, force })
        files.push(file)
      })
      return { value: { files, entries: size }, text: files.map((file) => `${file}\n`).join('') }
    },
  }),

  command({
    noun: 'node',
    verb: 'close',
    summary: 'End the job: its last word is signed, and its key is destroyed',
    details: 'The node must not run. Export the log afterwards: the certificate that ends the job goes with it.',
    example: 'sealworks node close --data job-1',
    options: { data },
    async run(context, { data }) {
      const { closeNode, nodeReport } = await work()
      const { nodeBirthIssuer } = await import('#server/node-issuer.ts')
      const { lockDirectory } = await import('#store/directory-lock.ts')
      const { world } = context
      const directory = resolve(context.directory, data)
      const lock = lockDirectory(directory, 'sealworks node close')
      try {
        const end = await closeNode(directory, nodeBirthIssuer(world), world)
        const { course, burned } = await nodeReport(directory)
        const { issued, good, scrap } = course
        const value = { issued, good, scrap, burned, end }
        return { value, text: fields({ issued, good, scrap, burned }) }
      } finally {
        lock.release()
      }
    },
  }),
]
