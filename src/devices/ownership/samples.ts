/** Statements, a package and a voucher as owners and makers write them: seeds of the fuzz. Not part of any program. @module */
import { generateKeyPairSync, sign } from 'node:crypto'
import { importPublicKey } from '#algorithms/public-key.ts'
import { follow, partyOf, placeAfter, signAnswer, signNotice, signOffer, signPresence, signRelease } from './messages.ts'
import { encodePackage } from './package.ts'
import { deviceNameOf } from './statement.ts'

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }))
const key = { publicKey: spki, sign: async (message: Uint8Array) => new Uint8Array(sign('sha256', message, privateKey)) }
const known = importPublicKey(spki)
/** One key for everybody: maker, owner and device. */
export const sampleMakers = [known] as const

const device = deviceNameOf(spki)
const to = partyOf('anna', known)
const at = Date.UTC(2027, 0, 1)
const product = { manufacturer: 'valves', model: 'v2', productSerial: 'V2-1', variant: 'software', assurance: 2 } as const

const offer = await signOffer(
  placeAfter(undefined, device),
  { to, product, terms: 'as agreed', offeredAt: at, expiresAt: at + 1000 },
  key,
)
const answer = await signAnswer(offer, { isAccepted: true, answeredAt: at }, key)
const release = await signRelease(offer, answer, at, key)
const standing = await follow(undefined, release.statement, { makers: sampleMakers })
const presence = await signPresence(placeAfter(standing, device), { key: known, to, nonce: device, at }, key)
const notice = await signNotice(presence, { reason: 'insolvent', publishedAt: at, endsAt: at + 30 * 86_400_000 }, key)

export const sampleStatements = { offer, answer, release, presence, notice } as const
export const samplePackage = encodePackage({ chain: [release.statement], offer: offer.statement, certificates: [spki] })
