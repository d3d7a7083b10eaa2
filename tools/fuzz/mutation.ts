/**
 * Ways to break DER, most of which leave everything around the break intact: lengths outside are written anew, so that
 * what is tested is the parser's inside and not its first check.
 *
 * @module
 */
import { concat } from '#base/bytes.ts'
import type { Dice } from './dice.ts'
import {
  constructed,
  copyElement,
  type Element,
  paddedLength,
  type Place,
  places,
  primitive,
  readElements,
  sizeOf,
  writeElement,
  writeElements,
} from './elements.ts'

export interface Mutant {
  readonly bytes: Uint8Array
  /** What was done, in order. */
  readonly steps: readonly string[]
}

interface Break {
  readonly name: string
  /** @returns false where it does not apply */
  apply(place: Place, dice: Dice, others: () => readonly Place[]): boolean
}

const EMPTY = new Uint8Array()
const ascii = (text: string): Uint8Array => new TextEncoder().encode(text)
/** Contents that are close to right for a universal tag, and wrong or at a limit. */
const oddContents: ReadonlyMap<number, readonly Uint8Array[]> = new Map([
  [0x01, ['01', 'fe', '00', 'ff', '', 'ffff', '0000'].map(Uint8Array.fromHex)],
  [
    0x02,
    [
      '',
      '00',
      '80',
      '0000',
      '0001',
      'ff',
      'ffff',
      'ff80',
      '0080',
      '7f',
      '8000',
      '00ffffffff',
      'ff'.repeat(21),
      `7f${'ff'.repeat(2100)}`,
    ].map(Uint8Array.fromHex),
  ],
  [0x03, ['', '00', '01', '08', '0101', '0180', '0700', '0781', '0780', 'ff00', '000000', '0300'].map(Uint8Array.fromHex)],
  [0x05, ['00', '0500'].map(Uint8Array.fromHex)],
  [
    0x06,
    [
      '',
      '00',
      '2a',
      '80',
      '2a80',
      '2a8001',
      '8001',
      '7f',
      '8100',
      '2a8f8f8f8f8f8f8f8f8f8f01',
      `2a${'81'.repeat(70)}01`,
      '551d13',
      '551d11',
    ].map(Uint8Array.fromHex),
  ],
  [0x0a, ['', '00', '0000', 'ff', '06', '0b', '7fffffff', '0080000000'].map(Uint8Array.fromHex)],
  [0x0c, ['ff', 'c0af', 'eda080', 'f4908080', 'efbbbf', 'c3', '00', ''].map(Uint8Array.fromHex)],
  [0x13, [ascii('a@b'), ascii('*'), ascii('a_b'), ascii('a\n'), ascii('&'), EMPTY, Uint8Array.of(0), Uint8Array.of(0xe4)]],
  [0x16, [Uint8Array.of(0x80), Uint8Array.of(0), EMPTY, ascii('a\u00e4')]],
  [
    0x17,
    [
      '500101000000Z',
      '5001010000Z',
      '500101000000+0000',
      '991301000000Z',
      '000230000000Z',
      '500101240000Z',
      '500101000060Z',
      '50010100000 Z',
      '500101000000',
      '19500101000000Z',
      '',
    ].map(ascii),
  ],
  [
    0x18,
    [
      '20500101000000Z',
      '20490101000000Z',
      '20500101000000.5Z',
      '205001010000Z',
      '20500101000000',
      '20500101000000+0000',
      '99991231235959Z',
      '00000101000000Z',
      '20501301000000Z',
      '',
    ].map(ascii),
  ],
  [0x1e, ['', '00', 'd800', 'd83dde00', '0041'].map(Uint8Array.fromHex)],
  [0x82, [ascii('a\u00e4'), EMPTY, ascii('*.example'), ascii('a b'), Uint8Array.of(0), ascii('.'), ascii('a..b')]],
  [0x86, [ascii('http://x'), ascii('x'), EMPTY, ascii('http://\u00e4')]],
  [0x87, ['', '00', '7f000001', '00'.repeat(8), '00'.repeat(16), 'ffffff00ff'].map(Uint8Array.fromHex)],
])

