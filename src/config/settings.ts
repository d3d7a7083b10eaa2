/**
 * Every setting there is, one table per section of `sealworks.toml`. The units are in the names.
 *
 * Defaults are for one machine that nobody else can reach: loopback, a database file, no guesses about names.
 *
 * @module
 */
import { type AlgorithmId, algorithmIds, algorithmPresets, type Schedule } from '#algorithms/policy.ts'
import {
  address,
  databaseURL,
  flag,
  hostName,
  integer,
  listOf,
  needed,
  objectIdentifier,
  oneOf,
  path,
  schedule,
  secretReference,
  type Setting,
  text,
  timeServer,
  tokenName,
  url,
  witness,
} from './setting.ts'

const server = {
  listen: address('127.0.0.1:8443', 'TLS listener for everything that needs authentication'),
  listenPublic: address(
    '127.0.0.1:8080',
    'plain HTTP listener for what is signed or public in itself: CRLs, OCSP, CA certificates',
  ),
  workers: integer(0, 64, 0, 'threads that take connections; 0 for all in one thread. One for each core, on Linux'),
  listenConsole: address('off', 'TLS listener for browsers: / and /api only, and never asks for a client certificate'),
  publicUrl: url(['http', 'https'], 'address of the public listener as others reach it; written into certificates'),
  installationName: text('Sealworks', 'what this installation calls itself, on its page and in reports'),
  serverNames: listOf(hostName('name'), ['localhost', '127.0.0.1', '::1'], 'names and addresses in the server certificate'),
  bodyMaxBytes: integer(1024, 1_073_741_824, 1_048_576, 'longest request body that any operation may take; most take less'),
  headerMaxBytes: integer(4096, 65_536, 16_384, 'longest request head'),
  headersMaxCount: integer(16, 1000, 100, 'most header fields of a request'),
  headersTimeoutSeconds: integer(1, 600, 10, 'how long a client may take to send its request head'),
  requestTimeoutSeconds: integer(1, 3600, 60, 'how long a client may take to send its whole request'),
  streamSeconds: integer(1, 86_400, 3600, 'how long a client may take to send an artifact that is signed here'),
  idleTimeoutSeconds: integer(1, 3600, 120, 'how long a connection may stand still while a request is answered'),
  keepAliveSeconds: integer(1, 3600, 30, 'how long a connection stays open without a request'),
  handshakeTimeoutSeconds: integer(1, 600, 10, 'how long a TLS handshake may take'),
  connectionsMax: integer(1, 1_000_000, 10_000, 'most connections at once, per listener'),
  requestsPerConnectionMax: integer(0, 1_000_000_000, 100_000, 'requests after which a connection is closed; 0 for no limit'),
  requestsPerSecondPerAddress: integer(0, 1_000_000, 5000, 'sustained requests of one address (IPv6: one /64); 0 for no limit'),
  requestBurstPerAddress: integer(1, 1_000_000, 10_000, 'requests that one address may send at once'),
  rateAddressesMax: integer(100, 1_000_000, 50_000, 'addresses whose rate is remembered; the longest known is forgotten first'),
  ticketKeyHours: integer(1, 168, 12, 'age at which the key of TLS session tickets is replaced'),
  gracefulStopSeconds: integer(0, 3600, 20, 'how long requests in flight may take to finish when the server stops'),
  tlsCertificate: path(undefined, 'PEM chain of a server certificate from elsewhere; without it the installation issues its own'),
  tlsKey: secretReference(undefined, 'PEM private key that belongs to tlsCertificate'),
  certificateDays: integer(1, 398, 90, 'validity of the server certificate that the installation issues to itself'),
  strictTransportSecurity: flag(false, 'tell browsers to use only HTTPS for this name; set it once the name is final'),
}

const store = {
  url: databaseURL('sqlite:sealworks.db', 'where records are kept'),
  password: secretReference(undefined, 'password of the PostgreSQL user'),
}

const keys = {
  wrappingKey: secretReference(
    'file:keys/wrapping.key',
    'the key that wraps all software keys; made once by init, outside the database',
  ),
}

