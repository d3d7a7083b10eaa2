/**
 * Times of certificates and lists: read in either form, written in the one that RFC 5280 asks a CA for.
 *
 * OCSP and the extensions have no such choice; they use GeneralizedTime as it is.
 *
 * Source: RFC 5280, 4.1.2.5: who issues uses UTCTime through 2049, who reads must know both; NIST PKITS, 4.2.4 and
 * 4.2.6 (GeneralizedTime for earlier years is valid).
 *
 * @module
 */
import { choice, type Codec } from '#asn1/codec.ts'
import { GeneralizedTime, Time as CanonicalTime, UTCTime } from '#asn1/types.ts'

const Either = choice('Time', { utcTime: UTCTime, generalTime: GeneralizedTime })

export const Time: Codec<Date> = {
  name: Either.name,
  accepts: Either.accepts,
  read: (from) => Either.read(from).value,
  write: CanonicalTime.write,
}
