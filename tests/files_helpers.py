"""A model in several files, written by processes that are started, watched and killed."""

import hashlib
import multiprocessing
import resource
import signal

from initcore import streaming
from initcore.params import plan

#: Of 5 MB in 8 files, of which the first two hold one parameter that is too large.
SHAPES = {
    "embedding": (300, 512),
    "head": (600, 512),
    **{f"layers.{i}.{name}": (256, 512) for i in range(3) for name in ("a", "b")},
    "norm": 512,
}
LIMIT = "600KB"
FILES = 8


def model(seed=0):
    return plan(SHAPES, {"norm": "ones", "*.b": "he_uniform", "*": "normal(0.02)"}, seed=seed)


def contents(directory):
    """Give the hashes of all files by name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}


def save(pipe, directory, part=None, largest_file=None):
    """Write the model in small pieces, once the other end has been told that it begins."""
    streaming.PIECE = 1 << 13
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    pipe.send("ready")
    try:
        model().save(directory, max_shard_size=LIMIT, part=part, num_threads=2)
    except OSError as error:
        pipe.send(error.errno)
    else:
        pipe.send("done")


class Writers:
    """Processes that write the model, started quickly: what they import is there already."""

    def __init__(self):
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["pytest", "initcore.params"])

    def start(self, *arguments):
        """Start one; it has begun when this returns."""
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=save, args=(theirs, *arguments))
        process.start()
        theirs.close()
        assert ours.recv() == "ready"
        return process, ours

    def run(self, *arguments):
        """Wait for one; give what it says in the end."""
        return self.end(self.start(*arguments))

    def end(self, started):
        """Wait for one; give what it says in the end, or None if it was killed before."""
        process, pipe = started
        try:
            answer = pipe.recv()
        except EOFError:
            answer = None
        process.join(60)
        assert process.exitcode in (0, -signal.SIGKILL)
        pipe.close()
        return answer
