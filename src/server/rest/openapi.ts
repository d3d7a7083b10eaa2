/**
 * The OpenAPI 3.1 document of a table of routes. Its schemas are JSON Schema already, so they are only put in place.
 *
 * @module
 */
import type { TObject } from 'typebox'
import { SESSION_COOKIE } from './authenticate.ts'
import type { Route } from './route.ts'

export interface OpenAPIDocument {
  readonly openapi: '3.1.0'
  readonly info: object
  readonly paths: Readonly<Record<string, Readonly<Record<string, object>>>>
  readonly components: object
}

const problemSchema = {
  type: 'object',
  description: 'RFC 9457 problem document',
  required: ['type', 'title', 'status', 'detail', 'instance', 'reason'],
  properties: {
    type: { type: 'string', description: 'urn:sealworks:error:CODE, with a code of a closed list' },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string', description: 'What is wrong, and what to do next.' },
    instance: { type: 'string', description: 'urn:sealworks:request:ID, as in the server log' },
    reason: { type: 'string', description: 'Stable key of what exactly was refused' },
    problems: {
      type: 'array',
      items: { type: 'object', required: ['at', 'problem'], properties: { at: { type: 'string' }, problem: { type: 'string' } } },
    },
  },
}

export function openAPI(routes: readonly Route[], version: string): OpenAPIDocument {
  const paths: Record<string, Record<string, object>> = {}
  for (const route of routes) (paths[route.path] ??= {})[route.method.toLowerCase()] = operationOf(route)
  return {
    openapi: '3.1.0',
    info: { title: 'Sealworks', version, license: { name: 'Apache-2.0', identifier: 'Apache-2.0' } },
    paths,
    components: {
      securitySchemes: {
        token: { type: 'http', scheme: 'bearer', description: 'A token of a person or service, `swt_…`' },
        session: {
          type: 'apiKey',
          in: 'cookie',
          name: SESSION_COOKIE,
          description: 'A browser session; changes also need X-CSRF-Token',
        },
      },
      schemas: { Problem: problemSchema },
      responses: {
        Problem: {
          description: 'Refused',
          content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
        },
      },
    },
  }
}

function operationOf(route: Route): object {
  const { id, method, permission, summary, params, query, body, response, status = 200 } = route
  return {
    operationId: id,
    summary,
    tags: [id.slice(0, id.indexOf('.'))],
    ...(permission === 'public' || permission === 'signedIn' ? {} : { 'x-permission': permission }),
    security: permission === 'public' ? [] : [{ token: [] }, { session: [] }],
    parameters: [...parametersOf('path', params), ...parametersOf('query', query), ...(method === 'GET' ? [] : [idempotencyKey])],
    ...(body === undefined ? {} : { requestBody: { required: true, content: { 'application/json': { schema: body } } } }),
    ...(route.takesOctets === undefined ? {} : { requestBody: { required: true, content: { 'application/octet-stream': {} } } }),
    responses: {
      ...(response === undefined
        ? route.givesOctets === undefined && { 204: { description: 'Done' } }
        : { [status]: { description: status === 201 ? 'Made' : 'Done', content: { 'application/json': { schema: response } } } }),
      ...(response === undefined || route.isPending === undefined
        ? {}
        : {
            202: {
              description: 'Accepted, and not done yet: the answer says what it waits for',
              content: { 'application/json': { schema: response } },
            },
          }),
      ...(route.givesOctets !== undefined && {
        200: { description: route.givesOctets, content: { 'application/octet-stream': {} } },
      }),
      default: { $ref: '#/components/responses/Problem' },
    },
  }
}

const idempotencyKey = {
  name: 'Idempotency-Key',
  in: 'header',
  required: false,
  description: 'A value of your own per request. A repeat within 24 hours is not done again.',
  schema: { type: 'string', minLength: 1, maxLength: 255 },
}

function parametersOf(where: 'path' | 'query', schema: TObject | undefined): object[] {
  if (schema === undefined) return []
  const required = new Set((schema as { required?: readonly string[] }).required)
  return Object.entries(schema.properties).map(([name, property]) => ({
    name,
    in: where,
    required: where === 'path' || required.has(name),
    schema: property,
  }))
}
