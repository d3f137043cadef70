"""Draw a checkpoint of a small decoder into several files, by as many processes as one likes.

    python examples/init_checkpoint.py model --processes 2  # two at once, here
    python examples/init_checkpoint.py model --part 0 3     # one of three, anywhere, in any order

What is killed goes on where it was when it is started again, and the files are the same to the last bit.
"""

import argparse
import multiprocessing
from functools import partial

import initcore as ic

WIDTH, HIDDEN, LAYERS, VOCABULARY = 256, 1024, 4, 8192

ATTENTION = {f"{name}_proj.weight": (WIDTH, WIDTH) for name in "qkvo"}
MLP = {"up.weight": (HIDDEN, WIDTH), "down.weight": (WIDTH, HIDDEN)}
SHAPES = {
    "embedding.weight": (VOCABULARY, WIDTH),
    "layers": [{"attention": ATTENTION, "mlp": MLP, "norm.weight": WIDTH} for _ in range(LAYERS)],
    "head.weight": (VOCABULARY, WIDTH),
}
RULES = {
    "*norm.weight": "ones",
    "*.o_proj.weight": f"gpt2_residual({LAYERS})",
    "*.down.weight": f"gpt2_residual({LAYERS})",
    "*": "normal(0.02)",
}


def draw(part: tuple[int, int], directory: str, max_shard_size: str) -> None:
    """Draw what falls to one process."""
    ic.init_params(
        SHAPES, RULES, seed=0, layout="torch", out=directory, max_shard_size=max_shard_size, part=part
    )


def main() -> None:
    """Read the command line, and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory")
    parser.add_argument("--max-shard-size", default="5MB")
    parser.add_argument(
        "--part", nargs=2, type=int, metavar=("I", "N"), help="draw what falls to process I of N"
    )
    parser.add_argument("--processes", type=int, default=1, help="or start so many of them here")
    options = parser.parse_args()
    work = partial(draw, directory=options.directory, max_shard_size=options.max_shard_size)
    if options.part:
        work(tuple(options.part))
        return
    n = options.processes
    with multiprocessing.get_context("spawn").Pool(n) as pool:
        pool.map(work, [(i, n) for i in range(n)])


if __name__ == "__main__":
    main()
