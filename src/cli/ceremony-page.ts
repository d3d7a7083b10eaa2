/** Key ceremony records as pages that people print and sign. @module */
import type { AnswerOf } from '#server/rest/client.ts'
import { printable, words } from './terminal.ts'

type Ceremonies = AnswerOf<'listCeremonies'>
type Ceremony = Ceremonies['ceremonies'][number]

const TITLES: Readonly<Record<string, string>> = {
  'ca.create': 'Authority made, with its key',
  'ca.request': 'Key made, and a request to an authority elsewhere',
  'ca.import': 'Certificate from elsewhere imported',
  'ca.renew': 'Certificate renewed, with the same key',
  'ca.rekey': 'New key and certificate: next generation',
  'ca.retire': 'Authority retired',
  'ca.destroy-key': 'Key destroyed',
}

/** In the order in which people compare them with what they see. */
const FIRST = ['address', 'subject', 'keyAlgorithm', 'keyStore', 'keyLabel', 'keyFingerprint', 'certificateFingerprint']
const WIDTH = 24
const FORM_FEED = '\f'

/** One page each, with room for two signatures. */
export const ceremonyPages = ({ address, ceremonies }: Ceremonies): string =>
  ceremonies.map((ceremony) => pageOf(address, ceremony)).join(FORM_FEED)

function pageOf(address: string, { act, at, actor, entry, logIndex, facts }: Ceremony): string {
  const names = [...FIRST.filter((name) => name in facts), ...Object.keys(facts).filter((name) => !FIRST.includes(name))]
  const title = `Key ceremony record: ${address}`
  const rows: (readonly [string, unknown])[] = [
    ['act', TITLES[act] ?? act],
    ['time', at],
    ['by', actor],
    ...names.map((name) => [words(name), grouped(name, facts[name])] as const),
    ['audit entry', entry],
    ['place in the audit log', logIndex ?? 'not yet; within a few seconds'],
  ]
  const lines = rows.map(([name, value]) => `${name.padEnd(WIDTH)}  ${printable(String(value))}`)
  const signatures = ['Officer', 'Witness'].map((role) => `${role.padEnd(WIDTH)}  ${'_'.repeat(32)}   Date ${'_'.repeat(12)}`)
  return [title, '='.repeat(title.length), '', ...lines, '', ...signatures.flatMap((line) => ['', line]), ''].join('\n')
}

/** Fingerprints in groups of four: they are read aloud. */
const grouped = (name: string, value: unknown): unknown =>
  name.endsWith('Fingerprint') ? String(value).replace(/(.{4})(?=.)/g, '$1 ') : value
