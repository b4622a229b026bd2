"""Compiles gets.vy with the installed compiler; run as a module it renews the files in the tree."""

import json
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
SOURCE = FOLDER / "gets.vy"
ABI_FILE = FOLDER / "gets.abi.json"
BYTECODE_FILE = FOLDER / "gets.bin"


def compile_source(source: Path = SOURCE) -> tuple[str, str]:
    """(ABI, creation bytecode) of `source`, each as the text of its file in the tree.

    Raises subprocess.CalledProcessError when the compiler refuses the source.
    """
    vyper = Path(sys.executable).with_name("vyper")
    command = [str(vyper), "-p", str(source.parent), "-f", "abi,bytecode", source.name]
    run = subprocess.run(command, cwd=source.parent, capture_output=True, text=True, check=True)
    abi, bytecode = run.stdout.strip().splitlines()
    return json.dumps(json.loads(abi), indent=1) + "\n", bytecode + "\n"


def main() -> None:
    """Write gets.abi.json and gets.bin beside the source."""
    abi, bytecode = compile_source()
    ABI_FILE.write_text(abi)
    BYTECODE_FILE.write_text(bytecode)


if __name__ == "__main__":
    main()
