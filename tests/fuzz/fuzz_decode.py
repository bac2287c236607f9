"""Coverage-guided fuzzing of all that lies between a Kafka message and the records it leads to.

    python -m tests.fuzz.fuzz_decode FOLDER... -max_total_time=600

The options are libFuzzer's; the folders hold inputs, and the first of them gets the new ones. It
ends at the first escape (see `tests.fuzz.invariants`), whose input it leaves in a file.
"""

import atexit
import sys
from collections import Counter

import atheris

with atheris.instrument_imports(include=["producers", "stream", "detector"]):
    from tests.fuzz.invariants import baseline, judge
    from tests.fuzz.messages import from_bytes
    from tests.fuzz.mutator import mutate

outcomes: Counter[str] = Counter()


def one_input(data: bytes) -> None:
    """Judge one message."""
    outcomes[judge(from_bytes(data))] += 1


def custom_mutator(data: bytes, most: int, seed: int) -> bytes:
    """Change an input as `mutate` does, with libFuzzer's own mutation of the parts."""
    return mutate(bytes(data), most, seed, lambda part: bytes(atheris.Mutate(part, len(part) + 16)))


def tell() -> None:
    """Say what became of the inputs."""
    print(f"{sum(outcomes.values())} messages:", file=sys.stderr)  # noqa: T201
    for outcome, count in outcomes.most_common():
        print(f"{count:9d} {outcome}", file=sys.stderr)  # noqa: T201


def main() -> None:
    """Fuzz as the command line says."""
    baseline()
    atexit.register(tell)
    atheris.Setup(sys.argv, one_input, custom_mutator=custom_mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
