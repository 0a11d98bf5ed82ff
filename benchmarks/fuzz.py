"""Damaged and hostile scenes by the thousand: python benchmarks/fuzz.py --inputs 5000 --seed 1 [--keep FOLDER]

Each input is one scene, made from a sound GeoTIFF by one to three mutations (see mangle.py), planned and read in two
windows by both readers, in a process that may be lost. It must be read, refused or a failed read, by an error of ours
that names the scene. Whatever else happens is kept: a crash, a hang (--seconds), an error that is not ours, more
memory than --memory, two readers that disagree. Exit code 1 if anything was kept. The same seed makes the same inputs.
"""

import argparse
import json
import os
import resource
import select
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mangle import make_input, make_seeds

# -- in the child --------------------------------------------------------------------------------------------


def examine(path: str) -> dict[str, Any]:
    """Plan the one scene and read its first and last window by each reader."""
    import hashlib

    from clearyear.errors import ClearyearError
    from clearyear.job import Job
    from clearyear.prepare import make_plan
    from clearyear.reading import sources
    from clearyear.window import reduce_window

    answers: dict[str, Any] = {}
    for reader in ("auto", "gdal"):
        os.environ["CLEARYEAR_READER"] = reader
        sources._source_of.cache_clear()
        try:
            plan = make_plan(Job(scenes=[path], period="all", out="/nowhere", reducer="band-median", tile_size=64))
            digest, failed = hashlib.sha256(), ""
            for window in (plan.windows[0], plan.windows[-1]):
                layers, _, failures = reduce_window(plan, window)
                if layers is None:
                    failed = failures[0].cause
                    if Path(path).stem != failures[0].scene:
                        raise AssertionError(f"the failed read names {failures[0].scene}")
                    break
                digest.update(layers["composite"].tobytes())
            answers[reader] = ["failed read", failed] if failed else ["read", digest.hexdigest()]
        except ClearyearError as error:
            named = Path(path).stem in str(error) or "cannot use these scenes" in str(error)
            answers[reader] = ["refused" if named else "unnamed", str(error)]
    return answers


def child() -> None:
    """Answer one line with one line, until there are no more."""
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))  # for the machine's sake
    import clearyear.payload  # noqa: F401  what an import costs is no input's memory

    for line in sys.stdin:
        Path("/proc/self/clear_refs").write_text("5")
        before = _high_water()
        try:
            answers = examine(line.strip())
        except BaseException as error:  # noqa: BLE001  that is what is looked for
            answers = {"auto": ["bug", f"{type(error).__name__}: {error}"]}
        print(json.dumps({"answers": answers, "mb": _high_water() - before}), flush=True)


def _high_water() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


# -- in the parent -------------------------------------------------------------------------------------------


class Child:
    """A process that examines inputs; started again when it is lost."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.process: subprocess.Popen[str] | None = None

    def ask(self, path: Path) -> dict[str, Any]:
        """What became of one input."""
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                [sys.executable, __file__, "--child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                bufsize=1,
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{path}\n")
        ready, _, _ = select.select([self.process.stdout], [], [], self.seconds)
        line = self.process.stdout.readline() if ready else ""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        self.process.kill()
        code = self.process.wait()
        what = ["crash", f"exit {code}"] if ready else ["hang", f"more than {self.seconds:g} s"]
        return {"answers": {"auto": what}, "mb": 0.0}


def judge(answer: dict[str, Any], memory: float) -> str:
    """In one word what became of an input."""
    first, second = (answer["answers"].get(reader, ["", ""]) for reader in ("auto", "gdal"))
    if answer["mb"] > memory:
        return "memory"
    if first[0] in ("bug", "crash", "hang", "unnamed"):
        return str(first[0])
    if second[0] == "unnamed":
        return "unnamed"
    if "read" in (first[0], second[0]) and first != second:
        # One reader may be stricter; two different pictures are a lie of one of them.
        return "disagree" if first[0] == second[0] else f"{first[0]} directly, {second[0]} by GDAL"
    return str(first[0])


BAD = ("bug", "crash", "hang", "unnamed", "memory", "disagree")


def run(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[int, str, str, dict[str, Any]]]:
    """Every input's number, story, verdict and answer."""
    (folder / "seeds").mkdir()
    seeds = make_seeds(folder / "seeds")
    numbers = [arguments.only] if arguments.only is not None else list(range(arguments.inputs))
    helpers = [Child(arguments.seconds) for _ in range(arguments.processes)]

    def share(start: int) -> list[tuple[int, str, str, dict[str, Any]]]:
        found = []
        for number in numbers[start :: arguments.processes]:
            story, data = make_input(seeds, arguments.seed, number)
            path = folder / f"input{number:06d}_20230101.tif"
            path.write_bytes(data)
            answer = helpers[start].ask(path)
            verdict = judge(answer, arguments.memory)
            if verdict in BAD and arguments.keep:
                arguments.keep.mkdir(parents=True, exist_ok=True)
                (arguments.keep / path.name).write_bytes(data)
            path.unlink()
            found.append((number, story, verdict, answer))
        helper = helpers[start].process
        if helper is not None and helper.stdin is not None:
            helper.stdin.close()
            helper.wait()
        return found

    with ThreadPoolExecutor(arguments.processes) as pool:
        for results in pool.map(share, range(arguments.processes)):
            yield from results


def main() -> int:
    """Make the inputs, have them examined, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="just the input of this number")
    parser.add_argument("--seconds", type=float, default=60, help="a longer one hangs")
    parser.add_argument("--memory", type=float, default=700, help="MB above what the process had before the input")
    parser.add_argument("--keep", type=Path, help="where the inputs go that went wrong")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child()
        return 0
    verdicts: Counter[str] = Counter()
    most = 0.0
    with tempfile.TemporaryDirectory(prefix="clearyear-fuzz-") as folder:
        for number, story, verdict, answer in run(arguments, Path(folder)):
            verdicts[verdict] += 1
            most = max(most, answer["mb"])
            if verdict in BAD or arguments.only is not None:
                print(f"{number:6} {verdict:9} {story}: {json.dumps(answer['answers'])[:400]} {answer['mb']:.0f} MB")
    print(f"{sum(verdicts.values()):,} inputs of seed {arguments.seed}")
    for verdict, n in sorted(verdicts.items(), key=lambda item: -item[1]):
        print(f"  {verdict:45} {n:6,}")
    print("  " + ", ".join(f"{bad} {verdicts[bad]}" for bad in BAD))
    print(f"  most memory above the process's own: {most:.0f} MB")
    return 1 if any(verdicts[bad] for bad in BAD) else 0


if __name__ == "__main__":
    sys.exit(main())
