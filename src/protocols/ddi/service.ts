/**
 * What the protocol needs from whoever rolls out updates; `server/compose.ts` hands it in.
 *
 * @module
 */

/** Who asks, in the service's own words. */
export type Controller = object

export interface Credentials {
  /** What the TLS handshake proved; DER, empty without a certificate. */
  readonly chain: readonly Uint8Array[]
  /** Of the header field `Authorization: TargetToken …`. */
  readonly targetToken: string | undefined
}

/** What a controller finds when it polls: numbers of actions. */
export interface Poll {
  readonly pollingSeconds: number
  /** Its attributes are not known yet. */
  readonly wantsAttributes: boolean
  readonly deployment?: number
  readonly confirmation?: number
  readonly cancel?: number
  readonly installed?: number
}

/** How urgent a part of a deployment is; `skip`: not now. */
export type Handling = 'skip' | 'attempt' | 'forced'

export interface ArtifactFacts {
  readonly filename: string
  readonly octets: number
  /** Hexadecimal, all three: old clients compare the weak ones, and what is believed rests on none of them. */
  readonly hashes: { readonly sha1: string; readonly md5: string; readonly sha256: string }
}

export interface Chunk {
  readonly part: string
  readonly name: string
  readonly version: string
  readonly artifacts: readonly ArtifactFacts[]
}

export interface Deployment {
  readonly action: number
  readonly download: Handling
  readonly update: Handling
  /** Absent where there is none. */
  readonly maintenanceWindow?: 'available' | 'unavailable'
  readonly chunks: readonly Chunk[]
}

export const executions = [
  'closed',
  'proceeding',
  'canceled',
  'scheduled',
  'rejected',
  'resumed',
  'download',
  'downloaded',
] as const
export type Execution = (typeof executions)[number]

export const results = ['success', 'failure', 'none'] as const

export interface Feedback {
  readonly execution: Execution
  readonly finished: (typeof results)[number]
  readonly code: number | undefined
  /** Texts of the client's own, cut to what is kept. */
  readonly details: readonly string[]
}

export interface ConfirmationAnswer {
  readonly confirmation: 'confirmed' | 'denied'
  readonly code: number | undefined
  readonly details: readonly string[]
}

export interface AutoConfirmation {
  readonly initiator: string | undefined
  readonly remark: string | undefined
}

export interface Confirmations {
  readonly autoConfirm: (AutoConfirmation & { readonly activatedAt: Date }) | undefined
  /** The action that waits. */
  readonly waiting: number | undefined
}

export type Attributes = Readonly<Record<string, string>>

/** An artifact that this controller may have now. */
export interface ArtifactBody extends ArtifactFacts {
  /** Pieces of it, from one octet to before another. */
  read(start: number, end: number): AsyncIterable<Uint8Array>
}

export interface DdiService {
  /** @throws TrustError `unauthenticated`, `forbidden`, `notFound` where there is no such tenant */
  authenticate(tenant: string, controllerId: string, credentials: Credentials): Promise<Controller>
  poll(controller: Controller): Promise<Poll>
  /** What is to be installed; its statement for this one device among the artifacts. @throws TrustError `notFound`, `conflict` */
  deployment(controller: Controller, action: number): Promise<Deployment>
  /** What was installed by this action. @throws TrustError `notFound` */
  installed(controller: Controller, action: number): Promise<Deployment>
  /** What waits for a confirmation. @throws TrustError `notFound` */
  toConfirm(controller: Controller, action: number): Promise<Deployment>
  /** @throws TrustError `notFound` where it is not canceled */
  checkCanceled(controller: Controller, action: number): Promise<void>
  confirmations(controller: Controller): Promise<Confirmations>
  /** @throws TrustError `notFound`, `conflict` */
  confirm(controller: Controller, action: number, answer: ConfirmationAnswer): Promise<void>
  setAutoConfirmation(controller: Controller, wanted: AutoConfirmation | undefined): Promise<void>
  /** @throws TrustError `notFound`, `conflict` for an action that is over otherwise */
  feedback(controller: Controller, action: number, feedback: Feedback): Promise<void>
  cancelFeedback(controller: Controller, action: number, feedback: Feedback): Promise<void>
  setAttributes(controller: Controller, mode: 'merge' | 'replace' | 'remove', data: Attributes): Promise<void>
  /** @throws TrustError `notFound` */
  artifact(controller: Controller, action: number, filename: string): Promise<ArtifactBody>
}
