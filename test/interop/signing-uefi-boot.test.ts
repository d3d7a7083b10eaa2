/**
 * What UEFI firmware starts: unified kernel images with sbsigntool and pesign; and the firmware itself, OVMF in QEMU, which
 * takes keys that we signed and then starts what we signed and nothing else.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { createCipheriv } from 'node:crypto'
import { copyFileSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { encodePEM } from '#asn1/pem.ts'
import { bytesSource } from '#signing/artifact/blob.ts'
import { judged, root, signedWith, type TrialSigner, trialSigner } from '#signing/artifact/testing.ts'
import { authenticodePE } from '#signing/formats/authenticode-pe.ts'
import { uefiVariable } from '#signing/formats/uefi-variable.ts'
import { needs } from './programs.ts'
import { scratch } from './scratch.ts'

const run = promisify(execFile)
const { fresh, keep } = scratch('boot')

const read = (path: string): Uint8Array => new Uint8Array(readFileSync(path))
const pem = (der: Uint8Array): string => keep(encodePEM('CERTIFICATE', der), '.pem')
const flipped = (octets: Uint8Array, at: number): Uint8Array => octets.with(at, (octets[at] as number) ^ 0x01)

const kernels = needs('systemd-stub', 'objcopy', 'sbverify', 'sbsign', 'pesign')

/** As the systemd project describes: sections of a small program that starts what is in them. Of an odd length. */
async function unifiedKernel(): Promise<Uint8Array> {
  const random = (length: number): Uint8Array =>
    new Uint8Array(createCipheriv('aes-128-ctr', new Uint8Array(16), new Uint8Array(16)).update(new Uint8Array(length)))
  const sections = [
    ['.osrel', 'NAME=Press\n', '0x20000'],
    ['.cmdline', 'root=/dev/sda1 quiet\0', '0x30000'],
    ['.linux', random(300_123), '0x2000000'],
    ['.initrd', random(50_001), '0x3000000'],
  ] as const
  const out = fresh('.efi')
  const args = sections.flatMap(([name, content, at]) => [
    ...['--add-section', `${name}=${keep(content)}`],
    ...['--change-section-vma', `${name}=${at}`],
  ])
  await run(kernels.path('objcopy'), [...args, kernels.path('systemd-stub'), out])
  return read(out)
}

test('R9, R11: a unified kernel image, with sbverify, pesign and sbsign', { skip: kernels.skip }, async () => {
  const kernel = await unifiedKernel()
  const signer = await trialSigner('rsa-2048')
  const keyring = pem(root)
  const sbVerifies = (octets: Uint8Array): Promise<unknown> =>
    run(kernels.path('sbverify'), ['--cert', keyring, keep(octets, '.efi')])
  const digestOf = async (octets: Uint8Array): Promise<string> =>
    (await run(kernels.path('pesign'), ['-h', '-P', '-d', 'sha256', '-i', keep(octets, '.efi')])).stdout

  const { octets } = await signedWith(authenticodePE, bytesSource(kernel), signer)
  assert.equal(await judged(authenticodePE, octets), 'valid')
  await sbVerifies(octets)
  assert.equal(await digestOf(octets), await digestOf(kernel))
  assert.match((await run(kernels.path('pesign'), ['-S', '-i', keep(octets, '.efi')])).stdout, /common name is Trial rsa-2048/)

  const key = keep(signer.privateKey.export({ type: 'pkcs8', format: 'pem' }))
  const out = fresh('.efi')
  const certificate = pem(signer.answering.certificates[0])
  await run(kernels.path('sbsign'), ['--key', key, '--cert', certificate, '--output', out, keep(kernel, '.efi')])
  assert.equal(await judged(authenticodePE, read(out)), 'valid')

  for (const one of [octets, read(out)])
    for (const part of ['root=/dev/sda1', 'NAME=Press']) {
      const broken = flipped(one, Buffer.from(one).indexOf(part))
      assert.notEqual(await judged(authenticodePE, broken), 'valid')
      await assert.rejects(sbVerifies(broken))
    }
})

const firmware = needs(...(['qemu-system-x86_64', 'ovmf', 'mkfs.vfat', 'mcopy', 'systemd-boot', 'cert-to-efi-sig-list'] as const))

async function listOf({ answering }: TrialSigner): Promise<Uint8Array> {
  const out = fresh('.esl')
  await run(firmware.path('cert-to-efi-sig-list'), [pem(answering.certificates[0]), out])
  return read(out)
}

