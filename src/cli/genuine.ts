/** `sealworks device genuine`: whether a device in somebody's hands is the one that its label says. @module */
import { TrustError } from '#base/errors.ts'
import { utf8 } from '#base/bytes.ts'
import { parseProof, parseQuestion, type Question } from '#devices/genuine/messages.ts'
import { checkSigned, readStatement, type Verdict } from '#devices/ownership/statement.ts'
import type { AnswerOf } from '#server/rest/client.ts'
import { type Context, required, text } from './command.ts'
import { clientCommand } from './connection.ts'
import { exitCodes } from './exit-codes.ts'
import { readInput } from './files.ts'
import { deliver, outputOptions } from './formats.ts'
import { publicKeyIn } from './ownership.ts'
import { UsageError } from './usage.ts'

const said: Readonly<Record<Verdict, string>> = {
  genuine: 'is genuine',
  unknown: 'is not known: the maker has no such device, or this one does not have its key',
  clone: 'has its key, and so has another: one of them is a copy',
  stolen: 'is reported lost or stolen',
  doubted: 'is under examination',
  neverShipped: 'was made, and never let out by its maker',
  scrapped: 'was scrapped by its maker',
  ended: 'was taken out of use for good',
}

/** What the maker's key signed must be what was said, to this very question. @throws TrustError `badProof` */
async function checkWord(context: Context, { verdict, statement }: AnswerOf<'answerGenuine'>, asked: Question, maker: string) {
  if (statement === undefined) throw new TrustError('badProof', 'genuineUnsigned')
  const read = readStatement('verdict', statement)
  await checkSigned(read, await publicKeyIn(context, maker), 'the maker')
  const { nonce, manufacturer, productSerial } = read.payload
  const isIt = nonce === asked.nonce && manufacturer === asked.manufacturer && productSerial === asked.productSerial
  if (!isIt || read.payload.verdict !== verdict) throw new TrustError('badProof', 'genuineUnsigned')
}

export const genuineCommands = [
  clientCommand({
    noun: 'device',
    verb: 'genuine ask',
    summary: 'Ask whether a device is genuine: what it has to sign; nobody is asked who they are',
    example: 'sealworks device genuine ask acme/A-1042 --out question.json',
    operands: { product: required(text('MAKER/SERIAL', 'as the label of the device has it')) },
    options: outputOptions,
    async run(client, { product, ...output }, context) {
      const [manufacturer = '', ...rest] = product.split('/')
      const productSerial = rest.join('/')
      if (productSerial === '') throw new UsageError(`"${product}" is not MAKER/SERIAL.`, ['device', 'genuine ask'])
      const question = await client.call('askGenuine', { body: { manufacturer, productSerial } })
      return deliver(context, output, utf8(`${JSON.stringify(question)}\n`), question)
    },
  }),

  clientCommand({
    noun: 'device',
    verb: 'genuine check',
    summary: 'Hand in what the device signed: whether it is genuine',
    details: 'Ends with 9 unless it is. With --maker the answer counts only as that key signed it, whatever the server is.',
    example: 'sealworks device genuine check question.json --proof proof.json --maker acme.jwk',
    operands: { file: required(text('FILE', 'what `device genuine ask` wrote')) },
    options: {
      proof: required(text('FILE', 'what `agent prove` wrote on the device')),
      maker: text('FILE', 'public key of the maker: a JWK, or PEM'),
    },
    async run(client, { file, proof, maker }, context) {
      const asked = parseQuestion(await readInput(context, file))
      const { key, signature } = parseProof(await readInput(context, proof))
      const body = { nonce: asked.nonce, key: key.toBase64(), signature: signature.toBase64() }
      const answer = await client.call('answerGenuine', { body })
      if (maker !== undefined) await checkWord(context, answer, asked, maker)
      return {
        value: answer,
        text: `${answer.productSerial} of ${answer.manufacturer} ${said[answer.verdict]}.\n`,
        exitCode: answer.verdict === 'genuine' ? exitCodes.done : exitCodes.verificationFailed,
      }
    },
  }),
]
