/** The tables of states and rules, the decision on certificates, and what the database itself refuses. @module */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { TrustError } from '#base/errors.ts'
import { keep } from '#store/batch.ts'
import { type AreaTerms, checkAdmits, setAreaState } from './areas.ts'
import { stepsToBear, stepsToRecordBirth } from './birth-record.ts'
import { stepsToAttach, stepsToConfirm } from './certificates.ts'
import { changed, changeState, setFlag, stepsToChange } from './change.ts'
import type { Device } from './device.ts'
import { openDevice } from './device.ts'
import { type CertificateStates, tellDue } from './due.ts'
import { historyOf } from './history.ts'
import { createRevision, listModels, listRevisions, setModelState } from './models.ts'
import { listOrganizations } from './organizations.ts'
import { findDevices, registerDevice } from './register.ts'
import { acts, checkRules, type Condition, decide, rules } from './rules.ts'
import { type DeviceAct, deviceActs, deviceStates, deviceSteps, statePairs, terminalStates } from './states.ts'
import { keyHashOf, officer, testArea, testBirth, type TestDevices, testDevices, testModel, testOrganization } from './testing.ts'
import { type CertificateFacts, isUsable } from './usable.ts'

interface Setting {
  readonly devices: TestDevices
  readonly manufacturerId: string
  readonly modelId: string
  readonly owners: readonly [string, string]
  readonly areas: readonly [string, string]
}

async function setting(devices: TestDevices): Promise<Setting> {
  const { id: manufacturerId } = await testOrganization(devices, 'maker', 'manufacturer')
  const { id: modelId } = await testModel(devices, manufacturerId, 'pump')
  const owners = [(await testOrganization(devices, 'ann')).id, (await testOrganization(devices, 'bob')).id] as const
  const areas = [(await testArea(devices, owners[0], 'paint')).id, (await testArea(devices, owners[0], 'press')).id] as const
  return { devices, manufacturerId, modelId, owners, areas }
}

const born = async ({ devices: { context }, manufacturerId, modelId }: Setting, productSerial = 'A-1'): Promise<Device> => {
  const birth = testBirth(productSerial, `birth ${productSerial}`)
  const { device, steps } = stepsToBear(context, { manufacturerId, modelId, productSerial }, birth, officer)
  await keep(context.db, steps)
  return device
}

const act = async ({ devices: { context }, owners, areas }: Setting, id: string, ...names: DeviceAct[]): Promise<Device> => {
  for (const name of names) {
    const areaId = name === 'change-area' ? areas[1] : areas[0]
    await changeState(context, id, { act: name, actor: officer, ownerId: name === 'complete' ? owners[1] : owners[0], areaId })
  }
  return openDevice(context, context.db, id)
}

const LIFE: readonly DeviceAct[] = ['release', 'ship', 'offer', 'claim', 'onboard']

/** Active, with a current certificate `first` of the area `paint`. */
async function active(all: Setting, productSerial = 'A-1'): Promise<Device> {
  const { context } = all.devices
  const { id } = await born(all, productSerial)
  const device = await act(all, id, ...LIFE)
  const certificate = {
    certificateId: `first ${productSerial}`,
    keyHash: keyHashOf('own'),
    role: 'operational',
    areaId: all.areas[0],
  } as const
  await keep(context.db, stepsToAttach(context, device, certificate))
  await keep(context.db, stepsToConfirm(context, device, certificate, officer))
  return openDevice(context, context.db, id)
}

