/** A station whose certificate openssl's own hierarchy issued asks over TLS: the whole way up must be good. @module */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { encodePEM, parseOnePEM } from '#asn1/pem.ts'
import { createEndpoint } from '#ca/endpoint.ts'
import { person } from '#ca/testing.ts'
import { distrustAuthority, trustAuthority } from '#ca/trusted.ts'
import { requestFor, testKey } from '#protocols/testing.ts'
import { fingerprint } from '#x509/certificate.ts'
import { nameOf } from '#x509/name.ts'
import { plant } from './plant.ts'
import { needs } from './programs.ts'

const run = promisify(execFile)
const tools = needs('openssl', 'curl')

test(
  'R3: curl enrolls for a device with a certificate of a trusted maker, and only with the whole way up',
  { skip: tools.skip },
  async (t) => {
    const here = await plant(t)
    const file = (name: string): string => join(here.directory, name)
    const openssl = (...words: string[]): Promise<unknown> => run(tools.path('openssl'), words)
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
    await openssl(
      ...[
        'req',
        '-x509',
        ...key,
        '-keyout',
        file('root.key'),
        '-out',
        file('root.pem'),
        '-subj',
        '/CN=Maker root',
        '-days',
        '90',
      ],
      ...['-addext', 'keyUsage=critical,keyCertSign,cRLSign'],
    )
    const certify = async (name: string, issuer: string, extensions: string): Promise<void> => {
      here.writeFile(`${name}.ext`, `subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n${extensions}`)
      await openssl(
        'req',
        '-new',
        ...key,
        '-keyout',
        file(`${name}.key`),
        '-out',
        file(`${name}.csr`),
        '-subj',
        `/CN=Maker ${name}`,
      )
      await openssl(
        ...['x509', '-req', '-in', file(`${name}.csr`), '-CA', file(`${issuer}.pem`), '-CAkey', file(`${issuer}.key`)],
        ...['-CAcreateserial', '-days', '30', '-extfile', file(`${name}.ext`), '-out', file(`${name}.pem`)],
      )
    }
    await certify('line', 'root', 'basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n')
    await certify('station', 'line', 'keyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n')
    await certify('below', 'station', 'extendedKeyUsage=clientAuth\n') // by one who is no authority
    const pem = (name: string): string => readFileSync(file(`${name}.pem`), 'utf8')
    here.writeFile('station-chain.pem', pem('station') + pem('line'))
    here.writeFile('below-chain.pem', pem('below') + pem('station') + pem('line'))

    const { context, authorities } = here.ca
    const root = parseOnePEM(pem('root'), 'CERTIFICATE')
    const maker = await trustAuthority(context, authorities, { slug: 'acme', kind: 'foreign', certificate: root }, person)
    await authorities.refresh()
    const listed = (name: string) => ({
      fingerprint: fingerprint(parseOnePEM(pem(name), 'CERTIFICATE')).toHex(),
      productSerials: ['A-*'],
    })
    await createEndpoint(
      context,
      {
        label: 'maker',
        protocol: 'est',
        authorityId: authorities.byAddress('owner1').id,
        profile: 'ldevid',
        rules: { clientIssuers: [maker.address], registrationAuthorities: ['station', 'below'].map(listed) },
      },
      person,
    )

    here.writeFile('tls-root.pem', encodePEM('CERTIFICATE', here.tlsRoot))
    const ask = async (chain: string, holder: string, serial: string): Promise<string> => {
      const request = await requestFor(testKey(), { subject: nameOf([{ type: 'serialNumber', value: serial }]) })
      here.writeFile('request.b64', request.toBase64())
      const { stdout } = await run(tools.path('curl'), [
        ...['--silent', '--cacert', file('tls-root.pem'), '--cert', file(chain), '--key', file(`${holder}.key`)],
        ...['--header', 'content-type: application/pkcs10', '--data-binary', `@${file('request.b64')}`],
        ...['--write-out', '\n%{http_code}', `${here.origin}/.well-known/est/maker/simpleenroll`],
      ])
      return stdout
    }
    assert.match(await ask('station.pem', 'station', 'A-8'), /issuerNotListed[^]*\n403$/)
    assert.match(await ask('station-chain.pem', 'station', 'A-7'), /\n200$/)
    // as a TLS session that goes on brings it: without the way up, which is remembered
    assert.match(await ask('station.pem', 'station', 'A-8'), /\n200$/)
    assert.match(await ask('station-chain.pem', 'station', 'B-7'), /productSerialNotListed[^]*\n403$/)
    assert.match(await ask('below-chain.pem', 'below', 'A-9'), /"CN=Maker station" is no authority[^]*\n403$/)
    await distrustAuthority(context, authorities, maker.address, person)
    await authorities.refresh()
    assert.match(await ask('station-chain.pem', 'station', 'A-10'), /issuerNotListed[^]*\n403$/)
  },
)