const ca = {
  crlMinIntervalSeconds: integer(0, 86_400, 10, 'shortest time between two CRLs; revocations in between share one'),
  retryWindowSeconds: integer(0, 604_800, 3600, 'how long the same request of the same client gets the same certificate again'),
  backdateSeconds: integer(0, 86_400, 60, 'how far notBefore lies in the past, to allow for slow clocks'),
  weakKeyLists: listOf(
    path(undefined, 'a list'),
    [],
    "files of known RSA keys that get no certificate, in the form of Debian's openssl-blacklist",
  ),
}

const audit = {
  witnesses: listOf(
    witness('witness'),
    [],
    'who cosigns the checkpoints of the audit log, each with its own copy of how far it had come',
  ),
  witnessIntervalSeconds: integer(1, 86_400, 60, 'how often witnesses are asked when there are new entries'),
}

const schedules = Object.fromEntries(
  algorithmIds.map((id) => [id, schedule(`standing of ${id}, for keys, requests, signatures made and taken`)]),
) as Record<AlgorithmId, Setting<Schedule | undefined>>

const algorithms = {
  preset: oneOf(
    algorithmPresets,
    'none',
    'dates for all algorithms that have none of their own here; fips: those of NIST IR 8547',
  ),
  ...schedules,
}

const publication = {
  directory: path(undefined, 'directory into which CRLs and CA certificates are written, for a web server of yours'),
  putUrl: url(['http', 'https'], 'address below which CRLs and CA certificates are put by HTTP PUT'),
  putToken: secretReference(undefined, 'token that is sent with it, as Authorization: Bearer'),
  s3Url: url(['http', 'https'], 'S3 address with bucket and prefix, such as https://s3.example/pki'),
  s3Region: text('us-east-1', 'region of the bucket'),
  s3AccessKey: text('', 'id of the S3 access key'),
  s3SecretKey: secretReference(undefined, 'the S3 secret access key'),
}

const backup = {
  recipients: listOf(
    path(undefined, 'a file'),
    [],
    'certificates of recovery keys (PEM), each of which opens every backup; made by `sealworks backup recovery-key`',
  ),
  directory: path('backups', 'where the server puts backups; copy them to another place from there'),
  journal: path(
    undefined,
    'directory on other storage that gets what comes after a backup, each second; read by `sealworks restore`',
  ),
  warnAfterHours: integer(1, 8760, 48, 'age of the newest backup from which doctor warns'),
}

const clock = {
  sources: listOf(
    timeServer('server'),
    [],
    'NTP servers that the clock is held to before it states a time in a time stamp: HOST or HOST:PORT, best three or more',
  ),
  checkSeconds: integer(16, 3600, 64, 'how often they are asked'),
}

const approvals = {
  destroyKeyPeople: integer(
    0,
    20,
    0,
    'how many with the role approver, beside who asks, have to agree before a key is destroyed; 0 for nobody',
  ),
  overridePeople: integer(
    0,
    20,
    0,
    'how many with the role approver have to agree, each with a token, before `restore --override`; 0 for nobody',
  ),
}

const signing = {
  uploadMaxBytes: integer(1024, 1_099_511_627_776, 8_589_934_592, 'longest artifact that is taken in to be signed here'),
  uploadWaitSeconds: integer(1, 100, 20, 'how long who sends an artifact waits for it before the answer is a job'),
  spoolMaxBytes: integer(
    1_048_576,
    1_099_511_627_776,
    34_359_738_368,
    'room in the data directory for artifacts that are signed here, and what comes of them',
  ),
  resultKeepHours: integer(1, 720, 24, 'how long a signed artifact waits to be fetched'),
  archiveDirectory: path(undefined, 'directory in which signers with the term archive keep what they signed, by digest'),
  archiveKeepDays: integer(1, 36_500, 3650, 'how long it is kept there after it was last signed'),
}

