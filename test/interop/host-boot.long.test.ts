/**
 * What a TPM holds when firmware with Secure Boot has started an image, against what was predicted when it was built: OVMF in
 * QEMU with a TPM in software. Takes two starts under emulation, about half a minute.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { copyFileSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { encodePEM } from '#asn1/pem.ts'
import { predictRegisters } from '#host/image/boot-registers.ts'
import { assembleUnifiedKernel } from '#host/image/unified-kernel.ts'
import { bytesSource } from '#signing/artifact/blob.ts'
import { signedWith, trialSigner } from '#signing/artifact/testing.ts'
import { authenticodePE } from '#signing/formats/authenticode-pe.ts'
import { uefiVariable } from '#signing/formats/uefi-variable.ts'
import { needs } from './programs.ts'
import { scratch } from './scratch.ts'
import { makeTPM, type SoftwareTPM, tpmTools } from './swtpm.ts'

const run = promisify(execFile)
const { fresh, keep } = scratch('host-boot')
const programs = needs(
  ...(['qemu-system-x86_64', 'ovmf', 'mkfs.vfat', 'mcopy', 'systemd-boot', 'systemd-stub', 'cert-to-efi-sig-list'] as const),
  'small-kernel',
)
const read = (path: string): Uint8Array => new Uint8Array(readFileSync(path))

/** A start under emulation takes ten seconds, on two busy cores three times that. */
const START_SECONDS = 90

async function disk(loader: Uint8Array, keys: Readonly<Record<string, Uint8Array>> = {}): Promise<string> {
  const image = keep(new Uint8Array(36 << 20), '.img')
  await run(programs.path('mkfs.vfat'), [image])
  const folders = ['EFI', 'EFI/BOOT', 'loader', 'loader/keys', 'loader/keys/auto'].map((one) => `::${one}`)
  await run(join(dirname(programs.path('mcopy')), 'mmd'), ['-i', image, ...folders])
  const put = (content: Uint8Array | string, path: string): Promise<unknown> =>
    run(programs.path('mcopy'), ['-i', image, keep(content), `::${path}`])
  await put(loader, 'EFI/BOOT/BOOTX64.EFI')
  await put('timeout 0\nsecure-boot-enroll force\n', 'loader/loader.conf')
  for (const [name, update] of Object.entries(keys)) await put(update, `loader/keys/auto/${name}.auth`)
  return image
}

/** Runs until it prints that, and is killed then; what it had in memory stays. @returns what it printed */
function boots(
  image: string,
  variables: string,
  until: RegExp,
  measured?: { readonly tpm: SoftwareTPM; readonly memory: string },
): Promise<string> {
  const tpm = measured?.tpm
  const control = tpm !== undefined && 'path' in tpm.control ? tpm.control.path : ''
  const args = [
    ...['-machine', 'q35', '-m', '256', '-nodefaults', '-display', 'none', '-serial', 'stdio', '-no-reboot'],
    ...['-drive', `if=pflash,format=raw,readonly=on,file=${programs.path('ovmf')}`],
    ...['-drive', `if=pflash,format=raw,file=${variables}`],
    ...['-drive', `format=raw,file=${image},if=none,id=esp,readonly=on`, '-device', 'virtio-blk-pci,drive=esp,bootindex=0'],
    ...(measured === undefined
      ? []
      : [
          ...[
            '-object',
            `memory-backend-file,id=memory,size=256M,share=on,mem-path=${measured.memory}`,
            '-machine',
            'memory-backend=memory',
          ],

          '-chardev',
          `socket,id=tpm,path=${control}`,
          '-tpmdev',
          'emulator,id=tpm0,chardev=tpm',
          '-device',
          'tpm-crb,tpmdev=tpm0',
        ]),
  ]
  const machine = spawn(programs.path('qemu-system-x86_64'), args, { stdio: ['ignore', 'pipe', 'pipe'] })
  return new Promise((resolve, reject) => {
    let printed = ''
    const hear = (chunk: Buffer): void => {
      printed += chunk.toString('latin1')
      if (until.test(printed)) machine.kill('SIGKILL')
    }
    machine.on('error', reject)
    machine.stdout.on('data', hear)
    machine.stderr.on('data', hear)
    const tooLong = setTimeout(() => machine.kill('SIGKILL'), START_SECONDS * 1000)
    machine.on('exit', () => {
      clearTimeout(tooLong)
      resolve(printed)
    })
  })
}