describe('the table of states', () => {
  test('nothing follows an end, everything else goes on, and every act is somewhere', () => {
    for (const state of deviceStates) {
      const goesOn = statePairs.some(([from]) => from === state)
      assert.equal(goesOn, !terminalStates.includes(state), state)
    }
    assert.deepEqual(new Set(deviceSteps.map((step) => step.act)), new Set(deviceActs))
    for (const name of deviceActs) {
      const from = deviceSteps.filter((step) => step.act === name).flatMap((step) => step.from)
      assert.equal(new Set(from).size, from.length, `${name} leads from a state to one other`)
    }
  })

  test('the database has the same table, and refuses any other change', async () => {
    await using devices = await testDevices()
    const { context } = devices
    const all = await setting(devices)
    const rows = await context.db.query('SELECT from_state, to_state FROM device_step')
    const stored = rows.map((row) => `${String(row['from_state'])},${String(row['to_state'])}`)
    assert.deepEqual(new Set(stored), new Set(statePairs.map((pair) => pair.join())))

    const { id } = await born(all)
    const event = (version: number, from: string, to: string): Promise<unknown> =>
      context.db.transaction((tx) =>
        tx.query(
          `INSERT INTO device_event (id, organization_id, device_id, version, act, from_state, to_state, epoch, actor, facts, created_at)
            VALUES (?, 'default', ?, ?, 'x', ?, ?, 0, 'x', '{}', 0)`,
          ...[`event ${version}`, id, version, from, to],
        ),
      )
    await assert.rejects(event(2, 'scrapped', 'active'), { reason: 'missingReference' })
    await assert.rejects(event(2, 'born', 'active'), { reason: 'missingReference' })
    await assert.rejects(event(1, 'born', 'released'), { reason: 'duplicateRow' })
    await event(2, 'born', 'released')
  })

  test('what a device was, it is again: after a quarantine within a transfer too', async () => {
    await using devices = await testDevices()
    const all = await setting(devices)
    const { id } = await active(all)
    const given = await act(all, id, 'suspend', 'transfer', 'quarantine')
    assert.deepEqual([given.state, given.quarantinedFrom, given.givenFrom], ['quarantined', 'transfer-pending', 'suspended'])
    const kept = await act(all, id, 'clear', 'keep')
    assert.deepEqual([kept.state, kept.quarantinedFrom, kept.givenFrom, kept.epoch], ['suspended', undefined, undefined, 1])
    const ended = await act(all, id, 'decommission')
    for (const name of deviceActs)
      assert.throws(
        () => changed(ended, { act: name, actor: officer, ownerId: 'x', areaId: 'x' }, 0),
        { code: 'conflict', reason: 'deviceState' },
        name,
      )
  })
})

describe('R2, R15: serials and keys', () => {
  test('a serial is one device of its maker, and a key one device of all', async () => {
    await using devices = await testDevices()
    const { context } = devices
    const all = await setting(devices)
    const { manufacturerId, modelId } = all
    await registerDevice(context, { manufacturerId, modelId, productSerial: 'a-1' }, officer)
    await assert.rejects(registerDevice(context, { manufacturerId, modelId, productSerial: 'A-1' }, officer), {
      code: 'conflict',
      reason: 'deviceExists',
    })
    const other = await testOrganization(devices, 'other', 'manufacturer')
    const theirs = await testModel(devices, other.id, 'pump')
    await assert.rejects(registerDevice(context, { manufacturerId, modelId: theirs.id, productSerial: 'A-2' }, officer), {
      code: 'policyRefused',
      reason: 'modelNotUsable',
    })
    const planned = await registerDevice(context, { manufacturerId: other.id, modelId: theirs.id, productSerial: 'A-1' }, officer)
    await keep(context.db, stepsToRecordBirth(context, planned, testBirth('k', 'c'), officer))
    const second = await registerDevice(context, { manufacturerId: other.id, modelId: theirs.id, productSerial: 'A-2' }, officer)
    await assert.rejects(keep(context.db, stepsToRecordBirth(context, second, testBirth('k', 'd'), officer)), {
      code: 'conflict',
      reason: 'deviceKeyTaken',
    })
    await assert.rejects(keep(context.db, stepsToRecordBirth(context, planned, testBirth('l', 'd'), officer)), {
      code: 'conflict',
      reason: 'deviceChanged',
    })
    assert.throws(() => stepsToRecordBirth(context, second, testBirth('m', 'd', { assurance: 4 }), officer), {
      code: 'policyRefused',
      reason: 'assuranceTooHigh',
    })
    assert.equal((await openDevice(context, context.db, second.id)).state, 'planned', 'what was refused left nothing')
  })

  test('a birth record cannot be changed unseen: the audit log has its digest', async () => {
    await using devices = await testDevices()
    const { context } = devices
    const { id } = await born(await setting(devices))
    const [entry] = await context.db.query("SELECT facts FROM audit_entry WHERE act = 'device.bear'")
    const { birth } = await historyOf(context, id)
    assert.ok(birth)
    assert.match(String(entry?.['facts']), new RegExp(birth.digest))
  })

  test('a disabled model has no new devices, and a strict one no weak births', async () => {
    await using devices = await testDevices()
    const { context } = devices
    const { manufacturerId, modelId } = await setting(devices)
    const planned = await registerDevice(context, { manufacturerId, modelId, productSerial: 'A-8' }, officer)
    const strong = await testModel(devices, manufacturerId, 'strong', { assuranceMin: 4 })
    const weak = testBirth('weak', 'weak')
    const { steps } = stepsToBear(context, { manufacturerId, modelId: strong.id, productSerial: 'A-7' }, weak, officer)
    await assert.rejects(keep(context.db, steps), { code: 'policyRefused', reason: 'birthTooWeak' })
    await setModelState(context, modelId, 'disabled', officer)
    const birth = stepsToRecordBirth(context, planned, weak, officer)
    await assert.rejects(keep(context.db, birth), { code: 'policyRefused', reason: 'modelNotUsable' })
    const again = (): Promise<Device> => registerDevice(context, { manufacturerId, modelId, productSerial: 'A-9' }, officer)
    await assert.rejects(again(), { reason: 'modelNotUsable' })
    await setModelState(context, modelId, 'enabled', officer)
    await again()
    await keep(context.db, birth)
    await createRevision(context, { modelId, name: 'B', compatible: { rauc: 'pump-b' } }, officer)
    await assert.rejects(createRevision(context, { modelId, name: 'B', compatible: {} }, officer), { reason: 'nameTaken' })
    assert.deepEqual(
      (await listRevisions(context, modelId)).map(({ name, compatible }) => [name, compatible]),
      [['B', { rauc: 'pump-b' }]],
    )
    assert.deepEqual(
      (await listModels(context)).map(({ name, state }) => [name, state]),
      [
        ['pump', 'enabled'],
        ['strong', 'enabled'],
      ],
    )
    assert.deepEqual(
      (await listOrganizations(context)).map(({ name }) => name),
      ['ann', 'bob', 'maker'],
    )
  })

  test('pages of devices follow each other without a gap', async () => {
    await using devices = await testDevices()
    const { context } = devices
    const { manufacturerId, modelId } = await setting(devices)
    const made: string[] = []
    for (let n = 0; n < 7; n++)
      made.push((await registerDevice(context, { manufacturerId, modelId, productSerial: `A-${n}` }, officer)).id)
    const seen: string[] = []
    for (let after: string | undefined; ; after = seen.at(-1)) {
      const items = await findDevices(context, { modelId, state: 'planned' }, { limit: 3, ...(after !== undefined && { after }) })
      if (items.length === 0) break
      seen.push(...items.map(({ id }) => id))
    }
    assert.deepEqual(seen, made.toSorted().toReversed())
    assert.deepEqual(await findDevices(context, { flag: 'lost' }, { limit: 3 }), [])
  })
})

