/**
 * `/`: how the installation is. Without signing in it shows what is public anyway; signed in, a little more.
 *
 * @module
 */
import type { Access } from '#access/access.ts'
import type { Principal } from '#access/principals.ts'
import { isAllowed } from '#access/rights.ts'
import { csrfToken } from '#access/sessions.ts'
import { TrustError } from '#base/errors.ts'
import type { Arrival, Router } from '#protocols/dispatch.ts'
import type { Reply } from '#protocols/protocol.ts'
import type { Health } from './health.ts'
import { type HTML, html } from './html.ts'
import { page } from './page.ts'
import { sessionOf } from './rest/authenticate.ts'
import { OPENAPI_PATH } from './rest/router.ts'

/** What the page shows; handed in, so that it knows no other room. */
export interface StatusSource {
  /** Public: their certificates are. */
  authorities(): readonly {
    readonly address: string
    readonly subject: string
    readonly notAfter: Date
    readonly state: string
  }[]
  /** Roots whose keys are on no network, with the state of their CRLs. Public as the others. */
  offline(): Promise<
    readonly { readonly address: string; readonly subject: string; readonly crl: string; readonly nextUpdate: Date | undefined }[]
  >
  endpoints(): Promise<
    readonly { readonly label: string; readonly protocol: string; readonly authority: string; readonly state: string }[]
  >
  counts(): Promise<readonly { readonly name: string; readonly count: number }[]>
}

export interface StatusPageOptions {
  readonly access: Access
  readonly health: Health
  readonly source: StatusSource
  readonly name: string
  readonly version: string
  /** Where CRLs and CA certificates are had; undefined until it is set. */
  readonly publicUrl: string | undefined
}

export const statusPage =
  (options: StatusPageOptions): Router =>
  (arrival) =>
    arrival.path === '/' && (arrival.method === 'GET' || arrival.method === 'HEAD')
      ? { route: 'page/status', run: () => render(options, arrival) }
      : undefined

async function render(options: StatusPageOptions, arrival: Arrival): Promise<Reply> {
  const { access, health, source, name, version, publicUrl } = options
  const session = sessionOf(arrival.headers)
  const principal = session === undefined ? undefined : await signedIn(access, session)
  const { ready, checks } = await health.report()
  const failing = checks.filter(({ ok }) => !ok).map((check) => check.name)
  const state = ready ? html`<span class="quiet">ready</span>` : html`<span class="alert">not ready: ${failing.join(', ')}</span>`
  const body = html` <header>
      <h1>${name}</h1>
      <div>${state}</div>
    </header>
    <p class="quiet">
      ${principal === undefined ? 'Sealworks' : `Sealworks ${version}`} · <a href="${OPENAPI_PATH}">REST interface</a> ·
      ${signInState(principal, session)}
    </p>
    ${authorityTable(source, publicUrl)} ${await offlineTable(source)}
    ${principal === undefined ? undefined : await innerTables(source, principal)}`
  return page(name, body, { status: 200 })
}

/** An ended session is no error here: the page is public. */
async function signedIn(access: Access, session: string): Promise<Principal | undefined> {
  try {
    return await access.authenticateSession(session)
  } catch (error) {
    if (error instanceof TrustError && error.code === 'unauthenticated') return undefined
    throw error
  }
}

function signInState(principal: Principal | undefined, session: string | undefined): HTML {
  if (principal === undefined || session === undefined) return html`not signed in`
  const form = html`<form method="post" action="/sign-out">
    <input type="hidden" name="csrf" value="${csrfToken(session)}" /><button>Sign out</button>
  </form>`
  return html`${principal.name} (${principal.roles.join(', ')}) ${form}`
}

function authorityTable(source: StatusSource, publicUrl: string | undefined): HTML {
  const authorities = source.authorities()
  if (authorities.length === 0)
    return html`<h2>Authorities</h2>
      <p>None yet. <code>sealworks ca create</code> makes the first.</p>`
  const files = (address: string) =>
    publicUrl === undefined
      ? html`<span class="quiet">publicUrl is not set</span>`
      : html`<a href="${publicUrl}/ca/${address}.cer">certificate</a> <a href="${publicUrl}/crl/${address}.crl">CRL</a>`
  return html`<h2>Authorities</h2>
    <table>
      <tr>
        <th>Name</th>
        <th>Subject</th>
        <th>Ends</th>
        <th>State</th>
        <th></th>
      </tr>
      ${authorities.map(
        ({ address, subject, notAfter, state }) =>
          html`<tr>
            <td><code>${address}</code></td>
            <td>${subject}</td>
            <td>${notAfter.toISOString().slice(0, 10)}</td>
            <td>${state}</td>
            <td>${files(address)}</td>
          </tr>`,
      )}
    </table>`
}

async function offlineTable(source: StatusSource): Promise<HTML | undefined> {
  const offline = await source.offline()
  if (offline.length === 0) return undefined
  return html`<h2>Offline authorities</h2>
    <table>
      <tr>
        <th>Name</th>
        <th>Subject</th>
        <th>CRL</th>
        <th>Next</th>
      </tr>
      ${offline.map(
        ({ address, subject, crl, nextUpdate }) =>
          html`<tr>
            <td><code>${address}</code></td>
            <td>${subject}</td>
            <td>${crl === 'published' ? crl : html`<span class="alert">${crl}</span>`}</td>
            <td>${nextUpdate?.toISOString().slice(0, 10) ?? '–'}</td>
          </tr>`,
      )}
    </table>`
}

async function innerTables(source: StatusSource, principal: Principal): Promise<HTML> {
  const parts: HTML[] = []
  if (isAllowed(principal.roles, 'endpoint.read')) {
    const endpoints = await source.endpoints()
    parts.push(
      html`<h2>Endpoints</h2>
        <table>
          <tr>
            <th>Label</th>
            <th>Protocol</th>
            <th>Authority</th>
            <th>State</th>
          </tr>
          ${endpoints.map(
            ({ label, protocol, authority, state }) =>
              html`<tr>
                <td><code>${label}</code></td>
                <td>${protocol}</td>
                <td><code>${authority}</code></td>
                <td>${state}</td>
              </tr>`,
          )}
        </table>`,
    )
  }
  if (isAllowed(principal.roles, 'certificate.read')) {
    const counts = await source.counts()
    parts.push(
      html`<h2>Certificates</h2>
        <table>
          ${counts.map(
            ({ name, count }) =>
              html`<tr>
                <td>${name}</td>
                <td>${count}</td>
              </tr>`,
          )}
        </table>`,
    )
  }
  return html`${parts}`
}
