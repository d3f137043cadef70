"""The raw words of the stream through dieharder and TestU01: battery.py [--full] [--jobs N] WORDS TESTU01.

WORDS and TESTU01 are the built programs of examples/words.rs and tools/testu01.c. Every battery runs on
every input; the results replace the last section of docs/battery.md, whose other sections say what the
inputs and the rule of judgement are. The exit code is 1 if an input fails or a control passes.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "battery.md"
HEADING = "## Results\n"

INPUTS = ["stream", "doubles", "seeds", "first", "bits", "names", "shards"]
CONTROLS = ["twin", "lcg"]  # defective on purpose: they must fail

# The rule, for two-sided p-values: a weak one (dieharder's own threshold) is computed again from the words of
# other seeds, and a failure is a second one below FALSE_ALARM / (number of p-values * WEAK).
FALSE_ALARM = 1e-6
WEAK = 0.01
SEED, SECOND_SEED = 0, 10**12

# dieharder's tests: number -> values of -n, with 0 for its own choice. Left out are opso, oqso, dna and sums
# (5, 6, 7, 14), which it calls "Suspect" and "Do Not Use" itself, and 100, which is part of 102.
DIEHARDER = dict.fromkeys([0, 1, 3, 4, 8, 9, 10, 11, 12, 13, 15, 16, 101, 102, *range(205, 210)], (0,))
DIEHARDER |= {200: (2,), 201: (2,), 202: (5,), 203: (1,)}
DIEHARDER_FULL = DIEHARDER | {2: (0,), 17: (0,), 204: (0,)}
DIEHARDER_FULL |= {200: range(1, 13), 201: range(2, 6), 202: range(2, 6), 203: range(33)}

# TestU01's batteries, the last one with the number of bits that each of its tests takes.
TESTU01 = [["SmallCrush"], ["Rabbit", str(1 << 25)]]
TESTU01_FULL = [["Crush"], ["Rabbit", str(1 << 30)]]
# Left out: the first statistic of Rabbit counts equal windows of bits. They overlap and come in clumps: the
# variance is three times that of the Poisson distribution from which TestU01 takes the p-value.
UNSOUND = "MultinomialBitsOver 1"
REVERSED = {"SmallCrush", "Crush"}  # they look mostly at the top bits: a second time with the bits reversed


@dataclass(frozen=True)
class Job:
    """One run of a program on one input."""

    battery: str
    input: str
    command: tuple[str, ...]
    reversed: bool = False


@dataclass
class Result:
    job: Job
    read: int  # bytes, up to the size of a pipe more than the program took
    values: list[tuple[str, float]]  # (name of the test, p)
    version: str


def plan(testu01, full):
    """Every program of the batteries on every input, the controls first."""
    show = ["-D", "header", "-D", "test_name", "-D", "ntuple", "-D", "pvalues"]
    for source in CONTROLS + INPUTS:
        for arguments in TESTU01_FULL if full else TESTU01:
            yield Job(arguments[0], source, (testu01, *arguments))
            if arguments[0] in REVERSED:
                yield Job(f"{arguments[0]}, reversed", source, (testu01, *arguments), reversed=True)
        for number, ns in (DIEHARDER_FULL if full else DIEHARDER).items():
            for n in ns:
                test = ["-g", "200", "-d", str(number), "-n", str(n)]
                yield Job("dieharder", source, ("dieharder", *test, *show))


def run(words, job, seed=SEED):
    """Pump words into the program of the job until it has had enough."""
    command = [words, job.input, str(seed), *["reversed"] * job.reversed]
    with (
        tempfile.TemporaryFile("w+") as report,
        subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as source,
        subprocess.Popen(job.command, stdin=subprocess.PIPE, stdout=report, bufsize=0) as program,
    ):
        read = 0
        try:
            while chunk := source.stdout.read(1 << 16):
                read += program.stdin.write(chunk)
        except BrokenPipeError:
            pass
        program.stdin.close()
        source.stdout.close()
        for process in (source, program):
            if process.wait():
                sys.exit(f"{' '.join(process.args)}: exit code {process.returncode}")
        report.seek(0)
        text = report.read()
    rows = (line.split("|") for line in text.splitlines())
    values = [(f"{row[0].strip()} {row[1].strip()}", float(row[2])) for row in rows if len(row) == 3]
    values = [(name, p) for name, p in values if name != UNSOUND]
    if not values or not all(0 <= p <= 1 for _, p in values):
        sys.exit(f"{' '.join(job.command)}: no p-values on the input {job.input}:\n{text}")
    return Result(job, read, values, re.search(r"(?:dieharder version|TestU01) [\d.]+", text)[0])


def two_sided(p):
    """The probability of a p-value at least as close to 0 or 1."""
    return 2 * min(p, 1 - p)


def run_all(jobs, words, seed, workers):
    """Run the jobs and say how each one went."""
    results = []
    with ThreadPoolExecutor(workers) as pool:
        for number, result in enumerate(pool.map(lambda job: run(words, job, seed), jobs), 1):
            name, p = min(result.values, key=lambda value: two_sided(value[1]))
            job = result.job
            print(f"{number}/{len(jobs)}  {job.input:8} {job.battery:20} {name:30} p = {p:.3g}", flush=True)
            results.append(result)
    return results


def judge(results, again):
    """Apply the rule; `again` runs jobs on other seeds. Rows of weak p-values, all second ones, failures."""
    count = sum(len(result.values) for result in results if result.job.input in INPUTS)
    rows, seconds, failed, weak = [], [], set(), []
    for result in results:
        smallest = min(two_sided(p) for _, p in result.values)
        if result.job.input in INPUTS and smallest < WEAK:
            weak.append(result)
        elif result.job.input in CONTROLS and smallest < FALSE_ALARM / count:
            failed.add((result.job.battery, result.job.input))
    for first, second in zip(weak, again([result.job for result in weak]), strict=True):
        group = (first.job.battery, first.job.input)
        seconds += [two_sided(p) for _, p in second.values]
        for (name, p), (_, p2) in zip(first.values, second.values, strict=True):
            if two_sided(p) < WEAK:
                rows.append([*group, name, f"{two_sided(p):.2g}", f"{two_sided(p2):.2g}"])
                if two_sided(p2) < FALSE_ALARM / (count * WEAK):
                    failed.add(group)
    return rows, seconds, failed


def table(head, rows):
    """Lay out rows in Markdown."""
    return "".join(f"| {' | '.join(row)} |\n" for row in [head, ["---"] * len(head), *rows])


def report(results, weak, seconds, failed, command, minutes):
    """Write the last section of the page."""
    groups = {}
    for result in results:
        groups.setdefault((result.job.battery, result.job.input), []).append(result)
    rows = []
    for group in sorted(groups, key=lambda group: (group[1] in CONTROLS, group[0])):
        ps = [two_sided(p) for result in groups[group] for _, p in result.values]
        read = sum(result.read for result in groups[group]) / 1e9
        verdict = "fails" if group in failed else "passes"
        rows.append([*group, f"{read:.2g} GB", str(len(ps)), f"{min(ps):.2g}", verdict])
    ps = [two_sided(p) for result in results if result.job.input in INPUTS for _, p in result.values]
    versions = ", ".join(sorted({result.version for result in results}))
    text = f"""