test('what is looked for among millions is found by an index', async () => {
  await using devices = await testDevices()
  const { context } = devices
  const asked: string[] = []
  const query: typeof context.db.query = async (sql, ...parameters) => {
    const plan = await context.db.query(`EXPLAIN QUERY PLAN ${sql}`, ...parameters)
    asked.push(plan.map((row) => String(row['detail'])).join(' | '))
    return []
  }
  const explained = { ...context, db: { ...context.db, query } }
  const cases = [
    [{ productSerial: 'A-1' }, /INDEX device_serial/],
    [{ state: 'suspended' }, /INDEX device_state/],
    [{ flag: 'clone' }, /INDEX device_flagged/],
    [{ ownerId: 'o' }, /INDEX device_owner/],
    [{ areaId: 'a' }, /INDEX device_area/],
    [{ modelId: 'm' }, /INDEX device_model/],
  ] as const
  for (const [filter, index] of cases) {
    await findDevices(explained, filter, { limit: 10, after: 'z' })
    assert.match(asked.at(-1) ?? '', index)
  }
  const facts = { certificateId: 'c', status: 'active', isIssuerEnabled: true, notBefore: 0, notAfter: 1 }
  await isUsable(explained.db, facts, 0)
  assert.doesNotMatch(asked.at(-1) ?? 'SCAN', /SCAN/)
})

