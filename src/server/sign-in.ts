/**
 * Signing in with a one-time link, and out again.
 *
 * Opening the link only shows a button: mail scanners and link previews open links too, and would use it up.
 *
 * @module
 */
import type { Access } from '#access/access.ts'
import { checkCsrfToken } from '#access/sessions.ts'
import { asTrustError, TrustError } from '#base/errors.ts'
import type { Log } from '#base/log.ts'
import type { World } from '#base/world.ts'
import { type Arrival, logRefusal, methodNotAllowed, type Router } from '#protocols/dispatch.ts'
import type { Reply } from '#protocols/protocol.ts'
import { type HTML, html } from './html.ts'
import { page } from './page.ts'
import { sessionCookie, sessionOf } from './rest/authenticate.ts'
import { statusOf } from './rest/failures.ts'

/** A code and a token are short. */
const FORM_MAX_OCTETS = 4096

const SIGN_IN = '/sign-in'
const SIGN_OUT = '/sign-out'

export interface SignInOptions {
  readonly access: Access
  readonly world: World
  readonly log: Log
}

export function signInPages({ access, world, log }: SignInOptions): Router {
  const answered = (route: string, arrival: Arrival, work: () => Promise<Reply>) => ({
    route,
    async run() {
      try {
        return await work()
      } catch (thrown) {
        const error = asTrustError(thrown)
        logRefusal(log, error, { requestId: arrival.requestId, route, address: arrival.peer.address })
        return refusal(error)
      }
    },
  })
  return (arrival) => {
    const { method, path } = arrival
    if (path === SIGN_IN && (method === 'GET' || method === 'HEAD'))
      return answered('page/sign-in', arrival, async () => askToConfirm(arrival))
    if (path === SIGN_IN && method === 'POST') return answered('page/sign-in', arrival, () => signIn(access, world, arrival))
    if (path === SIGN_OUT && method === 'POST') return answered('page/sign-out', arrival, () => signOut(access, arrival))
    if (path !== SIGN_IN && path !== SIGN_OUT) return undefined
    return answered('page/method', arrival, async () => methodNotAllowed(method, path === SIGN_IN ? 'GET, POST' : 'POST'))
  }
}

function askToConfirm({ query }: Arrival): Reply {
  const code = new URLSearchParams(query).get('code') ?? ''
  return framed(
    html`<p>This link signs you in on this browser. It works once.</p>
      <form method="post" action="${SIGN_IN}"><input type="hidden" name="code" value="${code}" /><button>Sign in</button></form>`,
  )
}

async function signIn(access: Access, world: World, arrival: Arrival): Promise<Reply> {
  checkSameSite(arrival)
  const form = await readForm(arrival)
  const { session, expiresAt } = await access.signIn(form.get('code') ?? '')
  const text = new TextDecoder().decode(session.reveal('session cookie'))
  const seconds = Math.floor((expiresAt.getTime() - world.clock.now()) / 1000)
  return { status: 303, headers: { location: '/', 'set-cookie': sessionCookie(text, seconds) }, body: '' }
}

async function signOut(access: Access, arrival: Arrival): Promise<Reply> {
  const session = sessionOf(arrival.headers)
  if (session !== undefined) {
    const form = await readForm(arrival)
    checkCsrfToken(session, form.get('csrf') ?? undefined)
    await access.endSession(session)
  }
  return { status: 303, headers: { location: '/', 'set-cookie': sessionCookie('', 0) }, body: '' }
}

/** Another site must not sign a visitor in as someone else. Browsers say where a form comes from. */
function checkSameSite({ headers }: Arrival): void {
  const site = headers['sec-fetch-site']
  const origin = headers['origin']
  const sameOrigin = origin === undefined || origin === `https://${headers['host'] ?? ''}`
  if ((site !== undefined && site !== 'same-origin') || !sameOrigin) throw new TrustError('forbidden', 'otherSite')
}

async function readForm({ headers, body }: Arrival): Promise<URLSearchParams> {
  const type = headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase()
  if (type !== 'application/x-www-form-urlencoded') throw new TrustError('unsupported', 'formNeeded')
  return new URLSearchParams(new TextDecoder().decode(await body(FORM_MAX_OCTETS)))
}

const refusal = (error: TrustError): Reply =>
  framed(
    html`<p class="alert">${error.message}</p>
      <p><a href="/">To the start page</a></p>`,
    statusOf[error.code],
  )

const framed = (body: HTML, status = 200): Reply =>
  page(
    'Sealworks: sign in',
    html`<header><h1>Sealworks</h1></header>
      ${body}`,
    { status },
  )
