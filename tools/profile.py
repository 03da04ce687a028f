# SPDX-License-Identifier: GPL-2.0
"""profile.py FOLDER ROUNDS OPERATION [FUNCTION]: the evaluation of tools/profile."""

import bisect
import collections
import json
import re
import sys


def short(name):
    """A mangled name of Rust as a path; other names as they are."""
    if not name.startswith("_R"):
        return name
    # Crates have a hash, in which there are digits, too.
    name = re.sub(r"Cs[0-9A-Za-z]*_", "C", name)
    parts, at = [], 0
    for match in re.finditer(r"(\d+)_?([A-Za-z_])", name):
        if match.start() < at:
            continue
        length, begin = int(match[1]), match.start(2)
        word = name[begin : begin + length]
        if 0 < length <= len(name) - begin and re.fullmatch(r"\w+", word):
            parts.append(word)
            at = begin + length
    return "::".join(parts) or name


def batches(path):
    """Of each interval between two questions: address and number."""
    counts = {}
    with open(path) as file:
        for line in file:
            if line.startswith("="):
                if counts:
                    yield counts
                counts = {}
            else:
                address, number = line.split()
                counts[int(address, 16)] = int(number)


def main():
    folder, rounds, operation = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    wanted = sys.argv[4] if len(sys.argv) > 4 else None
    operations = json.load(open(f"{folder}/costs.json"))["operations"]
    if operation not in operations:
        sys.exit("error: there is no such operation; there are\n" + "\n".join(operations))
    total = operations[operation]["instructions"] * rounds
    symbols = []
    for line in open(f"{folder}/symbols"):
        fields = line.split()
        symbols.append((int(fields[0], 16), short(fields[2])))
    symbols.sort()
    starts = [start for start, _ in symbols]

    # A batch has the loop around it, too, and an interrupt may hit it: the most frequent total is one without.
    ours = not operation.startswith(("native", "failing"))
    # Operations of few rounds may have as many instructions, but do not execute them again and again.
    near = [
        batch
        for batch in batches(f"{folder}/counts")
        if 0.995 * total <= sum(batch.values()) <= 1.02 * total + 600
        and (not ours or any(0xBF000000 <= address < 0xC0000000 for address in batch))
        and (rounds == 1 or rounds * sum(1 for n in batch.values() if n >= rounds) >= 0.5 * total)
    ]
    if not near:
        sys.exit(f"error: no batch has about {total:.0f} instructions")
    usual = collections.Counter(sum(b.values()) for b in near).most_common(1)[0][0]
    chosen = [b for b in near if sum(b.values()) == usual]
    sums = collections.Counter()
    for batch in chosen:
        sums.update(batch)
    per = len(chosen) * rounds

    def function(address):
        if address < 0xBF000000:
            return "programs and guests"
        at = bisect.bisect_right(starts, address) - 1
        return symbols[at][1] if at >= 0 else "unknown"

    print(f"{operation}: {len(chosen)} batches of {rounds} rounds with {usual} instructions")
    if wanted:
        for address, number in sorted(sums.items()):
            name = function(address)
            if wanted in name:
                at = bisect.bisect_right(starts, address) - 1
                print(f"{number / per:8.2f}  {name}+{address - starts[at]:#x}")
        return
    functions = collections.Counter()
    for address, number in sums.items():
        functions[function(address)] += number
    for name, number in functions.most_common():
        print(f"{number / per:8.1f}  {name}")


main()
