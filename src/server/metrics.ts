/**
 * Counters and durations in Prometheus' text format 0.0.4.
 *
 * Label values come from closed lists, never from a peer, so the number of series is bounded.
 *
 * @module
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Observe } from './listener.ts'

export interface Counter {
  add(amount: number, ...labels: string[]): void
}

export interface Metrics {
  readonly observe: Observe
  /** @param labelNames in the order of the values given to `add` */
  counter(name: string, help: string, labelNames?: readonly string[]): Counter
  /** @param read asked at each scrape; a value that cannot be had is left out */
  gauge(name: string, help: string, read: () => number | Promise<number>): void
  render(): Promise<string>
}

export const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

/** From a prepared OCSP answer to an HSM that is slow. */
const BUCKETS_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] as const

type Render = () => readonly string[] | Promise<readonly string[]>

export function metrics({ version, startedAt }: { readonly version: string; readonly startedAt: number }): Metrics {
  const families: (() => Promise<readonly string[]>)[] = []
  const family = (name: string, type: string, help: string, samples: Render): void => {
    families.push(async () => [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...(await samples())])
  }

  const counter: Metrics['counter'] = (name, help, labelNames = []) => {
    const counts = new Map<string, { readonly labels: readonly string[]; value: number }>()
    family(name, 'counter', help, () =>
      [...counts.values()].map(({ labels, value }) => `${name}${labelText(labelNames, labels)} ${value}`),
    )
    return {
      add(amount, ...labels) {
        const key = labels.join('\n')
        const known = counts.get(key)
        if (known === undefined) counts.set(key, { labels, value: amount })
        else known.value += amount
      },
    }
  }
  const gauge: Metrics['gauge'] = (name, help, read) =>
    family(name, 'gauge', help, async () => {
      try {
        return [`${name} ${await read()}`]
      } catch {
        return [] // its absence is what a monitor sees
      }
    })

  const requests = counter('sealworks_requests_total', 'Answers by listener, route and status', ['listener', 'route', 'status'])
  const connections = counter('sealworks_connections_total', 'Connections by listener and what became of them', [
    'listener',
    'event',
  ])
  const durations = new Map<string, Histogram>()
  const DURATION = 'sealworks_request_seconds'
  family(DURATION, 'histogram', 'Time from the request head to the end of the answer', () =>
    [...durations].flatMap(([route, histogram]) => histogramLines(DURATION, route, histogram)),
  )

  gauge('sealworks_start_time_seconds', 'When this process began to serve', () => startedAt / 1000)
  family('sealworks_build_info', 'gauge', 'The running version', () => [
    `sealworks_build_info{version="${escapeLabel(version)}"} 1`,
  ])
  family('process_cpu_seconds_total', 'counter', 'Processor time used', () => {
    const { user, system } = process.cpuUsage()
    return [`process_cpu_seconds_total ${(user + system) / 1e6}`]
  })
  gauge('process_resident_memory_bytes', 'Memory in use', () => process.memoryUsage.rss())
  const delay = monitorEventLoopDelay({ resolution: 20 })
  delay.enable()
  gauge('nodejs_eventloop_lag_p99_seconds', 'How late the event loop ran, since the last scrape', () => {
    const seconds = delay.percentile(99) / 1e9
    delay.reset()
    return seconds
  })

  return {
    observe: {
      request(listener, route, status, seconds) {
        requests.add(1, listener, route, String(status))
        let histogram = durations.get(route)
        if (histogram === undefined)
          durations.set(route, (histogram = { counts: BUCKETS_SECONDS.map(() => 0), count: 0, sum: 0 }))
        const bucket = BUCKETS_SECONDS.findIndex((limit) => seconds <= limit)
        if (bucket !== -1) histogram.counts[bucket] = (histogram.counts[bucket] ?? 0) + 1
        histogram.count += 1
        histogram.sum += seconds
      },
      connection: (listener, event) => connections.add(1, listener, event),
    },
    counter,
    gauge,
    render: async () => `${(await Promise.all(families.map((render) => render()))).flat().join('\n')}\n`,
  }
}

interface Histogram {
  /** Not yet cumulative. */
  readonly counts: number[]
  count: number
  sum: number
}

function histogramLines(name: string, route: string, { counts, count, sum }: Histogram): string[] {
  const label = `route="${escapeLabel(route)}"`
  let below = 0
  const buckets = counts.map((each, index) => `${name}_bucket{${label},le="${BUCKETS_SECONDS[index]}"} ${(below += each)}`)
  return [
    ...buckets,
    `${name}_bucket{${label},le="+Inf"} ${count}`,
    `${name}_sum{${label}} ${sum}`,
    `${name}_count{${label}} ${count}`,
  ]
}

const labelText = (names: readonly string[], values: readonly string[]): string =>
  names.length === 0 ? '' : `{${names.map((name, index) => `${name}="${escapeLabel(values[index] ?? '')}"`).join(',')}}`

const escapeLabel = (value: string): string => value.replace(/[\\"\n]/g, (c) => (c === '\n' ? '\\n' : `\\${c}`))
