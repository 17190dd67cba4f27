"""Who may import whom: docs/architecture.md's table, read from the source with `ast`."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from configs import ConfigError, read_yaml
from tests.conftest import ROOT

PRODUCT = ("tvae_core", "configs", "tasks", "flows")
HEAVY = {"prefect", "great_expectations", "boto3", "botocore", "sdmetrics"}
CORE = {"torch", "numpy", "pandas", "pyarrow", "safetensors", "sklearn"}
# The one file that may know each service.
ONLY = {
    "boto3": {"tasks/services/s3_store.py", "tasks/services/s3_errors.py"},
    "botocore": {"tasks/services/s3_store.py", "tasks/services/s3_errors.py"},
    "great_expectations": {"tasks/services/expectations.py"},
    "sdmetrics": {"tasks/services/quality.py"},
    "cryptography": {"tasks/services/sealing.py"},
}


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Every imported module of a file, and whether it is imported when the file is.

    It is not inside a function, nor below ``if TYPE_CHECKING``.
    """
    tree = ast.parse(path.read_text(), str(path))
    inner = {id(node) for later in ast.walk(tree) if _runs_later(later) for node in ast.walk(later)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) not in inner
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or "", id(node) not in inner


def _runs_later(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def modules(folder: str, pattern: str = "**/*.py") -> list[Path]:
    return sorted((ROOT / folder).glob(pattern))


def foreign(path: Path) -> set[str]:
    """The packages that a file imports, Python's own left out."""
    return {name.partition(".")[0] for name, _ in imports(path)} - set(sys.stdlib_module_names)


def offences(folder: str, allowed: set[str], pattern: str = "**/*.py") -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(folder, pattern)
        for name in sorted(foreign(path) - allowed)
    ]


def test_the_core_imports_its_six_packages_and_nothing_of_the_pipeline() -> None:
    assert modules("tvae_core")
    assert offences("tvae_core", CORE | {"tvae_core"}) == []


def test_configurations_know_the_core_pydantic_and_yaml() -> None:
    assert offences("configs", {"configs", "tvae_core", "pydantic", "yaml"}) == []


def test_services_know_neither_prefect_nor_the_flows_nor_the_tasks_around_them() -> None:
    offending = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules("tasks/services")
        for name, _ in imports(path)
        if name.partition(".")[0] in {"prefect", "flows"}
        or (
            name.startswith("tasks.") and not name.startswith("tasks.services") and name != "tasks.references"
        )
    ]
    assert offending == []


def test_tasks_and_configurations_don_t_know_the_flows() -> None:
    for folder in ("configs", "tasks", "tvae_core"):
        assert not [
            path for path in modules(folder) for name, _ in imports(path) if name.partition(".")[0] == "flows"
        ]


@pytest.mark.parametrize("package", ONLY)
def test_one_place_knows_each_service(package: str) -> None:
    knowing = {
        str(path.relative_to(ROOT))
        for folder in PRODUCT
        for path in modules(folder)
        if package in foreign(path)
    }
    assert knowing <= ONLY[package]
    assert knowing


def test_slow_libraries_are_imported_where_they_are_used_and_not_at_start_up() -> None:
    """At the top of a file only where that file is itself imported inside a function, as the S3 store is."""
    files = [path for folder in ("configs", "tasks/services", "tvae_core") for path in modules(folder)]
    at_start = {path: {name for name, at_import in imports(path) if at_import} for path in files}
    slow = {path for path, names in at_start.items() if {name.partition(".")[0] for name in names} & HEAVY}
    by_name = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in slow}
    importers = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path, names in at_start.items()
        for name in names & set(by_name)
        if path not in slow
    }
    assert importers == set()


def test_a_flow_touches_no_table_itself() -> None:
    for name in ("synthesize", "train_generator", "pool"):
        assert not foreign(ROOT / "flows" / f"{name}.py") & {"pandas", "numpy", "torch", "pyarrow"}


def test_the_product_imports_neither_tests_nor_benchmarks() -> None:
    for folder in PRODUCT:
        for path in modules(folder):
            assert not foreign(path) & {"tests", "benchmarks", "deployments"}, path


def test_nothing_pickles() -> None:
    for folder in PRODUCT:
        for path in modules(folder):
            assert not foreign(path) & {"cloudpickle", "joblib", "dill"}, path
            assert "pickle" not in {name for name, _ in imports(path)}, path


def test_yaml_is_loaded_safely_everywhere() -> None:
    """`safe_load`, or `load` with a loader that descends from the safe one; nothing that can build objects."""
    from configs.loading import _StrictLoader

    used: dict[str, set[str]] = {}
    for folder in (*PRODUCT, "benchmarks", "deployments", "tests"):
        for path in modules(folder):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "yaml":
                    used.setdefault(node.attr, set()).add(str(path.relative_to(ROOT)))
    safe = {"safe_load", "safe_dump", "SafeLoader", "load", "YAMLError", "MarkedYAMLError", "MappingNode"}
    assert set(used) <= safe, set(used) - safe
    assert used["load"] == {"configs/loading.py"}
    assert issubclass(_StrictLoader, yaml.SafeLoader)
    with pytest.raises(ConfigError, match="could not determine a constructor"):
        read_yaml("!!python/object/apply:os.system ['true']", "trap.yaml")


def test_files_and_functions_keep_their_size() -> None:
    long_files, long_functions = [], []
    for folder in PRODUCT:
        for path in modules(folder):
            text = path.read_text()
            if text.count("\n") > 400:  # about 300, and never far above
                long_files.append(f"{path.relative_to(ROOT)}: {text.count(chr(10))} lines")
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    size = (node.end_lineno or node.lineno) - node.lineno + 1
                    if size > 60:
                        long_functions.append(f"{path.relative_to(ROOT)}: {node.name}, {size} lines")
    assert long_files == []
    assert long_functions == []
