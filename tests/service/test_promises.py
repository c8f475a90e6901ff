"""What operators, scripts and stored data of earlier versions rely on: written lists, to which may only be added."""

from __future__ import annotations

import ast
import importlib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

import apsw
import pytest

import plaudit_server
from plaudit.v1 import ListRefsRequest, QueryFeedbackRequest
from plaudit_server.config import SETTINGS
from plaudit_server.rpc import paging
from plaudit_server.rpc.declare import OTHER
from plaudit_server.store.identity import StoreId
from plaudit_server.store.migrate import migrations
from plaudit_server.testing import server
from tests.service.operators import scrape, with_admin

# Every setting of version 0.1.0: as in the file. The flag and the variable are made from it.
SETTINGS_0_1: Final = (
    "store", "listen", "workers", "insecure", "reflection", "log_level", "log_format", "log_calls",
    "log_slow_seconds", "audit_log",
    "tls.certificate", "tls.private_key", "tls.client_ca",
    "auth.api_keys", "auth.key_refresh_seconds", "auth.grants",
    "jwt.issuer", "jwt.audience", "jwt.keys", "jwt.algorithms", "jwt.role_claim", "jwt.projects_claim",
    "jwt.leeway_seconds",
    "jwt.key_refresh_seconds",
    "limits.in_flight_calls", "limits.in_flight_watches", "limits.calls_per_second", "limits.rows_per_second",
    "limits.burst_seconds",
    "connections.max_concurrent_streams", "connections.handshake_timeout_seconds",
    "connections.max_idle_seconds",
    "connections.max_age_seconds", "connections.max_age_grace_seconds", "connections.min_ping_interval_seconds",
    "connections.watch_stall_seconds", "connections.drain_delay_seconds", "connections.shutdown_grace_seconds",
    "admin.listen", "admin.grpc_listen",
    "tracing.otlp_endpoint", "tracing.sample_ratio",
)  # fmt: skip

# Every series of version 0.1.0 with its labels; those of a histogram end with `_bucket`.
METRICS_0_1: Final = {
    "plaudit_build_info": {"store", "version"},
    "plaudit_calls_in_flight": {"kind"},
    "plaudit_calls_in_flight_limit": {"kind"},
    "plaudit_commit_duration_seconds_bucket": {"le"},
    "plaudit_definition_breaches_total": set(),
    "plaudit_group_commands_bucket": {"le"},
    "plaudit_group_rows_bucket": {"le"},
    "plaudit_refusals_total": {"reason"},
    "plaudit_rows_accepted_total": {"command"},
    "plaudit_rows_acknowledged_total": {"command"},
    "plaudit_rows_failed_total": {"command"},
    "plaudit_rows_purged_total": set(),
    "plaudit_rows_refused_total": {"command"},
    "plaudit_rows_repeated_total": set(),
    "plaudit_rows_stored_total": {"command"},
    "plaudit_serving": set(),
    "plaudit_store_errors_total": {"operation"},
    "plaudit_watchers": set(),
    "plaudit_writer_pending_bytes": set(),
    "plaudit_writer_pending_commands": set(),
    "process_cpu_seconds_total": set(),
    "process_max_fds": set(),
    "process_open_fds": set(),
    "process_resident_memory_bytes": set(),
    "process_start_time_seconds": set(),
    "process_virtual_memory_bytes": set(),
    "python_gc_collections_total": {"generation"},
    "python_gc_objects_collected_total": {"generation"},
    "python_gc_objects_uncollectable_total": {"generation"},
    "python_info": {"implementation", "major", "minor", "patchlevel", "version"},
    "rpc_server_call_duration_seconds_bucket": {
        "error_type", "le", "rpc_method", "rpc_response_status_code", "rpc_system_name",
    },
}  # fmt: skip

LABEL_VALUES_0_1: Final = {
    ("plaudit_calls_in_flight", "kind"): {"calls", "watches"},
    ("plaudit_refusals_total", "reason"): {
        "calls_per_second", "rows_per_second", "in_flight_calls", "in_flight_watches", "writer_queue", "slow_watcher",
    },
    ("plaudit_rows_stored_total", "command"): {"create", "react", "replace"},
    ("plaudit_store_errors_total", "operation"): {"write", "read", "watch", "check"},
}  # fmt: skip

# Stores hold these: an edited migration would lock its operator out.
CHECKSUMS: Final = {
    "sqlite": ["7973be5b6362fcbf89463d5ebe1dc92a70d56db250d5eb9d3c44ab84c3663ee6"],
    "postgres": ["f4ff3fb57316cdf8f15454e8728ed28b382d4bf8624250c155bc61132f7ca7a6"],
}

