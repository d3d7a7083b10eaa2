/**
 * What every signing format is, and what travels between those who hash an artifact and those who hold a key.
 *
 * A format reads ranges of an artifact, says what a key must sign, and puts the answer in its place as a list of pieces:
 * nothing is as large in memory as the artifact, and whoever has the artifact can do all of it, a build machine as well
 * as the server. It never sees a key, a clock or chance: the same artifact and the same choices give the same request.
 *
 *     const { requests, attach } = await format.toBeSigned(artifact, choices)     where the artifact is
 *     const answers = requests.map((request) => answer(request, signer))          where the key is
 *     const signed = attach(answers)                                              where the artifact is
 *     for await (const octets of octetsOf(artifact, signed.pieces)) …
 *
 * @module
 */
import type { SignatureAlgorithmId } from '#algorithms/table.ts'
import type { TrustError } from '#base/errors.ts'
import type { Attribute } from '#cms/attributes.ts'
import type { Content, ContentDigests, DigestId } from '#cms/digests.ts'
import type { SignedData } from '#cms/signed-data.ts'
import type { Purpose } from '#x509/path/purpose-names.ts'

/** An artifact, wherever it lies: a file, an upload, an object in a store. */
export interface BlobSource {
  /** Octets. */
  readonly size: number
  /**
   * @returns exactly `length` octets, which nobody changes
   * @throws RangeError when they do not lie within the size: a format checks before it reads
   */
  read(offset: number, length: number): Promise<Uint8Array>
}

export interface Range {
  readonly offset: number
  readonly length: number
}

/** New octets, or a range of the artifact as it was. */
export type Piece = Uint8Array | Range

/** A choice that whoever signs may make. Values are text, so that a command, a form and a request say the same. */
export interface FormatOption {
  /** What it does, in a clause. */
  readonly help: string
  /** All that it can be; any text when absent. */
  readonly values?: readonly string[]
  /** The longest text that it takes, where it is not a short one. */
  readonly charactersMax?: number
  /** Without it the option is left out. */
  readonly fallback?: string
}

/** What is known of a key before it signs. */
export interface KeyChoice {
  readonly signatureAlgorithm: SignatureAlgorithmId
  /** The signer's, then those above it; DER. Formats that do not carry certificates do not look at them. */
  readonly certificates: readonly [Uint8Array, ...Uint8Array[]]
}

/** What is known before anything is hashed. */
export interface Choices extends KeyChoice {
  /** Further keys of the same signer that sign the same: a post-quantum one beside a classical one. Only where `severalKeys`. */
  readonly others?: readonly KeyChoice[]
  /** Only names that the format offers: see `optionsOf` in `artifact/options.ts`. */
  readonly options?: Readonly<Record<string, string>>
}

/**
 * Which key answers: 0 is the one that the choices name first, n is `others[n - 1]`; first when left out. `all` is for CMS:
 * one message with a signer for each key, each of which covers the list of the others (RFC 5752).
 */
export type AnsweredBy = number | 'all'

/** What a key is asked to sign: small, whatever the artifact's size. */
export type SignatureRequest = RawRequest | CMSRequest

/** A signature and nothing around it. */
export interface RawRequest {
  readonly type: 'raw'
  readonly by?: Exclude<AnsweredBy, 'all'>
  readonly message:
    | { readonly octets: Uint8Array }
    /** For algorithms that sign a digest; the others need the octets. */
    | { readonly digestAlgorithm: DigestId; readonly digest: Uint8Array }
}

/** A SignedData with one signer, or one for each key, whose certificates are in it. */
export interface CMSRequest {
  readonly type: 'cms'
  readonly by?: AnsweredBy
  /**
   * `cades`: as RFC 5652 has it, with what CAdES-B-B asks for (ETSI EN 319 122-1).
   * `authenticode`: as PKCS #7 had it (RFC 2315) and Windows reads it; the content is an element of its own.
   */
  readonly form: 'cades' | 'authenticode'
  /** An OBJECT IDENTIFIER. */
  readonly contentType: string
  readonly content: { readonly attached: Uint8Array } | { readonly detached: ContentDigests }
  /** Signed attributes beside those of the form. */
  readonly attributes?: readonly Attribute[]
}

/**
 * What a format asks keys for: a bare signature; a CMS message over data; one over what Authenticode states of a file. A
 * signer that signs a format answers nothing else in its name.
 */
export type AskedFor = 'raw' | 'cms' | 'authenticode'

