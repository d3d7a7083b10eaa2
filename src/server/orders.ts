/**
 * Production orders with what they need of other rooms: an authority for each node, and who keeps devices.
 *
 * @module
 */
import { crossSign } from '#ca/cross-sign.ts'
import { chainOf } from '#ca/authorities.ts'
import { NO_EXPIRY } from '#ca/issue.ts'
import type { NodeAuthority, OrdersContext, RecordBirths } from '#orders/orders.ts'
import { formatName, nameOf } from '#x509/name.ts'
import type { CAServices, Foundation } from './compose.ts'

/** Whoever keeps devices will fill this; the entries are kept in any case, with the certificates. */
const recordNothing: RecordBirths = async () => {}

export const openOrders = (
  { db, audit, world, organizationId }: Foundation,
  ca: Pick<CAServices, 'context' | 'authorities' | 'keys'>,
  recordBirths: RecordBirths = recordNothing,
): OrdersContext => ({
  db,
  audit,
  world,
  organizationId,
  keys: ca.keys,
  certifyNode: (wanted, actor) => certifyNode(ca, wanted, actor),
  recordBirths,
})

const DAY_MILLISECONDS = 86_400_000

/**
 * For names below the order's, and nothing else: no authority below it, no host, no address, no mailbox. It lasts as long as
 * the authority above it does, since a birth certificate is worth no more than those above it.
 */
async function certifyNode(
  { context, authorities }: Pick<CAServices, 'context' | 'authorities'>,
  { authority: address, request, subject }: NodeAuthority,
  actor: string,
): Promise<readonly Uint8Array[]> {
  const authority = authorities.byAddress(address)
  const end = authority.certificate.notAfter.getTime()
  const days = Math.floor((end - context.world.clock.now()) / DAY_MILLISECONDS)
  const permitted = [`dir:${formatName(nameOf(subject))}`, 'dns:invalid', 'email:invalid']
  const issued = await crossSign(
    context,
    authorities,
    {
      authority: address,
      of: { request },
      profile: 'issuing',
      pathLength: 0,
      nameConstraints: { permitted, excluded: ['ip:0.0.0.0/0', 'ip:::/0'] },
      validity: end === NO_EXPIRY ? { noExpiry: true } : { days },
    },
    actor,
  )
  return [issued.der, ...chainOf(authorities, authority)]
}
