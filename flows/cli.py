"""The command line. Only click is imported here, so that ``tvae --help`` answers at once."""

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from flows.commands.approve import approve
from flows.commands.backup import backup, restore
from flows.commands.catalogue import generators, releases
from flows.commands.deploy import deploy, notify_input
from flows.commands.doctor import doctor
from flows.commands.verify import verify

# Threads that wait for each other spin for some microseconds and then sleep. Long spinning, the default, makes training
# five times slower on a machine that does something else as well; sleeping at once makes it twice as slow on an idle
# one (small products: 10 ms a step against 3.8). Read when torch is loaded, so set here.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

REFUSED = 1  # the gate or the validation said no
WRONG_USE = 2  # wrong use or bad input
DEFECT = 70  # sysexits' EX_SOFTWARE: neither the user's fault nor an answer
INTERRUPTED = 130
TERMINATED = 143

SEED = click.IntRange(0, 2**32 - 1)
DEVICE = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")


class Commands(click.Group):
    """Turns what went wrong into one message and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; errors that are raised on purpose show no traceback."""
        try:
            with _terminated_in_good_order():
                return super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException, click.Abort):
            raise
        except KeyboardInterrupt:
            click.echo("tvae: interrupted; run again to go on from what is complete", err=True)
            ctx.exit(INTERRUPTED)
        except Exception as error:
            ctx.exit(_explain(error))


@contextlib.contextmanager
def _terminated_in_good_order() -> Iterator[None]:
    """Let SIGTERM end the process as an exit does: private copies are removed, and the temporary server ends too."""

    def leave(*_: object) -> None:
        raise SystemExit(TERMINATED)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _explain(error: Exception) -> int:
    from tasks.refusals import RefusedError
    from tvae_core.errors import TVAEError

    if isinstance(error, RefusedError):
        click.echo(f"tvae: {error}", err=True)
        return REFUSED
    if isinstance(error, TVAEError | OSError):
        click.echo(f"tvae: {error}", err=True)
        return WRONG_USE
    traceback.print_exception(error)
    click.echo(f"tvae: a defect: {type(error).__name__}. Please report it with the lines above", err=True)
    return DEFECT


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="tvae-pipeline")
def main() -> None:
    """Synthetic tables: fit, sample, score, and the whole line from a table to a published release.

    A table is a Parquet file, a directory of Parquet parts, file:///... or s3://bucket/...

    Exit codes: 0 done, 1 the gate or the validation said no, 2 wrong use or bad input.
    """


@main.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key: --set model.epochs=50."
)
def run(config: Path, overrides: tuple[str, ...]) -> None:
    """Run the whole line as CONFIG says: validate, train, sample, score, gate, publish."""
    from flows.run import run_config

    run_config(config, overrides)


@main.command()
@click.argument("data")
@click.option("--ranges", is_flag=True, help="Also declare the ranges and categories found.")
@click.option("--entity", metavar="COLUMN", help="The column that names whom or what a row belongs to.")
def schema(data: str, ranges: bool, entity: str | None) -> None:
    """Propose a schema for the table DATA, as YAML to read, correct and keep."""
    from flows import steps

    click.echo(steps.propose_schema(data, ranges=ranges, entity=entity), nl=False)


@main.command()
@click.argument("data")
@click.option("--schema", "schema_address", metavar="FILE", help="The declared schema; inferred without it.")
@click.option("--suite", metavar="FILE", help="Your own expectations, JSON or YAML.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the outcomes here.")
def validate(data: str, schema_address: str | None, suite: str | None, out: Path | None) -> None:
    """Check the table DATA against its schema and your own expectations."""
    from flows import steps

    passed, report = steps.validate(data, schema_address, suite, out)
    click.echo(report)
    if not passed:
        sys.exit(REFUSED)


