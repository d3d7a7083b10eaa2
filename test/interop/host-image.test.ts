/**
 * Images and bundles for secure hosts, from the command line, against programs of others: binutils for the sections of an image,
 * sbverify and osslsigncode for its signature, veritysetup for the hash tree of its root file system.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { copyFileSync, cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { encodePEM } from '#asn1/pem.ts'
import { systemWorld } from '#base/world.ts'
import { runCommandLine } from '#cli/run.ts'
import { parseBundle } from '#host/image/bundle.ts'
import { bytesSource } from '#signing/artifact/blob.ts'
import { root as authority, signedWith, type TrialSigner, trialSigner } from '#signing/artifact/testing.ts'
import { authenticodePE } from '#signing/formats/authenticode-pe.ts'
import { needs } from './programs.ts'
import { scratch } from './scratch.ts'

const run = promisify(execFile)
const { folder, keep } = scratch('host-image')
const programs = needs(
  ...(['systemd-stub', 'objdump', 'objcopy', 'sbverify', 'osslsigncode', 'veritysetup', 'mkfs.erofs', 'fsck.erofs'] as const),
  'cert-to-efi-sig-list',
)

const at = (...names: readonly string[]): string => join(folder, ...names)
const keyPEM = ({ privateKey }: TrialSigner): string => privateKey.export({ type: 'pkcs8', format: 'pem' })
const certificatePEM = ({ answering }: TrialSigner): string => encodePEM('CERTIFICATE', answering.certificates[0])
const read = (path: string): Buffer => readFileSync(path)

async function sealworks(...words: readonly string[]): Promise<{ readonly code: number; readonly text: string }> {
  let said = ''
  const output = { columns: undefined, write: async (data: string | Uint8Array) => void (said += Buffer.from(data).toString()) }
  const code = await runCommandLine(words, {
    world: systemWorld(),
    environment: {},
    directory: folder,
    signal: new AbortController().signal,
    ...{ stdout: output, stderr: output },
    stdin: async () => new Uint8Array(0),
  })
  return { code, text: said }
}

function makeTree(): void {
  for (const name of ['etc', 'bin', 'var/empty']) mkdirSync(at('tree', name), { recursive: true })
  writeFileSync(at('tree/etc/os-release'), 'ID=press\n')
  writeFileSync(
    at('tree/bin/press'),
    new Uint8Array(700_001).map((_, i) => (i * 31) >>> 6),
  )
}

const OS_RELEASE = 'ID=press\nVERSION_ID=7\n'

async function makePlan(image: TrialSigner): Promise<void> {
  writeFileSync(at('db.pem'), certificatePEM(image))
  await run(programs.path('cert-to-efi-sig-list'), ['-g', 'b1f6e1a0-7a3e-4b5c-8a0f-5a8d2c1e9f00', at('db.pem'), at('db.esl')])
  for (const [name, length] of [
    ['vmlinuz', 300_123],
    ['initrd', 50_001],
    ['firmware.fd', 65_536],
    ['variables.fd', 4096],
  ] as const)
    writeFileSync(
      at(name),
      new Uint8Array(length).map((_, i) => (i * 7 + length) >>> 3),
    )
  const machine = {
    ...{ kernel: 'vmlinuz', initrd: 'initrd', memoryMiB: 256 },
    commandLine: 'console=ttyS0 root={root} salt={salt} blocks={blocks}',
  }
  const plan = {
    ...{ version: 7, owner: { name: 'acme', epoch: 1 }, targets: ['SEE-0042'] },
    ...{ issuedAt: '2026-01-01T00:00:00Z', expiresAt: '2050-01-01T00:00:00Z' },
    machines: [
      {
        ...{ ...machine, name: 'node', profile: 'secure-boot', root: { tree: 'tree' }, serial: ['console'] },
        networks: [{ mac: '02:00:00:00:00:01', address: '10.20.0.2/24' }],
        secureBoot: {
          ...{ stub: programs.path('systemd-stub'), kernelRelease: '6.1.0', osRelease: OS_RELEASE },
          ...{ firmware: 'firmware.fd', variables: 'variables.fd', keys: { PK: 'db.esl', KEK: 'db.esl', db: 'db.esl' } },
        },
      },
      { ...machine, name: 'store', profile: 'direct', root: { image: 'finished.root' } },
    ],
  }
  writeFileSync(
    at('finished.root'),
    new Uint8Array(300 * 4096).map((_, i) => (i * 13) >>> 9),
  )
  writeFileSync(at('plan.json'), JSON.stringify(plan))
}

test(
  'R16, R17: a bundle is built twice alike, read by others’ programs, signed by two holders and verified',
  { skip: programs.skip },
  async () => {
    const image = await trialSigner('rsa-2048')
    const holders = await Promise.all([1, 2, 3].map(() => Promise.all([trialSigner('ed25519'), trialSigner('ml-dsa-65')])))
    makeTree()
    await makePlan(image)
    const imageKey = keep(keyPEM(image))

    const build = (out: string): ReturnType<typeof sealworks> =>
      sealworks('host', 'image', 'build', 'plan.json', '--out', out, '--image-key', imageKey, '--image-certificate', 'db.pem')
    const first = await build('one')
    assert.equal(first.code, 0, first.text)
    cpSync(at('tree'), at('copy'), { recursive: true }) // other times, other inodes
    const plan = read(at('plan.json')).toString()
    writeFileSync(at('plan.json'), plan.replace('"tree":"tree"', '"tree":"copy"'))
    assert.equal((await build('two')).code, 0)
    const files = readdirSync(at('one'))
    assert.deepEqual(files.toSorted(), readdirSync(at('two')).toSorted())
    assert.equal(files.length, 10)
    for (const file of files) assert.ok(read(at('one', file)).equals(read(at('two', file))), file)
    assert.equal((await build('one')).code, 5) // a bundle is not overwritten unasked

    const bundle = parseBundle(new Uint8Array(read(at('one/bundle.cbor'))))
    const [node, store] = bundle.machines
    assert.ok(node?.root !== undefined && store?.root !== undefined)
    const efi = at('one/node.efi')
    const { stdout: listed } = await run(programs.path('objdump'), ['-h', efi])
    for (const name of ['.text', '.sdmagic', '.osrel', '.cmdline', '.uname', '.initrd', '.linux'])
      assert.ok(listed.includes(` ${name} `), name)
    for (const [section, expected] of [
      ['.osrel', Buffer.from(OS_RELEASE)],
      ['.linux', read(at('vmlinuz'))],
      ['.initrd', read(at('initrd'))],
      [
        '.cmdline',
        Buffer.from(`console=ttyS0 root=${node.root.rootHash.toHex()} salt=${node.root.salt.toHex()} blocks=${node.root.blocks}`),
      ],
    ] as const) {
      const out = at(`section${section}`)
      await run(programs.path('objcopy'), ['--dump-section', `${section}=${out}`, efi, at('rewritten.efi')])
      assert.ok(read(out).subarray(0, expected.length).equals(expected), section)
    }
    const keyring = keep(encodePEM('CERTIFICATE', authority), '.pem')
    await run(programs.path('sbverify'), ['--cert', keyring, efi])
    await run(programs.path('osslsigncode'), ['verify', '-CAfile', keyring, '-in', efi])
    const broken = at('broken.efi')
    const octets = new Uint8Array(read(efi))
    const place = Buffer.from(octets).indexOf('console=ttyS0')
    writeFileSync(broken, octets.with(place, 0x43))
    await assert.rejects(run(programs.path('sbverify'), ['--cert', keyring, broken]))

    await run(programs.path('fsck.erofs'), [at('one/node.root')])
    const verity = ({ rootHash, salt, blocks }: NonNullable<typeof node.root>, name: string): readonly string[] => [
      ...['verify', '--no-superblock', '--hash=sha256', '--data-block-size=4096', '--hash-block-size=4096'],
      ...[
        `--salt=${salt.toHex()}`,
        `--data-blocks=${blocks}`,
        at('one', `${name}.root`),
        at('one', `${name}.verity`),
        rootHash.toHex(),
      ],
    ]
    for (const { name, root } of [node, store] as const) {
      assert.ok(root !== undefined)
      await run(programs.path('veritysetup'), verity(root, name))
      await assert.rejects(run(programs.path('veritysetup'), verity({ ...root, rootHash: root.salt }, name)))
    }

    const sign = async (signers: readonly TrialSigner[]): Promise<void> => {
      for (const signer of signers) {
        const made = await sealworks(
          'host',
          'image',
          'sign',
          'one',
          '--key',
          keep(keyPEM(signer)),
          '--certificate',
          keep(certificatePEM(signer)),
        )
        assert.equal(made.code, 0, made.text)
      }
    }
    const roots = holders.flatMap((keys) => ['--root', keep(keys.map(certificatePEM).join(''))])
    const verify = (
      directory: string,
      threshold = '2',
      host = 'SEE-0042',
      ...more: readonly string[]
    ): ReturnType<typeof sealworks> =>
      sealworks(
        'host',
        'image',
        'verify',
        directory,
        ...roots,
        '--threshold',
        threshold,
        '--host',
        host,
        '--owner',
        'acme',
        '--epoch',
        '1',
        ...more,
      )
    await sign(holders[0] ?? [])
    assert.equal((await verify('one')).code, 7) // one of two
    await sign(holders[2] ?? [])
    const good = await verify('one')
    assert.equal(good.code, 0, good.text)
    assert.match(good.text, /signed by 2 of 3 holders, 2 needed +good/)
    assert.match(good.text, /node: image and registers +good/)
    assert.equal((await verify('one', '3')).code, 7)
    assert.equal((await verify('one', '2', 'SEE-0001')).code, 7)
    assert.equal((await verify('one', '2', 'SEE-0042', '--at', '2051-01-01')).code, 7)
    assert.equal((await verify('one', '2', 'SEE-0042', '--installed', 'one/bundle.cose')).code, 0)

    // any file with one octet changed, that of another machine, and one that is not there
    for (const file of ['node.root', 'node.verity', 'node.efi', 'store.kernel', 'firmware.fd']) {
      cpSync(at('one'), at('changed'), { recursive: true })
      const whole = new Uint8Array(read(at('one', file)))
      writeFileSync(at('changed', file), whole.with(4096, (whole[4096] as number) ^ 1))
      const found = await verify('changed')
      assert.equal(found.code, 9, file)
      assert.match(found.text, new RegExp(`${file.replace('.', '\\.')} .*digest is another`))
    }
    cpSync(at('one'), at('changed'), { recursive: true })
    assert.equal((await verify('changed')).code, 0)
    copyFileSync(at('one/store.root'), at('changed/node.root'))
    rmSync(at('changed/store.initrd'))
    const mixed = await verify('changed')
    assert.equal(mixed.code, 9)
    assert.match(mixed.text, /node\.root +.*it has \d+ octets in place of/)
    assert.match(mixed.text, /store\.initrd +.*cannot be read/)
  },
)

test(
  'R16, R17: images that the signing server signs come back; what the plan does not make is refused',
  { skip: programs.skip },
  async () => {
    const image = await trialSigner('rsa-2048')
    makeTree()
    await makePlan(image)
    const build = (...more: readonly string[]): ReturnType<typeof sealworks> =>
      sealworks('host', 'image', 'build', 'plan.json', '--out', 'later', '--force', ...more)
    assert.equal((await build()).code, 6) // wait for their signatures
    const unsigned = new Uint8Array(read(at('later/node.efi')))
    mkdirSync(at('signed'), { recursive: true })
    const put = async (octets: Uint8Array, signer: TrialSigner): Promise<void> =>
      writeFileSync(at('signed/node.efi'), (await signedWith(authenticodePE, bytesSource(octets), signer)).octets)
    await put(unsigned, image)
    const built = await build('--signed', 'signed')
    assert.equal(built.code, 0, built.text)
    assert.equal(parseBundle(new Uint8Array(read(at('later/bundle.cbor')))).machines[0]?.boot.registers?.length, 3)

    const refused = async (code: number, words: RegExp, ...more: readonly string[]): Promise<void> => {
      const found = await build(...more)
      assert.equal(found.code, code, found.text)
      assert.match(found.text, words)
    }
    await put(unsigned, await trialSigner('rsa-2048'))
    await refused(7, /firmware would not start it/, '--signed', 'signed')
    await put(unsigned.with(unsigned.length - 1000, (unsigned.at(-1000) as number) ^ 1), image)
    await refused(7, /is not the one that this plan makes/, '--signed', 'signed')

    const plan = read(at('plan.json')).toString()
    const stub = new Uint8Array(read(programs.path('systemd-stub')))
    const version = Buffer.from(stub).indexOf('systemd-stub 252') + 'systemd-stub '.length
    writeFileSync(at('other.stub'), stub.with(version, 0x39))
    writeFileSync(at('signed.stub'), (await signedWith(authenticodePE, bytesSource(stub), image)).octets)
    const key = ['--image-key', keep(keyPEM(image)), '--image-certificate', 'db.pem']
    const changed: readonly (readonly [RegExp, string, string])[] = [
      [/does not say \{root\}/, 'root={root} ', ''],
      [/952 measures is not known here/, programs.path('systemd-stub'), 'other.stub'],
      [/the stub is signed already/, programs.path('systemd-stub'), 'signed.stub'],
      [/machines\/0\/usb is not known/, '"memoryMiB"', '"usb":true,"memoryMiB"'],
      [/two or more whole blocks/, '"finished.root"', '"initrd"'],
      [/ends before it begins/, '2050-01-01', '2025-01-01'],
      [/cannot be read/, '"vmlinuz"', '"absent"'],
    ]
    for (const [words, before, after] of changed) {
      writeFileSync(at('plan.json'), plan.replaceAll(before, after))
      await refused(after === '"absent"' ? 4 : 1, words, ...key)
    }
  },
)
