/** Machines talk over MQTT with the certificate of their area, and stop when it is revoked (R7, R33). @module */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { TLS_ROOT_FILE } from '#server/init.ts'
import { connectMQTT, type MQTTSession } from '../mqtt-client.ts'
import { HOST } from '../ports.ts'
import { runProgram } from '../programs.ts'
import { type Chapter, fact, must, present, type Scene } from '../story.ts'
import { parties } from './life.ts'
import { AREA, drills, type Machine } from './machines.ts'
import { officer, server } from './server.ts'

const session = fact<MQTTSession>('the session of a drill')

export const messagesChapter: Chapter = {
  title: 'Messages',
  about: 'The server’s own message broker (MQTT) lets machines in by their certificates, each to its own topics.',
  steps: [
    {
      title: 'A drill connects, and tells how warm it is',
      async run(scene) {
        const drill = talking(scene)
        const open = await connectMQTT(doorOf(scene, drill))
        scene.atEnd(() => open.end())
        scene.note(session, open)
        must(await open.subscribe(`${topicOf(drill)}/cmd/#`), 'it may not hear what it is told')
        await open.publish(`${topicOf(drill)}/up/heat`, '71')
        return { said: `on ${topicOf(drill)}/up/heat, by its certificate alone` }
      },
    },
    {
      title: 'It speaks for another drill',
      async run(scene) {
        const [drill, other] = [talking(scene), scene.known(drills)[1]]
        // a second session of the same machine would end the first: this is the other machine’s neighbor
        const [neighbor] = scene.known(drills)
        const open = await connectMQTT(doorOf(scene, neighbor))
        must(!(await open.subscribe(`${topicOf(drill)}/cmd/#`)), 'it may hear what another is told')
        const taken = await open.publish(`${topicOf(other)}/up/heat`, '20').then(
          () => true,
          () => false,
        )
        must(!taken, 'it may speak for another')
        return { said: 'refused: it hears nothing of the others, and a word in their name ends its session' }
      },
    },
    {
      title: 'mosquitto_pub knows nothing of this product',
      async run(scene) {
        const [, , , drill] = scene.known(drills)
        const { ca, certificate, key } = filesOf(scene, drill)
        const door = ['-h', HOST, '-p', String(scene.known(server).mqttPort), '--cafile', ca, '--cert', certificate, '--key', key]
        const say = (topic: string) =>
          runProgram('mosquitto_pub', [...door, '-i', drill.productSerial, '-q', '1', '-t', topic, '-m', '20'])
        const own = await say(`${topicOf(drill)}/up/heat`)
        if (own.code === -1) return { said: 'not looked at: install mosquitto-clients', skipped: true }
        must(own.code === 0, own.text)
        const foreign = await say(`${topicOf(talking(scene))}/up/heat`)
        must(foreign.code !== 0, 'it may speak for another')
        return { said: 'its own topic is taken, another’s is not' }
      },
    },
    {
      title: 'The drill’s certificate is revoked',
      async run(scene) {
        const drill = talking(scene)
        const client = scene.known(officer)
        const { ended } = scene.known(session)
        const { certificates } = await client.call('findCertificates', { query: { productSerial: drill.productSerial } })
        const { id } = present(
          certificates.find(({ profile }) => profile === 'ldevid'),
          'it has no certificate to work with',
        )
        await client.call('revokeCertificate', { params: { id }, body: { reason: 'cessationOfOperation' } })
        const revoked = scene.world.clock.now()
        await ended
        const cut = scene.world.clock.now() - revoked
        const again = await connectMQTT(doorOf(scene, drill)).then(
          () => true,
          () => false,
        )
        must(!again, 'it is let in again')
        return { said: `its session was cut ${cut} ms later, and it is not let in again` }
      },
    },
  ],
}

const talking = (scene: Scene): Machine => scene.known(drills)[2]

const topicOf = ({ productSerial }: Machine): string => `iiot/${parties.first}/${AREA}/${productSerial}`

const filesOf = ({ directory }: Scene, { home }: Machine) => {
  const generation = join(home, 'agent', 'keys', '1')
  return {
    ca: join(directory, TLS_ROOT_FILE),
    certificate: join(generation, 'certificate.pem'),
    key: join(generation, 'key.pem'),
  }
}

function doorOf(scene: Scene, machine: Machine) {
  const { ca, certificate, key } = filesOf(scene, machine)
  const read = (file: string): string => readFileSync(file, 'latin1')
  const { mqttPort: port } = scene.known(server)
  return { host: HOST, port, clientId: machine.productSerial, ca: read(ca), cert: read(certificate), key: read(key) }
}
