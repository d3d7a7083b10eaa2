/**
 * Whether a certificate names the peer that one meant to reach. The common name is not looked at.
 *
 * Source: RFC 9525, 6 (hosts, wildcards only as the whole first label, addresses); RFC 5280, 7.5 (mail addresses).
 *
 * @module
 */
import { domainToASCII } from 'node:url'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { parseIPAddress } from '../extensions/general-name.ts'
import { subjectAltName } from '../extensions/subject-alternative-name.ts'
import type { Link } from './link.ts'
import { isHostName } from './name-spaces.ts'
import { PathRefusal } from './reasons.ts'

export type PeerName =
  | { readonly type: 'dns'; readonly value: string }
  | { readonly type: 'ip'; readonly value: Uint8Array; readonly text: string }
  | { readonly type: 'email'; readonly value: string }

/** @param text `dns:HOST`, `ip:ADDRESS` or `email:MAILBOX` @throws TrustError `malformed` */
export function parsePeerName(text: string): PeerName {
  const [, type, value = ''] = /^(dns|ip|email):(.+)$/is.exec(text) ?? []
  switch (type?.toLowerCase()) {
    case 'dns':
      return { type: 'dns', value }
    case 'ip':
      return { type: 'ip', value: parseIPAddress(value), text: value }
    case 'email':
      return { type: 'email', value }
    default:
      throw new TrustError('malformed', 'peerNameText', { facts: { name: text } })
  }
}

/** @throws PathRefusal */
export function checkPeerName(link: Link, peer: PeerName): void {
  const names = link.extension(subjectAltName) ?? []
  const matches = names.some((name) => {
    if (peer.type === 'dns') return name.type === 'dNSName' && isHost(name.value.toLowerCase(), hostOf(peer.value))
    if (peer.type === 'ip') return name.type === 'iPAddress' && equal(name.value, peer.value)
    return name.type === 'rfc822Name' && isMailbox(name.value, peer.value)
  })
  if (!matches) throw new PathRefusal('pathPeerName', link.label, { name: peer.type === 'ip' ? peer.text : peer.value })
}

const hostOf = (text: string): string => domainToASCII(text.replace(/\.$/, '')).toLowerCase()

/** A wildcard stands for one label, and never for all of a top-level domain. */
function isHost(pattern: string, host: string): boolean {
  if (!pattern.startsWith('*.')) return isHostName(pattern) && pattern === host
  const rest = pattern.slice(2)
  return isHostName(rest) && rest.includes('.') && host.slice(host.indexOf('.') + 1) === rest
}

function isMailbox(a: string, b: string): boolean {
  const split = (text: string): readonly [string, string] => [
    text.slice(0, text.lastIndexOf('@')),
    text.slice(text.lastIndexOf('@')).toLowerCase(),
  ]
  const [left, right] = [split(a), split(b)]
  return left[0] === right[0] && left[1] === right[1] && left[1].length > 1
}
