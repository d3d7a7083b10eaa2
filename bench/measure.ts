/**
 * Times small operations: warms up, then prints the median and the best round of each in µs of this thread's own
 * processor time, so that a busy machine disturbs less.
 *
 * @module
 */

const ROUNDS = 9
const ROUND_MILLISECONDS = 150

export async function measure(cases: readonly (readonly [name: string, act: () => unknown])[]): Promise<void> {
  console.log('  median    best  µs per operation')
  for (const [name, act] of cases) {
    const round = async (milliseconds: number): Promise<number> => {
      const start = performance.now()
      const before = process.threadCpuUsage()
      let count = 0
      while (performance.now() - start < milliseconds) {
        for (let i = 0; i < 50; i++) {
          const result = act()
          if (result instanceof Promise) await result
        }
        count += 50
      }
      const { user, system } = process.threadCpuUsage(before)
      return (user + system) / count
    }
    await round(ROUND_MILLISECONDS * 2)
    const times: number[] = []
    for (let i = 0; i < ROUNDS; i++) times.push(await round(ROUND_MILLISECONDS))
    times.sort((a, b) => a - b)
    console.log(`${(times[ROUNDS >> 1] as number).toFixed(2).padStart(8)}${(times[0] as number).toFixed(2).padStart(8)}  ${name}`)
  }
}
