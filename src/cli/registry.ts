/**
 * Every noun of the command line. Adding one: write its file, add one line here.
 *
 * Files are loaded when their noun is used, so that a command starts quickly however many there are.
 *
 * @module
 */
import type { Command } from './command.ts'

export interface Noun {
  readonly noun: string
  readonly summary: string
  load(): Promise<{ readonly commands: readonly Command[] }>
}

export const nouns: readonly Noun[] = [
  { noun: 'init', summary: 'make a data directory ready, once', load: () => import('./commands/init.ts') },
  { noun: 'serve', summary: 'run the server', load: () => import('./commands/serve.ts') },
  { noun: 'config', summary: 'check and explain settings', load: () => import('./commands/config.ts') },
  { noun: 'ca', summary: 'certificate authorities and their CRLs', load: () => import('./commands/ca.ts') },
  { noun: 'profile', summary: 'what certificates of one kind look like', load: () => import('./commands/profile.ts') },
  { noun: 'endpoint', summary: 'where devices enroll, and by which rules', load: () => import('./commands/endpoint.ts') },
  { noun: 'cert', summary: 'certificates: issue, find, revoke', load: () => import('./commands/cert.ts') },
  { noun: 'order', summary: 'devices that a factory is to make, and what came of it', load: () => import('./commands/order.ts') },
  { noun: 'node', summary: 'a factory’s issuing node, which needs no network', load: () => import('./commands/node.ts') },
  { noun: 'birth', summary: 'where devices are born, and what counts as proof', load: () => import('./commands/birth.ts') },
  { noun: 'device', summary: 'devices, from their plan to their end', load: () => import('./commands/device.ts') },
  { noun: 'model', summary: 'product models and their hardware', load: () => import('./commands/model.ts') },
  { noun: 'area', summary: 'where owners use devices', load: () => import('./commands/area.ts') },
  { noun: 'gateway', summary: 'for which devices a gateway speaks', load: () => import('./commands/gateway.ts') },
  { noun: 'conduit', summary: 'what may flow from area to area', load: () => import('./commands/conduit.ts') },
  { noun: 'mqtt', summary: 'the message broker of devices', load: () => import('./commands/mqtt.ts') },
  {
    noun: 'organization',
    summary: 'who makes, owns and services devices',
    load: () => import('./commands/organization.ts'),
  },
  { noun: 'key', summary: 'keys and key stores', load: () => import('./commands/key.ts') },
  { noun: 'signer', summary: 'which key signs what, and for whom', load: () => import('./commands/signer.ts') },
  { noun: 'sign', summary: 'sign a file, which stays where it is unless told', load: () => import('./commands/sign.ts') },
  { noun: 'timestamp', summary: 'prove that a file was there by now', load: () => import('./commands/timestamp.ts') },
  { noun: 'job', summary: 'files that the server signs', load: () => import('./commands/job.ts') },
  { noun: 'verify', summary: 'who signed a file, when, and whether it is untouched', load: () => import('./commands/verify.ts') },
  { noun: 'license', summary: 'what of a device may be used until when', load: () => import('./commands/license.ts') },
  { noun: 'release', summary: 'releases of software, and who let them out', load: () => import('./commands/release.ts') },
  { noun: 'tuf', summary: 'released files for clients of The Update Framework', load: () => import('./commands/tuf.ts') },
  { noun: 'campaign', summary: 'releases rolled out to devices, in waves', load: () => import('./commands/campaign.ts') },
  { noun: 'command', summary: 'orders to devices, and who agrees to them', load: () => import('./commands/command.ts') },
  { noun: 'usage', summary: 'what devices counted, and the bill of it', load: () => import('./commands/usage.ts') },
  { noun: 'agent', summary: 'the device’s side: enroll, renew, verify, report', load: () => import('./commands/agent.ts') },
  { noun: 'host', summary: 'the secure host: images, bundles, and who signed them', load: () => import('./commands/host.ts') },
  { noun: 'trust-list', summary: 'whom devices trust, signed', load: () => import('./commands/trust-list.ts') },
  { noun: 'user', summary: 'people and services, their tokens and links', load: () => import('./commands/user.ts') },
  { noun: 'approval', summary: 'what needs more than one person', load: () => import('./commands/approval.ts') },
  { noun: 'role', summary: 'who may do what', load: () => import('./commands/role.ts') },
  { noun: 'audit', summary: 'the record of what was done', load: () => import('./commands/audit.ts') },
  {
    noun: 'backup',
    summary: 'backups of the whole installation, and the keys that open them',
    load: () => import('./commands/backup.ts'),
  },
  { noun: 'restore', summary: 'an installation from its backup', load: () => import('./commands/restore.ts') },
  { noun: 'inspect', summary: 'what is this file, in words', load: () => import('./commands/inspect.ts') },
  { noun: 'bench', summary: 'the built-in load generators', load: () => import('./commands/bench.ts') },
  {
    noun: 'doctor',
    summary: 'check this machine and data directory, and say how to mend',
    load: () => import('./commands/doctor.ts'),
  },
  { noun: 'version', summary: 'which version this is', load: () => import('./commands/version.ts') },
]