const setContent = (element: Element, content: Uint8Array): void => {
  delete element.members
  element.before = EMPTY
  element.after = EMPTY
  element.content = content
}

const breaks: readonly Break[] = [
  {
    name: 'long length',
    apply({ element }, dice) {
      element.length = paddedLength(sizeOf(element), dice.below(4))
      return true
    },
  },
  {
    name: 'indefinite length',
    apply({ element }) {
      element.length = Uint8Array.of(0x80)
      element.after = concat([element.after, Uint8Array.of(0, 0)])
      return true
    },
  },
  {
    name: 'wrong length',
    apply({ element }, dice) {
      const size = sizeOf(element)
      const wrong = dice.pick([size + 1, Math.max(0, size - 1), 0, 127, 128, 255, 256, 65535, 0x7fffffff, 0xffffffff])
      element.length = wrong < 0x80 ? Uint8Array.of(wrong) : paddedLength(wrong, 0)
      return true
    },
  },
  {
    name: 'other form',
    apply({ element }) {
      element.tag = element.tag.with(0, (element.tag[0] as number) ^ 0x20)
      return true
    },
  },
  {
    name: 'other tag',
    apply({ element }, dice) {
      element.tag = Uint8Array.of(
        dice.pick([
          0x01,
          0x02,
          0x03,
          0x04,
          0x05,
          0x06,
          0x0a,
          0x0c,
          0x12,
          0x13,
          0x14,
          0x16,
          0x17,
          0x18,
          0x1a,
          0x1c,
          0x1e,
          0x30,
          0x31,
          0x80,
          0x81,
          0x82,
          0x86,
          0xa0,
          0xa1,
          0xa2,
          0xa3,
          0xa4,
          0x00,
          dice.below(256),
        ]),
      )
      return true
    },
  },
  {
    name: 'high tag number',
    apply({ element }, dice) {
      const first = element.tag[0] as number
      const number = dice.pick([first & 0x1f, 31, 127, 128, 300])
      const groups = number < 128 ? [number] : [0x80 | (number >> 7), number & 0x7f]
      element.tag = Uint8Array.of(first | 0x1f, ...(dice.below(4) === 0 ? [0x80] : []), ...groups)
      return true
    },
  },
  {
    name: 'string in pieces',
    apply({ element }) {
      const first = element.tag[0] as number
      if (![0x03, 0x04, 0x0c, 0x13, 0x16].includes(first)) return false
      const whole = writeElement(element)
      element.tag = Uint8Array.of(first | 0x20)
      element.before = EMPTY
      element.members = readElements(whole) ?? []
      return true
    },
  },
  {
    name: 'doubled',
    apply({ list, at, element }) {
      list.splice(at, 0, copyElement(element))
      return true
    },
  },
  {
    name: 'removed',
    apply({ list, at }) {
      list.splice(at, 1)
      return true
    },
  },
  {
    name: 'swapped',
    apply({ list, at }) {
      if (list.length < 2) return false
      const other = at === 0 ? 1 : at - 1
      const moved = list[other] as Element
      list[other] = list[at] as Element
      list[at] = moved
      return true
    },
  },
  {
    name: 'emptied',
    apply({ element }) {
      if (element.members !== undefined) element.members = []
      else element.content = EMPTY
      return true
    },
  },
  {
    name: 'inserted',
    apply({ list, at }, dice) {
      list.splice(
        at + dice.below(2),
        0,
        dice.pick([
          primitive(0x05),
          primitive(0x00),
          primitive(0x02, Uint8Array.of(1)),
          primitive(0x01, Uint8Array.of(0)),
          constructed(0x30, []),
          primitive(0x80, Uint8Array.of(7)),
        ]),
      )
      return true
    },
  },
  {
    name: 'default spelled out',
    apply({ list, at, element }) {
      if (element.tag[0] !== 0x06) return false
      list.splice(at + 1, 0, primitive(0x01, Uint8Array.of(0)))
      return true
    },
  },
  {
    name: 'replaced by another',
    apply({ list, at }, dice, others) {
      list[at] = copyElement(dice.pick(others()).element)
      return true
    },
  },
  {
    name: 'odd content',
    apply({ element }, dice) {
      const odd = oddContents.get(element.tag[0] as number)
      if (odd === undefined) return false
      setContent(element, dice.pick(odd))
      return true
    },
  },
  {
    name: 'changed octet',
    apply({ element }, dice) {
      if (element.members !== undefined || element.content.length === 0) return false
      const at = dice.below(element.content.length)
      const octet = dice.pick([0x00, 0x01, 0x7f, 0x80, 0xff, (element.content[at] as number) ^ (1 << dice.below(8))])
      element.content = element.content.with(at, octet)
      return true
    },
  },
  {
    name: 'longer or shorter content',
    apply({ element }, dice) {
      if (element.members !== undefined) return false
      const { content } = element
      element.content =
        dice.below(2) === 0
          ? content.subarray(0, -1)
          : concat([dice.below(2) === 0 ? Uint8Array.of(0) : EMPTY, content, Uint8Array.of(dice.below(256))])
      return true
    },
  },
  {
    name: 'wrapped deeper',
    apply({ list, at, element }, dice) {
      let wrapped = element
      for (let levels = dice.pick([1, 2, 40]); levels > 0; levels--)
        wrapped = constructed(dice.pick([0x30, 0xa0, 0x31]), [wrapped])
      list[at] = wrapped
      return true
    },
  },
  {
    name: 'repeated many times',
    apply({ list, at, element }, dice) {
      if (list.length === 1 || writeElement(element).length > 100) return false
      list.splice(at, 1, ...Array.from({ length: dice.pick([3, 70, 300]) }, () => copyElement(element)))
      return true
    },
  },
]

