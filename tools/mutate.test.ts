import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { mutationsOf } from './mutate/operators.ts'

/** Every changed form of one line. */
const forms = (source: string): readonly string[] =>
  mutationsOf(source).map(({ start, end, text }) => source.slice(0, start) + text + source.slice(end))

describe('changes to a source', () => {
  const cases: readonly (readonly [name: string, source: string, changed: readonly string[]])[] = [
    ['a comparison', 'a < b', ['a <= b']],
    ['operators of several characters are one', 'a >>> b !== c', ['a << b !== c', 'a >>> b === c']],
    ['an arrow is no comparison', '(a) => b', []],
    ['optional chaining and spread are left alone', 'f(...a?.b)', []],
    ['numbers', 'f(0x7f, 1_000, 2n)', ['f(128, 1_000, 2n)', 'f(0x7f, 1001, 2n)', 'f(0x7f, 1_000, 3n)']],
    ['a number in a name is none', 'a1.b2', []],
    ['booleans', 'return true', ['return false']],
    ['a negation', '!a', ['a']],
    ['a condition', 'if (f(a)) g', ['if (true) g', 'if (false) g']],
    ['a string', "f('a < b')", ["f('')"]],
    ['an import', "import { a } from './a.ts'", []],
    ['a comment', '// a < 1\n/* b > 2 */', []],
    ['a regular expression', 'f(/[0-9] < 1/)', []],
    ['a division', 'a / b / c', ['a * b / c', 'a / b * c']],
    ['text of a template, and code in it', '`1 < 2 ${a < b} 3`', ['`1 < 2 ${a <= b} 3`']],
    ['a brace in a template', '`${f({ a })} 1`', []],
    ['a statement', '  f(a)\n', ['  {}\n']],
    ['half a statement', '  f(\n', []],
  ]
  for (const [name, source, changed] of cases) test(name, () => assert.deepEqual(forms(source), changed))
})
