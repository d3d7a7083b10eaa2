/**
 * The one table of what a device goes through, from its plan to its end.
 *
 * The database holds a copy (`device_step`), and refuses a change of state that is not in it: `states.test.ts` keeps both equal.
 *
 * @module
 */

export const deviceStates = [
  'planned', // ordered, with a serial; nothing is made
  'keyed', // it has a key and no birth certificate
  'born',
  'released', // found good at the end of the line
  'scrapped',
  'shipped',
  'offered', // its owner offers it to another, who has not accepted
  'claimed', // it has an owner, who has not taken it into use
  'onboarding', // an operational certificate is issued, and not yet seen in use
  'active',
  'suspended',
  'area-change', // active, with a certificate of the next area that is not yet seen in use
  'transfer-pending', // its owner gives it away: nothing of this owner may be used
  'quarantined', // not trusted until an officer decides
  'decommissioned',
] as const
export type DeviceState = (typeof deviceStates)[number]

/** Where nothing follows. */
export const terminalStates: readonly DeviceState[] = ['scrapped', 'decommissioned']

/** What may be done to a device, and by that to its state. */
export const deviceActs = [
  'key',
  'bear',
  'release',
  'scrap',
  'ship',
  'offer',
  'withdraw',
  'claim',
  'onboard',
  'leave', // onboarding is given up
  'activate',
  'suspend',
  'resume',
  'change-area',
  'settle-area', // the certificate of the next area was seen in use
  'stay', // the change of area is given up
  'transfer',
  'keep', // the transfer is given up
  'complete', // the next owner has it: a new epoch
  'quarantine',
  'clear', // an officer gives it back what it was
  'decommission',
] as const
export type DeviceAct = (typeof deviceActs)[number]

/** What becomes of the operational certificates: RFC 5280, 5.3.1, has the reasons. */
export type CertificatesAfter = 'keep' | 'hold' | 'release' | 'affiliationChanged' | 'cessationOfOperation'

export interface DeviceStep {
  readonly act: DeviceAct
  readonly from: readonly DeviceState[]
  /** `before`: what it was when it was quarantined, or when it was offered or its transfer began. */
  readonly to: DeviceState | 'before'
  readonly certificates: CertificatesAfter
}

const LIVE = [
  'planned',
  'keyed',
  'born',
  'released',
  'shipped',
  'offered',
  'claimed',
  'onboarding',
  'active',
  'suspended',
  'area-change',
  'transfer-pending',
] as const satisfies readonly DeviceState[]

/** Where operational certificates are good for something. */
export const statesInUse: ReadonlySet<DeviceState> = new Set<DeviceState>(['onboarding', 'active', 'area-change'])

/** States from which a device goes to another owner, and comes back when that comes to nothing. */
const GIVEN_AWAY = ['claimed', 'onboarding', 'active', 'suspended'] as const satisfies readonly DeviceState[]

export const deviceSteps: readonly DeviceStep[] = [
  { act: 'key', from: ['planned'], to: 'keyed', certificates: 'keep' },
  { act: 'bear', from: ['planned', 'keyed'], to: 'born', certificates: 'keep' },
  { act: 'release', from: ['born'], to: 'released', certificates: 'keep' },
  {
    act: 'scrap',
    from: ['planned', 'keyed', 'born', 'released', 'quarantined'],
    to: 'scrapped',
    certificates: 'cessationOfOperation',
  },
  { act: 'ship', from: ['released'], to: 'shipped', certificates: 'keep' },
  { act: 'offer', from: ['released', 'shipped'], to: 'offered', certificates: 'keep' },
  { act: 'withdraw', from: ['offered'], to: 'before', certificates: 'keep' },
  { act: 'claim', from: ['offered', 'shipped', 'released'], to: 'claimed', certificates: 'keep' },
  { act: 'onboard', from: ['claimed'], to: 'onboarding', certificates: 'keep' },
  { act: 'leave', from: ['onboarding'], to: 'claimed', certificates: 'affiliationChanged' },
  { act: 'activate', from: ['onboarding'], to: 'active', certificates: 'keep' },
  { act: 'suspend', from: ['active'], to: 'suspended', certificates: 'hold' },
  { act: 'resume', from: ['suspended'], to: 'active', certificates: 'release' },
  { act: 'change-area', from: ['active'], to: 'area-change', certificates: 'keep' },
  { act: 'settle-area', from: ['area-change'], to: 'active', certificates: 'affiliationChanged' },
  { act: 'stay', from: ['area-change'], to: 'active', certificates: 'affiliationChanged' },
  { act: 'transfer', from: GIVEN_AWAY, to: 'transfer-pending', certificates: 'hold' },
  { act: 'keep', from: ['transfer-pending'], to: 'before', certificates: 'release' },
  { act: 'complete', from: ['transfer-pending'], to: 'claimed', certificates: 'affiliationChanged' },
  { act: 'quarantine', from: LIVE, to: 'quarantined', certificates: 'hold' },
  { act: 'clear', from: ['quarantined'], to: 'before', certificates: 'release' },
  {
    act: 'decommission',
    from: ['claimed', 'onboarding', 'active', 'suspended', 'quarantined'],
    to: 'decommissioned',
    certificates: 'cessationOfOperation',
  },
]

/** What a device may come back to, by the state that remembers it. */
const backTo: Readonly<Partial<Record<DeviceAct, readonly DeviceState[]>>> = {
  withdraw: ['released', 'shipped'],
  keep: GIVEN_AWAY,
  clear: LIVE,
}

/** Every pair of states that follow each other, as the database has them. */
export const statePairs: readonly (readonly [DeviceState, DeviceState])[] = [
  ...new Map(
    deviceSteps
      .flatMap(({ act, from, to }) => {
        const ends = to === 'before' ? (backTo[act] ?? []) : [to]
        return from.flatMap((one) => ends.map((end): [DeviceState, DeviceState] => [one, end]))
      })
      .map((pair) => [pair.join(), pair]),
  ).values(),
]
