/**
 * The tree of topics: `iiot/ORGANIZATION/AREA/DEVICE/CHANNEL/…`, and which filters and topics lie within others.
 *
 * A device publishes to `up` (for the server) and `evt` (for whom a conduit lets hear), and subscribes to `cmd` (the server's
 * orders) and `down` (data, also of others where a conduit lets them).
 *
 * Source: MQTT 3.1.1, 4.7.
 *
 * @module
 */
import type { BrokerDevice, Grants, TopicCondition } from './broker.ts'

const ROOT = 'iiot'
export const publishedByDevice = ['up', 'evt'] as const
export const subscribedByDevice = ['cmd', 'down'] as const

/** Topics are divided by slashes, and `+` and `#` are wildcards: a name that has them is written so that it has not. */
const levelOf = (name: string): string =>
  name.replace(/[%+#/\p{Cc}]/gu, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`)

export const areaTopic = ({ organization, area }: Pick<BrokerDevice, 'organization' | 'area'>): string =>
  [ROOT, organization, area].map(levelOf).join('/')

/** Without a slash at its end. */
export const subtreeOf = (device: Pick<BrokerDevice, 'organization' | 'area' | 'name'>): string =>
  `${areaTopic(device)}/${levelOf(device.name)}`

/** What all devices send to the server. */
export const UP_OF_ALL = `${ROOT}/+/+/+/up/#`

/** @returns the subtree and the levels below `up`, or undefined for any other topic */
export function parseUp(topic: string): { readonly subtree: string; readonly kind: string } | undefined {
  const [root, organization, area, device, channel, ...rest] = topic.split('/')
  if (root !== ROOT || channel !== 'up' || rest.length === 0) return undefined
  return { subtree: [root, organization, area, device].join('/'), kind: rest.join('/') }
}

/** Longer topics than any of ours; each level costs the broker's index. */
export const TOPIC_MAX_OCTETS = 512
export const TOPIC_MAX_LEVELS = 24

/** Whether every topic that `filter` matches is matched by `pattern` too. A topic is a filter without wildcards. */
export function covers(pattern: string, filter: string): boolean {
  const wide = pattern.split('/')
  const narrow = filter.split('/')
  for (const [at, level] of wide.entries()) {
    if (level === '#') return true // the level above as well: 4.7.1.2
    const other = narrow[at]
    if (other === undefined || other === '#') return false
    if (level !== '+' && level !== other) return false
  }
  return wide.length === narrow.length
}

/** What holds of a device and a topic that it publishes to, or a filter that it subscribes to. */
export function conditionsFor(
  device: BrokerDevice,
  { publish, subscribe }: Grants,
  act: 'publish' | 'subscribe',
  topic: string,
): ReadonlySet<TopicCondition> {
  const holding = new Set<TopicCondition>(['certificate-usable'])
  const [channels, granted] = act === 'publish' ? [publishedByDevice, publish] : [subscribedByDevice, subscribe]
  const own = subtreeOf(device)
  if (channels.some((channel) => topic.startsWith(`${own}/${channel}/`) || topic === `${own}/${channel}`))
    holding.add('own-subtree')
  if (granted.some((pattern) => covers(pattern, topic))) holding.add('conduit')
  return holding
}
