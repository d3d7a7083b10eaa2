/** Time stamps in HTTP: the DER itself in a body. Source: RFC 3161, 3.4. @module */

export const QUERY_MEDIA_TYPE = 'application/timestamp-query'
export const REPLY_MEDIA_TYPE = 'application/timestamp-reply'
