"""What a run would do, in words: mongomig's dry run, step by step."""

from collections.abc import Iterator, Sequence

from mongomig.migrations.dryrun import RecordedOp
from mongomig.migrations.executor import MigrationAnalysis

from ops.migrations import files


def lines(analyses: Sequence[MigrationAnalysis]) -> Iterator[str]:
    """Each migration with its phase, each step of it, and what it would cost."""
    for one in analyses:
        yield f"{one.script.revision}  {files.phase(one.script)}  {one.script.message}"
        for op in one.ops:
            yield f"    {_step(op)}"
        if not (one.ops or one.error or one.unavailable):
            yield "    nothing"
        if one.error or one.unavailable:
            yield f"    cannot be told: {one.error or one.unavailable}"
        reasons = f": {'; '.join(one.assessment.reasons)}" if one.assessment.reasons else ""
        yield f"    risk {one.assessment.risk.name.lower()}{reasons}"


def _step(op: RecordedOp) -> str:
    words = f"{op.collection}: {op.operation.replace('_', ' ')} {op.detail}".rstrip()
    times = f", {op.calls} times" if op.calls > 1 else ""
    documents = f", about {op.estimated_docs:,} documents" if op.estimated_docs else ""
    scan = ", reads the whole collection" if op.collection_scan and op.estimated_docs else ""
    warnings = "".join(f"; {warning}" for warning in op.warnings)
    return f"{words}{times}{documents}{scan}{warnings}"
