import assert from 'node:assert/strict'
import { createServer, type AddressInfo } from 'node:net'
import { test } from 'node:test'
import { holderOf } from './port-holder.ts'

test('names the program that listens on a port', { skip: process.platform !== 'linux' && 'only Linux tells' }, async () => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  assert.match(holderOf(port) ?? '', new RegExp(`, process ${process.pid}$`))
  await new Promise((resolve) => server.close(resolve))
  assert.equal(holderOf(port), undefined)
})
