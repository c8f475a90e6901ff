"""How far raters agree, as it was answered: coefficients by name, and the comparison of each two raters."""

from __future__ import annotations

from typing import Any, Final

from plaudit import v1
from plaudit._core.measures import value_of
from plaudit._show.grid import FIELD_COLUMNS, Grid, field_row
from plaudit._show.shown import Shown

_COEFFICIENTS: Final = (
    "percent_agreement",
    "cohen_kappa",
    "cohen_kappa_linear",
    "cohen_kappa_quadratic",
    "fleiss_kappa",
    "krippendorff_alpha",
    "gwet_ac1",
    "gwet_ac2",
)


class Agreement(Shown):
    """How far raters agree. A coefficient is None where it is not defined; `undefined` says why."""

    percent_agreement: float | None
    cohen_kappa: float | None
    cohen_kappa_linear: float | None
    cohen_kappa_quadratic: float | None
    fleiss_kappa: float | None
    krippendorff_alpha: float | None
    gwet_ac1: float | None
    gwet_ac2: float | None
    row_count: int
    missing_count: int
    excluded_count: int
    repeated_count: int
    value_count: int
    unit_count: int
    paired_unit_count: int
    rater_count: int
    category_count: int

    def __init__(self, message: v1.MeasureAgreementResponse) -> None:
        self._message = message
        self.undefined: dict[str, str] = {}
        """Why a coefficient has no value, by its name: `no_pairs`, `no_variation` …"""
        for name in _COEFFICIENTS:
            coefficient = getattr(message, name)
            defined = coefficient.HasField("value")
            setattr(self, name, coefficient.value if defined else None)
            if not defined:
                reason = v1.Undefined.Name(coefficient.undefined)
                self.undefined[name] = reason.removeprefix("UNDEFINED_").lower()
        for field in message.DESCRIPTOR.fields:
            if field.name.endswith("_count"):
                setattr(self, field.name, getattr(message, field.name))

    @property
    def pairs(self) -> list[dict[str, Any]]:
        """Each two raters who rated a unit in common: their names, `unit_count`, `agreement` and coefficients."""
        return [
            {"agreement": pair.agreement}
            | {field.name: value for field, value in pair.ListFields() if field.name != "confusion"}
            for pair in self._message.pairs
        ]

    def confusion(self, rater_a: str, rater_b: str) -> dict[tuple[Any, Any], int]:
        """How often each value of one rater meets each of another. Raises KeyError for two who share no unit."""
        for pair in self._message.pairs:
            if {pair.rater_a, pair.rater_b} == {rater_a, rater_b}:
                turned = pair.rater_a != rater_a
                cells = [(value_of(cell.a), value_of(cell.b), cell.count) for cell in pair.confusion]
                return {(b, a) if turned else (a, b): count for a, b, count in cells}
        raise KeyError(f"{rater_a} and {rater_b} rated no unit in common")

    def _grid(self) -> Grid:
        """Each coefficient, or why it has no value, and the counts."""
        rows = [
            field_row(name, f"not defined: {self.undefined[name]}" if name in self.undefined else getattr(self, name))
            for name in _COEFFICIENTS
        ]
        counts = [field.name for field in self._message.DESCRIPTOR.fields if field.name.endswith("_count")]
        return Grid(FIELD_COLUMNS, [*rows, *(field_row(name, getattr(self, name)) for name in counts)])

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in _COEFFICIENTS if name not in self.undefined)
        return f"Agreement({shown})"
