/**
 * Small changes to a source file, each of which a good test should notice. Works on text whose types were blanked out,
 * with comments, strings and regular expressions told apart from code.
 *
 * What it changes: comparisons, boolean and bit operators, arithmetic, numbers (one more), booleans, conditions of `if`
 * (always, never), plain strings (to nothing) and whole statements on one line (left out). What it does not: regular
 * expressions, template texts, types, calls, the order of statements.
 *
 * @module
 */

export interface Mutation {
  readonly start: number
  readonly end: number
  readonly text: string
}

const CODE = 0
const STRING = 1
const OTHER = 2

/** For each character whether it is code, in a plain string, or in a comment, template text or regular expression. */
function kindsOf(source: string): Uint8Array {
  const kinds = new Uint8Array(source.length)
  const templates: number[] = [] // open braces at the `${` of each template that is open
  let braces = 0
  let at = 0
  const skip = (pattern: RegExp, kind: number): boolean => {
    pattern.lastIndex = at
    const found = pattern.exec(source)
    if (found === null) return false
    kinds.fill(kind, at, (at += found[0].length))
    return true
  }
  const template = (): void => {
    // to the end of the template or to the next `${`
    skip(/(?:[^`\\$]|\\[^]|\$(?!\{))*/y, OTHER)
    kinds[at] = OTHER
    if (source[at] === '`') at++
    else {
      kinds[at + 1] = OTHER
      at += 2
      templates.push(braces)
    }
  }
  while (at < source.length) {
    const character = source[at]
    if (skip(/\/\/.*|\/\*[^]*?\*\//y, OTHER)) continue
    if (skip(/'(?:[^'\\\n]|\\.)*'/y, STRING)) continue
    if (character === '/' && /[(,=:[!&|?{};\n]\s*$|return\s*$/.test(source.slice(Math.max(0, at - 20), at))) {
      if (skip(/\/(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/y, OTHER)) continue
    }
    if (character === '`') {
      kinds[at++] = OTHER
      template()
      continue
    }
    if (character === '{') braces++
    if (character === '}') {
      if (templates.at(-1) === braces) {
        templates.pop()
        kinds[at++] = OTHER
        template()
        continue
      }
      braces--
    }
    at++
  }
  return kinds
}

const swaps: Readonly<Record<string, readonly string[]>> = {
  '<': ['<='],
  '<=': ['<'],
  '>': ['>='],
  '>=': ['>'],
  '===': ['!=='],
  '!==': ['==='],
  '&&': ['||'],
  '||': ['&&'],
  '??': ['&&'],
  '+': ['-'],
  '-': ['+'],
  '*': ['/'],
  '/': ['*'],
  '%': ['*'],
  '**': ['*'],
  '&': ['|'],
  '|': ['&'],
  '^': ['&'],
  '<<': ['>>'],
  '>>': ['<<'],
  '>>>': ['<<'],
  '+=': ['-='],
  '-=': ['+='],
  '>>=': ['<<='],
  '>>>=': ['<<='],
  '&&=': ['='],
  '++': ['--'],
  '--': ['++'],
}
const OPERATOR = />>>=|>>=|&&=|\*\*|===|!==|<=|>=|=>|&&|\|\||\?\?|\?\.|\.\.\.|\+\+|--|\+=|-=|>>>|<<|>>|[<>+\-*/%&|^]/g
const NUMBER = /(?<![\w.$])(0x[0-9a-fA-F_]+|\d[\d_]*)(n?)(?![\w.])/g

export function mutationsOf(source: string): readonly Mutation[] {
  const kinds = kindsOf(source)
  const isCode = (at: number): boolean => kinds[at] === CODE
  const found: Mutation[] = []
  const put = (start: number, length: number, text: string): void => void found.push({ start, end: start + length, text })

  for (const { 0: operator, index } of source.matchAll(OPERATOR)) {
    if (isCode(index)) for (const other of swaps[operator] ?? []) put(index, operator.length, other)
  }
  for (const { 0: whole, 1: digits = '', 2: big = '', index } of source.matchAll(NUMBER)) {
    if (isCode(index)) put(index, whole.length, `${BigInt(digits.replaceAll('_', '')) + 1n}${big}`)
  }
  for (const { 0: word, index } of source.matchAll(/\b(true|false)\b/g)) {
    if (isCode(index)) put(index, word.length, word === 'true' ? 'false' : 'true')
  }
  for (const { index } of source.matchAll(/!(?=[\w(])/g)) if (isCode(index)) put(index, 1, '')
  for (const { 0: head, index } of source.matchAll(/\bif \(/g)) {
    const start = index + head.length
    const end = closing(source, isCode, start)
    if (isCode(index) && end !== undefined) for (const text of ['true', 'false']) put(start, end - start, text)
  }
  for (const { 0: literal, index } of source.matchAll(/'(?:[^'\\\n]|\\.)+'/g)) {
    const line = source.slice(source.lastIndexOf('\n', index) + 1, index)
    if (kinds[index] === STRING && !/^\s*(import|export|\}).*\bfrom $|^import /.test(line)) put(index, literal.length, "''")
  }
  for (const { 0: whole, 1: statement = '', index } of source.matchAll(
    /^ +((?:[\w.#]+\(|[\w.#[\]]+ (?:[|+-]|>>>?)?= |throw |return )[^\n]*)$/gm,
  )) {
    const start = index + whole.length - statement.length
    if (isCode(start) && balanced(statement) && !/[,;({[=?:&|+]$/.test(statement)) put(start, statement.length, '{}')
  }
  return found
}

/** Where the parenthesis closes that is open at `from`. */
function closing(source: string, isCode: (at: number) => boolean, from: number): number | undefined {
  let depth = 1
  for (let at = from; at < source.length; at++) {
    if (!isCode(at)) continue
    if (source[at] === '(') depth++
    if (source[at] === ')' && --depth === 0) return at
  }
  return undefined
}

function balanced(text: string): boolean {
  let depth = 0
  for (const character of text) {
    if ('([{'.includes(character)) depth++
    if (')]}'.includes(character) && --depth < 0) return false
  }
  return depth === 0
}