/**
 * The log of what was measured, as firmware leaves it in memory for the system (TCG PC Client Platform Firmware Profile, 10.2),
 * while the image ran: the small kernel finds no machine that it likes and gives back, and then the firmware tries again.
 */
function eventLogIn(memory: Buffer): Buffer {
  const start = memory.indexOf(BEGIN)
  assert.notEqual(start, -1, 'no event log')
  let end = start + BEGIN.length - SIGNATURE.length
  end += memory.readUInt32LE(end - 4)
  while (memory.readUInt32LE(end) < REGISTERS && memory.readUInt32LE(end + 8) === BANKS) {
    const data = end + 12 + BANKS_OCTETS + 4
    const next = data + memory.readUInt32LE(data - 4)
    if (memory.subarray(data, next).includes(RETURNING)) break
    end = next
  }
  return memory.subarray(start, end)
}

const SIGNATURE = Buffer.from('Spec ID Event03\0')
/** Register 0, EV_NO_ACTION, no digest, and the length of what it says: two banks. */
const BEGIN = Buffer.concat([Buffer.from('0000000003000000'.padEnd(56, '0') + '25000000', 'hex'), SIGNATURE])
const RETURNING = 'Returning from EFI Application'
const REGISTERS = 24
/** SHA-1 and SHA-256, each with two octets that say which. */
const BANKS = 2
const BANKS_OCTETS = 2 + 20 + 2 + 32

test(
  'R16, R17: registers 4, 7 and 11 of a machine that started are those that were predicted when its image was built',
  { skip: programs.skip || tpmTools.skip },
  async (t) => {
    const [owner, maker] = await Promise.all([trialSigner('rsa-2048'), trialSigner('rsa-2048')])
    const listOf = async ({ answering }: typeof owner): Promise<Uint8Array> => {
      const out = fresh('.esl')
      await run(programs.path('cert-to-efi-sig-list'), [keep(encodePEM('CERTIFICATE', answering.certificates[0]), '.pem'), out])
      return read(out)
    }
    const [PK, db] = [await listOf(owner), await listOf(maker)]
    const timestamp = '2026-05-01T10:00:00Z'
    const update = async (variable: string, list: Uint8Array): Promise<Uint8Array> =>
      (await signedWith(uefiVariable, bytesSource(list), owner, { variable, timestamp })).octets
    const variables = fresh('.fd')
    copyFileSync(join(dirname(programs.path('ovmf')), 'OVMF_VARS_4M.fd'), variables)
    const loader = (await signedWith(authenticodePE, bytesSource(read(programs.path('systemd-boot'))), maker)).octets
    const enrolling = await disk(loader, { PK: await update('PK', PK), KEK: await update('KEK', PK), db: await update('db', db) })
    await boots(enrolling, variables, /Failed to (enroll|write)|Press any key|BdsDxe: (starting|failed).*\r?\n[^]*BdsDxe/)
    assert.ok(readFileSync(variables).includes(db))

    const unsigned = await assembleUnifiedKernel({
      stub: read(programs.path('systemd-stub')),
      osRelease: 'ID=press\nVERSION_ID=7\n',
      commandLine: 'console=ttyS0,115200',
      kernelRelease: '6.1.0',
      initrd: new Uint8Array(50_001).map((_, i) => i >>> 3),
      kernel: read(programs.path('small-kernel')),
    })
    const { octets: signed } = await signedWith(authenticodePE, bytesSource(unsigned), maker)
    const memory = fresh('.memory')
    const printed = await boots(await disk(signed), variables, /Memtest|failed to start|Access Denied|Press any key/, {
      tpm: await makeTPM(t),
      memory,
    })
    assert.match(printed, /BdsDxe: starting Boot/, printed.slice(-500))

    // what the firmware and the stub measured, as tpm2-tools read it
    const { stdout } = await run(tpmTools.path('tpm2'), ['eventlog', keep(eventLogIn(readFileSync(memory)))], {
      maxBuffer: 1 << 24,
    })
    const [, replayed = ''] = /\npcrs:[^]*\n  sha256:\n([^]*)$/.exec(stdout) ?? []
    const measured = new Map(
      [...replayed.matchAll(/^ +(\d+) +: 0x([0-9a-f]{64})$/gm)].map(([, register, hex]) => [Number(register), hex]),
    )
    const predicted = await predictRegisters(bytesSource(signed), { PK, KEK: PK, db, dbx: new Uint8Array() })
    assert.deepEqual(
      predicted.map(({ register }) => register),
      [4, 7, 11],
    )
    for (const { register, value } of predicted) assert.equal(measured.get(register), value.toHex(), `register ${register}`)
  },
)
