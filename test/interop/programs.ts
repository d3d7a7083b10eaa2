/**
 * The programs of others that tests run against, and the Debian packages that bring them.
 *
 * `npm test` installs them where it may; elsewhere a test that lacks one is skipped and says what to install. Where
 * everything is meant to run (CI=true or SEALWORKS_TEST_INSTALL=1), a missing program fails its test instead.
 *
 * @module
 */
import { accessSync, constants, globSync } from 'node:fs'
import { delimiter, join } from 'node:path'

export interface Program {
  readonly debian: string
  readonly purpose: string
  /** Where Debian puts it, as a pattern, when it is not a command in PATH. */
  readonly at?: string
}

const POSTGRES = { debian: 'postgresql-15', purpose: 'the store on its second engine' } as const

export const programs = {
  curl: { debian: 'curl', purpose: 'a plain HTTP and TLS client' },
  openssl: { debian: 'openssl', purpose: 'certificates, CRLs, OCSP and TLS read by other code' },
  pki: { debian: 'strongswan-pki', purpose: 'an EST client' },
  'strongswan-openssl': {
    debian: 'libstrongswan-standard-plugins',
    purpose: 'elliptic curves and AES-GCM for pki, which it needs to speak TLS with us',
    at: '/usr/lib/ipsec/plugins/libstrongswan-openssl.so',
  },
  certtool: { debian: 'gnutls-bin', purpose: 'certificates, CRLs and PKCS #12 read by a second library' },
  ocsptool: { debian: 'gnutls-bin', purpose: 'an OCSP client of a second library' },
  'gnutls-cli': { debian: 'gnutls-bin', purpose: 'a TLS client of a second library' },
  certutil: { debian: 'libnss3-tools', purpose: 'path validation as browsers do it' },
  crlutil: { debian: 'libnss3-tools', purpose: 'CRLs as browsers read them' },
  tstclnt: { debian: 'libnss3-tools', purpose: 'a TLS client of a third library' },
  cmsutil: { debian: 'libnss3-tools', purpose: 'CMS as browsers read it' },
  pk12util: { debian: 'libnss3-tools', purpose: 'PKCS #12 as browsers import it' },
  python3: { debian: 'python3', purpose: 'runs the strict parser of python3-cryptography', at: '/usr/bin/python3' },
  'python3-cryptography': {
    debian: 'python3-cryptography',
    purpose: 'a strict X.509 parser',
    at: '/usr/lib/python3/dist-packages/cryptography/__init__.py',
  },
  'python3-botan': {
    debian: 'python3-botan',
    purpose: 'path validation by Botan 2',
    at: '/usr/lib/python3/dist-packages/botan2.py',
  },
  'python3-cbor2': {
    debian: 'python3-cbor2',
    purpose: 'CBOR of a second library, for COSE',
    at: '/usr/lib/python3/dist-packages/cbor2/__init__.py',
  },
  'python3-jwcrypto': {
    debian: 'python3-jwcrypto',
    purpose: 'signs and verifies JSON Web Signatures',
    at: '/usr/lib/python3/dist-packages/jwcrypto/__init__.py',
  },
  'python3-rfc3161ng': {
    debian: 'python3-rfc3161ng',
    purpose: 'a client of time-stamping authorities',
    at: '/usr/lib/python3/dist-packages/rfc3161ng/__init__.py',
  },
  'python3-botocore': {
    debian: 'python3-botocore',
    purpose: "Amazon's own signer of S3 requests",
    at: '/usr/lib/python3/dist-packages/botocore/__init__.py',
  },
  'python3-pyasn1-modules': {
    debian: 'python3-pyasn1-modules',
    purpose: 'reads signatures that name each other by ASN.1 of another hand',
    at: '/usr/lib/python3/dist-packages/pyasn1_modules/rfc5652.py',
  },
  'python3-cryptography-vectors': {
    debian: 'python3-cryptography-vectors',
    purpose: 'public vectors, NIST PKITS among them',
    at: '/usr/lib/python3/dist-packages/cryptography_vectors/__init__.py',
  },
  'softhsm2-util': { debian: 'softhsm2', purpose: 'a PKCS #11 token in software' },
  libsofthsm2: { debian: 'softhsm2', purpose: 'its library', at: '/usr/lib/softhsm/libsofthsm2.so' },
  'pkcs11-tool': { debian: 'opensc', purpose: 'a second hand on the same tokens' },
  gcc: { debian: 'gcc', purpose: 'builds a token library that lies and crashes' },
  'libc-headers': { debian: 'libc6-dev', purpose: 'what that library is built with', at: '/usr/include/dlfcn.h' },
  go: { debian: 'golang-go', purpose: 'builds a reader of the audit log from Go’s transparency log packages' },
  'golang-x-mod': {
    debian: 'golang-golang-x-mod-dev',
    purpose: 'the transparency log packages of Go',
    at: '/usr/share/gocode/src/golang.org/x/mod/sumdb/tlog/tlog.go',
  },
  'x86_64-w64-mingw32-gcc': { debian: 'gcc-mingw-w64-x86-64-win32', purpose: 'makes programs for Windows to sign' },
  osslsigncode: { debian: 'osslsigncode', purpose: 'signs and verifies Authenticode' },
  wixl: { debian: 'wixl', purpose: 'makes packages of Windows Installer to sign' },
  msibuild: { debian: 'msitools', purpose: 'makes and changes them in another way' },
  msiextract: { debian: 'msitools', purpose: 'reads them' },
  'python3-olefile': {
    debian: 'python3-olefile',
    purpose: 'reads the compound files that packages are',
    at: '/usr/lib/python3/dist-packages/olefile/__init__.py',
  },
  gcab: { debian: 'gcab', purpose: 'makes cabinets to sign' },
  cabextract: { debian: 'cabextract', purpose: 'reads cabinets' },
  sbverify: { debian: 'sbsigntool', purpose: 'verifies Authenticode as UEFI firmware does' },
  sbsign: { debian: 'sbsigntool', purpose: 'signs for UEFI' },
  pesign: { debian: 'pesign', purpose: 'a third reader of Authenticode' },
  fallback: { debian: 'shim-unsigned', purpose: 'a boot loader to sign', at: '/usr/lib/shim/fbx64.efi' },
  'fallback-signed': {
    debian: 'shim-helpers-amd64-signed',
    purpose: 'the same, signed by Debian',
    at: '/usr/lib/shim/fbx64.efi.signed',
  },
  chronyd: { debian: 'chrony', purpose: 'a time server to hold the clock to', at: '/usr/sbin/chronyd' },
  jar: { debian: 'openjdk-17-jdk-headless', purpose: 'makes Java archives to sign' },
  java: { debian: 'openjdk-17-jdk-headless', purpose: 'writes archives as the JDK does' },
  jarsigner: { debian: 'openjdk-17-jdk-headless', purpose: 'signs and verifies Java archives' },
  keytool: { debian: 'openjdk-17-jdk-headless', purpose: 'tells jarsigner whom to trust' },
  rauc: { debian: 'rauc', purpose: 'makes, signs and verifies update bundles' },
  'dbus-run-session': { debian: 'dbus-daemon', purpose: 'the bus that RAUC’s service listens on' },
  'dbus-send': { debian: 'dbus-bin', purpose: 'says when it does' },
  mksquashfs: { debian: 'squashfs-tools', purpose: 'makes the file system of a bundle' },
  swupdate: { debian: 'swupdate', purpose: 'verifies update archives as devices do' },
  cpio: { debian: 'cpio', purpose: 'makes archives for that to read' },
  swugenerator: { debian: 'swugenerator', purpose: 'makes and signs update archives' },
  'cert-to-efi-sig-list': { debian: 'efitools', purpose: 'makes lists of signatures for UEFI' },
  'sign-efi-sig-list': { debian: 'efitools', purpose: 'signs updates of UEFI variables' },
  'sig-list-to-certs': { debian: 'efitools', purpose: 'reads lists of signatures for UEFI' },
  'systemd-stub': {
    debian: 'systemd-boot-efi',
    purpose: 'starts a unified kernel image',
    at: '/usr/lib/systemd/boot/efi/linuxx64.efi.stub',
  },
  'systemd-boot': {
    debian: 'systemd-boot-efi',
    purpose: 'gives keys to firmware, and is started by it',
    at: '/usr/lib/systemd/boot/efi/systemd-bootx64.efi',
  },
  'qemu-system-x86_64': { debian: 'qemu-system-x86', purpose: 'runs UEFI firmware' },
  ovmf: { debian: 'ovmf', purpose: 'the firmware', at: '/usr/share/OVMF/OVMF_CODE_4M.fd' },
  'mkfs.vfat': { debian: 'dosfstools', purpose: 'makes the partition that it starts from', at: '/usr/sbin/mkfs.vfat' },
  mcopy: { debian: 'mtools', purpose: 'fills that' },
  objdump: { debian: 'binutils', purpose: 'reads the sections of programs' },
  veritysetup: { debian: 'cryptsetup-bin', purpose: 'makes and checks hash trees of file systems', at: '/usr/sbin/veritysetup' },
  'mkfs.erofs': { debian: 'erofs-utils', purpose: 'makes root file systems that are only read' },
  'fsck.erofs': { debian: 'erofs-utils', purpose: 'reads them' },
  'small-kernel': {
    debian: 'memtest86+',
    purpose: 'a program that is started as kernels are, without a system around it',
    at: '/boot/memtest86+x64.efi',
  },
  objcopy: { debian: 'binutils', purpose: 'puts a kernel behind that' },
  'mkfs.ext4': { debian: 'e2fsprogs', purpose: 'the file system that a power cut hits', at: '/usr/sbin/mkfs.ext4' },
  mount: { debian: 'mount', purpose: 'puts it on a disk that loses writes' },
  aapt: { debian: 'aapt', purpose: 'makes Android packages to sign' },
  apksigner: { debian: 'apksigner', purpose: 'signs and verifies Android packages' },
  swtpm: { debian: 'swtpm', purpose: 'a TPM 2.0 in software' },
  socat: { debian: 'socat', purpose: 'a device file in front of a socket' },
  swtpm_setup: { debian: 'swtpm-tools', purpose: 'makes it, with endorsement certificates' },
  swtpm_localca: { debian: 'swtpm-tools', purpose: 'the authority that signs them' },
  tpm2: { debian: 'tpm2-tools', purpose: 'a second client and verifier of TPMs' },
  'libtss2-tcti-swtpm': {
    debian: 'libtss2-tcti-swtpm0',
    purpose: 'its way to the TPM in software',
    at: '/usr/lib/*/libtss2-tcti-swtpm.so.0',
  },
  mosquitto: { debian: 'mosquitto', purpose: 'a message broker that the server drives', at: '/usr/sbin/mosquitto' },
  'mosquitto-dynsec': {
    debian: 'mosquitto',
    purpose: 'its rules, changed while it runs',
    at: '/usr/lib/*/mosquitto_dynamic_security.so',
  },
  mosquitto_ctrl: { debian: 'mosquitto', purpose: 'the same, by hand' },
  mosquitto_pub: { debian: 'mosquitto-clients', purpose: 'a client of message brokers' },
  mosquitto_sub: { debian: 'mosquitto-clients', purpose: 'the same, listening' },
  initdb: { ...POSTGRES, at: '/usr/lib/postgresql/*/bin/initdb' },
  postgres: { ...POSTGRES, at: '/usr/lib/postgresql/*/bin/postgres' },
} as const satisfies Readonly<Record<string, Program>>

