/** Many devices at once, as on a line. @module */

/** @param most at once @param then is told how many are done */
export async function eachOf<T, R>(
  items: readonly T[],
  most: number,
  work: (item: T) => Promise<R>,
  then: (done: number) => void,
): Promise<readonly R[]> {
  const results: R[] = []
  let [next, done] = [0, 0]
  const worker = async (): Promise<void> => {
    while (next < items.length) {
      const at = next++
      results[at] = await work(items[at] as T)
      then(++done)
    }
  }
  await Promise.all(Array.from({ length: Math.min(most, items.length) }, worker))
  return results
}
