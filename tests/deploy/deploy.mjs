// Runs the public deployer as doctl does: reads one job as JSON on stdin, prints its outcome as JSON in the last line.
//
// {project, env, include?, apihost, auth, namespace} deploys; {projects, env, apihost} only reads each of them. The
// account's token, without which the deployer passes triggers over, comes in DO_API_KEY: the deployer reads it itself.

import { readFileSync } from 'node:fs'
import deployer from '@nimbella/nimbella-deployer'

const job = JSON.parse(readFileSync(0, 'utf8'))
const flags = {
  verboseBuild: false, verboseZip: false, production: false, incremental: false, yarn: false, env: job.env,
  buildEnv: undefined, webLocal: undefined, include: job.include, exclude: undefined, remoteBuild: false, json: false
}
const quiet = { warn: console.error, progress: console.error }

deployer.initializeAPI('deploy-test')
const runtimes = await deployer.load(job.apihost)

async function deploy () {
  const ow = { apihost: job.apihost, api_key: job.auth }
  const credentials = { namespace: job.namespace, ow, storageKey: undefined, redis: false }
  const { successes, failures, namespace } = await deployer.deployProject(job.project, ow, credentials, undefined, flags, runtimes)
  return { namespace, successes, failures: failures.map(error => `${error.context}: ${deployer.getMessageFromError?.(error) ?? error.message}`) }
}

async function read (project) {
  const includer = deployer.makeIncluder(undefined, undefined)
  const { error } = await deployer.readProject(project, job.env, undefined, includer, false, quiet, runtimes)
  return error?.message ?? null
}

const outcome = job.projects ? await Promise.all(job.projects.map(read)) : await deploy()
console.log(JSON.stringify(outcome))
