/**
 * The frame of every page: one style, no scripts, and a policy that lets a browser load nothing else.
 *
 * @module
 */
import { hash } from 'node:crypto'
import type { Reply } from '#protocols/protocol.ts'
import { type HTML, html } from './html.ts'

/** Grey when all is normal, color only for what is not (ISA-101). */
const STYLE = `
:root { color-scheme: light dark; --line: #d8dce0; --quiet: #5b6570; --alert: #b3261e }
@media (prefers-color-scheme: dark) { :root { --line: #3a4148; --quiet: #9aa4ae; --alert: #ff8a80 } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
h1 { font-size: 1.3rem; margin: 0 } h2 { font-size: 1rem; margin: 2rem 0 .5rem }
header { display: flex; justify-content: space-between; align-items: baseline; border-bottom: 1px solid var(--line); padding-bottom: .75rem }
table { border-collapse: collapse; width: 100% } th { text-align: left; font-weight: 600 }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .75rem .3rem 0; vertical-align: top }
code { font: 13px/1.5 ui-monospace, monospace; overflow-wrap: anywhere } .quiet { color: var(--quiet) } .alert { color: var(--alert); font-weight: 600 }
button { font: inherit; padding: .4rem 1.2rem } form { display: inline }
`

/** The one style is known by its hash; nothing else may be loaded, run, framed or posted elsewhere (CSP level 3). */
const POLICY = [
  "default-src 'none'",
  `style-src 'sha256-${hash('sha256', STYLE, 'base64')}'`,
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ')

export function page(
  title: string,
  body: HTML,
  { status = 200, headers = {} }: { status?: number; headers?: Record<string, string> } = {},
): Reply {
  const style: HTML = { html: `<style>${STYLE}</style>` }
  const document = html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${title}</title>
        ${style}
      </head>
      <body>
        ${body}
      </body>
    </html> `
  return {
    status,
    headers: { 'content-type': 'text/html; charset=utf-8', 'content-security-policy': POLICY, ...headers },
    body: document.html,
  }
}
