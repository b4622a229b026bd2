#!/bin/sh
# Builds what functions share, for linux x86-64 and Python 3.11, whatever machine this is: see build.py. The deployer runs
# this first, with lib/ as its working directory; no function has a build of its own, which would drop its trigger.
set -eu
cd -- "$(dirname -- "$0")"
for python in python3.11 python3 python; do
    if "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1; then
        exec "$python" build.py "$@"
    fi
done
echo 'lib/build.sh: needs Python 3.11 on PATH: its bytecode is what the functions start from' >&2
exit 1
