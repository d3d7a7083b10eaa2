/** Where devices report, and how the body is named. @module */

/** The report is a JWS of the compact form (RFC 7515, 9.2.1). */
export const REPORT_MEDIA_TYPE = 'application/jose'
export const ANSWER_MEDIA_TYPE = 'application/json'
export const MOUNT = '/device/v1'
export const STATE_PATH = '/state'
