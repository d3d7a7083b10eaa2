/** What is over is forgotten, and nothing else. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createEndpoint } from './endpoint.ts'
import { enrollment, type IssuedAnswer } from './enrollment.ts'
import { forgetAnswered, forgetSecrets, SLICES } from './forget.ts'
import { hierarchy, person, testCA, testRequest } from './testing.ts'

const rules = { hardwareType: '1.3.6.1.4.1.99999.7.1' }

test('answers are kept for the window of retries, and then forgotten', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const { context, authorities } = ca
  const { db, settings } = context
  const births = await createEndpoint(
    context,
    { label: 'births', protocol: 'est', authorityId: authorities.byAddress('line1').id, profile: 'idevid', rules },
    person,
  )
  const { enroll } = enrollment(context, authorities, async () => {})
  const request = await testRequest({ subject: [{ type: 'serialNumber', value: 'A-1' }] })
  const identity = { kind: 'person', principalId: 'officer' } as const
  const ask = async () => (await enroll({ endpoint: births, operation: 'enroll', request, identity })) as IssuedAnswer
  const first = await ask()
  for (let n = 2; n <= 40; n++) {
    const other = await testRequest({ subject: [{ type: 'serialNumber', value: `A-${n}` }] })
    await enroll({ endpoint: births, operation: 'enroll', request: other, identity })
  }
  const sweep = async (ahead: number): Promise<number> => {
    const world = { ...context.world, clock: { now: () => context.world.clock.now() + ahead } }
    let gone = 0
    for (let slice = 0; slice < SLICES; slice++) gone += await forgetAnswered({ ...context, world }, slice)
    return gone
  }
  assert.equal(await sweep(settings.retryWindowSeconds * 1000 - 60_000), 0)
  assert.deepEqual((await ask()).certificate, first.certificate)
  assert.equal(await sweep(settings.retryWindowSeconds * 1000 + 1), 40)
  assert.deepEqual(await db.query('SELECT id FROM enrollment_request'), [])
})

test('a secret is forgotten a month after its end', async () => {
  await using ca = await testCA()
  const { context } = ca
  const { db, world } = context
  const put = (id: string, expiresAt: number) =>
    db.transaction((tx) =>
      tx.query(
        `INSERT INTO enrollment_secret (id, organization_id, version, endpoint_id, user_name, hash, expires_at, created_at)
          VALUES (?, 'default', 1, 'e', ?, ?, ?, 0)`,
        ...[id, id, new Uint8Array(32), expiresAt],
      ),
    )
  const now = world.clock.now()
  await put('lately', now - 29 * 86_400_000)
  await put('long-ago', now - 31 * 86_400_000)
  assert.equal(await forgetSecrets(context), 1)
  assert.deepEqual(await db.query('SELECT id FROM enrollment_secret'), [{ id: 'lately' }])
})
