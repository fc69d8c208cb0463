"""The product's command line with something planted in it, in this one process only.

    python -m tests.faults.defective PLANT[,PLANT…] -- process --role events --metrics-port 9100

A plant is `name` or `name=value`, of `tests.faults.defects.PLANTS`.
"""

from __future__ import annotations

import sys


def main() -> None:
    from deploy.cli import main as headrace
    from tests.faults.defects import plant

    names, dashes, *words = sys.argv[1:]
    assert dashes == "--", "write: python -m tests.faults.defective NAME -- <headrace arguments>"
    for one in names.split(","):
        plant(one)
    sys.argv[1:] = words
    headrace()


if __name__ == "__main__":
    main()
