/**
 * The load generators behind `sealworks bench`: `node bench/main.ts [issue|issue-ml-dsa|est|est-postgres|sign|sign-hsm|tsa|agent|ocsp|start|beside|crl …] [--json] [--no-keep]`.
 *
 * Each prints what it is meant to reach beside what it measured, with ratios to bare operations or to programs of
 * others from the same run. Nothing is asserted about time: the exit code is 0 when everything that was measured also
 * worked.
 *
 * @module
 */
import { parseArgs } from 'node:util'
import { commitOf, type Figure, keep, loadNow, machine, type Run, table } from './figure.ts'

const benches: Readonly<Record<string, () => Promise<readonly Figure[]>>> = {
  issue: async () => (await import('./issue.ts')).benchIssue(),
  'issue-ml-dsa': async () => (await import('./issue-ml-dsa.ts')).benchIssueMLDSA(),
  births: async () => (await import('./births.ts')).benchBirths(),
  est: async () => (await import('./est.ts')).benchEst(),
  'est-postgres': async () => (await import('./est.ts')).benchEstPostgres(),
  sign: async () => (await import('./sign.ts')).benchSign(),
  'sign-hsm': async () => (await import('./sign-hsm.ts')).benchSignHSM(),
  tsa: async () => (await import('./tsa.ts')).benchTSA(),
  'sign-pe': async () => (await import('./sign-pe.ts')).benchSignPE(),
  'sign-archives': async () => (await import('./sign-archives.ts')).benchSignArchives(),
  'sign-memory': async () => (await import('./sign-memory.ts')).benchSignMemory(),
  agent: async () => (await import('./agent.ts')).benchAgent(),
  ocsp: async () => (await import('./ocsp.ts')).benchOCSP(),
  start: async () => (await import('./start.ts')).benchStart(),
  beside: async () => (await import('./beside.ts')).benchBeside(),
  crl: async () => (await import('./crl.ts')).benchCRL(),
  devices: async () => (await import('./devices.ts')).benchDevices(),
  campaign: async () => (await import('./campaign.ts')).benchCampaign(),
  ddi: async () => (await import('./ddi.ts')).benchDDI(),
  command: async () => (await import('./command.ts')).benchCommand(),
  director: async () => (await import('./director.ts')).benchDirector(),
  mqtt: async () => (await import('./mqtt.ts')).benchMQTT(),
  orders: async () => (await import('./orders.ts')).benchOrders(),
  license: async () => (await import('./license.ts')).benchLicense(),
  scale: async () => (await import('./scale.ts')).benchScale(),
  pkcs11: async () => (await import('./pkcs11.ts')).benchPKCS11(),
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean', default: false },
    'no-keep': { type: 'boolean', default: false },
  },
})
const unknown = positionals.filter((name) => benches[name] === undefined)
if (unknown.length > 0) {
  console.error(`no such bench: ${unknown.join(', ')}. There are: ${Object.keys(benches).join(', ')}`)
  process.exit(2)
}
/** They take minutes. */
const ONLY_BY_NAME = new Set(['scale', 'devices', 'sign-memory', 'campaign', 'ddi'])
const wanted = positionals.length === 0 ? Object.keys(benches).filter((name) => !ONLY_BY_NAME.has(name)) : positionals

const before = loadNow()
const figures: Figure[] = []
for (const name of wanted) {
  if (!values.json) console.error(`measuring ${name} …`)
  figures.push(...((await benches[name]?.()) ?? []))
}
const run: Run = {
  commit: commitOf(),
  date: new Date().toISOString(),
  machine: machine(),
  load: { before, after: loadNow() },
  figures,
}
if (!values['no-keep']) keep(run)
console.log(values.json ? JSON.stringify(run) : table(run))
