"""Write docs/states.md from the table of moves (ctstate/ledger/states.py); a test holds the two together."""

import re
import sys
from pathlib import Path

from ctstate.ledger import states
from ctstate.ledger.states import PENDING, RETRYABLE, TRANSITIONS, State

HEAD = """# States and moves

Made from `ctstate/ledger/states.py` by `make docs`.

```
manifested ─> predicted ─> batched ⇄ uploading ─> uploaded ─> removed ─> deleted
                              ↑          └──────> failed          │          │
                              └───────────── retry ───────────────┴──────────┘
```

A capture is in one state at any time, `v_captures.state`. The moves below are rows of the ledger's table
`transition`; triggers refuse every other, also to SQL that somebody types, and write each move into `event`
(`v_events`, `ctstate history`).
"""


def page() -> str:
    """Return docs/states.md."""
    rows = [f"| {state} | {_meaning(state)} |" for state in State]
    moves = [f"| {move.source or '(new)'} | {move.target} | {move.meaning} |" for move in TRANSITIONS]
    return "\n".join(
        [
            HEAD,
            "| state | what is known |",
            "| --- | --- |",
            *rows,
            "",
            f"An upload has still to bring to Zooniverse what is {', '.join(PENDING)}; `retry` takes what is "
            f"{', '.join(RETRYABLE)}. Excluded captures keep their state and are not uploaded.",
            "",
            "## Every move there is",
            "",
            "| from | to | by what |",
            "| --- | --- | --- |",
            *moves,
            "",
        ]
    )


def _meaning(state: State) -> str:
    """Return what the comment above a state in its module says of it."""
    source = Path(states.__file__).read_text(encoding="utf-8")
    (comment,) = re.findall(rf"((?:^    # .+\n)+)    {state.name} = ", source, re.MULTILINE)
    text = " ".join(line.strip("# ") for line in comment.splitlines())
    return text.partition(": ")[2].rstrip(".") if ": " in text else text.rstrip(".")


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parent
    (folder / "states.md").write_text(page(), encoding="utf-8")
