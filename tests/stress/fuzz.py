"""Damaged files, thousands of them: each ends in an error of ours or in success.

python -m stress.fuzz [FILES] [SEED], in tests/: mutates a valid file of every kind and loads it in another process.
Never may it crash, take more than ten seconds, or more memory than four times the file and 1 GB. What does is kept in
tests/fixtures/fuzz, from which tests/storage/test_limits.py loads it ever after.
"""

from __future__ import annotations

import random
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

from stress.loaders import load, valid

from marginflow.storage.files import CHECKSUMS
from marginflow.storage.limits import FREE, TIMES

SECONDS = 10.0
CORPUS = Path(__file__).parents[1] / "fixtures" / "fuzz"
NUMBERS = [b"0", b"-1", b"1e308", b"nan", b"99999999999", b"9" * 30, b"[" * 2000, b"true", b'"text"', b"{}", b"null"]


def mutated(content: bytes, chance: random.Random) -> bytes:
    """A file with one to four damages."""
    for _ in range(chance.randint(1, 4)):
        data, at = bytearray(content), chance.randrange(len(content) + 1)
        size = min(chance.choice([1, 2, 4, 8, 64]), len(data) - at)
        kind = chance.randrange(8)
        if kind == 0 and data:
            for _ in range(chance.randint(1, 8)):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[at : at + size] = chance.randbytes(size)
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            del data[at : at + size]
        elif kind == 4:
            data[at:at] = data[at : at + 64] * chance.randint(1, 50)
        elif kind == 5:
            data[at : at + size] = chance.choice([b"\xff", b"\x00", b"\x7f"]) * size
        elif kind == 6:
            found = list(re.finditer(rb"-?\d+(\.\d+)?", content))
            if found:
                number = chance.choice(found)
                data[number.start() : number.end()] = chance.choice(NUMBERS)
        else:
            data[at:at] = chance.choice(NUMBERS)
        content = bytes(data) or b"\x00"
    return content


def serve() -> None:
    """Load what is named on standard input, a line each; answer with how it ended and the memory it took."""
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        name, _, path = line.rstrip("\n").partition("\t")
        before = _memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        try:
            load(name, Path(path))
            end = "loaded"
        except (ValueError, OSError, FloatingPointError) as error:
            end = "refused"
            if "--why" in sys.argv:
                print(name, error, file=sys.stderr)
        except BaseException as error:
            end = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        taken = _memory("VmHWM") - before
        if end in ("loaded", "refused") and taken > max(TIMES * Path(path).stat().st_size, FREE):
            end = f"took {taken:,} bytes"
        print(f"{end}\t{taken}", flush=True)


def _memory(what: str) -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{what}:\s+(\d+)", status)[1])


class Server:
    """The process that loads, started anew when it has died."""

    def __init__(self) -> None:
        self.process, self.warm = self._started(), False  # the first call also imports

    def _started(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "stress.fuzz", "serve"]
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        return subprocess.Popen(command, cwd=CORPUS.parents[1], stdin=pipe, stdout=pipe, stderr=null, text=True)

    def ask(self, name: str, path: Path) -> tuple[str, int]:
        """How loading ended, and the memory it took."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{name}\t{path}\n")
        stdin.flush()
        ready, _, _ = select.select([stdout], [], [], SECONDS if self.warm else 60)
        self.warm = True
        answer = stdout.readline() if ready else ""
        if answer:
            end, _, taken = answer.rpartition("\t")
            return end, int(taken)
        self.process.kill()
        self.process.wait()
        end = f"took longer than {SECONDS:.0f} s" if not ready else f"crashed ({self.process.returncode})"
        self.process, self.warm = self._started(), False
        return end, 0


def main(files: int = 10_000, seed: int = 0) -> int:
    chance = random.Random(seed)
    folder = Path(tempfile.mkdtemp())
    seeds = valid(folder / "valid")
    ends: Counter[str] = Counter()
    worst: dict[str, int] = {}
    server, started = Server(), time.perf_counter()
    for name, path in seeds.items():
        end, _ = server.ask(name, path)
        if end != "loaded":
            raise SystemExit(f"the valid {name} is not loaded: {end}")
    for i in range(files):
        name = chance.choice(list(seeds))
        path = _damaged(seeds[name], name, folder, chance)
        end, taken = server.ask(name, path)
        worst[name] = max(worst.get(name, 0), taken)
        ends[f"{name}: {end if end in ('loaded', 'refused') else 'FAILED'}"] += 1
        if end not in ("loaded", "refused"):
            kept = CORPUS / f"{name.replace(' ', '_')}-{seed}-{i}{path.suffix}"
            CORPUS.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, kept)
            print(f"file {i}, {name}: {end}; kept as {kept.name}", flush=True)
    shutil.rmtree(folder)
    for name in sorted(ends):
        print(f"{ends[name]:6d}  {name}")
    failed = sum(count for name, count in ends.items() if name.endswith("FAILED"))
    largest = max(worst, key=lambda name: worst[name])
    print(
        f"{files} files, seed {seed}, {time.perf_counter() - started:.0f} s: {failed} failed; most memory "
        f"{worst[largest] / 2**20:.0f} MB ({largest})"
    )
    return 1 if failed else 0


def _damaged(source: Path, name: str, folder: Path, chance: random.Random) -> Path:
    """A copy of a valid file, or of the run that it stands in, with damages; half of the runs without checksums."""
    if not name.startswith("run "):
        path = source
        if name == "hdf5":  # which is looked for below a data root
            path = folder / "maf" / "BSDS300" / source.name
            path.parent.mkdir(parents=True, exist_ok=True)
        else:
            path = folder / f"damaged{source.suffix}"
            (folder / CHECKSUMS).unlink(missing_ok=True)
    else:
        run = folder / "damaged"
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(source.parent, run)
        if chance.random() < 0.8:
            (run / CHECKSUMS).unlink()
        path = run / source.name
    path.write_bytes(mutated(source.read_bytes(), chance))
    return path


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        sys.exit(main(*(int(each) for each in sys.argv[1:])))
