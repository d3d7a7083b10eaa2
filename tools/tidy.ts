/**
 * Checks of the code's own shape: who imports whom, one shape per plug-in, documents that agree with the code.
 *
 * Each check is a function of a tree of files, so that `tidy.test.ts` can plant a violation and see it found. Each
 * says how much it looked at: a check that saw nothing proves nothing.
 *
 * @module
 */
import { posix } from 'node:path'
import type { Room } from '../src/rooms.ts'

export interface Tree {
  /** Text by path from the repository's root, with forward slashes. */
  readonly files: ReadonlyMap<string, string>
  readonly rooms: Readonly<Record<string, Room>>
}

export interface Verdict {
  readonly seen: number
  readonly faults: readonly string[]
}

export interface Check {
  readonly name: string
  /** Fewer than these seen means that the check looked in the wrong place. */
  readonly least: number
  look(tree: Tree): Verdict
}

/** Where each package may be imported, and nowhere else; `docs/decisions/0002-dependencies.md` says why it is there. */
export const packagePlaces: Readonly<Record<string, readonly string[]>> = {
  aedes: ['src/mqtt/aedes/'],
  koffi: ['src/keys/pkcs11/', 'src/keys/openssl.ts'],
  'mqtt-packet': ['src/mqtt/mosquitto/'],
  pg: ['src/store/postgres/'],
  'smol-toml': ['src/config/'],
  typebox: [
    'src/ca/',
    'src/devices/ownership/',
    'src/orders/',
    'src/updates/campaigns/',
    'src/server/',
    'src/config/',
    'src/cli/',
  ],
}

/** Files beside `registry.ts` that every protocol folder has; `*` stands for the folder's name. */
const PROTOCOL_FILES = ['index.ts', 'failures.ts', 'client.ts', '*.test.ts', 'README.md'] as const

/** One place chooses implementations, and `init` makes once what they start from; a registry only names them. */
const CHOOSERS = ['src/server/compose.ts', 'src/server/init.ts', 'src/keys/registry.ts', 'src/store/registry.ts'] as const
/** With `--data` a command opens a directory's database itself, by its URL. */
const OPENERS = ['src/server/', 'src/cli/'] as const

/** What runs on a build machine as well, and must not know who holds a key. */
const KEYLESS = ['src/signing/format.ts', 'src/signing/formats/', 'src/signing/artifact/'] as const
const ENCODINGS: ReadonlySet<string> = new Set(['base', 'asn1', 'algorithms', 'x509', 'cms', 'cbor', 'jose'])

