/** `sealworks key`: keys and where they are kept. @module */
import { parsePEM } from '#asn1/pem.ts'
import { TrustError } from '#base/errors.ts'
import type { AnswerOf } from '#server/rest/client.ts'
import { required, text } from '../command.ts'
import { clientCommand } from '../connection.ts'
import { readInput } from '../files.ts'
import { fields, table } from '../terminal.ts'

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
    options: { keyAlgorithm: required(text('ALGORITHM', 'such as ecdsa-p256; `key stores` lists them')) },
    async run(client, body) {
      const value = await client.call('createKey', { body })
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
      return { value, text: `${value.label} is destroyed.\n` }
    },
  }),

  clientCommand({
    noun: 'key',
    verb: 'stores',
    summary: 'Key stores and the algorithms that they offer',
    example: 'sealworks key stores',
    async run(client, _, { columns }) {
      const value = await client.call('listKeyStores', {})
      const shape = [
        { title: 'STORE', cell: ({ id }: Store) => id },
        { title: 'TAKES KEYS', cell: ({ takesImports }: Store) => (takesImports ? 'yes' : 'no') },
        { title: 'ALGORITHMS', cell: ({ algorithms }: Store) => algorithms.join(', ') },
      ]
      return { value, text: table(value.stores, shape, columns) }
    },
  }),
]

/** DER PrivateKeyInfo; what is wrong with it, the server says. */
function privateKeyIn(octets: Uint8Array): Uint8Array {
  if (octets[0] === 0x30) return octets
  const blocks = parsePEM(new TextDecoder().decode(octets))
  const key = blocks.find(({ label }) => label === 'PRIVATE KEY')
  if (key === undefined) throw new TrustError('malformed', 'privateKeyUnusable')
  return key.der
}
