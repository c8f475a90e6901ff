"""The end of `plaudit export` of a Parquet file, in the process of its own that writes it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn

from plaudit._cli import process
from plaudit._export.place import Place
from plaudit._export.written import Exported


def become(place: Place, manifest: str | None, *, to_output: bool, json_errors: bool) -> NoReturn:
    """Go on as the process that writes the file; `to_output` says that it then goes to the standard output."""
    described = asdict(place) | {"path": str(place.path)}
    process.become("finishing", json.dumps(described), json.dumps([manifest, to_output, json_errors]))


def main(arguments: Sequence[str]) -> NoReturn:
    """Write the file, say so, and exit."""
    process.own()
    process.spare_memory()
    described = json.loads(arguments[0])
    place = Place(**described | {"path": Path(described["path"])})
    manifest, to_output, json_errors = json.loads(arguments[1])
    code = 0
    try:
        _finish(place, manifest, to_output=to_output)
    except BrokenPipeError:
        code = 1
        sys.stdout = None
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        from plaudit._cli.failures import report

        code = report(error, json_errors=json_errors)
    finally:
        if to_output:
            shutil.rmtree(place.path.parent, ignore_errors=True)
    sys.exit(code)


def _finish(place: Place, manifest: str | None, *, to_output: bool) -> None:
    from plaudit._export.finish import finish

    done = finish(place, manifest=manifest is None and not to_output)
    if to_output:
        out: Any = sys.stdout.buffer
        with place.path.open("rb") as file:
            shutil.copyfileobj(file, out, 1024 * 1024)
        out.flush()
        done = replace(done, path="-")
    report_done(done, manifest)


def report_done(done: Exported, manifest: str | None) -> None:
    """Say what was written, and write the manifest where it was asked for."""
    if manifest == "-":
        print(done.manifest(), end="", file=sys.stderr)
    elif manifest is not None and manifest != "none":
        Path(manifest).write_text(done.manifest(), "utf-8")
    if done.path != "-":
        what = "changes" if done.form == "changes" else "records"
        print(f"{done.rows} {what} at revision {done.revision}", file=sys.stderr)
