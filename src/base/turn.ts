/**
 * Who computes: the event loop itself, or the thread pool.
 *
 * A P-256 signature costs about what the way to the pool and back costs, so a lone one is made at once. Where many
 * wait in one turn of the loop, the pool makes them on the other cores while the loop goes on with the rest.
 *
 * @module
 */

/** One request's own: its signature is checked, and one is made for it. */
const STAYING_EACH_TURN = 2

let stayed = 0

/** @returns true for the first few short computations of a turn; the others go to the pool */
export function staysInTurn(): boolean {
  if (stayed === 0) setImmediate(() => (stayed = 0)) // runs when all that arrived in this turn has been looked at
  return ++stayed <= STAYING_EACH_TURN
}
