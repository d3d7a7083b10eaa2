/** Two servers on one PostgreSQL: a plant works with both, and with whichever is left when the other is killed. */
import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { ocspClient } from '#protocols/ocsp/client.ts'
import { requestFor, testKey } from '#protocols/testing.ts'
import { AUTHORITIES_SECONDS } from '#server/front-messages.ts'
import { httpsTransport, restClient } from '#server/rest/client.ts'
import { postgresMissing, startPostgres } from '#store/postgres/testing.ts'
import { parseCertificate, serialHex } from '#x509/certificate.ts'
import { nameOf } from '#x509/name.ts'
import { openBalancer } from './balancer.ts'
import { end, installFor, type Interruption, kill, simulateAt, type Simulation, startedServer } from './server-kill.ts'
import type { Plant, Told } from './server-load.ts'
import { freePort, type ServerProcess } from './server-process.ts'

const KILLS = 2
/** What a server must still do while the other is dead. */
const CERTIFICATES_ALONE = 10
/** Between two servers. */
const REVOKED_WITHIN_MILLISECONDS = 1000
const PATIENCE_MILLISECONDS = 20_000

const source = postgresMissing('npm') === false ? 'npm' : 'debian'

test(
  'R8: two servers on one database, one killed after the other, revoke and issue as one',
  { skip: postgresMissing(source) },
  async (t) => {
    const postgres = await startPostgres({ source })
    t.after(postgres.stop)
    const directory = await mkdtemp(join(tmpdir(), 'sealworks-two-'))
    t.after(() => rm(directory, { recursive: true }))

    let told: Told | undefined
    let second: ServerProcess | undefined
    t.after(() => second?.process.kill('SIGKILL'))
    const [tls, open] = [await freePort(), await freePort()]
    const elsewhere = { SEALWORKS_SERVER_LISTEN: `127.0.0.1:${tls}`, SEALWORKS_SERVER_LISTEN_PUBLIC: `127.0.0.1:${open}` }

    /** By one, while the other has the answer before it in mind. */
    async function revokeThroughOne({ admin, statusOf, told: { byHand, revoked } }: Plant): Promise<void> {
      const key = testKey()
      const request = await requestFor(key, { subject: nameOf([{ type: 'serialNumber', value: 'P-two' }]) })
      const body = { authority: 'line1', profile: 'ldevid', request: request.toBase64() }
      const certificate = Uint8Array.fromBase64((await admin.call('issueCertificate', { body })).certificate)
      byHand.push({ keyHash: hash('sha256', key.publicKey), certificate })
      const transport = httpsTransport({ server: installation.origin, trust: { rootsPEM: installation.tlsRootPEM } })
      const one = restClient({ transport, token: installation.token })
      const other = ocspClient({ url: `http://127.0.0.1:${open}/ocsp/line1.1` })
      try {
        assert.equal(await statusOf(certificate, other), 'good')
        const serialNumber = serialHex(parseCertificate(certificate))
        const { certificates } = await one.call('findCertificates', { query: { serialNumber } })
        const id = certificates[0]?.id ?? ''
        await one.call('revokeCertificate', { params: { id }, body: { reason: 'keyCompromise' } })
        revoked.add(serialNumber)
        const began = performance.now()
        while ((await statusOf(certificate, other)) !== 'revoked')
          assert.ok(performance.now() - began < REVOKED_WITHIN_MILLISECONDS, 'the other server does not know of the revocation')
      } finally {
        one.close()
        other.close()
      }
    }

    async function goesOn(): Promise<void> {
      const enough = (told?.received.length ?? 0) + CERTIFICATES_ALONE
      for (const began = performance.now(); (told?.received.length ?? 0) < enough; await delay(20))
        assert.ok(
          performance.now() - began < PATIENCE_MILLISECONDS,
          `one server alone does not go on: ${told?.problems.join('\n')}`,
        )
    }

    const stop: Interruption = {
      times: KILLS,
      async prepare(plant) {
        told = plant.told
        await delay(AUTHORITIES_SECONDS * 1000 + 500) // one made the authorities, and the other reads them now and then
        await revokeThroughOne(plant)
      },
      async next(first, installation, isLast) {
        assert.ok(second)
        await goesOn()
        const [victim, settings] = isLast ? [first, {}] : [second, elsewhere]
        await kill(victim)
        await goesOn()
        const again = await startedServer(installation, undefined, settings)
        await goesOn()
        if (!isLast) second = again
        else await end(second)
        return isLast ? again : first
      },
    }
    const simulation: Simulation = {
      seconds: 0,
      seed: 61,
      lines: 8,
      stop,
      database: await postgres.createDatabase(),
      revokedWithinMilliseconds: REVOKED_WITHIN_MILLISECONDS,
    }
    const installation = await installFor(simulation, directory)
    second = await startedServer(installation, undefined, elsewhere)
    const fronts = await Promise.all([
      openBalancer([portOf(installation.origin), tls]),
      openBalancer([portOf(installation.publicOrigin), open]),
    ])
    t.after(() => fronts.forEach((front) => front.close()))
    const outcome = await simulateAt(
      { ...installation, origin: `https://127.0.0.1:${fronts[0].port}`, publicOrigin: `http://127.0.0.1:${fronts[1].port}` },
      simulation,
    )
    assert.deepEqual(outcome.problems, [])
    assert.ok(outcome.lost > 0 && outcome.revocations > 0, 'nobody was disturbed, or nothing revoked')
  },
)

const portOf = (origin: string): number => Number(new URL(origin).port)
