/**
 * Configuration texts of libconfig, as SWUpdate describes an update with: settings in groups, lists and arrays.
 *
 * Source: libconfig 1.7 manual, "Configuration Files" and its grammar. A name twice in a group and included files are
 * refused, numbers are not looked into.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'

export type Setting = SettingGroup | readonly Setting[] | string | { readonly scalar: string }
export interface SettingGroup {
  readonly group: ReadonlyMap<string, Setting>
}

/** An update nests five or six deep. */
const DEPTH_MAX = 32

const TOKEN =
  /(?<space>\s+|#[^\n]*|\/\/[^\n]*|\/\*[^]*?\*\/)|(?<string>"(?:[^"\\\u0000]|\\[^\u0000])*")|(?<sign>[=:;,(){}[\]])|(?<number>[-+]?(?:0[xX][0-9A-Fa-f]+L{0,2}|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?L{0,2})(?![A-Za-z0-9_.]))|(?<name>[A-Za-z*][-A-Za-z0-9_*]*)/y

interface Token {
  readonly type: 'string' | 'sign' | 'number' | 'name' | 'end'
  readonly text: string
}

export const isGroup = (setting: Setting): setting is SettingGroup => typeof setting === 'object' && 'group' in setting
export const isList = (setting: Setting): setting is readonly Setting[] => Array.isArray(setting)

/** @returns what the whole text is: a group @throws TrustError `malformed` */
export function parseLibconfig(text: string): SettingGroup {
  const tokens = tokensOf(text)
  let at = 0
  const peek = (): Token => tokens[at] ?? END
  const isSign = (text: string): boolean => peek().type === 'sign' && peek().text === text
  const next = (): Token => {
    const token = peek()
    at++
    return token
  }
  const expect = (sign: string): void => {
    const token = next()
    if (token.type !== 'sign' || token.text !== sign) throw bad(`"${sign}" is missing before "${token.text.slice(0, 20)}"`)
  }

  function groupUntil(isEnd: () => boolean, depth: number): SettingGroup {
    const group = new Map<string, Setting>()
    while (!isEnd()) {
      const { type, text: name } = next()
      if (type !== 'name') throw bad(`a setting has no name, but "${name.slice(0, 20)}"`)
      if (group.has(name)) throw bad(`${name} is set twice`)
      if (!isSign('=') && !isSign(':')) throw bad(`${name} has no value`)
      at++
      group.set(name, value(depth + 1))
      if (isSign(';') || isSign(',')) at++
    }
    return { group }
  }

  function itemsUntil(sign: string, depth: number): readonly Setting[] {
    const items: Setting[] = []
    while (!isSign(sign)) {
      items.push(value(depth + 1))
      if (!isSign(',')) break
      at++
    }
    expect(sign)
    return items
  }

  function value(depth: number): Setting {
    if (depth > DEPTH_MAX) throw bad(`it nests deeper than ${DEPTH_MAX}`)
    const { type, text: found } = next()
    if (type === 'string') {
      let joined = unescaped(found)
      while (peek().type === 'string') joined += unescaped(next().text)
      return joined
    }
    if (type === 'number' || (type === 'name' && /^(true|false)$/i.test(found))) return { scalar: found }
    if (found === '(' && type === 'sign') return itemsUntil(')', depth)
    if (found === '[' && type === 'sign') return itemsUntil(']', depth)
    if (found !== '{' || type !== 'sign') throw bad(`"${found.slice(0, 20)}" is no value`)
    const group = groupUntil(() => isSign('}') || peek().type === 'end', depth)
    expect('}')
    return group
  }

  return groupUntil(() => peek().type === 'end', 0)
}

const END: Token = { type: 'end', text: '' }

function tokensOf(text: string): readonly Token[] {
  const tokens: Token[] = []
  for (let at = 0; at < text.length; at = TOKEN.lastIndex) {
    TOKEN.lastIndex = at
    const groups = TOKEN.exec(text)?.groups
    if (groups === undefined) throw bad(`it cannot be read at character ${at}`)
    for (const type of ['string', 'sign', 'number', 'name'] as const) {
      const found = groups[type]
      if (found !== undefined) tokens.push({ type, text: found })
    }
  }
  return tokens
}

const ESCAPES: Readonly<Record<string, string>> = {
  '\\': '\\',
  '"': '"',
  a: '\u0007',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
}

const unescaped = (quoted: string): string =>
  quoted.slice(1, -1).replace(/\\(?:x([0-9A-Fa-f]{2})|([^]))/g, (_, hex: string | undefined, letter: string) => {
    if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16))
    const plain = ESCAPES[letter]
    if (plain === undefined) throw bad(`a text has the unknown escape \\${letter}`)
    return plain
  })

const bad = (detail: string): TrustError =>
  new TrustError('malformed', 'badArtifact', { facts: { format: 'SWUpdate', detail: `in sw-description: ${detail}` } })
