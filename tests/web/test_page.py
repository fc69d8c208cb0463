"""The built page in a real browser against the mock API, under the policy it is built for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.web.browser import Browser

pytestmark = pytest.mark.xdist_group("web")

CARDS = "return [...document.querySelectorAll('.card-value strong')].map(e => e.textContent)"
FILLED = "return document.querySelectorAll('.card-value strong').length === 8 && document.querySelector('.legend')"
Mock = Callable[[str], str]


def test_cards_fill_and_the_console_stays_empty(window: Browser, mock: Mock) -> None:
    """Eight values, a chart, the ledger, alerts, campaigns; no error, no warning, no policy violation."""
    window.open(mock("busy"))
    window.wait(FILLED)
    assert "–" not in window.run(CARDS)
    window.wait("return document.querySelector('.balance strong')?.textContent === '0'")
    window.wait("return document.querySelectorAll('#campaigns tbody tr').length === 10")
    window.wait("return document.querySelectorAll('#alerts .rows > li').length === 4")
    assert window.run("return document.querySelectorAll('#rate path.layer').length") == 8
    assert window.console() == []


def test_customers_are_shown(window: Browser, mock: Mock) -> None:
    """KPIs beside the month before, a funnel, segments, retention, the hours of the week, credit, and what moved."""
    window.open(mock("busy"))
    window.wait("return document.querySelectorAll('#kpis dd strong').length === 12")
    window.wait("return document.querySelectorAll('#funnel li').length === 5")
    assert "25.7% of those before" in window.run("return document.querySelector('#funnel').textContent")
    window.wait("return document.querySelectorAll('#segments tbody tr').length === 8")
    window.wait("return document.querySelectorAll('#cohorts tbody tr').length === 6")
    assert window.run("return document.querySelectorAll('#heatmap td').length") == 7 * 24
    window.wait("return document.querySelectorAll('#attribution tbody tr').length === 4")
    window.wait("return document.querySelectorAll('#corrections li').length === 3")
    assert "+3 clicked" in window.run("return document.querySelector('#corrections').textContent")
    assert window.console() == []


def test_key_leaves_the_address_and_stays_in_the_tab(window: Browser, mock: Mock) -> None:
    """The fragment is consumed; a reload needs no key; signing out forgets it."""
    window.open(mock("busy"))
    window.wait(FILLED)
    assert "key" not in window.run("return location.href")
    window.run("location.reload()")
    window.wait(FILLED)
    window.run("document.querySelector('[aria-label=\"Sign out\"]').click()")
    window.wait("return document.querySelector('input[name=key]')")
    assert window.run("return sessionStorage.length") == 0


def test_wrong_key_is_told_and_the_right_one_opens(window: Browser, mock: Mock) -> None:
    """The sign-in form says what was wrong, and works from the keyboard alone."""
    window.open(mock("busy").replace("mock-key", "wrong"))
    window.wait("return document.querySelector('[role=alert]')?.textContent.includes('not known')")
    window.wait("return document.activeElement?.name === 'key'")
    window.keys("mock-key\ue007")
    window.wait(FILLED)


def test_numbers_move_while_the_page_is_watched(window: Browser, mock: Mock) -> None:
    """The live stream changes the throughput without a reload."""
    window.open(mock("busy"))
    window.wait("return document.querySelector('.now strong')?.textContent.endsWith('/s')")
    first = window.run("return document.querySelector('.now strong').textContent")
    window.wait(f"return document.querySelector('.now strong').textContent !== {first!r}")


def test_alert_is_acknowledged_and_resolved_from_the_keyboard(window: Browser, mock: Mock) -> None:
    """A and R act on the alert that has the focus, and the server's next word agrees."""
    window.open(mock("busy"))
    window.wait("return document.querySelectorAll('#alerts .rows > li').length === 4")
    find = "[...document.querySelectorAll('#alerts .rows > li')].find(e => e.textContent.includes('stopped arriving'))"
    window.run(f"{find}.focus()")
    window.keys("a")
    window.wait(f"return {find}.classList.contains('handled')")
    window.run(f"{find}.focus()")
    window.keys("r")
    window.wait(f"return !{find} && document.querySelectorAll('#alerts .rows > li').length === 3")


