/**
 * Installs Debian packages for the tests without starting the services that come with them.
 *
 * @module
 */
import { spawn } from 'node:child_process'
import { existsSync, rmSync, writeFileSync } from 'node:fs'

/** invoke-rc.d and deb-systemd-invoke ask this file before they start anything; 101 forbids it. */
const SERVICE_POLICY = '/usr/sbin/policy-rc.d'
const FORBID = '#!/bin/sh\nexit 101\n'

/** @returns why packages cannot be installed on this machine, or undefined when they can */
export function whyNotHere(): string | undefined {
  if (!existsSync('/etc/debian_version')) return 'this is not Debian'
  if (process.getuid?.() !== 0) return 'only root may install them'
  return undefined
}

/** @returns how many seconds it took */
export async function installPackages(packages: readonly string[]): Promise<number> {
  const begun = performance.now()
  const ours = !existsSync(SERVICE_POLICY)
  if (ours) writeFileSync(SERVICE_POLICY, FORBID, { mode: 0o755 })
  try {
    await apt('update')
    await apt('install', '--yes', '--no-install-recommends', ...packages)
  } finally {
    if (ours) rmSync(SERVICE_POLICY, { force: true })
  }
  return (performance.now() - begun) / 1000
}

/** Waits for another apt instead of failing; says nothing unless it fails. */
async function apt(...args: readonly string[]): Promise<void> {
  const child = spawn('apt-get', ['--quiet', '--option', 'DPkg::Lock::Timeout=120', ...args], {
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const code = await new Promise<number | null>((resolve, reject) => child.once('error', reject).once('close', resolve))
  if (code === 0) return
  const said = output
    .replaceAll(/\bhttps?:\/\/\S+/g, '(address)')
    .trim()
    .split('\n')
    .slice(-20)
    .join('\n')
  throw new Error(`apt-get ${args.join(' ')} failed (${code}):\n${said}`)
}