/** A disk with a boot loader, and the keys that it is to give to the firmware. */
async function disk(loader: Uint8Array, keys: Readonly<Record<string, Uint8Array>> = {}): Promise<string> {
  const image = keep(new Uint8Array(36 << 20), '.img')
  await run(firmware.path('mkfs.vfat'), [image])
  const mtools = dirname(firmware.path('mcopy'))
  const folders = ['EFI', 'EFI/BOOT', 'loader', 'loader/keys', 'loader/keys/auto'].map((one) => `::${one}`)
  await run(join(mtools, 'mmd'), ['-i', image, ...folders])
  const put = (content: Uint8Array | string, path: string): Promise<unknown> =>
    run(firmware.path('mcopy'), ['-i', image, keep(content), `::${path}`])
  await put(loader, 'EFI/BOOT/BOOTX64.EFI')
  await put('timeout 0\nsecure-boot-enroll force\n', 'loader/loader.conf')
  for (const [name, update] of Object.entries(keys)) await put(update, `loader/keys/auto/${name}.auth`)
  return image
}

/** Runs until it prints that, ends, or does neither for a minute. @returns what it printed */
function boots(image: string, variables: string, until: RegExp): Promise<string> {
  const args = [
    ...['-machine', 'q35', '-m', '256', '-nographic', '-no-reboot', '-nic', 'none'],
    ...['-drive', `if=pflash,format=raw,readonly=on,file=${firmware.path('ovmf')}`],
    ...['-drive', `if=pflash,format=raw,file=${variables}`],
    ...['-drive', `format=raw,file=${image},if=virtio,readonly=on`],
  ]
  const machine = spawn(firmware.path('qemu-system-x86_64'), args, { stdio: ['ignore', 'pipe', 'ignore'] })
  return new Promise((resolve, reject) => {
    let printed = ''
    machine.on('error', reject)
    machine.stdout.on('data', (chunk: Buffer) => {
      printed += chunk.toString('latin1')
      if (until.test(printed)) machine.kill()
    })
    const tooLong = setTimeout(() => machine.kill(), 60_000)
    machine.on('exit', () => {
      clearTimeout(tooLong)
      resolve(printed)
    })
  })
}

const newVariables = (): string => {
  const path = fresh('.fd')
  copyFileSync(join(dirname(firmware.path('ovmf')), 'OVMF_VARS_4M.fd'), path)
  return path
}
/** Behind the name of a variable stands its data; without it nothing was written. */
const holds = (variables: string, list: Uint8Array): boolean => readFileSync(variables).includes(list)

test(
  'R9: firmware takes keys that we signed, no changed ones, and then starts what we signed and nothing else',
  { skip: firmware.skip },
  async () => {
    const [owner, maker] = await Promise.all([trialSigner('rsa-2048'), trialSigner('rsa-2048')])
    const [ownerList, makerList] = await Promise.all([listOf(owner), listOf(maker)])
    const timestamp = '2026-05-01T10:00:00Z'
    const update = async (variable: string, list: Uint8Array): Promise<Uint8Array> =>
      (await signedWith(uefiVariable, bytesSource(list), owner, { variable, timestamp })).octets
    const keys = {
      PK: await update('PK', ownerList),
      KEK: await update('KEK', ownerList),
      db: await update('db', makerList),
    }
    const loader = read(firmware.path('systemd-boot'))
    const good = (await signedWith(authenticodePE, bytesSource(loader), maker)).octets
    const others = (await signedWith(authenticodePE, bytesSource(loader), owner)).octets

    // in setup mode a platform key must be signed by itself; the loader starts the machine anew when all is done
    const variables = newVariables()
    const refusing = newVariables()
    const ended = /Failed to (enroll|write)|Booting|Press any key/
    await Promise.all([
      disk(good, keys).then((image) => boots(image, variables, ended)),
      disk(good, { ...keys, PK: flipped(keys.PK, 0) }).then((image) => boots(image, refusing, ended)),
    ])
    assert.ok(holds(variables, ownerList) && holds(variables, makerList))
    assert.ok(!platformKey(refusing))
    assert.ok(platformKey(variables))

    const again = (): string => {
      const path = fresh('.fd')
      copyFileSync(variables, path)
      return path
    }
    const decided = /(starting|failed to load) Boot\d+ "UEFI Non-Block Boot Device"[^\n]*\n/
    const [started, unsigned, foreign] = await Promise.all(
      [good, loader, others].map(async (one) => boots(await disk(one), again(), decided)),
    )
    assert.match(started ?? '', /BdsDxe: starting Boot\d+ "UEFI Non-Block/)
    for (const refused of [unsigned, foreign]) {
      assert.match(refused ?? '', /failed to load Boot\d+ "UEFI Non-Block.*Access Denied/)
      assert.doesNotMatch(refused ?? '', /starting Boot\d+ "UEFI Non-Block/)
    }
  },
)

/** The name of the variable, with the zero that ends it. */
const platformKey = (variables: string): boolean => readFileSync(variables).includes(Buffer.from('PK\0', 'utf16le'))
