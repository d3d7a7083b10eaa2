/**
 * The end of an authority: it issues nothing more, then its last certificate ends, then its key is destroyed.
 *
 * @module
 */
import { asTrustError, TrustError } from '#base/errors.ts'
import type { Authorities, Authority } from './authorities.ts'
import { noteChange } from './authority-record.ts'
import { ceremonyFacts } from './ceremony.ts'
import type { CAContext } from './context.ts'
import { listEndpoints } from './endpoint.ts'
import { ocspResponder } from './profiles/ocsp-responder.ts'
import { activeOne, retireIn } from './rotate.ts'

/** Issues nothing more from now on; CRLs and OCSP go on. @throws TrustError `conflict` while an enabled endpoint issues with it */
export async function retireAuthority(
  context: CAContext,
  authorities: Authorities,
  address: string,
  actor: string,
): Promise<Authority> {
  const { db, audit } = context
  const authority = activeOne(authorities, address)
  const used = (await listEndpoints(context)).filter(
    ({ authorityId, state }) => authorityId === authority.id && state === 'enabled',
  )
  if (used.length > 0) {
    const endpoints = used.map(({ label }) => label).join(', ')
    throw new TrustError('conflict', 'authorityInUse', { facts: { authority: authority.address, endpoints } })
  }
  await db.transaction(async (tx) => {
    await noteChange(tx)
    await retireIn(tx, authority)
    await audit.record(tx, {
      actor,
      act: 'ca.retire',
      object: `authority:${authority.id}`,
      outcome: 'done',
      facts: ceremonyFacts(context, authority, authorities.issuerOf(authority)),
    })
  })
  await authorities.refresh()
  return authorities.byId(authority.id)
}

/**
 * Destroys the key for good. A retired authority must have outlived all it issued, since nobody else can sign its CRLs;
 * a revoked one is believed by nobody.
 *
 * @throws TrustError `conflict` while it is active or something that it issued is valid
 */
export async function destroyAuthorityKey(
  context: CAContext,
  authorities: Authorities,
  address: string,
  actor: string,
): Promise<Authority> {
  const { db, audit, keys, world } = context
  const authority = authorities.byAddress(address)
  const { id, state, certificate, issuerId = id } = authority
  const facts = { authority: authority.address }
  if (state === 'active') throw new TrustError('conflict', 'authorityActive', { facts })
  if (state !== 'ended') {
    await db.transaction(async (tx) => {
      await noteChange(tx)
      // as it is now, whatever was seen before: a hold may be lifted, and then the key is needed again
      const [now] = await tx.query(
        `SELECT a.state, c.state AS own FROM authority a LEFT JOIN certificate c ON c.serial_number = ? AND c.authority_id = ?
          WHERE a.id = ?`,
        ...[certificate.serialNumber, issuerId, id],
      )
      const isRevoked = now?.['own'] === 'revoked'
      if (now?.['state'] === 'active' && !isRevoked) throw new TrustError('conflict', 'authorityHeld', { facts })
      // its responders speak for it, and are made anew as long as it is there
      const [last] = await tx.query(
        'SELECT MAX(not_after) AS until FROM certificate WHERE authority_id = ? AND serial_number <> ? AND profile <> ?',
        ...[id, certificate.serialNumber, ocspResponder.id],
      )
      const until = (last?.['until'] as number | null | undefined) ?? 0
      if (!isRevoked && until >= world.clock.now())
        throw new TrustError('conflict', 'authorityNeeded', { facts: { ...facts, until: new Date(until).toISOString() } })
      await tx.query("UPDATE authority SET state = 'ended', version = version + 1 WHERE id = ?", id)
      await audit.record(tx, {
        actor,
        act: 'ca.destroy-key',
        object: `authority:${id}`,
        outcome: 'done',
        facts: ceremonyFacts(context, authority, authorities.issuerOf(authority)),
      })
    })
  }
  // after the record: an authority whose key is gone and whose record says otherwise would keep the server from starting
  await authorities.refresh()
  const own = (await keys.list()).filter(
    ({ label }) => label === authority.keyLabel || label.startsWith(`ocsp/${authority.address}/`),
  )
  for (const { label } of own) {
    await keys.destroy(label).catch((error: unknown) => {
      if (asTrustError(error).code !== 'notFound') throw error
    })
  }
  return authorities.byId(id)
}