def test_link_of_a_notification_leads_to_its_alert(window: Browser, mock: Mock) -> None:
    """`/#/alerts/ID` focuses that alert and opens its evidence, resolved ones too; an unknown one is told."""
    address = mock("busy")
    window.open(address)
    window.wait(FILLED)
    focused = "document.activeElement?.closest('#alerts .rows > li')"
    window.run("location.hash = '#/alerts/a3'")
    text = window.wait(f"return {focused}?.querySelector('details[open]') && {focused}.innerText")
    assert "Validation pass rate" in text and "18,282" in text
    window.keys("r")
    window.wait("return document.querySelector('#alerts .handled')?.innerText.includes('resolved')")
    window.run("location.hash = '#/alerts/nowhere'")
    window.wait("return document.querySelector('#alerts .note')?.innerText.includes('no alert nowhere')")


def test_link_to_a_campaign_marks_its_row(window: Browser, mock: Mock) -> None:
    """`/#/campaigns/ID` shows that campaign although it is not among the first ten."""
    window.open(mock("busy"))
    window.wait("return document.querySelectorAll('#campaigns tbody tr').length === 10")
    shown = window.run("return [...document.querySelectorAll('#campaigns tbody td:first-child')].map(e => e.title)")
    window.run("document.querySelector('#campaigns .below').click()")
    window.wait("return document.querySelectorAll('#campaigns tbody tr').length === 12")
    every = window.run("return [...document.querySelectorAll('#campaigns tbody td:first-child')].map(e => e.title)")
    window.run("document.querySelector('#campaigns .below').click()")
    last = next(campaign for campaign in every if campaign not in shown)
    window.run("location.hash = `#/campaigns/${arguments[0]}`", last)
    window.wait("return document.activeElement?.className === 'marked'")
    assert window.run("return document.activeElement.cells[0].title") == last


def test_formula_and_numerator_open_with_the_keyboard_and_close_with_escape(window: Browser, mock: Mock) -> None:
    """Every card explains itself."""
    window.open(mock("busy"))
    window.wait(FILLED)
    window.run("document.querySelectorAll('.card .icon-button')[1].focus()")
    window.keys("\ue007")
    text = window.wait("return document.querySelector('.details')?.innerText")
    assert "clicks ÷ impressions × 100" in text
    assert "14,688" in text and "384,502" in text and "100.0%" in text
    window.keys("\ue00c")
    window.wait("return !document.querySelector('.details')")


def test_the_ledger_says_what_was_recovered_and_when_it_was_checked(window: Browser, mock: Mock) -> None:
    """What a crash left, ids that stand for two events, and the job that checks; lines without events are left out."""
    window.open(mock("busy"))
    text = window.wait("return document.querySelector('.audit') && document.querySelector('#ledger').innerText")
    assert "Every event is accounted for" in text
    assert "recovered after a crash" in text and "214" in text
    assert "Same id, another event" in text and "Not acknowledged, sent again" in text
    assert "Minutes checked against the tables" in text and ("ago" in text or "just now" in text)
    assert "Suppressed" not in text and "Found wrong" not in text


def test_incomplete_metric_is_marked(window: Browser, mock: Mock) -> None:
    """A metric under 90 % of its data says so instead of praising itself."""
    window.open(mock("busy"))
    card = "document.querySelector('[aria-label=\"Engagement rate\"] .card-foot').innerText"
    text = window.wait(f"return document.querySelector('.card .badge') && {card}")
    assert "Incomplete, 83%" in text
    assert "In range" not in text


def test_another_range_asks_again(window: Browser, mock: Mock) -> None:
    """Seven days show seven times the impressions of the mock's day."""
    window.open(mock("busy"))
    window.wait(FILLED)
    window.run("document.querySelector('input[value=\"7d\"]').click()")
    window.wait("return document.querySelector('[aria-label=Impressions] strong')?.textContent === '2.69M'")
    assert "last 7 days" in window.run("return document.querySelector('#ledger').innerText")


