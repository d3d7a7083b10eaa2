/** The server finishes what is under way, and ends. Played with `--exit`; otherwise it stays up. @module */
import { type Chapter, must } from '../story.ts'
import { server } from './server.ts'

export const endChapter: Chapter = {
  title: 'The end',
  about: 'The server is asked to finish. What was issued stays: the next start goes on from here.',
  steps: [
    {
      title: 'The server stops',
      async run(scene) {
        const { code, signal } = await scene.known(server).process.stop()
        must(code === 0, `the server ended with ${code ?? signal}`)
        return { said: 'nothing left undone' }
      },
    },
  ],
}
