"""Clients that send again until they have an answer, and remember for each event which one they got.

What they promise the oracle: an event in `acknowledged` was in a request that was answered with 200 and not named as
rejected; one in `rejected` was named, with that reason; one in `unknown` was sent and never answered for.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import httpx
import orjson

from schemas.keys import DEV_WRITE_KEY
from tests.e2e.doors import EVENTS
from tests.faults.traffic import Traffic

PAUSE = 0.2
"""Seconds before a request is sent again."""


@dataclass
class Answers:
    """By event number. `statuses`: HTTP statuses and errors, counted. `gone`: seconds without any 200, the longest."""

    acknowledged: set[int] = field(default_factory=set)
    rejected: dict[int, str] = field(default_factory=dict)
    unknown: set[int] = field(default_factory=set)
    statuses: Counter[str] = field(default_factory=Counter)
    gone: float = 0.0


class Client:
    """Sends a stream's events to collectors, from threads, at the stream's rate; a context manager that waits for them.

    `urls`: collectors; each request goes to the next one, a repetition, too. `threads`: requests at once. `patience`:
    seconds after which a request that nobody answers is given up (its events are `unknown`). `timeout`: seconds that
    one answer may take. Full speed with a `rate` of 0.
    """

    def __init__(
        self,
        urls: Sequence[str],
        traffic: Traffic,
        count: int,
        *,
        first: int = 0,
        batch: int = 100,
        threads: int = 2,
        patience: float = 300.0,
        timeout: float = 10.0,
        rate: float | None = None,
        key: str = DEV_WRITE_KEY,
    ) -> None:
        self.traffic, self.count, self.answers = traffic, count, Answers()
        self._patience, self._timeout, self._key = patience, timeout, key
        self._urls = itertools.cycle(urls)
        self._rate = traffic.rate if rate is None else rate
        self._batches = traffic.batches(count, batch, first)
        self._first = first
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._began = self._last_good = 0.0
        self._threads = [threading.Thread(target=self._work, name=f"client-{n}", daemon=True) for n in range(threads)]

    def __enter__(self) -> Client:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            self.stop()
        self.join()

    def start(self) -> None:
        """Begin to send."""
        self._began = self._last_good = time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send nothing more; what waits for an answer is given up."""
        self._stopping.set()

    def join(self) -> Answers:
        """Wait until all is sent and answered; the answers."""
        for thread in self._threads:
            thread.join()
        if self._failure is not None:
            raise self._failure
        return self.answers

    @property
    def done(self) -> int:
        """Events that are answered for."""
        return len(self.answers.acknowledged) + len(self.answers.rejected)

    @property
    def sending(self) -> bool:
        """Whether it is still at it."""
        return any(thread.is_alive() for thread in self._threads)

    def wait_for(self, share: float, within: float = 600.0) -> None:
        """Return when this share of the events is answered for; AssertionError when that takes too long."""
        deadline = time.monotonic() + within
        while self.done < share * self.count:
            if self._failure is not None:
                raise self._failure
            assert self.sending or self.done >= share * self.count, f"ended with {self.done} of {self.count} answered"
            assert time.monotonic() < deadline, f"{self.done} of {self.count} answered; {dict(self.answers.statuses)}"
            time.sleep(0.02)

    def _work(self) -> None:
        try:
            with httpx.Client(headers={"Authorization": f"Bearer {self._key}"}, trust_env=False) as http:
                for numbers in iter(self._next, []):
                    self._send(http, numbers)
        except BaseException as error:
            self._failure = error

    def _next(self) -> list[int]:
        with self._lock:
            numbers = [] if self._stopping.is_set() else next(self._batches, [])
        if numbers and self._rate:
            due = self._began + (numbers[0] - self._first) / self._rate
            self._stopping.wait(max(0.0, due - time.monotonic()))
        return numbers

    def _send(self, http: httpx.Client, numbers: Sequence[int]) -> None:
        body = orjson.dumps([self.traffic.event(number) for number in numbers])
        deadline = time.monotonic() + self._patience
        while not self._stopping.is_set() and time.monotonic() < deadline:
            url = next(self._urls)
            outcome, answer = _try(lambda url=url: http.post(url + EVENTS, content=body, timeout=self._timeout))
            if outcome in ("200", "422"):
                self._note(outcome, numbers, answer)
                return
            with self._lock:
                self.answers.statuses[outcome] += 1
            assert outcome in _PASSING or not outcome.isdigit(), f"the collector answered {outcome}: {answer}"
            self._stopping.wait(PAUSE)
        with self._lock:
            self.answers.unknown.update(numbers)

    def _note(self, outcome: str, numbers: Sequence[int], answer: Any) -> None:
        refused = {numbers[one["index"]]: one["reason"] for one in answer["rejected"]}
        now = time.monotonic()
        with self._lock:
            self.answers.statuses[outcome] += 1
            self.answers.gone = max(self.answers.gone, now - self._last_good)
            self._last_good = now
            self.answers.rejected.update(refused)
            self.answers.acknowledged.update(number for number in numbers if number not in refused)


_PASSING = ("429", "500", "502", "503")


def _try(post: Callable[[], httpx.Response]) -> tuple[str, Any]:
    """The status and the answer's object, or the name of what went wrong on the way."""
    try:
        response = post()
    except httpx.HTTPError as error:
        return type(error).__name__, None
    try:
        return str(response.status_code), response.json()
    except ValueError:
        return str(response.status_code), response.text[:200]


def merge(*several: Answers) -> Answers:
    """The answers of several clients of one stream, or of one after another."""
    sum_ = Answers()
    for one in several:
        sum_.acknowledged |= one.acknowledged
        sum_.rejected.update(one.rejected)
        sum_.unknown |= one.unknown
        sum_.statuses += one.statuses
        sum_.gone = max(sum_.gone, one.gone)
    sum_.unknown -= sum_.acknowledged
    sum_.unknown -= sum_.rejected.keys()
    return sum_


def until_done(client: Client, *, every: float = 0.2) -> Iterator[None]:
    """Yields again and again while a client sends."""
    while client.sending:
        yield
        time.sleep(every)
