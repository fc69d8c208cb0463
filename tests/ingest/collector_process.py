"""A collector over a Kafka in memory, as a process of its own: prints its port, then at the end what it handed over.

Arguments: what the fake Kafka does (`ok` or `slow`: it acknowledges half a second late), and settings as JSON.
"""

from __future__ import annotations

import json
import sys
import time

from ingest import server
from ingest.producer import Delivered
from ingest.settings import CollectorSettings
from schemas.clock import SystemClock
from schemas.keys import KeyStore
from tests.ingest.support import PARTITIONS, FakeKafka, Record, validators


class SlowKafka(FakeKafka):
    """Acknowledges half a second late."""

    def poll(self) -> None:
        due: list[tuple[Record, Delivered]] = []
        if not hasattr(self, "first"):
            self.first = time.monotonic()
        if time.monotonic() - self.first < 0.5:
            self.waiting, due = [], self.waiting
        super().poll()
        self.waiting.extend(due)


def main() -> None:
    kafka = SlowKafka() if sys.argv[1] == "slow" else FakeKafka()
    settings = CollectorSettings.model_validate_json(sys.argv[2])
    clock = SystemClock()
    keys = KeyStore(None, clock, dev_keys=True)
    collector = server.build(settings, validators(), keys, clock, kafka, PARTITIONS)
    listener = server.listen(settings)
    print(listener.getsockname()[1], flush=True)
    server.run(collector, clock, listener)
    last = {(line.tenant, line.minute): line.n for line in kafka.ledger()}
    print(json.dumps({"events": len(kafka.events()), "ledger": sum(last.values()), "closed": kafka.closed}))


if __name__ == "__main__":
    main()