/** Time and chance come in as a `World`, so that a simulation can own them. */
const TIME_AND_CHANCE = [
  /\bDate\.now\(/,
  /\bnew Date\(\s*\)/,
  /\bMath\.random\(/,
  /\bsetInterval\(/,
  /\brandom(?:Bytes|UUID|Int|Fill|FillSync)\(/,
  /\bgetRandomValues\(/,
] as const

export const checks: readonly Check[] = [
  {
    name: 'imports follow src/rooms.ts',
    least: 20,
    look({ files, rooms }) {
      const faults: string[] = []
      let seen = 0
      for (const [file, text] of product(files)) {
        const room = roomOf(file)
        if (room === undefined) continue
        for (const { specifier, target } of importsOf(file, text)) {
          const to = roomOf(target)
          if (target === UNREADABLE) faults.push(`${file} imports what cannot be read here: write the path as plain text`)
          else if (!target.startsWith('src/')) {
            if (specifier.startsWith('.')) faults.push(`${file} imports ${target}, which is no product code`)
          } else if (to !== room && to !== undefined) {
            seen++
            if (specifier.startsWith('.')) faults.push(`${file} imports ${specifier}: write #${target.slice('src/'.length)}`)
            if (!rooms[room]?.mayImport.includes(to)) {
              faults.push(`${file} imports ${to}: ${rooms[room]?.never?.[to] ?? 'not in its mayImport list in src/rooms.ts'}`)
            }
          } else if (isTest(target)) faults.push(`${file} imports ${target}, which belongs to tests`)
        }
      }
      return { seen, faults }
    },
  },
  {
    name: 'every source file belongs to a room, and no room is empty',
    least: 20,
    look({ files, rooms }) {
      const sources = [...product(files).keys()].filter((file) => file !== 'src/rooms.ts')
      const homeless = sources.filter((file) => rooms[roomOf(file) ?? ''] === undefined)
      const empty = Object.keys(rooms).filter((room) => !sources.some((file) => roomOf(file) === room))
      return {
        seen: sources.length,
        faults: [
          ...homeless.map((file) => `${file} belongs to no room of src/rooms.ts`),
          ...empty.map((room) => `src/${room} holds no code: remove the room from src/rooms.ts, or write it`),
        ],
      }
    },
  },
  {
    name: 'rooms form no circle',
    least: 5,
    look({ rooms }) {
      const faults: string[] = []
      const done = new Set<string>()
      const visit = (room: string, trail: readonly string[]): void => {
        if (trail.includes(room)) faults.push(`src/rooms.ts: ${[...trail.slice(trail.indexOf(room)), room].join(' imports ')}`)
        else if (!done.has(room)) {
          if (rooms[room] === undefined) faults.push(`src/rooms.ts: ${trail.at(-1)} may import ${room}, which is no room`)
          for (const next of rooms[room]?.mayImport ?? []) visit(next, [...trail, room])
          done.add(room)
        }
      }
      for (const room of Object.keys(rooms)) visit(room, [])
      return { seen: done.size, faults }
    },
  },
  {
    name: 'only server/compose.ts chooses key stores and databases',
    least: 2,
    look({ files }) {
      const faults: string[] = []
      let seen = 0
      for (const [file, text] of product(files)) {
        for (const { target } of importsOf(file, text)) {
          const folder = /^src\/(?:keys|store)\/[^/]+\//.exec(target)?.[0]
          const isRegistry = target === 'src/keys/registry.ts' || target === 'src/store/registry.ts'
          if (folder === undefined && !isRegistry) continue
          seen++
          if (CHOOSERS.some((chooser) => chooser === file)) continue
          if (folder === undefined ? OPENERS.some((room) => file.startsWith(room)) : file.startsWith(folder)) continue
          faults.push(`${file} imports ${target}: take the contract as an argument; server/compose.ts chooses`)
        }
      }
      return { seen, faults }
    },
  },
  {
    name: 'formats never see a key',
    least: 1,
    look({ files }) {
      const faults: string[] = []
      let seen = 0
      for (const [file, text] of product(files)) {
        if (!KEYLESS.some((place) => file.startsWith(place))) continue
        for (const { specifier, target } of importsOf(file, text)) {
          if (!target.startsWith('src/')) continue
          seen++
          const isAllowed = KEYLESS.some((place) => target.startsWith(place)) || ENCODINGS.has(roomOf(target) ?? '')
          if (!isAllowed) faults.push(`${file} imports ${specifier}: a format is a pure function of octets (decision 6)`)
        }
      }
      return { seen, faults }
    },
  },
  {
    name: 'packages stay where decision 0002 puts them',
    least: 3,
    look({ files }) {
      const faults: string[] = []
      let seen = 0
      for (const [file, text] of product(files)) {
        for (const { specifier } of importsOf(file, text)) {
          if (/^[.#]|^node:/.test(specifier) || specifier === UNREADABLE) {
            if (specifier === 'node:test') faults.push(`${file} imports node:test, which belongs to tests`)
            continue
          }
          seen++
          const name = specifier
            .split('/')
            .slice(0, specifier.startsWith('@') ? 2 : 1)
            .join('/')
          const places = packagePlaces[name]
          if (places === undefined) faults.push(`${file} imports ${name}: no place in packagePlaces; does decision 0002 know it?`)
          else if (!places.some((place) => file.startsWith(place))) {
            faults.push(`${file} imports ${name}, which only ${places.join(', ')} may`)
          }
        }
      }
      return { seen, faults }
    },
  },
  {
    name: 'time and chance come from base',
    least: 20,
    look({ files }) {
      const sources = [...product(files)].filter(([file]) => roomOf(file) !== 'base')
      const faults = sources.flatMap(([file, text]) =>
        TIME_AND_CHANCE.flatMap((pattern) => {
          const found = pattern.exec(withoutComments(text))
          return found === null ? [] : [`${file} calls ${found[0]}…: take a World of #base/world.ts as an argument`]
        }),
      )
      return { seen: sources.length, faults }
    },
  },
  {
    name: 'a file finds its neighbors in a checkout whose path has a space',
    least: 20,
    look({ files }) {
      const sources = [...files].filter(([file]) => /\.(?:ts|mjs)$/.test(file))
      const escaped = sources.filter(([, text]) => /import\.meta\.url\)\s*\.pathname/.test(withoutComments(text)))
      return {
        seen: sources.length,
        faults: escaped.map(([file]) => `${file}: a URL's pathname is escaped; join import.meta.dirname`),
      }
    },
  },
  {
    name: 'every source file says what it is for',
    least: 20,
    look({ files }) {
      // a test is named after the file that it tests, and its titles say the rest
      const sources = [...files].filter(([file]) => /\.(?:ts|mjs)$/.test(file) && !file.endsWith('.test.ts'))
      const silent = sources.filter(([, text]) => !/^(?:#!.*\n)?\/\*\*(?:(?!\*\/)[\s\S])*@module\s*\*\//.test(text))
      return { seen: sources.length, faults: silent.map(([file]) => `${file} does not begin with a /** … @module */ comment`) }
    },
  },
  {
    name: 'every protocol folder has the same files and is registered',
    least: 1,
    look({ files }) {
      const folders = new Set([...files.keys()].flatMap((file) => /^src\/protocols\/([^/]+)\//.exec(file)?.[1] ?? []))
      const registry = files.get('src/protocols/registry.ts') ?? ''
      const registered = new Set(importsOf('src/protocols/registry.ts', registry).map(({ target }) => target))
      const faults = [...folders].flatMap((folder) => {
        const at = `src/protocols/${folder}`
        const missing = PROTOCOL_FILES.map((file) => `${at}/${file.replace('*', folder)}`).filter((file) => !files.has(file))
        return [
          ...missing.map((file) => `${file} is missing: every protocol folder has one`),
          ...(registered.has(`${at}/index.ts`) ? [] : [`src/protocols/registry.ts does not import ./${folder}/index.ts`]),
        ]
      })
      return { seen: folders.size, faults }
    },
  },
  {
    name: 'a wire maps the closed error codes in a failures.ts, total by type',
    least: 1,
    look({ files }) {
      const maps = [...files].filter(([file]) => posix.basename(file) === 'failures.ts')
      const partial = maps.filter(
        ([, text]) =>
          !/satisfies Readonly<Record<TrustErrorCode,|satisfies Record<TrustErrorCode,|: Readonly<Record<TrustErrorCode,/.test(
            text,
          ),
      )
      return {
        seen: maps.length,
        faults: partial.map(([file]) => `${file} has no table that satisfies Record<TrustErrorCode, …>`),
      }
    },
  },
  {
    name: 'ARCHITECTURE.md shows the rooms as they are',
    least: 5,
    look({ files, rooms }) {
      const shown = ROOM_TABLE.exec(files.get('ARCHITECTURE.md') ?? '')?.[1]
      const rows = roomTable(rooms)
      const faults = shown === rows ? [] : [`ARCHITECTURE.md: the rows between the rooms marks should be\n${rows}`]
      return { seen: shown?.split('\n').length ?? 0, faults }
    },
  },
  {
    name: 'the lockfile names packages and hashes, no registry',
    least: 10,
    look({ files }) {
      const { packages = {} } = JSON.parse(files.get('package-lock.json') ?? '{}') as { packages?: Record<string, Locked> }
      const entries = Object.entries(packages).filter(([path]) => path !== '')
      return {
        seen: entries.length,
        faults: entries.flatMap(([path, { resolved, integrity }]) => [
          ...(resolved === undefined ? [] : [`package-lock.json: ${path} names where it was fetched from`]),
          ...(integrity?.startsWith('sha512-') ? [] : [`package-lock.json: ${path} has no SHA-512`]),
        ]),
      }
    },
  },
  {
    name: 'the runtime is the same wherever it is named',
    least: 3,
    look({ files }) {
      const { optionalDependencies = {} } = JSON.parse(files.get('package.json') ?? '{}') as {
        optionalDependencies?: Record<string, string>
      }
      const named = Object.entries(optionalDependencies)
      const faults = ['bin/sealworks', 'tools/relink.mjs'].flatMap((file) =>
        named.filter(([name]) => !(files.get(file) ?? '').includes(name)).map(([name]) => `${file} does not know ${name}`),
      )
      if (new Set(named.map(([, version]) => version)).size > 1)
        faults.push('package.json: the runtime differs between platforms')
      return { seen: named.length, faults }
    },
  },
  {
    name: 'requirement numbers exist',
    least: 1,
    look({ files }) {
      const known = new Set(
        [...(files.get('docs/requirements.md') ?? '').matchAll(/^\| (R\d+) \|/gm)].map(([, number]) => number),
      )
      const cited = [...files].flatMap(([file, text]) => [...text.matchAll(REQUIREMENT)].map(([number]) => ({ file, number })))
      const unknown = cited.filter(({ number }) => !known.has(number))
      return {
        seen: cited.length,
        faults: unknown.map(({ file, number }) => `${file} cites ${number}, which docs/requirements.md does not have`),
      }
    },
  },
  {
    name: 'decisions are numbered without gaps',
    least: 2,
    look({ files }) {
      const names = [...files.keys()].filter((file) => file.startsWith('docs/decisions/')).toSorted()
      const faults = names.flatMap((file, at) =>
        new RegExp(`^docs/decisions/${String(at + 1).padStart(4, '0')}-[a-z0-9-]+\\.md$`).test(file)
          ? []
          : [`${file} is not number ${at + 1}`],
      )
      return { seen: names.length, faults }
    },
  },
  {
    name: 'nothing is left for later in a comment',
    least: 20,
    look({ files }) {
      const marks = /\b(?:TO(?:DO)|FIX(?:ME))\b/ // split, or this file would hold them
      const marked = [...files].filter(([, text]) => marks.test(text))
      return {
        seen: files.size,
        faults: marked.map(([file]) => `${file} says ${marks.exec(files.get(file) ?? '')?.[0]}: do it, or file an issue`),
      }
    },
  },
]

interface Locked {
  readonly resolved?: string
  readonly integrity?: string
}

const ROOM_TABLE = /<!-- rooms[^>]*-->\n[^\n]*\n[^\n]*\n([\s\S]*?)\n<!-- \/rooms -->/

/** Not part of a longer word, so that key names such as `R2D` or paths are left alone. */
const REQUIREMENT = /(?<![\w/.-])R[1-9]\d?(?![\w.-]*\w)/g

export const roomTable = (rooms: Tree['rooms']): string =>
  Object.entries(rooms)
    .map(([name, { holds, mayImport }]) => `| ${name} | ${holds} | ${mayImport.join(', ')} |`)
    .join('\n')

const isTest = (file: string): boolean => /\.test\.ts$|\/(?:contract|(?:[a-z-]+-)?testing)\.ts$|\/testdata\//.test(file)

const product = (files: Tree['files']): ReadonlyMap<string, string> =>
  new Map([...files].filter(([file]) => file.startsWith('src/') && file.endsWith('.ts') && !isTest(file)))

const roomOf = (path: string): string | undefined => /^src\/([^/]+)\//.exec(path)?.[1]

interface Import {
  /** As it is written. */
  readonly specifier: string
  /** From the repository's root when it is a file of ours, else as written. */
  readonly target: string
}

const UNREADABLE = 'a computed path'

/**
 * Every import of a file: static, for types, for its effect, re-exported, dynamic.
 *
 * A method may be called `import`; a type or a body after its parentheses tells it from a dynamic import.
 */
export function importsOf(file: string, text: string): readonly Import[] {
  const code = withoutComments(text)
  const plain = [...code.matchAll(/(?<![.\w$])(?:import|export)\b(?:[^'"`;()]*?\bfrom)?\s*\(?\s*(['"])([^'"\n]+)\1/g)].map(
    ([, , specifier = '']) => ({
      specifier,
      target: targetOf(file, specifier),
    }),
  )
  const computed = [...code.matchAll(/(?<![.\w$])import\s*\((?!\s*['"])(?![^()]*\)\s*[:{])|\bcreateRequire\(/g)]
  return [...plain, ...computed.map(() => ({ specifier: UNREADABLE, target: UNREADABLE }))]
}

function targetOf(file: string, specifier: string): string {
  if (specifier.startsWith('#')) return posix.join('src', specifier.slice(1))
  return specifier.startsWith('.') ? posix.join(posix.dirname(file), specifier) : specifier
}

/** Comments, and beside them all in which `//` means something else. */
const LEXEMES =
  /\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\[\s\S]|[^`\\])*`|(?<=[(,=:[!&|?{};\n]\s*)\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\//g

const withoutComments = (text: string): string => text.replace(LEXEMES, (lexeme) => (/^\/[*/]/.test(lexeme) ? ' ' : lexeme))