describe('R6, R33: whether a certificate is usable', () => {
  const good = (certificateId: string): CertificateFacts => ({
    ...{ certificateId, status: 'active', isIssuerEnabled: true, notBefore: 100, notAfter: 200 },
  })

  test('each condition by itself', async () => {
    await using devices = await testDevices()
    const { context } = devices
    const all = await setting(devices)
    const { id } = await active(all)
    const ask = async (more: Partial<CertificateFacts> = {}, now = 150): Promise<string> => {
      const answer = await isUsable(context.db, { ...good('first A-1'), ...more }, now)
      return answer.isUsable ? 'usable' : answer.reason
    }
    assert.equal(await ask(), 'usable')
    assert.equal(await ask({ status: 'superseded' }), 'usable')
    for (const [more, reason] of [
      [{ status: 'held' }, 'certificateHeld'],
      [{ status: 'revoked' }, 'certificateRevoked'],
      [{ status: 'expired' }, 'certificateExpired'],
      [{ status: 'whatever' }, 'certificateRevoked'],
      [{ isIssuerEnabled: false }, 'issuerNotEnabled'],
      [{ certificateId: 'another' }, 'deviceCertificateUnknown'],
    ] as const)
      assert.equal(await ask(more), reason)
    assert.equal(await ask({}, 99), 'certificateNotYet')
    assert.equal(await ask({}, 201), 'certificateExpired')

    // one column at a time, as no act would leave them
    const [device, certificate] = [`UPDATE device SET`, `UPDATE device_certificate SET`]
    for (const [change, back, reason] of [
      [`${device} epoch = 2`, `${device} epoch = 1`, 'certificateOfOtherEpoch'],
      [`${device} area_id = '${all.areas[1]}'`, `${device} area_id = '${all.areas[0]}'`, 'certificateOfOtherArea'],
      [`${device} next_area_id = area_id, area_id = NULL`, `${device} area_id = next_area_id`, 'certificateOfOtherArea'],
      [`${device} state = 'suspended'`, `${device} state = 'active'`, 'deviceNotInUse'],
      [`${device} state = 'claimed'`, `${device} state = 'active'`, 'deviceNotInUse'],
      [`${device} is_clone = 1`, `${device} is_clone = 0`, 'deviceCloned'],
      [`${device} is_lost = 1`, `${device} is_lost = 0`, 'deviceMissing'],
      [`${device} is_stolen = 1`, `${device} is_stolen = 0`, 'deviceMissing'],
      [`${certificate} standing = 'former'`, `${certificate} standing = 'current'`, 'certificateReplaced'],
    ] as const) {
      await context.db.transaction((tx) => tx.query(change))
      assert.equal(await ask(), reason, change)
      await context.db.transaction((tx) => tx.query(back))
      assert.equal(await ask(), 'usable', back)
    }
    assert.equal(await ask({ certificateId: 'birth A-1' }), 'usable')
    await act(all, id, 'suspend')
    assert.equal(await ask({ certificateId: 'birth A-1' }), 'deviceNotInUse')
  })

  test('the database keeps a second current certificate out', async () => {
    await using devices = await testDevices()
    const { context } = devices
    const all = await setting(devices)
    const device = await active(all)
    const second = { certificateId: 'second', keyHash: keyHashOf('own'), role: 'operational', areaId: all.areas[0] } as const
    await keep(context.db, stepsToAttach(context, device, second))
    await assert.rejects(
      context.db.transaction((tx) =>
        tx.query("UPDATE device_certificate SET standing = 'current' WHERE certificate_id = 'second'"),
      ),
      { reason: 'duplicateRow' },
    )
    const late = { ...device, epoch: device.epoch + 1 }
    await assert.rejects(keep(context.db, stepsToConfirm(context, late, second, officer)), { reason: 'certificateNotWaiting' })
    await keep(context.db, stepsToConfirm(context, device, second, officer))
  })

  test('a certificate is confirmed only while its device is at work', async () => {
    await using devices = await testDevices()
    const { context } = devices
    const all = await setting(devices)
    const device = await active(all)
    const second = { certificateId: 'second', keyHash: keyHashOf('own'), role: 'operational', areaId: all.areas[0] } as const
    await keep(context.db, stepsToAttach(context, device, second))
    const confirm = async (of: Device) => keep(context.db, stepsToConfirm(context, of, second, officer))
    const atWork = new Set<string>(['onboarding', 'active', 'area-change']) // the first becomes active by it
    for (const state of deviceStates.filter((one) => !atWork.has(one)))
      await assert.rejects(confirm({ ...device, state }), { reason: 'certificateNotWaiting' }, state)
    await confirm(device)
  })
})

