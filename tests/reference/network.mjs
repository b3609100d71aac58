// The reference implementations of the PLC directory and of PDSs, on the loopback interface, with empty data.
// node network.mjs MODULES DATA PLC_PORT PDS_PORT... : MODULES holds node_modules, DATA is made anew.
// With RATE_LIMITS=on in the environment the PDSs limit rates as they do by default.
// The accounts' documents say http://localhost:PDS_PORT. Ends at SIGTERM.
import crypto from 'node:crypto'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import net from 'node:net'
import path from 'node:path'

const [modules, data, plcPort, ...pdsPorts] = process.argv.slice(2)

// Both servers listen on every interface and have no setting for it.
const listen = net.Server.prototype.listen
net.Server.prototype.listen = function (port, ...rest) {
  return listen.call(this, port, '127.0.0.1', ...rest)
}

// The packages lie elsewhere than this file, so they aren't found by `import`.
const require = createRequire(path.join(modules, 'package.json'))
const { PlcServer, Database } = require('@did-plc/server')
const { PDS, envToCfg, envToSecrets } = require('@atproto/pds')

async function startPds(port) {
  const dataDirectory = path.join(data, String(port))
  const blobstoreDiskLocation = path.join(dataDirectory, 'blobs')
  fs.mkdirSync(blobstoreDiskLocation, { recursive: true })
  const env = {
    // With devMode the name `localhost` makes the documents' endpoint http, with the port.
    devMode: true,
    hostname: 'localhost',
    port,
    dataDirectory,
    blobstoreDiskLocation,
    didPlcUrl: `http://127.0.0.1:${plcPort}`,
    plcRotationKeyK256PrivateKeyHex: crypto.randomBytes(32).toString('hex'),
    jwtSecret: crypto.randomBytes(16).toString('hex'),
    adminPassword: 'admin',
    serviceHandleDomains: ['.test'],
    inviteRequired: false,
    rateLimitsEnabled: process.env.RATE_LIMITS === 'on',
    // Nothing here may ask the outside world for anything.
    bskyAppViewUrl: 'https://appview.invalid',
    bskyAppViewDid: 'did:example:invalid',
    crawlers: [],
    logEnabled: false,
  }
  const pds = await PDS.create(envToCfg(env), envToSecrets(env))
  await pds.start()
  return pds
}

fs.rmSync(data, { recursive: true, force: true })
const plc = PlcServer.create({ db: Database.mock(), port: Number(plcPort) })
await plc.start()
const pdses = await Promise.all(pdsPorts.map(Number).map(startPds))
console.log('ready')

process.on('SIGTERM', async () => {
  await Promise.all(pdses.map((pds) => pds.destroy()))
  await plc.destroy()
  process.exit(0)
})
