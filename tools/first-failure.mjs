/**
 * A reporter that ends the run at the first failing test: a mutant needs to be caught once.
 *
 * @module
 */
// oxlint-disable-next-line import/no-default-export -- how the runner finds a reporter
export default async function* firstFailure(source) {
  for await (const { type, data } of source) {
    if (type === 'test:fail') process.exit(1)
    if (type === 'test:summary' && data.file === undefined) yield `${data.counts.tests} tests\n`
  }
}