test('R33: what the CA has to be told survives a process that ends, and what crossed is told again', async () => {
  await using devices = await testDevices()
  const { context } = devices
  const all = await setting(devices)
  const { id } = await active(all)
  const told: string[] = []
  let meanwhile: (() => Promise<unknown>) | undefined
  const note = async (what: string): Promise<void> => {
    told.push(what)
    const work = meanwhile
    meanwhile = undefined
    await work?.()
  }
  const states: CertificateStates = {
    hold: (certificate) => note(`hold ${certificate}`),
    release: (certificate) => note(`release ${certificate}`),
    revoke: (certificate, reason) => note(`${reason} ${certificate}`),
  }
  await act(all, id, 'suspend')
  let isFirst = true
  const faults = {
    reach() {
      if (!isFirst) return
      isFirst = false
      throw new Error('ended here')
    },
  }
  await assert.rejects(tellDue({ ...context, world: { ...context.world, faults } }, states), /ended here/)
  assert.equal(await tellDue(context, states), 1)
  assert.equal(await tellDue(context, states), 0)
  assert.deepEqual(told.splice(0), ['hold first A-1', 'hold first A-1'])

  await act(all, id, 'resume', 'suspend')
  meanwhile = async () => {
    await act(all, id, 'resume')
    await tellDue(context, states) // another process is faster
  }
  await tellDue(context, states)
  assert.equal(told.splice(0).at(-1), 'release first A-1', 'the last that is told is what holds')
  await act(all, id, 'decommission')
  await tellDue(context, states)
  assert.deepEqual(told.toSorted(), ['cessationOfOperation birth A-1', 'cessationOfOperation first A-1'])
})

test('R6: into an area comes what it admits', async () => {
  await using devices = await testDevices()
  const { context } = devices
  const { owners, modelId } = await setting(devices)
  const device = { ownerId: owners[0], modelId, assurance: 2 } as const
  const area = (name: string, terms: Partial<AreaTerms>, ownerId = owners[0]) => testArea(devices, ownerId, name, terms)
  const cases: readonly [Awaited<ReturnType<typeof area>>, string | undefined][] = [
    [await area('any', {}), undefined],
    [await area('some', { models: [modelId], assuranceMin: 2 }), undefined],
    [await area('others', { models: [] }), 'areaModel'],
    [await area('strong', { assuranceMin: 3 }), 'areaAssurance'],
    [await area('theirs', {}, owners[1]), 'areaOfAnother'],
    [await setAreaState(context, (await area('closed', {})).id, 'disabled', officer), 'areaDisabled'],
  ]
  for (const [one, reason] of cases) {
    if (reason === undefined) checkAdmits(one, device)
    else assert.throws(() => checkAdmits(one, device), { code: 'policyRefused', reason })
  }
})

describe('10.3: who may do what', () => {
  for (const rule of rules) {
    test(`${rule.act}: ${rule.conditions.join(', ')}`, () => {
      const holding = new Set<Condition>(rule.conditions)
      assert.deepEqual(decide(rule.act, holding), { isAllowed: true })
      for (const condition of rule.conditions) {
        const without = new Set(holding)
        without.delete(condition)
        assert.equal(decide(rule.act, without).isAllowed, false, condition)
      }
    })
  }

  test('what has no rule is refused, whatever holds; every act has one', () => {
    const everything = new Set(rules.flatMap(({ conditions }) => conditions))
    assert.deepEqual(decide('ownership.seize', everything), { isAllowed: false, missing: undefined })
    for (const name of acts) assert.ok(decide(name, everything).isAllowed)
  })

  test('a refusal is in the audit log with its rule', async () => {
    await using devices = await testDevices()
    const { context } = devices
    const asked = { actor: officer, act: 'ownership.accept', object: 'device:1' } as const
    await checkRules(context, asked, new Set<Condition>(['asker-buys', 'offer-open']))
    await assert.rejects(
      checkRules(context, asked, new Set<Condition>(['offer-open'])),
      (error: unknown) => error instanceof TrustError && error.code === 'forbidden' && error.facts['missing'] === 'asker-buys',
    )
    const entries = await context.db.query('SELECT act, outcome, reason FROM audit_entry')
    assert.deepEqual(
      entries.map((entry) => Object.values(entry)),
      [['ownership.accept', 'refused', 'ruleRefuses']],
    )
  })
})

test('flags are told once, and leave an event each', async () => {
  await using devices = await testDevices()
  const { context } = devices
  const { id } = await born(await setting(devices))
  const set = (isSet: boolean): Promise<Device> => setFlag(context, id, { flag: 'lost', isSet, actor: officer })
  assert.deepEqual((await set(true)).flags, ['lost'])
  assert.equal((await set(true)).version, 2)
  assert.deepEqual((await set(false)).flags, [])
  const { events } = await historyOf(context, id)
  assert.deepEqual(
    events.map((event) => event.act),
    ['bear', 'flag', 'unflag'],
  )
  const stale = { ...(await openDevice(context, context.db, id)), version: 1 }
  await assert.rejects(keep(context.db, stepsToChange(context, stale, { act: 'release', actor: officer })), {
    reason: 'deviceChanged',
  })
})
