/**
 * What `npm start` and `npm test` run, on any Node.js from 20 on: installs what is missing, then goes on under the
 * Node.js that the lockfile pins.
 *
 * Plain JavaScript without dependencies, because it runs before anything is installed.
 *
 * @module
 */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { basename, delimiter, join } from 'node:path'
import { pinnedRuntime, relink, ROOT, RUNTIME_PACKAGES } from './relink.mjs'

const PROGRAMS = { start: 'src/trial/main.ts', test: 'tools/test.ts', install: undefined }
/** What Node.js 26 is built against. */
const GLIBC_LEAST = [2, 28]

class Refusal extends Error {}

async function launch(mode, args) {
  if (!Object.hasOwn(PROGRAMS, mode)) throw new Refusal(`say one of: ${Object.keys(PROGRAMS).join(', ')}`)
  const missing = missingPackages(mode)
  if (missing > 0 || pinnedRuntime() === undefined) {
    refuseForeignPlatform()
    await install(missing)
  }
  relink()
  const runtime = pinnedRuntime()
  if (runtime === undefined) {
    throw new Refusal(
      'the Node.js runtime did not come with the packages. Allow optional packages (npm config get omit) and run: npm ci',
    )
  }
  const program = PROGRAMS[mode]
  if (program === undefined) return
  if (!existsSync(join(ROOT, program))) throw new Refusal(`${program} is not in this checkout. Run: git checkout -- ${program}`)
  await become(runtime, [join(ROOT, program), ...args])
}

/**
 * Compares what the lockfile asks for with what npm noted that it installed, which it writes last: an installation
 * that was broken off counts as none.
 *
 * @returns {number} how many packages are missing or have another version
 */
function missingPackages(mode) {
  const wanted = readJSON('package-lock.json')?.packages
  if (wanted === undefined) throw new Refusal('package-lock.json is not in this checkout. Run: git checkout -- package-lock.json')
  const present = readJSON('node_modules/.package-lock.json')?.packages ?? {}
  return Object.entries(wanted).filter(([path, entry]) => {
    if (path === '') return false
    const { optional, dev, devOptional, version } = entry
    const mayLack = optional || (mode === 'start' && (dev || devOptional))
    return present[path] === undefined ? !mayLack : present[path].version !== version
  }).length
}

function readJSON(file) {
  const path = join(ROOT, file)
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : undefined
}

function refuseForeignPlatform() {
  const platform = `${process.platform}-${process.arch}`
  const offered = 'Sealworks runs on Linux with glibc (x64, arm64) and on macOS (arm64)'
  if (!Object.hasOwn(RUNTIME_PACKAGES, platform)) throw new Refusal(`no runtime for ${platform}: ${offered}.`)
  if (process.platform !== 'linux') return
  process.report.excludeNetwork = true // its look-ups may take seconds
  const glibc = process.report.getReport().header.glibcVersionRuntime
  if (glibc === undefined)
    throw new Refusal(`this Linux has no glibc (musl?): ${offered}. Use an image based on Debian, for example.`)
  const [major, minor] = glibc.split('.').map(Number)
  if (major < GLIBC_LEAST[0] || (major === GLIBC_LEAST[0] && minor < GLIBC_LEAST[1])) {
    throw new Refusal(`glibc ${glibc} is too old for the runtime, which needs ${GLIBC_LEAST.join('.')}. Use a newer system.`)
  }
}

async function install(missing) {
  const [command, ...args] = npmCommand()
  const begun = performance.now()
  say(`installing ${missing === 0 ? 'the runtime' : `${missing} ${missing === 1 ? 'package' : 'packages'}`} (npm ci) …`)
  const { code, output } = await npm(command, [...args, 'ci', '--no-audit', '--no-fund', '--loglevel=error'])
  if (code !== 0)
    throw new Refusal(`npm ci failed.\n${withoutAddresses(output).trim()}\nMend that, then run the same command again.`)
  say(`installed in ${((performance.now() - begun) / 1000).toFixed(1)} s`)
}

/** The npm that runs this script, else the one in PATH. */
function npmCommand() {
  const running = process.env.npm_execpath
  return running !== undefined && basename(running) === 'npm-cli.js' ? [process.execPath, running] : ['npm']
}

async function npm(command, args) {
  const child = spawn(command, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  child.stdout.on('data', (chunk) => (output += chunk))
  child.stderr.on('data', (chunk) => (output += chunk))
  const { code, signal } = await ending(child, 'npm is not in PATH; it comes with Node.js')
  if (signal !== null) throw new Refusal('npm ci was interrupted. Run the same command again.')
  return { code, output }
}

/** Where packages come from is the machine's own business: it does not go into logs that people share. */
const withoutAddresses = (text) =>
  text
    .replace(/\bhttps?:\/\/[^\s'")]+/g, '(address)')
    .replace(/\b(getaddrinfo \w+|connect \w+|ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT) [\w.:-]+[.:][\w.:-]+/g, '$1 (address)')
    .split('\n')
    .filter((line) => !/^npm \w+\s+(?:at |(?:address|port|host|hostname|errno|type): |\}?$)/.test(line))
    .join('\n')

/** Runs the program in this one's place: same terminal, same signals, same end. */
async function become(runtime, args) {
  const bin = join(ROOT, 'node_modules', '.bin')
  const env = {
    ...process.env,
    PATH: [bin, process.env.PATH].join(delimiter),
    NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? join(ROOT, 'node_modules', '.cache', 'sealworks'),
  }
  const child = spawn(runtime, args, { stdio: 'inherit', env })
  // A terminal sends SIGINT and SIGHUP to the whole process group: passing them on would deliver them twice.
  const onTerminal = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP']
  for (const signal of signals) {
    process.on(signal, () => {
      if (signal === 'SIGTERM' || !onTerminal) child.kill(signal)
    })
  }
  const { code, signal } = await ending(child, `${runtime} does not start`)
  process.exitCode = code ?? 128 + constants.signals[signal]
  if (signal === null) return
  for (const each of signals) process.removeAllListeners(each)
  process.kill(process.pid, signal)
}

function ending(child, sentence) {
  return new Promise((resolve, reject) => {
    child.once('error', ({ code }) => reject(new Refusal(`${sentence} (${code}).`)))
    child.once('close', (code, signal) => resolve({ code, signal }))
  })
}

function say(text) {
  process.stderr.write(`sealworks: ${text}\n`)
}

const [mode = '', ...args] = process.argv.slice(2)
try {
  await launch(mode, args)
} catch (error) {
  if (!(error instanceof Refusal)) throw error
  say(error.message)
  process.exitCode = 1
}