def _model_options(command: Callable[..., None]) -> Callable[..., None]:
    """Settings of the generator as options; what is left out is the preset's."""
    options = [
        click.option("--epochs", type=int, help="Most passes over the table."),
        click.option(
            "--max-minutes", type=float, help="Most minutes of training; not reproducible where it cuts."
        ),
        click.option("--batch-size", type=int, help="Rows of a training step."),
        click.option("--embedding-dim", type=int, help="Size of the latent vector."),
        click.option("--compress-dims", metavar="N,N", help="Hidden layers of the encoder: 256,256."),
        click.option("--decompress-dims", metavar="N,N", help="Hidden layers of the decoder: 256,256."),
        click.option("--l2scale", type=float, help="Weight decay."),
        click.option("--loss-factor", type=float, help="Weight of the reconstruction."),
        click.option("--epsilon", type=float, help="Differential privacy of every row within this epsilon."),
        click.option("--delta", type=float, help="Its delta; 1e-5, or less for a large table, without it."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@main.command()
@click.argument("data")
@click.option(
    "--out", required=True, metavar="GENERATOR", help="An absent or empty directory, or s3://bucket/prefix."
)
@click.option("--preset", type=click.Choice(["default", "reference"]), default="default", show_default=True)
@click.option("--schema", "schema_address", metavar="FILE", help="The declared schema; inferred without it.")
@click.option("--seed", type=SEED, default=0, show_default=True)
@_model_options
@DEVICE
def fit(data: str, out: str, schema_address: str | None, seed: int, device: str, **settings: Any) -> None:
    """Fit a generator to the table DATA and write it to GENERATOR."""
    from flows import steps

    for key in ("compress_dims", "decompress_dims"):
        settings[key] = _sizes(key, settings[key])
    click.echo(
        steps.fit(data, out, schema_address=schema_address, seed=seed, device=device, settings=settings)
    )


def _sizes(key: str, text: str | None) -> tuple[int, ...] | None:
    try:
        return None if text is None else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(
            f"--{key.replace('_', '-')} takes sizes such as 256,256, got {text!r}"
        ) from None


@main.command()
@click.argument("generator")
@click.option("--rows", type=click.IntRange(min=1), help="How many rows to draw.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="OUT.parquet")
@click.option(
    "--where",
    multiple=True,
    metavar="COLUMN=CONDITION",
    help="Every row meets it: sex=Female, age=30..40, race=Black|Other, income= (missing), "
    "city='\"a|b\"' (as it is), city='\"\"' (empty text). Once for each column.",
)
@click.option("--given", "known", metavar="TABLE", help="Known cells: one row is drawn for each of its rows.")
@click.option("--balance", metavar="COLUMN", help="The levels of this column come in even shares.")
@click.option(
    "--steps", type=click.IntRange(min=1), help="Runs in which columns are drawn; 1 is the classic TVAE."
)
@click.option("--seed", type=SEED, help="Another seed, other rows; the generator's own without it.")
@DEVICE
def sample(generator: str, out: Path, rows: int | None, **options: Any) -> None:
    """Draw synthetic rows from GENERATOR (a directory or its address in a store) into a Parquet file."""
    from flows import steps

    click.echo(steps.sample(generator, rows, out, **options))


@main.command()
@click.argument("generator")
@click.argument("data")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="OUT.parquet")
@click.option(
    "--draws", type=click.IntRange(min=1), default=1, show_default=True, help="How many times to fill."
)
@click.option("--seed", type=SEED, help="Another seed, other fillings; the generator's own without it.")
@DEVICE
def impute(generator: str, data: str, out: Path, **options: Any) -> None:
    """Fill the missing cells of the table DATA from GENERATOR's conditional."""
    from flows import steps

    click.echo(steps.impute(generator, data, out, **options))


@main.command()
@click.option("--real", required=True, metavar="TABLE", help="The table that the generator was fitted to.")
@click.option("--synthetic", required=True, metavar="TABLE", help="The table that was drawn from it.")
@click.option(
    "--holdout", metavar="TABLE", help="Real rows that were never fitted: the control of every figure."
)
@click.option(
    "--target", "targets", multiple=True, metavar="COLUMN", help="A column to predict; may be repeated."
)
@click.option("--schema", "schema_address", metavar="FILE", help="The declared schema; inferred without it.")
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--max-rows", type=click.IntRange(min=100), default=50_000, show_default=True)
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write all figures and details here.")
@click.option("--html", "page", type=click.Path(path_type=Path), help="Write the report for people here.")
@click.option("--generator", metavar="GENERATOR", help="What drew the table: the report shows its training.")
@click.option("--earlier", metavar="TABLE", help="The release before: how far this one has moved from it.")
def score(out: Path | None, **choices: Any) -> None:
    """Measure fidelity, utility and privacy of a synthetic table."""
    from flows import steps

    click.echo(steps.score(out=out, **choices))


for command in (backup, restore, verify, approve, releases, generators, deploy, notify_input, doctor):
    main.add_command(command)

if __name__ == "__main__":
    main()
