/**
 * The one table of what a campaign, and each of its devices, goes through. Changes that are not in it are never written.
 *
 * @module
 */

/** `planning`: its devices are being listed; a process that ends in between leaves the rest to the next one. */
export const campaignStates = ['draft', 'planning', 'running', 'paused', 'stopped', 'finished'] as const
export type CampaignState = (typeof campaignStates)[number]

export const actionStates = [
  'planned', // its wave is not open, or another campaign has the device
  'offered',
  'confirmed', // whoever was asked agreed
  'downloading',
  'installing', // also when the device says that it is done: nobody has seen it run
  'succeeded', // a signed report says that this version runs
  'failed',
  'canceled', // the campaign was stopped, or the device gave up what it was told to give up
  'rejected', // by the director, the owner, the driver or the device
] as const
export type ActionState = (typeof actionStates)[number]

/** A device has one action in these at most, whatever the campaigns. */
export const openStates = ['offered', 'confirmed', 'downloading', 'installing'] as const satisfies readonly ActionState[]
export type OpenState = (typeof openStates)[number]

/** For SQL. */
export const OPEN_STATES = openStates.map((state) => `'${state}'`).join(', ')

/** Where an action may go from each state. */
export const actionSteps = {
  planned: ['offered', 'canceled'],
  offered: ['confirmed', 'downloading', 'installing', 'succeeded', 'failed', 'canceled', 'rejected'],
  confirmed: ['downloading', 'installing', 'succeeded', 'failed', 'canceled', 'rejected'],
  downloading: ['installing', 'succeeded', 'failed', 'canceled', 'rejected'],
  installing: ['succeeded', 'failed', 'canceled', 'rejected'],
  succeeded: [],
  failed: [],
  canceled: [],
  rejected: [],
} as const satisfies Readonly<Record<ActionState, readonly ActionState[]>>

export const mayGo = (from: ActionState, to: ActionState): boolean => (actionSteps[from] as readonly ActionState[]).includes(to)

export const isOpen = (state: ActionState): state is OpenState => (openStates as readonly ActionState[]).includes(state)
