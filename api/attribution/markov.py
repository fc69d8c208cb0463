"""The removal effect of each channel in a first-order Markov chain of journeys, solved exactly: nothing is sampled.

From the start a journey moves from channel to channel until it converts or comes to nothing; probabilities are the
relative frequencies. Removing a channel ends in nothing every journey that reaches it. (Anderl, Becker, von Wangenheim
and Schumann, "Mapping the customer journey", 2016.)
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import numpy as np

Number = int | Fraction


def removal_effects(
    moves: Mapping[tuple[str | None, str | None], Number], ends: Mapping[str, tuple[Number, Number]]
) -> dict[str, float]:
    """By channel, the share of conversions that is lost without it, 0 to 1.

    `moves`: how often a journey went from a channel (None: the start) to another. `ends`: how often one ended at a
    channel, converted and not. Every channel must lead to an end, as it does where both are counted over whole
    journeys. With visits N = (1 - Q)^-1 and chances to convert b, the chance without a channel is b(start) less
    N(start, channel) / N(channel, channel) * b(channel): what passes through it. That equals solving the chain anew
    without the channel.
    """
    channels = sorted({to for _, to in moves if to is not None})
    if not channels:
        return {}
    places: dict[str | None, int] = {None: 0, **{channel: at for at, channel in enumerate(channels, 1)}}
    size = len(places)
    counts, won, left = np.zeros((size, size)), np.zeros(size), np.zeros(size)
    for (before, after), n in moves.items():
        counts[places[before], places[after]] = float(n)
    for channel, (converted, lost) in ends.items():
        won[places[channel]], left[places[channel]] = float(converted), float(converted + lost)
    out = counts.sum(axis=1) + left
    visits = np.linalg.inv(np.eye(size) - counts / out[:, None])
    chance = visits @ (won / out)
    able = _able(moves, ends)
    if not able:
        return dict.fromkeys(channels, 0.0)
    lost_share = visits[0] / np.diag(visits) * chance / chance[0]
    return {channel: min(1.0, float(lost_share[places[channel]])) if channel in able else 0.0 for channel in channels}


def _able(moves: Mapping[tuple[str | None, str | None], Number], ends: Mapping[str, tuple[Number, Number]]) -> set[str]:
    """The channels from which a conversion can be reached; from others a chance of 0 would be one of 1e-17."""
    before: dict[str, set[str]] = {}
    for (source, to), n in moves.items():
        if source is not None and to is not None and n:
            before.setdefault(to, set()).add(source)
    found: set[str] = set()
    open_ = [channel for channel, (converted, _) in ends.items() if converted]
    while open_:
        if (channel := open_.pop()) not in found:
            found.add(channel)
            open_ += before.get(channel, ())
    return found