export type ProgramName = keyof typeof programs

export interface Found<Name extends ProgramName> {
  /** For the options of `test()`: false, or the reason why the test is skipped here. */
  readonly skip: string | false
  /** @returns the absolute path @throws Error that says what to install, so that the test fails where nothing may be skipped */
  path(name: Name): string
}

/**
 * Names the programs that a test runs:
 *
 *     const tools = needs('openssl', 'pki')
 *     test('strongSwan enrolls', { skip: tools.skip }, async () => { … tools.path('pki') … })
 */
export function needs<Name extends ProgramName>(...names: readonly Name[]): Found<Name> {
  const absent = names.filter((name) => find(name) === undefined)
  const packages = new Set(absent.map((name) => programs[name].debian))
  const sentence = `needs ${absent.join(', ')}: apt-get install ${[...packages].join(' ')}`
  return {
    skip: absent.length > 0 && !nothingMayBeSkipped() ? sentence : false,
    path(name) {
      const path = find(name)
      if (path === undefined) throw new Error(sentence)
      return path
    },
  }
}

/** Decision 28: where the packages can be installed, a test that did not run is a test that failed. */
export const nothingMayBeSkipped = (): boolean => process.env['CI'] === 'true' || process.env['SEALWORKS_TEST_INSTALL'] === '1'

/** Debian packages for every program that is not here. */
export function missingPackages(): readonly string[] {
  const names = Object.keys(programs) as ProgramName[]
  return [...new Set(names.filter((name) => find(name) === undefined).map((name) => programs[name].debian))].toSorted()
}

export function find(name: ProgramName): string | undefined {
  const { at }: Program = programs[name]
  if (at !== undefined) return globSync(at).toSorted().at(-1)
  const folders = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '')
  return folders.map((folder) => join(folder, name)).find(isExecutable)
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}
