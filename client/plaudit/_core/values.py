"""Values as people hold them, as what JSON and messages hold: scalars of numpy, other mappings, what is missing, refs.

None of the libraries that such values come from is imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from plaudit._contract import limits
from plaudit._contract.refs import Ref

_NOT_A_LIST: Final = (str, bytes, bytearray, memoryview)
_PANDAS_MISSING: Final = frozenset(("NAType", "NaTType"))


def is_missing(value: object) -> bool:
    """Whether a value stands for none: None, NaN of any library, NA and NaT of pandas, NaT of numpy."""
    if value is None:
        return True
    if isinstance(value, float):
        return value != value
    kind = type(value)
    if kind.__module__.startswith("pandas.") and kind.__name__ in _PANDAS_MISSING:
        return True
    if _is_numpy_scalar(value) or (kind.__module__ in ("decimal", "_decimal") and kind.__name__ == "Decimal"):
        # Of all scalars only NaN and NaT differ from themselves.
        return bool(value != value)
    return False


def missing_name(value: object) -> str | None:
    """What a missing value other than None is called: `NaN`, `NA` or `NaT`; None for any other value."""
    if value is None or not is_missing(value):
        return None
    name = type(value).__name__
    return {"NAType": "NA", "NaTType": "NaT", "datetime64": "NaT", "timedelta64": "NaT"}.get(name, "NaN")


def plain(value: Any) -> Any:
    """A scalar of numpy as Python's own of the same value; every other value unchanged."""
    if _is_numpy_scalar(value) and type(value).__name__ not in ("datetime64", "timedelta64", "void"):
        return value.item()
    return value


def plain_list(value: Any) -> Any:
    """An array of numpy as a list, as Parquet files are read by pandas; every other value unchanged."""
    is_array = type(value).__module__ == "numpy" and type(value).__name__ == "ndarray"
    return value.tolist() if is_array and value.shape else value


def plain_json(value: Any, depth: int = 0) -> Any:
    """A value with its mappings as dicts, its sequences as lists, and scalars of numpy by value; the rest unchanged."""
    if depth > limits.PAYLOAD_DEPTH:
        return value  # refused as nested too deep, whatever is in it
    if isinstance(value, Mapping):
        return {key: plain_json(entry, depth + 1) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, _NOT_A_LIST):
        return [plain_json(entry, depth + 1) for entry in value]
    return plain(value)


def ref_uri(value: object) -> str | None:
    """The URI of a ref that is given as text, as a `Ref` or as one of Weave's objects; None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, Ref):
        return value.uri
    if any(kind.__name__ == "Ref" and kind.__module__.partition(".")[0] == "weave" for kind in type(value).__mro__):
        uri = getattr(value, "uri", None)
        uri = uri() if callable(uri) else uri
        return uri if isinstance(uri, str) else None
    return None


def _is_numpy_scalar(value: object) -> bool:
    kind = type(value)
    return kind.__module__ == "numpy" and hasattr(value, "item") and getattr(value, "shape", None) == ()
