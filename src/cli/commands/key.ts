/** `sealworks key`: keys and where they are kept. @module */
import { parsePEM } from '#asn1/pem.ts'
import { TrustError } from '#base/errors.ts'
import type { AnswerOf } from '#server/rest/client.ts'
import { required, text } from '../command.ts'
import { clientCommand } from '../connection.ts'
import { readInput } from '../files.ts'
import { fields, table } from '../terminal.ts'
import { waitsFor } from '../waiting.ts'

type Key = AnswerOf<'listKeys'>['keys'][number]
type Store = AnswerOf<'listKeyStores'>['stores'][number]

const label = required(text('LABEL', 'the name of the key'))

export const commands = [
  clientCommand({
    noun: 'key',
    verb: 'list',
    summary: 'All keys; never their private halves',
    example: 'sealworks key list',
    async run(client, _, { columns }) {
      const value = await client.call('listKeys', {})
      const shape = [
        { title: 'KEY', cell: ({ label }: Key) => label },
        { title: 'ALGORITHM', cell: ({ keyAlgorithm }: Key) => keyAlgorithm },
        { title: 'SINCE', cell: ({ createdAt }: Key) => createdAt?.slice(0, 10) },
      ]
      return { value, text: table(value.keys, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'key',
    verb: 'create',
    summary: 'Make a key',
    example: 'sealworks key create release-2026 --key-algorithm ecdsa-p384',
    operands: { label },
    options: {
      keyAlgorithm: required(text('ALGORITHM', 'such as ecdsa-p256; `key stores` lists them')),
      keyStore: text('STORE', 'where it is made and stays; the software store unless told'),
    },
    async run(client, { label, keyAlgorithm, keyStore }) {
      const reference = keyStore === undefined ? label : `${keyStore}:${label}`
      const value = await client.call('createKey', { body: { label: reference, keyAlgorithm } })
      return { value, text: fields(value) }
    },
  }),

  clientCommand({
    noun: 'key',
    verb: 'import',
    summary: 'Take in a key that was made elsewhere',
    details: 'The file stays where it is: destroy it when the key is meant to be here only.',
    example: 'sealworks key import old-release --file old-release.key',
    operands: { label },
    options: { file: required(text('FILE', 'the private key, unencrypted PKCS #8 as PEM or DER; - for standard input')) },
    async run(client, { label, file }, context) {
      const privateKey = privateKeyIn(await readInput(context, file)).toBase64()
      const value = await client.call('importKey', { body: { label, privateKey } })
      return { value, text: fields(value) }
    },
  }),

  clientCommand({
    noun: 'key',
    verb: 'destroy',
    summary: 'Destroy a key that nothing uses, for good',
    example: 'sealworks key destroy old-release',
    operands: { label },
    async run(client, body) {
      const value = await client.call('destroyKey', { body })
      return 'state' in value ? waitsFor(value) : { value, text: `${value.label} is destroyed.\n` }
    },
  }),

  clientCommand({
    noun: 'key',
    verb: 'adopt',
    summary: 'Use a key that was made in a token by other means',
    details: 'From then on it is listed, and destroyed only here. Its label is not given to another key.',
    example: 'sealworks key adopt hsm:root-2026',
    operands: { label },
    async run(client, body) {
      const value = await client.call('adoptKey', { body })
      return { value, text: fields(value) }
    },
  }),

  clientCommand({
    noun: 'key',
    verb: 'unlock',
    summary: 'Give the PIN of a key store, which the server keeps in memory only',
    details:
      'The PIN comes from standard input or a file, never from the command line, where others could see it. A wrong one counts: tokens lock after few tries.',
    example: 'sealworks key unlock hsm --pin-file -',
    operands: { store: required(text('STORE', 'its name in the configuration')) },
    options: { pinFile: required(text('FILE', 'holds the PIN; - for standard input')) },
    async run(client, { store, pinFile }, context) {
      const pin = withoutLineBreak(await readInput(context, pinFile))
      const value = await client.call('unlockKeyStore', { params: { id: store }, body: { pin: pin.toBase64() } })
      return { value, text: `${value.id} is ${value.state}.\n` }
    },
  }),

  clientCommand({
    noun: 'key',
    verb: 'stores',
    summary: 'Key stores, how they are, and the algorithms that they offer',
    example: 'sealworks key stores',
    async run(client, _, { columns }) {
      const value = await client.call('listKeyStores', {})
      const shape = [
        { title: 'STORE', cell: ({ id }: Store) => id },
        { title: 'STATE', cell: ({ state }: Store) => state },
        { title: 'TOKENS', cell: ({ tokens }: Store) => tokens.map(tokenText).join('; ') },
        { title: 'TAKES KEYS', cell: ({ takesImports }: Store) => (takesImports ? 'yes' : 'no') },
        { title: 'ALGORITHMS', cell: ({ algorithms }: Store) => algorithms.join(', ') },
      ]
      return { value, text: table(value.stores, shape, columns) }
    },
  }),
]

const tokenText = ({ name, state, problem }: Store['tokens'][number]): string =>
  `${name} ${state}${problem === null ? '' : ` (${problem})`}`

/** A line break at the end is the editor's, not the PIN's. */
const withoutLineBreak = (octets: Uint8Array): Uint8Array => {
  if (octets.at(-1) !== 0x0a) return octets
  return octets.subarray(0, octets.at(-2) === 0x0d ? -2 : -1)
}

/** DER PrivateKeyInfo; what is wrong with it, the server says. */
function privateKeyIn(octets: Uint8Array): Uint8Array {
  if (octets[0] === 0x30) return octets
  const blocks = parsePEM(new TextDecoder().decode(octets))
  const key = blocks.find(({ label }) => label === 'PRIVATE KEY')
  if (key === undefined) throw new TrustError('malformed', 'privateKeyUnusable')
  return key.der
}