export interface ToBeSigned {
  /** For the signer's keys, in this order; all are answered or none. */
  readonly requests: readonly [SignatureRequest, ...SignatureRequest[]]
  /** As {@link Signed.suffix} will be, where it is known now that the signed artifact is a file beside. */
  readonly suffix?: string
  /**
   * The signed artifact. What was signed stays as it is.
   *
   * @param answers to the requests, in their order: an octet string for `raw`, DER ContentInfo for `cms`
   * @throws TrustError `malformed` when an answer is not of its kind
   */
  attach(answers: readonly Uint8Array[]): Signed
}

export interface Signed {
  readonly pieces: readonly Piece[]
  /** Whether it is a file beside the artifact, which stays as it is, and not in its place. */
  readonly isBeside: boolean
  /** What such a file is usually called: appended to the artifact's name. */
  readonly suffix?: string
}

/** What may be needed to read a signature, and does not lie in it. */
export interface Beside {
  /** What a signature that stands alone is over. */
  readonly content?: BlobSource
  /** Certificates that may be the signer's, DER. A raw signature needs one. */
  readonly certificates?: readonly Uint8Array[]
  /** What a raw signature was made with; what goes with the certificate's key when it is absent. */
  readonly signatureAlgorithm?: SignatureAlgorithmId
}

export interface Extracted {
  /** None is no fault of the artifact: nobody signed it. */
  readonly signatures: readonly FoundSignature[]
  /** What not every signature covers, so that somebody could have added it, in words: an entry. Nothing with it is valid. */
  readonly uncovered: readonly string[]
}

export interface FoundSignature {
  /** Where it lies, in words and once: `certificate table, entry 1`. */
  readonly where: string
  readonly evidence: CMSEvidence | RawEvidence | UnknownEvidence
  /**
   * Octets of the artifact (for a signature beside it: of `Beside.content`) of which none can change without the signature
   * failing. Ascending, without overlap.
   */
  readonly covered: readonly Range[]
  /**
   * Whether the artifact is what the signed statement says, once that is known to be signed.
   *
   * @throws TrustError `badProof` when it differs
   */
  checkCovered(): Promise<void>
}

export interface CMSEvidence {
  readonly type: 'cms'
  readonly signedData: SignedData
  /** What a detached one is over. */
  readonly content?: Content
}

export interface RawEvidence {
  readonly type: 'raw'
  readonly signature: Uint8Array
  readonly signatureAlgorithm: SignatureAlgorithmId
  /** DER. */
  readonly certificate: Uint8Array
  /** That the message carries, and may stand between; DER. */
  readonly intermediates?: readonly Uint8Array[]
  readonly message: BlobSource
}

/** A signature that cannot be judged here, by its algorithm or for want of its certificate. */
export interface UnknownEvidence {
  readonly type: 'unknown'
  readonly problem: TrustError
}

export interface SigningFormat {
  /** As commands and settings name it. */
  readonly id: string
  /** What it is for, in a clause. */
  readonly purpose: string
  /** Specification, with its version, that the file implements. */
  readonly source: string
  /** All that its requests are. */
  readonly asks: readonly AskedFor[]
  /** That its signature can stand beside what it signs; what is in another is over itself, and says nothing of a file beside. */
  readonly standsBeside?: true
  /** What those who verify it understand; every algorithm of the table when absent. */
  readonly algorithms?: readonly SignatureAlgorithmId[]
  /** What its verifiers want the signer's certificate to be for. */
  readonly signerPurpose?: Purpose
  /** That it carries the signatures of several keys so that none can be taken away unseen; one key when absent. */
  readonly severalKeys?: true
  /** That most of a signed artifact is the artifact as it was, at the same place, so that a copy can be made meanwhile. */
  readonly staysInPlace?: true
  readonly options: Readonly<Record<string, FormatOption>>
  /**
   * A cheap look, for when nobody named a format: a few reads of a few kilobytes. Never throws for what the octets say.
   * A format that any octets can have is always false.
   */
  detect(artifact: BlobSource): Promise<boolean>
  /** @throws TrustError `malformed`, `unsupported`, `tooLarge`, `conflict` */
  toBeSigned(artifact: BlobSource, choices: Choices): Promise<ToBeSigned>
  /**
   * Believes nothing: `artifact/verify.ts` judges what is found.
   *
   * @throws TrustError `malformed`, `unsupported`, `tooLarge`
   */
  extract(signed: BlobSource, beside?: Beside): Promise<Extracted>
}
