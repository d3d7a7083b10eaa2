/**
 * HTML where every value is escaped unless it is HTML already.
 *
 * @module
 */
export interface HTML {
  readonly html: string
}

type Part = string | number | HTML | readonly HTML[] | undefined

export function html(strings: TemplateStringsArray, ...values: readonly Part[]): HTML {
  return { html: strings.reduce((text, string, index) => text + textOf(values[index - 1]) + string) }
}

function textOf(value: Part): string {
  if (value === undefined) return ''
  if (typeof value === 'string' || typeof value === 'number') return escape(String(value))
  return 'html' in value ? value.html : value.map(({ html }) => html).join('')
}

const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

const escape = (text: string): string => text.replace(/[&<>"']/g, (character) => entities[character] ?? '')
