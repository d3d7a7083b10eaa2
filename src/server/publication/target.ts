/** A place outside the server where relying parties find CRLs and certificates. @module */
export interface PublicationTarget {
  /** In records and on pages: its kind and place, nothing secret. */
  readonly id: string
  /**
   * Puts the whole of it there, or leaves what was there: nobody reads half of a list.
   *
   * @param path such as `crl/line1.2/0.crl`
   * @throws TrustError `unavailable`
   */
  put(path: string, octets: Uint8Array, mediaType: string): Promise<void>
}