STORE_ID: Final = bytes(range(32))
# Sealed by version 0.1.0 for the store with this id and the kept bytes of a QueryFeedbackRequest.
QUERY_TOKEN: Final = (
    "AVtbImNhbGwvw7wiLDE3MDAwMDAwMDAwMDAwMDEsIjAxOGY4ZjJlLTAwMDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwMiJdLDddv92GBv-4BlU1D-El"
    "NfhLug=="
)
REFS_TOKEN: Final = "AVtbIndlYXZlOi8vL2FjbWUvY2hhdC9jYWxsLzEiXSxudWxsXZFUsGkSF74UMIAPJ_o9bcA="


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("plaudit_server.app", "build_server"),
        ("plaudit_server.testing", "server"),
        ("plaudit_server.config", "Config"),
        ("plaudit_server.__main__", "main"),
    ],
)
def test_public_names_are_where_they_were(module: str, name: str) -> None:
    assert callable(getattr(importlib.import_module(module), name))


def test_the_command_is_the_module_main() -> None:
    [command] = [entry for entry in entry_points(group="console_scripts") if entry.name == "plaudit-server"]
    assert command.value == "plaudit_server.__main__:main"


def test_every_setting_of_before_is_there() -> None:
    assert set(SETTINGS_0_1) <= {setting.key for setting in SETTINGS}
    for setting in SETTINGS:
        words = setting.key.replace(".", "_")
        assert setting.flag == f"--{words.replace('_', '-')}"
        assert setting.variable == f"PLAUDIT_{words.upper()}"


def test_loggers_have_the_names_of_before() -> None:
    names = set()
    for path in Path(plaudit_server.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("getLogger") and node.args:
                assert isinstance(node.args[0], ast.Constant), f"{path}: a logger's name is a literal"
                names.add(str(node.args[0].value))
    assert {name for name in names if name.startswith("plaudit")} == {
        "plaudit_server",
        "plaudit_server.audit",
        "plaudit_server.calls",
    }


def test_every_metric_of_before_is_there_with_its_labels() -> None:
    with server(config=with_admin()) as running:
        samples = scrape(running).samples
    labels: dict[str, set[str]] = {}
    values: dict[tuple[str, str], set[str]] = {}
    for name, pairs in samples:
        labels.setdefault(name, set()).update(label for label, _ in pairs)
        for label, value in pairs:
            values.setdefault((name, label), set()).add(value)
    assert {name: labels.get(name) for name in METRICS_0_1} == METRICS_0_1
    assert {place: values[place] & known for place, known in LABEL_VALUES_0_1.items()} == LABEL_VALUES_0_1
    assert OTHER == "_OTHER"


@pytest.mark.parametrize("engine", sorted(CHECKSUMS))
def test_migrations_that_were_applied_somewhere_are_never_edited(engine: str) -> None:
    known = [migration.checksum for migration in migrations(engine)]
    assert known[: len(CHECKSUMS[engine])] == CHECKSUMS[engine]


def test_a_file_is_known_by_its_application_id_and_holds_the_stores_own_values(tmp_path: Path) -> None:
    with server(tmp_path / "plaudit.db"):
        pass
    connection = apsw.Connection(str(tmp_path / "plaudit.db"))
    assert connection.pragma("application_id") == 0x706C6474
    assert {"probe", "store_id"} <= {key for (key,) in connection.execute("SELECT key FROM meta")}
    connection.close()


def test_page_tokens_of_before_are_read_and_are_what_is_written() -> None:
    kept = Path(__file__).with_name("wire") / "QueryFeedbackRequest.binpb"
    request = QueryFeedbackRequest.FromString(kept.read_bytes())
    cursor = paging.Cursor(("call/ü", 1_700_000_000_000_001, "018f8f2e-0000-7000-8000-000000000002"), 7)
    assert paging.unseal(QUERY_TOKEN, paging.scope_of(request), StoreId(STORE_ID)) == cursor
    assert paging.seal(cursor, paging.scope_of(request), StoreId(STORE_ID)) == QUERY_TOKEN

    refs = ListRefsRequest(project="acme/chat")
    after = paging.Cursor(("weave:///acme/chat/call/1",), None)
    assert paging.unseal(REFS_TOKEN, paging.scope_of(refs), StoreId(STORE_ID)) == after
    assert paging.seal(after, paging.scope_of(refs), StoreId(STORE_ID)) == REFS_TOKEN
