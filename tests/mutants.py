#!/usr/bin/env python3
"""Breaks the ledger by hand, one way at a time, and expects its tests to notice each.

Copies the workspace to a temporary folder, so the tree is never touched, and builds in a target folder of its own, kept
from run to run: cargo tells two copies of a workspace apart by the times of their files only, so that in a shared folder
a mutant could pass for the original. Exit 0 when every mutant was killed, 1 when one survived, 2 when one no longer applies.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORE = "gateway/core/src/"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).absolute() / "mutants"

# What a careless hand might write, where, and instead of what.
MUTANTS = [
    ("everything sent counts as heard", "ledger.rs",
     "of_this.fold(account.heard, |sum, s| sum + s.heard(head))", "{ let _ = (of_this, head); account.sent }"),
    ("everything received counts as heard", "ledger.rs",
     "of_this.fold(account.heard, |sum, s| sum + s.heard(head))", "{ let _ = (of_this, head); account.received }"),
    ("segments merge across a pause", "ledger.rs",
     "last.utterance == utterance && last.start + last.span == position", "last.utterance == utterance && last.start <= position"),
    ("what was settled is forgotten", "ledger.rs",
     '.expect("an account outlives its segments").heard += span', '.expect("an account outlives its segments").heard += span.saturating_sub(span)'),
    ("what was wholly heard is cut all the same", "ledger.rs",
     "(!whole).then_some(Cut {", "(!whole || account.ended).then_some(Cut {"),
    ("a cut does not void the marks", "playout.rs",
     "        self.marks.clear();\n", ""),
    ("marks of all generations have one name", "playout.rs",
     "self.next_mark.generation.wrapping_add(1)", "self.next_mark.generation"),
    ("an unconfirmed mark does not bound what was heard", "playout.rs",
     "head.min(*unconfirmed)", "head.max(head.min(*unconfirmed))"),
    ("an early echo is believed", "playout.rs",
     "position.min(self.head.position(now))", "position"),
    ("a cut leaves no tombstone", "playout.rs",
     "self.tombstone = self.newest;", ""),
    ("a cut leaves the queue", "playout.rs",
     "        self.queue.clear();\n", ""),
    ("speech leaves as fast as it comes", "playout.rs",
     "let room = lead.saturating_sub(front.duration);", "let room = lead + lead.saturating_sub(front.duration);"),
    ("live audio drops its newest", "playout.rs",
     'let oldest = self.pop().expect("two frames are queued");',
     'let oldest = self.queue.pop_back().expect("two frames are queued"); self.queued = self.queued.saturating_sub(oldest.duration);'),
    ("no mark at the end of speech", "playout.rs",
     "since >= MARK_EVERY || at_end", "since >= MARK_EVERY || (at_end && since.is_zero())"),
    ("a late echo does not hold the head back", "play_head.rs",
     "self.delay = now.saturating_since(stretch.reaches(position));", "let _ = (now, stretch);"),
    ("playing does not start anew after dryness", "play_head.rs",
     "self.stretches.back().is_none_or(|last| last.position(now) >= self.sent)", "self.stretches.is_empty()"),
    ("half a millisecond counts as one", "time.rs",
     "self.0 / (Self::TICKS_PER_SECOND / 1000)", "self.0.div_ceil(Self::TICKS_PER_SECOND / 1000)"),
]


def tests_pass(folder: Path) -> bool:
    command = ["cargo", "test", "--quiet", "--package", "patchbay-core", "--lib"]
    settings = {"CARGO_TARGET_DIR": str(TARGET), "PROPTEST_MAX_SHRINK_ITERS": "0", "PROPTEST_FAILURE_PERSISTENCE": "off"}
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, env={**os.environ, **settings})
    if "could not compile" in run.stderr:
        sys.exit(f"a mutant does not compile:\n{run.stderr}")
    return run.returncode == 0


def main() -> int:
    survivors = []
    with tempfile.TemporaryDirectory(prefix="patchbay-mutants-") as folder:
        copy = Path(folder) / "tree"
        # Files get the time of now: newer than what an earlier run built.
        shutil.copytree(ROOT, copy, copy_function=shutil.copy,
                        ignore=shutil.ignore_patterns("target", "node_modules", ".venv", ".git"))
        if not tests_pass(copy):
            sys.exit("the tests of patchbay-core fail without a mutant")
        for number, (what, file, good, bad) in enumerate(MUTANTS, 1):
            path = copy / CORE / file
            source = path.read_text()
            if source.count(good) < 1:
                print(f"mutant {number} no longer applies to {file}: {good!r}", file=sys.stderr)
                return 2
            path.write_text(source.replace(good, bad, 1))
            killed = not tests_pass(copy)
            path.write_text(source)
            print(f"{'killed  ' if killed else 'SURVIVED'}  {what}", flush=True)
            survivors += [] if killed else [what]
    print(f"{len(MUTANTS) - len(survivors)} passed, {len(survivors)} failed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
