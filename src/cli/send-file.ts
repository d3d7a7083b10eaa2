/** A file that goes to the server, piece by piece and with a bar. @module */
import { chunksOf, fileSource } from '#signing/artifact/blob.ts'
import type { Content } from '#server/rest/client.ts'
import type { Context } from './command.ts'
import { openArtifact } from './files.ts'

export async function sendFile<T>(context: Context, file: string, send: (content: Content) => Promise<T>): Promise<T> {
  const handle = await openArtifact(context, file)
  try {
    const source = fileSource(handle, (await handle.stat()).size)
    const bar = context.progress(`sending ${file}`, source.size)
    async function* read(): AsyncGenerator<Uint8Array> {
      let sent = 0
      for await (const octets of chunksOf(source)) {
        yield octets
        bar.at((sent += octets.length))
      }
    }
    const answer = await send({ octets: source.size, read })
    bar.end()
    return answer
  } finally {
    await handle.close()
  }
}