@pytest.mark.parametrize(
    ("scenario", "text"),
    [("empty", "No events in the last 30 minutes"), ("broken", "The warehouse cannot be reached.")],
)
def test_page_explains_when_there_is_nothing_to_show(window: Browser, mock: Mock, scenario: str, text: str) -> None:
    """A fresh installation and an outage both get sentences, not blanks."""
    window.open(mock(scenario))
    window.wait(f"return document.querySelector('#rate')?.innerText.includes({text!r})")


def test_lost_stream_comes_back_by_itself(window: Browser, mock: Mock) -> None:
    """The server cuts the stream every six seconds; the page is live again soon after."""
    window.open(mock("flaky"))
    state = "document.querySelector('.connection b')?.textContent"
    window.wait(f"return {state} === 'Live'")
    window.wait(f"return {state} === 'Reconnecting' || {state} === 'Connecting'")
    window.wait(f"return {state} === 'Live'")


@pytest.mark.parametrize("width", [360, 390, 768, 1440])
def test_nothing_overflows_sideways(window: Browser, mock: Mock, width: int) -> None:
    """From phone to desktop the page is as wide as the screen."""
    window.size(width, 900)
    window.open(mock("busy"))
    window.wait(FILLED)
    window.wait("return document.querySelector('#campaigns tbody tr')")
    assert window.run("return document.documentElement.scrollWidth <= innerWidth")
    assert window.run("return innerWidth") == width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_keeps_its_contrast(window: Browser, mock: Mock, scheme: str) -> None:
    """Every piece of text has at least 4.5:1 against what it stands on (WCAG AA)."""
    window.media(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
    window.open(mock("busy"))
    window.wait(FILLED)
    window.wait("return document.querySelector('#campaigns tbody tr') && document.querySelector('#churn .person')")
    assert window.run(CONTRAST) == []
    window.run("document.querySelector('.card h3').style.color = 'light-dark(#999, #555)'")
    assert len(window.run(CONTRAST)) == 1, "the check sees a planted fault"


def test_structure_serves_screen_readers(window: Browser, mock: Mock) -> None:
    """A skip link first, one h1, named regions, a polite live region, names on every control."""
    window.open(mock("busy"))
    window.wait("return document.querySelectorAll('#alerts .rows > li').length === 4")
    assert window.run("return document.querySelector('a').className") == "skip"
    assert window.run("return document.querySelectorAll('h1').length") == 1
    assert window.run("return document.querySelectorAll('#alerts [aria-live=polite]').length") == 1
    without = (
        "return [...document.querySelectorAll(arguments[0])].filter(e => !e.ariaLabel && !({})).map(e => e.outerHTML)"
    )
    assert window.run(without.format("e.innerText.trim()"), "button, input, a") == []
    assert window.run(without.format("e.getAttribute('aria-labelledby')"), "section") == []


CONTRAST = """
const paint = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
const rgba = (colour) => {
  paint.clearRect(0, 0, 1, 1); paint.fillStyle = colour; paint.fillRect(0, 0, 1, 1);
  return [...paint.getImageData(0, 0, 1, 1).data];
};
const light = ([r, g, b]) => {
  const part = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
};
const ground = (node) => {
  for (let at = node; at; at = at.parentElement) {
    const colour = rgba(getComputedStyle(at).backgroundColor);
    if (colour[3] === 255) return colour;
  }
  return rgba(getComputedStyle(document.body).backgroundColor);
};
const faults = new Set();
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode.parentElement;
  const words = walker.currentNode.data.trim();
  if (!words || !node.getClientRects().length || node.closest('.hidden-text, .skip, noscript')) continue;
  const style = getComputedStyle(node);
  const [a, b] = [light(rgba(node.closest('svg') ? style.fill : style.color)), light(ground(node))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) faults.add(`${ratio.toFixed(2)} ${node.className || node.tagName}: ${words.slice(0, 30)}`);
}
return [...faults];
"""