`{command}`, {minutes:.0f} minutes, {versions}.

The inputs gave {len(ps)} p-values, {len(weak)} of them weak; chance would make it {WEAK * len(ps):.0f}.

{table(["battery", "input", "read", "p-values", "smallest", "verdict"], rows)}"""
    if weak:
        head = ["battery", "input", "test", "p-value", "second p-value"]
        text += f"""
The weak p-values. The programs that gave them, run again on other seeds, gave {len(seconds)} p-values in all,
{sum(p < WEAK for p in seconds)} of them weak; chance would make it {WEAK * len(seconds):.0f}.

{table(head, weak)}"""
    head, heading, _ = PAGE.read_text().partition(HEADING)
    PAGE.write_text(head + heading + text)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("words")
    parser.add_argument("testu01")
    args = parser.parse_args()

    start = time.monotonic()
    jobs = list(plan(args.testu01, args.full))
    results = run_all(jobs, args.words, SEED, args.jobs)
    weak, seconds, failed = judge(results, lambda jobs: run_all(jobs, args.words, SECOND_SEED, args.jobs))
    minutes = (time.monotonic() - start) / 60
    options = " ".join(sys.argv[1:-2])
    command = f"make battery BATTERY='{options}'" if options else "make battery"
    report(results, weak, seconds, failed, command, minutes)

    bad = [f"{battery} fails on {source}" for battery, source in sorted(failed) if source in INPUTS]
    bad += [
        f"{battery} does not see that {source} is defective"
        for battery, source in sorted({(job.battery, job.input) for job in jobs} - failed)
        if source in CONTROLS
    ]
    sys.exit("\n".join(bad) or 0)


if __name__ == "__main__":
    main()
