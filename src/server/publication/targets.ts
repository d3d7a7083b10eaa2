/** Where the configuration says that CRLs and certificates are published. Adding a kind: write its file, add its lines here. @module */
import type { World } from '#base/world.ts'
import type { Config } from '#config/config.ts'
import { readSecret } from '#config/secret-file.ts'
import { TrustError } from '#base/errors.ts'
import { directoryTarget } from './directory.ts'
import { putTarget, s3Target } from './http.ts'
import type { PublicationTarget } from './target.ts'

export interface TargetOptions {
  readonly config: Config
  readonly world: World
  readonly environment: Readonly<Record<string, string | undefined>>
}

/** @throws TrustError `malformed` when S3 is named without its keys, `notFound` for a secret that is not there */
export function publicationTargets({ config, world, environment }: TargetOptions): readonly PublicationTarget[] {
  const { directory, putUrl, putToken, s3Url, s3Region, s3AccessKey, s3SecretKey } = config.publication
  const targets: PublicationTarget[] = []
  if (directory !== undefined) targets.push(directoryTarget(directory, world))
  if (putUrl !== undefined)
    targets.push(putTarget(putUrl, putToken === undefined ? undefined : readSecret(putToken, environment)))
  if (s3Url !== undefined) {
    if (s3AccessKey === '' || s3SecretKey === undefined) throw new TrustError('malformed', 'publicationKeys')
    const secretKey = readSecret(s3SecretKey, environment)
    targets.push(s3Target({ url: s3Url, region: s3Region, accessKey: s3AccessKey, secretKey }, world))
  }
  return targets
}