const devices = {
  assurancePolicyArc: objectIdentifier(
    'an arc of yours: a birth certificate says its assurance level by the policy ARC.0 to ARC.4; without it only the record does',
  ),
  offersAlone: integer(
    0,
    1_000_000,
    1000,
    'devices that an organization offers within 24 hours before another person, with the role approver, has to agree to each',
  ),
  unconfirmedHours: integer(1, 8760, 72, 'how long a device may take to use a certificate before it is revoked'),
  birthChallengeSeconds: integer(10, 3600, 300, 'how long a device may take to answer the challenge of its birth'),
}

const mqtt = {
  listen: address('off', 'MQTT listener of the built-in message broker: TLS with client certificates; usually port 8883'),
  mosquitto: url(['mqtt', 'mqtts'], 'Mosquitto that the server drives instead, such as mqtt://127.0.0.1:1883'),
  mosquittoUser: text('sealworks', 'its account for the driver, with the role admin of the dynamic security plugin'),
  mosquittoPassword: secretReference(undefined, 'password of that account'),
  mosquittoCa: path(undefined, 'PEM certificates of those who vouch for Mosquitto; needed with mqtts'),
  mosquittoCrlFile: path(undefined, 'file into which CRLs are written for it (its crlfile)'),
  mosquittoPidFile: path(undefined, 'file with its process id, which is told of new CRLs by SIGHUP'),
  connectionsMax: integer(1, 1_000_000, 10_000, 'most connections to the built-in broker at once'),
  packetMaxBytes: integer(1024, 16_777_216, 262_144, 'longest MQTT packet of a device'),
  messagesPerSecondPerDevice: integer(1, 100_000, 200, 'messages that a device may publish; more wait'),
  subscriptionsPerDevice: integer(1, 1000, 32, 'most subscriptions of a device'),
  messagesQueuedPerDevice: integer(1, 65_535, 1000, 'most messages that wait for a device, or for its acknowledgment'),
  retainedPerDevice: integer(0, 1000, 32, 'most topics of a device whose last message is kept for later subscribers'),
  connectsPerMinutePerDevice: integer(1, 10_000, 60, 'how often a device may connect'),
  keepAliveMaxSeconds: integer(10, 65_535, 1200, 'longest time that a device may leave between two signs of life'),
}

const commands = {
  issuer: text('sealworks', 'the name under which this installation counts the commands that it sends; a policy names it'),
  anchors: listOf(
    path(undefined, 'a file'),
    [],
    'files of PEM certificates: those who sign command policies, and the authorities of people who order and agree',
  ),
}

const updates = {
  directory: path(
    undefined,
    'directory of the artifacts of releases, which all nodes share; releases in the data directory unless told',
  ),
  directorSigner: text('', 'the signer that signs what devices may install; nothing is directed without one'),
  statementHours: integer(1, 8760, 168, 'how long a device may take to begin with what it was told to install'),
  servesTargets: flag(
    false,
    'let anybody fetch released files as targets of TUF, at /tuf/targets; its metadata is for anybody anyway',
  ),
}

const log = {
  level: oneOf(['debug', 'info', 'warn', 'error'], 'info', 'least important line that is written'),
}

export const sections = {
  server,
  store,
  keys,
  ca,
  algorithms,
  audit,
  publication,
  backup,
  clock,
  approvals,
  signing,
  devices,
  commands,
  mqtt,
  updates,
  log,
} as const satisfies Record<string, Record<string, Setting<unknown>>>

const keyStore = {
  module: needed(path(undefined, "the PKCS #11 library of the token's maker; loaded in a process of its own")),
  tokens: needed(listOf(tokenName('token'), [], 'one token, or several that hold copies of the same keys')),
  pin: secretReference(undefined, 'the PIN; without it the store is locked until `sealworks key unlock NAME`'),
  sessions: integer(1, 64, 8, 'signatures that each token is asked for at once'),
  checkEverySignature: flag(false, 'verify also what is otherwise verified only at first: every RSA signature is in any case'),
}

/** Sections that stand once for each name, as `[keyStore.NAME]`; without environment variables, since names are free. */
export const namedSections = { keyStore } as const satisfies Record<string, Record<string, Setting<unknown>>>
