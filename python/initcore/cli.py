"""The command line: ``initcore compare --data mnist --out demo``, ``initcore experiment pitfalls``.

It reads arguments and prints; `compare` and `experiments` compute, `plot` draws.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, TypeVar

from . import _core, datasets, experiments, plot, specs
from .compare import INITS, LAYERS, Result, runs
from .config import __version__
from .initializers import get, listing
from .optimizers import OPTIMIZERS, SGD, Optimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .datasets import Dataset

#: "constant" alone leaves the value open.
CONSTANT = "constant(0.1)"
_EPILOG = """\
The table has one row per initialization:
  activation std    of the first and last layer (the outputs), before training
  gradient ratio    gradient norm of the first layer's parameters over that of the last's, before training
                    (the why has the error signal, which is what the theory follows, without the inputs)
  distinct units    hidden units that differ from each other after training, of all
  training loss     over all training samples, after training
  test accuracy     over all test samples, after training
  time              of the training; the one column that differs from run to run with one seed
  verdict           symmetric, vanishing, exploding, diverged or healthy; the why is below the table

Figures are written only with --out: cost.png (loss over the epochs) and activations.png (histograms
of every layer's activations before training).

examples:
  initcore compare --data mnist --out demo
  initcore compare --data moons --activation tanh --init xavier_normal 'normal(2)'
  initcore compare --data measurements.csv --layers 64,64 --optimizer 'adam(0.001)' --epochs 50
"""


T = TypeVar("T")


class _UsageError(Exception):
    """The command line itself is wrong."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Leave the printing to `main`: one line, no usage."""
        raise _UsageError(f"{message} (see {self.prog} --help)")


def _layers(text: str) -> tuple[int, ...]:
    """Read widths: "256,256,10", "5x256", or both as in "2x256,10"."""
    return _checked(specs.widths, text)


def _inits(text: str) -> list[str]:
    """Split at the commas outside of brackets; check every scheme."""
    specs = [spec.strip() for spec in re.split(r",(?![^(]*\))", text)]
    specs = [CONSTANT if spec == "constant" else spec for spec in specs]
    for spec in specs:
        _checked(get, spec)
    return specs


def _optimizer(text: str) -> Optimizer:
    """Read "sgd", "adam(0.001)" or "sgd(0.05, momentum=0.9)"."""
    makers: dict[str, Callable[..., Optimizer]] = {**OPTIMIZERS, "sgd": _sgd}
    return _checked(lambda text: specs.make(text, makers, "optimizer"), text)


def _sgd(lr: float = 0.05, **options: Any) -> SGD:
    return SGD(lr, **options)


def _checked(read: Callable[[str], T], text: str) -> T:
    """Let argparse show the reader's own message."""
    try:
        return read(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _integer(low: int, high: int | None = None) -> Callable[[str], int]:
    expected = f"an integer of at least {low}" + (f", below {high}" if high else "")

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low or (high is not None and value >= high):
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
        return value

    return read


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="initcore", description="Neural-network weight initialization.")
    parser.add_argument("--version", action="version", version=f"initcore {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    compare = commands.add_parser(
        "compare",
        help="train the same network from several initializations and show what each does",
        description="Train the same network once per initialization and show what each does.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    activations, _ = _core.nn_names()
    add = compare.add_argument
    add(
        "--data",
        default="mnist",
        metavar="NAME|FILE",
        help=f"{', '.join(datasets.SOURCES)}, or a file: .csv (label in the last column) or .npz "
        "(arrays x and y); a fifth of each class is kept for the test "
        "(default: mnist, 5000 of its digits)",
    )
    add(
        "--init",
        nargs="+",
        type=_inits,
        metavar="SCHEME",
        default=[list(INITS)],
        help=f"any schemes, such as he_uniform or 'normal(0.02)'; constant alone is {CONSTANT} "
        f"(default: {' '.join(INITS)})",
    )
    add(
        "--layers",
        type=_layers,
        default=LAYERS,
        metavar="WIDTHS",
        help=f"hidden layers, such as 256,256 or 5x256 (default: {len(LAYERS)}x{LAYERS[0]})",
    )
    add(
        "--activation",
        default="relu",
        metavar="NAME",
        help=f"of the hidden layers: {', '.join(activations)} (default: relu)",
    )
    add(
        "--optimizer",
        type=_optimizer,
        default="sgd",
        metavar="NAME",
        help=f"{', '.join(OPTIMIZERS)}, with arguments or without, such as 'sgd(0.1, momentum=0.9)' "
        "(default: sgd(0.05); an adaptive one hides part of what an initialization does)",
    )
    add("--epochs", type=_integer(1), default=10, metavar="N", help="default: 10")
    add("--batch-size", type=_integer(1), default=32, metavar="N", help="default: 32")
    _add_seed(compare)
    add("--dtype", choices=("float32", "float64"), default="float32", help="default: float32")
    add(
        "--threads",
        type=_integer(1, 1025),
        metavar="N",
        help="at most this many; results do not depend on it (default: all)",
    )
    add("--out", type=Path, metavar="DIR", help="write the figures here (default: no figures)")
    compare.set_defaults(run=_compare)
    _add_experiment(commands)
    schemes = commands.add_parser("schemes", help="list the initializers, their variances and their sources")
    schemes.set_defaults(run=_schemes)
    _add_lab(commands)
    return parser


def _add_seed(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--seed",
        type=_integer(0, 2**64),
        default=0,
        metavar="N",
        help="of weights, split and order: one seed, one table (default: 0)",
    )


def _add_experiment(commands: argparse._SubParsersAction[_Parser]) -> None:
    command = commands.add_parser(
        "experiment",
        help="show in an experiment what an initialization does, beside what theory says",
        description="Run an experiment and print its tables; without a name, list the experiments.",
    )
    command.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        choices=experiments.EXPERIMENTS,
        help=", ".join(experiments.EXPERIMENTS),
    )
    _add_seed(command)
    command.add_argument(
        "--out", type=Path, metavar="DIR", help="write figures and an HTML page here (default: neither)"
    )
    command.set_defaults(run=_experiment)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; by default those of the process.

    Returns
    -------
    int
        Exit status: 0; 2 after wrong input, which one line on standard error explains; 130 after
        Ctrl-C.
    """
    try:
        args = _parser().parse_args(argv)
        run: Callable[[argparse.Namespace], int] = args.run
        return run(args)
    except KeyboardInterrupt:
        print("initcore: interrupted", file=sys.stderr)
        return 130
    except (_UsageError, ValueError, OSError, ImportError, MemoryError) as error:
        print(f"initcore: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def _schemes(_: argparse.Namespace) -> int:
    for names, variance, source in listing():
        print(textwrap.fill(", ".join(names), 100))
        print(f"    variance {variance}")
        if source:
            print(textwrap.indent(textwrap.fill(source, 100), "    "))
    return 0


def _experiment(args: argparse.Namespace) -> int:
    if args.name is None:
        for name, entry in experiments.EXPERIMENTS.items():
            print(f"{name:12} {entry.title}")
        return 0
    if args.out is not None:
        plot.require()  # before the work, not after it
        args.out.mkdir(parents=True, exist_ok=True)
    result = experiments.run(args.name, seed=args.seed)
    print(result)
    if args.out is not None:
        print()
        for path in result.save(args.out):
            print(f"wrote {path}")
    return 0


def _compare(args: argparse.Namespace) -> int:
    inits = list(dict.fromkeys(spec for specs in args.init for spec in specs))
    if args.out is not None:
        plot.require()  # before the training, not after it
        args.out.mkdir(parents=True, exist_ok=True)
    data = datasets.load(args.data, args.seed)

    from tqdm import tqdm

    results: list[Result] = []
    with tqdm(  # on standard error, and only on a terminal
        total=len(inits) * args.epochs, unit="epoch", disable=None, leave=False
    ) as bar:

        def write(line: str) -> None:
            with tqdm.external_write_mode(file=sys.stdout):
                print(line, flush=True)

        try:
            for result in runs(
                data,
                inits,
                layers=args.layers,
                activation=args.activation,
                optimizer=args.optimizer,
                epochs=args.epochs,
                batch_size=args.batch_size,
                seed=args.seed,
                dtype=args.dtype,
                num_threads=args.threads,
                on_epoch=bar.update,
            ):
                if not results:
                    for line in _header(data, inits, args):
                        write(line)
                results.append(result)
                write(_row(result, _name_width(inits)))
                bar.update(len(results) * args.epochs - bar.n)  # a divergence ends a fit early
        finally:
            bar.close()
            if results:
                _print_reasons(results, _name_width(inits), sys.stdout)
    if args.out is not None:
        for name, figure in plot.comparison_figures(results).items():
            path = args.out / f"{name}.png"
            figure.savefig(path, dpi=150)
            print(f"wrote {path}")
    return 0


def _name_width(inits: Iterable[str]) -> int:
    return max(14, *map(len, inits))


def _header(data: Dataset, inits: Sequence[str], args: argparse.Namespace) -> Iterable[str]:
    features, classes = data.x_train.shape[1], len(data.classes)
    sizes = "-".join(map(str, (features, *args.layers, classes)))
    yield (
        f"{data.name}: {len(data.x_train)} training and {len(data.x_test)} test samples, "
        f"{features} features, {classes} classes"
    )
    yield f"network: {sizes}, {args.activation}, {args.dtype}"
    yield (
        f"training: {_short(args.optimizer)}, batches of {args.batch_size}, {args.epochs} epochs, "
        f"seed {args.seed}"
    )
    yield ""
    width = _name_width(inits)
    yield (
        f"{'':{width}} {'activation std':>17} {'gradient':>10} {'distinct':>11} {'training':>9} "
        f"{'test':>9} {'':>7}"
    ).rstrip()
    yield (
        f"{'init':{width}} {'first':>8} {'last':>8} {'ratio':>10} {'units':>11} {'loss':>9} "
        f"{'accuracy':>9} {'time':>7}  verdict"
    )


def _short(optimizer: Optimizer) -> str:
    """Name the optimizer and what differs from the defaults."""
    options = [
        f"{field.name}={getattr(optimizer, field.name)}"
        for field in dataclasses.fields(optimizer)
        if getattr(optimizer, field.name) != field.default
    ]
    return f"{type(optimizer).__name__}({', '.join(options)})"


def _row(result: Result, width: int) -> str:
    first, *_, last = result.activation_std
    units = f"{sum(result.distinct_units)}/{sum(result.hidden_units)}"
    return (
        f"{result.init:{width}} {first:8.2g} {last:8.2g} {result.gradient_ratio:10.2g} {units:>11} "
        f"{result.loss:9.4g} {result.accuracy:9.1%} {result.seconds:6.2f}s  {result.verdict}"
    )


def _print_reasons(results: Iterable[Result], width: int, file: TextIO) -> None:
    print("\nwhy:", file=file)
    for result in results:
        print(f"{result.init:{width}} {result.verdict}: {result.reason}", file=file)


def _add_lab(commands: Any) -> None:
    lab = commands.add_parser(
        "lab",
        help="train in the browser and watch what an initialization does",
        description="Serve the laboratory, a web page, to this machine alone, until Ctrl-C.",
    )
    lab.add_argument(
        "--port", type=_integer(1, 65536), default=8090, metavar="N", help="to listen on (default: 8090)"
    )
    lab.add_argument("--no-browser", action="store_true", help="do not open the page in a browser")
    lab.set_defaults(run=_lab)


def _lab(args: argparse.Namespace) -> int:
    from . import lab

    lab.main(args.port, browser=not args.no_browser)
    return 0