/** Breaks that know nothing of structure, so that the first checks are met too. */
function breakBytes(bytes: Uint8Array, dice: Dice): Mutant {
  const at = dice.below(bytes.length + 1)
  switch (dice.below(4)) {
    case 0:
      return { bytes: bytes.subarray(0, at), steps: [`cut at ${at}`] }
    case 1:
      return { bytes: concat([bytes, Uint8Array.of(dice.below(256))]), steps: ['octet after the end'] }
    case 2:
      return {
        bytes: concat([bytes.subarray(0, at), Uint8Array.of(dice.below(256)), bytes.subarray(at)]),
        steps: [`octet put in at ${at}`],
      }
    default: {
      const where = Math.min(at, bytes.length - 1)
      return where < 0 ? { bytes, steps: [] } : { bytes: bytes.with(where, dice.below(256)), steps: [`octet ${where} changed`] }
    }
  }
}

/** How often bytes are broken blindly: one time in so many. */
const BLIND_ONE_IN = 12

/**
 * One broken object, or now and then a whole one.
 *
 * @param seeds objects that are right; elements of one may be put into another
 */
export function mutant(seeds: readonly Uint8Array[], dice: Dice): Mutant {
  const seed = dice.pick(seeds)
  if (dice.below(BLIND_ONE_IN) === 0) return breakBytes(seed, dice)
  const tree = readElements(seed)
  if (tree === undefined) return breakBytes(seed, dice)
  const steps: string[] = []
  const others = () => places(readElements(dice.pick(seeds)) ?? [primitive(0x05)])
  const changes = dice.pick([0, 1, 1, 1, 1, 1, 2, 2, 3])
  for (let tries = 0; steps.length < changes && tries < 20; tries++) {
    const all = places(tree)
    if (all.length === 0) break
    const place = dice.pick(all)
    const how = dice.pick(breaks)
    if (how.apply(place, dice, others)) steps.push(`${how.name} at depth ${place.depth} (${place.element.tag.toHex()})`)
  }
  return { bytes: writeElements(tree), steps }
}
