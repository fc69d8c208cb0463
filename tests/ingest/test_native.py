from tests.ingest.support import Door, event


async def test_one_event_is_stored_before_the_answer(door: Door) -> None:
    answer = await door.post(event(event_id="e1"))
    assert answer.status == 200
    assert answer.json == {"accepted": 1, "rejected": []}
    assert [line.event_id for line in door.kafka.events()] == ["e1"]
