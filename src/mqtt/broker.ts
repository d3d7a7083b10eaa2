/**
 * What a message broker is here, whether it runs in this process or beside it, and what it asks of the rest.
 *
 * @module
 */
import { utf8 } from '#base/bytes.ts'
import { asTrustError } from '#base/errors.ts'
import type { Reason } from '#base/sentences.ts'

/** A device as brokers know it: who it is, and where its topics lie. */
export interface BrokerDevice {
  readonly deviceId: string
  /** Of its ownership. */
  readonly epoch: number
  readonly name: string
  /** Its owner's name. */
  readonly organization: string
  readonly area: string
  readonly areaId: string
}

/** Filters of topics beyond a device's own subtree, by the conduits of its area. */
export interface Grants {
  readonly publish: readonly string[]
  readonly subscribe: readonly string[]
}

/** What has to hold before a device may publish or subscribe: the rule `publish` decides. */
export type TopicCondition = 'certificate-usable' | 'own-subtree' | 'conduit'

/** Filled by the server: devices and their rules are not known here. */
export interface BrokerRules {
  grants(device: BrokerDevice): Promise<Grants>
  allows(holding: ReadonlySet<TopicCondition>): boolean
  /** For the audit log. Does not have to be waited for. */
  refused(device: BrokerDevice, act: 'publish' | 'subscribe', topic: string): void
}

/** Takes what devices send to the server, at `up/KIND`. */
export interface BrokerInbox {
  readonly kinds: readonly string[]
  /**
   * @returns what the device is answered at `down/KIND`, if anything
   * @throws TrustError `unavailable` to be sent it again; anything else is told the device at `down/KIND/refused`
   */
  take(device: BrokerDevice, kind: string, octets: Uint8Array): Promise<Uint8Array | undefined>
}

/**
 * Hands in what a device sent.
 *
 * @returns what it is told, and where below `down`
 * @throws TrustError `unavailable`, `internal`: not to be acknowledged, so that it is sent again
 */
export async function handIn(
  inbox: BrokerInbox,
  device: BrokerDevice,
  kind: string,
  octets: Uint8Array,
): Promise<{ readonly topic: string; readonly octets: Uint8Array } | undefined> {
  try {
    const answer = await inbox.take(device, kind, octets)
    return answer && { topic: kind, octets: answer }
  } catch (thrown) {
    const { code, reason, message } = asTrustError(thrown)
    if (code === 'unavailable' || code === 'internal') throw thrown
    return { topic: `${kind}/refused`, octets: utf8(JSON.stringify({ reason, detail: message })) }
  }
}

/** What goes to a device: `cmd` is the server's alone. */
export interface DeviceMessage {
  readonly channel: 'cmd' | 'down'
  /** Levels below the channel. */
  readonly topic: string
  readonly octets: Uint8Array
}

export interface BrokerStatus {
  readonly broker: 'built-in' | 'mosquitto'
  readonly state: 'running' | 'away' | 'stopped'
  /** What is wrong, in words, while it is away or disagrees. */
  readonly detail: string | undefined
  /** Connected devices; undefined where the broker does not say. */
  readonly sessions: number | undefined
  /** Devices that the broker lets in, as it was last compared; undefined where it asks for each. */
  readonly devices: number | undefined
  /** Sessions that were ended because a device may no longer connect, since the start. */
  readonly cut: number
}

/** What was found different when a broker was compared with what should be, and put right. */
export interface Reconciliation {
  readonly devices: number
  readonly added: number
  readonly changed: number
  readonly removed: number
}

export interface Broker {
  start(): Promise<void>
  /** Takes no more connections and ends those there are. */
  stop(): Promise<void>
  /** Ends the sessions of a device, and lets it in no more by what was decided before. @returns how many it ended, where the broker says */
  cut(deviceId: string, reason: Reason): Promise<number>
  /** @returns false for a device that is not known to the broker now @throws TrustError `unavailable` */
  publish(deviceId: string, message: DeviceMessage): Promise<boolean>
  /** Compares what the broker has with what should be, and puts it right. @throws TrustError `unavailable` */
  reconcile(): Promise<Reconciliation>
  status(): BrokerStatus
}
