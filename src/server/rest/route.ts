/**
 * One row of the table that the REST interface is: server, OpenAPI document and client are all made from it.
 *
 * @module
 */
import { type Static, type TObject, type TSchema, type TVoid, Type } from 'typebox'
import type { Permission } from '#access/rights.ts'
import type { Principal } from '#access/principals.ts'
import type { ReplyStream } from '#protocols/protocol.ts'

/** Who asks. Audit entries name the `actor`. */
export interface Caller {
  readonly actor: string
  /** Undefined only on public routes. */
  readonly principal: Principal | undefined
}

/** A call of a route: who made it, and under which id the log knows it. */
export interface Call extends Caller {
  readonly requestId: string
  /** Where the request came from, as the listener knows it. */
  readonly address?: string
  /** On routes that take one. */
  readonly upload?: Upload
}

/** An artifact that comes with a request. */
export interface Upload {
  /** As the client says; undefined where it does not. */
  readonly octets: number | undefined
  /** Once. @throws TrustError `tooLarge`, `malformed` when the client stops half way */
  read(maxOctets: number): AsyncIterable<Uint8Array>
  readonly idempotencyKey: string | undefined
  /** RFC 7240, 4.1: the client does not want to wait for what takes long. */
  readonly prefersAsync: boolean
}

const OCTETS = Symbol('octets')

/** An answer that is no JSON. */
export interface OctetAnswer {
  readonly [OCTETS]: ReplyStream
  readonly headers: Readonly<Record<string, string>>
}

export const octetAnswer = (stream: ReplyStream, headers: OctetAnswer['headers'] = {}): OctetAnswer => ({
  [OCTETS]: stream,
  headers,
})

/** Of octets that are at hand. */
export const wholeAnswer = (octets: Uint8Array): OctetAnswer =>
  octetAnswer({
    octets: octets.length,
    async *read() {
      yield octets
    },
  })

/** @returns undefined for an answer that is JSON */
export const octetsOfAnswer = (answer: unknown): ReplyStream | undefined =>
  typeof answer === 'object' && answer !== null && OCTETS in answer ? (answer as OctetAnswer)[OCTETS] : undefined

export type Method = 'GET' | 'POST' | 'PUT' | 'DELETE'

/** A record that takes no fields but those named: a misspelled one is found, not forgotten. */
export const record = <const Fields extends Record<string, TSchema>>(fields: Fields, description?: string): TObject<Fields> =>
  Type.Object(fields, { additionalProperties: false, ...(description === undefined ? {} : { description }) })

// oxlint-disable-next-line typescript/no-generated-empty-object-type -- a record without fields is what is meant
type Nothing = TObject<Record<never, never>>

export interface Route<
  Id extends string = string,
  Params extends TObject = TObject,
  Query extends TObject = TObject,
  Body extends TSchema = TSchema,
  Response extends TSchema = TSchema,
> {
  /** `verbNoun`, such as `createAuthority`: OpenAPI's operationId, and the name in the client. */
  readonly id: Id
  readonly method: Method
  /** Parameters stand in braces. */
  readonly path: `/api/v1${'' | `/${string}`}`
  /** `public` asks for nobody, `signedIn` for anybody. */
  readonly permission: Permission | 'public' | 'signedIn'
  /** One line for the OpenAPI document. */
  readonly summary: string
  /** Each parameter of the path, a string. */
  readonly params?: Params
  readonly query?: Query
  readonly body?: Body
  /** Where a body may be longer than those of most routes. */
  readonly bodyMaxOctets?: number
  /** Absent where the answer is 204. */
  readonly response?: Response
  /** 200 unless told; 201 for what was made. */
  readonly status?: 200 | 201
  /** 202 for an answer that says what is waited for. */
  isPending?(answer: Static<Response>): boolean
  /** The answer carries a key or a credential: it is given once and kept nowhere (decision 17). */
  readonly answersSecret?: true
  /** The body is an artifact, whatever its length: see {@link Call.upload}. Repeats are the route's own matter. */
  readonly takesOctets?: true
  /** What the octets are that the route answers, where it does not answer with JSON. */
  readonly givesOctets?: string
  handle(call: Call, input: Input<Params, Query, Body>): Promise<Static<Response>>
}

export interface Input<Params extends TObject, Query extends TObject, Body extends TSchema> {
  readonly params: Static<Params>
  readonly query: Static<Query>
  readonly body: Static<Body>
}

/** Keeps every type, so that `handle` is checked against its own schemas. */
export const route = <
  const Id extends string,
  Params extends TObject = Nothing,
  Query extends TObject = Nothing,
  Body extends TSchema = TVoid,
  Response extends TSchema = TVoid,
>(
  definition: Route<Id, Params, Query, Body, Response>,
): Route<Id, Params, Query, Body, Response> => definition

interface OctetRoute<
  Id extends string,
  Params extends TObject,
  Query extends TObject,
  Body extends TSchema,
  Response extends TSchema,
> extends Omit<Route<Id, Params, Query, Body, Response>, 'handle'> {
  readonly givesOctets: string
  answer(call: Call, input: Input<Params, Query, Body>): Promise<Static<Response> | OctetAnswer>
}

/** A route that answers octets, or JSON where there are none. */
export const octetRoute = <
  const Id extends string,
  Params extends TObject = Nothing,
  Query extends TObject = Nothing,
  Body extends TSchema = TVoid,
  Response extends TSchema = TVoid,
>({
  answer,
  ...definition
}: OctetRoute<Id, Params, Query, Body, Response>): Route<Id, Params, Query, Body, Response> => ({
  ...definition,
  handle: async (call, input) => (await answer(call, input)) as Static<Response>, // the router looks at what it is
})

/** What every list takes. */
export const pageQuery = {
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 500, description: 'Most entries to give; 100 unless told.' })),
  cursor: Type.Optional(Type.String({ maxLength: 500, description: 'Where to go on: `next` of the page before.' })),
}

export const PAGE_DEFAULT = 100

/** What every list gives. */
export const page = <Item extends TSchema>(item: Item) =>
  record({
    items: Type.Array(item),
    next: Type.Optional(Type.String({ description: 'Hand it in as `cursor` for what follows; absent at the end.' })),
  })

/** @returns the shape of {@link page}, without a `next` that is undefined */
export const pageOf = <Item>(items: Item[], next: string | undefined): { items: Item[]; next?: string } =>
  next === undefined ? { items } : { items, next }
