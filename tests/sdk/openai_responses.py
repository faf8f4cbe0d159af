"""The official OpenAI library against the broker: Responses, also in background. Run by `scripts/sdk.py`."""

import asyncio
import json

import openai
from pydantic import BaseModel
from support.claims import ASKED, BASE, KEY, NAME, all_of, failing, jobs_of, main, raises, soon, state_of

CLIENT = openai.OpenAI(base_url=f"{BASE}/v1", api_key=KEY)
PROMPT = ASKED[0]["content"]
REAL = {"model": "local/smollm2", "input": PROMPT, "max_output_tokens": 32, "temperature": 0}
ONCE = {"Forebay-Options": json.dumps({"retry": {"max_attempts": 1}, "on_stream_failure": "fail"})}
LEAVE = {"Forebay-Options": json.dumps({"on_disconnect": "cancel"})}
SLOW = [{"repeat": {"text": "word {n} ", "count": 12, "interval_ms": 60}}]
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}, "strict": False}
CALLS = [
    {"text": "Let me see."},
    {"tool_call": {"index": 0, "id": "call_a", "name": "weather", "arguments": ['{"city":', '"Paris"}']}},
    {"tool_call": {"index": 1, "id": "call_b", "name": "weather", "arguments": ['{"city":"Rome"}']}},
    {"finish": "tool_calls"},
]
CALLED = [("call_a", "weather", {"city": "Paris"}), ("call_b", "weather", {"city": "Rome"})]
USAGE = {"usage": {"input_tokens": 9, "output_tokens": 5, "cached_input_tokens": 4, "reasoning_tokens": 2}}
ENDS = ("response.completed", "response.failed", "response.incomplete")


class City(BaseModel):
    name: str
    people: int


def scripted(steps, **more):
    more.setdefault("extra_headers", ONCE)
    return {"model": "echo", "input": PROMPT, "extra_body": {"script": steps}, **more}


def create(steps, **more):
    return CLIENT.responses.create(**scripted(steps, **more))


def run(ask):
    """What `ask` makes of an asynchronous client, which lives as long as its loop."""

    async def asked():
        async with openai.AsyncOpenAI(base_url=f"{BASE}/v1", api_key=KEY) as client:
            return await ask(client)

    return asyncio.run(asked())


def text_of(events):
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def job_of(response):
    return response.removeprefix("resp_")


def calls_of(response):
    calls = [item for item in response.output if item.type == "function_call"]
    return [(call.call_id, call.name, json.loads(call.arguments)) for call in calls]


def a_real_answer_whole_and_streamed_is_the_same():
    whole = CLIENT.responses.create(**REAL)
    assert whole.object == "response" and whole.id.startswith("resp_") and whole._request_id
    assert whole.output_text and whole.status in ("completed", "incomplete") and whole.usage.input_tokens > 0
    for events in (list(CLIENT.responses.create(**REAL, stream=True)),
                   run(lambda client: all_of(client.responses.create(**REAL, stream=True)))):
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert events[0].type == "response.created" and events[-1].type in ENDS
        assert text_of(events) == events[-1].response.output_text == whole.output_text
        assert events[-1].response.usage.output_tokens == whole.usage.output_tokens


def structured_output_is_parsed():
    steps = [{"text": ['{"name":"Paris",', '"people":2}']}]
    parsed = CLIENT.responses.parse(**scripted(steps), text_format=City)
    assert parsed.output_parsed == City(name="Paris", people=2)
    with CLIENT.responses.stream(**scripted(steps), text_format=City) as stream:
        kinds = [event.type for event in stream]
        assert stream.get_final_response().output_parsed == City(name="Paris", people=2)
    assert kinds.count("response.output_text.delta") == 2, kinds
    real = {**REAL, "max_output_tokens": 200, "input": "Paris: its name and people, as JSON."}
    schema = City.model_json_schema() | {"additionalProperties": False}
    schema["properties"]["name"]["maxLength"] = 20
    schema["properties"]["people"] |= {"minimum": 0, "maximum": 99}
    form = {"format": {"type": "json_schema", "name": "City", "schema": schema, "strict": True}}
    City.model_validate_json(CLIENT.responses.create(**real, text=form).output_text)


def tools_are_called_and_their_results_are_sent():
    whole = create(CALLS, tools=[WEATHER], parallel_tool_calls=True)
    assert calls_of(whole) == CALLED and whole.output_text == "Let me see.", whole
    with CLIENT.responses.stream(**scripted(CALLS, tools=[WEATHER])) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert calls_of(final) == CALLED and kinds.count("response.function_call_arguments.done") == 2, kinds
    results = [{"type": "function_call_output", "call_id": id, "output": "rain"} for id, *_ in CALLED]
    by_items = create([{"text": "Rain."}], input=[*ASKED, *whole.output, *results], tools=[WEATHER])
    by_id = create([{"text": "Rain."}], input=results, previous_response_id=whole.id, tools=[WEATHER])
    assert by_items.output_text == by_id.output_text == "Rain."


def reasoning_refusals_and_usage_are_told():
    whole = create([{"reasoning": ["h", "m"]}, {"refusal": ["n", "o"]}, USAGE])
    reasoning, message = whole.output
    told = "".join(part.text for part in [*reasoning.summary, *(reasoning.content or [])])
    assert (reasoning.type, told) == ("reasoning", "hm"), reasoning
    assert (message.content[0].type, message.content[0].refusal) == ("refusal", "no"), message
    usage = whole.usage
    assert (usage.input_tokens, usage.input_tokens_details.cached_tokens) == (9, 4), usage
    assert (usage.output_tokens, usage.output_tokens_details.reasoning_tokens) == (5, 2), usage
    incomplete = create([{"text": "a"}, {"finish": "length"}])
    assert (incomplete.status, incomplete.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def a_conversation_goes_on_from_its_last_response():
    first = create([{"text": "Hello, Ann."}], input="I am Ann.")
    second = create([{"text": "Ann."}], input="Who am I?", previous_response_id=first.id)
    assert (second.previous_response_id, second.output_text) == (first.id, "Ann.")
    said = [item.content[0].text for item in CLIENT.responses.input_items.list(second.id, order="asc")]
    assert said[-1] == "Who am I?", said
    assert [item.content[0].text for item in CLIENT.responses.input_items.list(first.id)] == ["I am Ann."]
    gone = lambda: create([], previous_response_id="resp_none")
    raises(openai.BadRequestError, gone, code="previous_response_not_found", param="previous_response_id")


def a_response_in_background_is_looked_at_until_it_is_done():
    begun = create(SLOW, background=True)
    assert begun.status in ("queued", "in_progress"), begun.status
    done = soon("the end", lambda: (now := CLIENT.responses.retrieve(begun.id)).status == "completed" and now)
    assert done.background and done.output_text == "".join(f"word {n} " for n in range(12))


def a_stream_is_resumed_after_every_event_with_the_same_events():
    for more in ({"background": True}, {}):
        steps = [{"reasoning": "hm"}, {"text": ["a", "b"]}, *CALLS[1:3], {"delay_ms": 300}, {"text": "c"}]
        live, resumed = create(steps, stream=True, **more), []
        events = [next(live), next(live)]
        # While it runs, and the first stream has no reader.
        id, at = events[0].response.id, events[-1].sequence_number
        resumed = list(CLIENT.responses.retrieve(id, stream=True, starting_after=at))
        whole = list(CLIENT.responses.retrieve(id, stream=True))
        assert [event.to_dict() for event in [*events, *live]] == [event.to_dict() for event in whole], "live"
        assert [event.to_dict() for event in resumed] == [event.to_dict() for event in whole[2:]], "resumed live"
        for at in range(len(whole) - 1):
            rest = list(CLIENT.responses.retrieve(id, stream=True, starting_after=at))
            assert [event.to_dict() for event in rest] == [event.to_dict() for event in whole[at + 1 :]], at
        retrieve = lambda client: all_of(client.responses.retrieve(id, stream=True, starting_after=3))
        assert [event.to_dict() for event in run(retrieve)] == [event.to_dict() for event in whole[4:]]
        with CLIENT.responses.stream(response_id=id, starting_after=3) as stream:
            numbers = [event.sequence_number for event in stream]
            final = stream.get_final_response()
        assert numbers == list(range(4, len(whole))), numbers
        assert final.output_text == whole[-1].response.output_text
        bytes_of = lambda: CLIENT.responses.with_raw_response.retrieve(id, stream=True).http_response.read()
        assert bytes_of() == bytes_of()


def a_response_is_cancelled_and_deleted():
    begun = create([{"text": "a"}, "stall"], background=True, stream=True)
    id = next(begun).response.id
    cancelled = CLIENT.responses.cancel(id)
    assert (cancelled.id, cancelled.status) == (id, "cancelled"), cancelled.status
    assert state_of(job_of(id)) == "cancelled" and CLIENT.responses.retrieve(id).status == "cancelled"
    CLIENT.responses.delete(id)
    raises(openai.NotFoundError, lambda: CLIENT.responses.retrieve(id))
    raises(openai.NotFoundError, lambda: list(CLIENT.responses.retrieve(id, stream=True)))
    raises(openai.NotFoundError, lambda: CLIENT.responses.cancel(id))


def each_failure_is_its_exception_and_is_not_asked_again():
    kinds = {
        400: openai.BadRequestError,
        401: openai.InternalServerError,  # the provider does not take our key: not the caller's fault
        404: openai.NotFoundError,
        422: openai.UnprocessableEntityError,
        429: openai.RateLimitError,
        500: openai.InternalServerError,
        503: openai.InternalServerError,
    }
    for status, kind in kinds.items():
        for more in ({}, {"stream": True}):
            tag = failing()
            headers = {**ONCE, "Forebay-Metadata": json.dumps({"t": tag})}
            steps = [{"status": {"status": status, "error": {"message": "no", "code": "their_code"}}}]
            asked = {**scripted(steps, extra_headers=headers, **more), "model": f"{tag}/echo"}
            error = raises(kind, lambda: CLIENT.responses.create(**asked))
            assert error.code.startswith("provider_") and error.request_id, error
            assert len(jobs_of(tag)) == 1, f"{status} was asked again"


def what_the_caller_did_wrong_is_said_by_name():
    hello = {"model": "echo", "input": PROMPT}
    ask = CLIENT.responses.create
    raises(openai.AuthenticationError, lambda: CLIENT.with_options(api_key="wrong").responses.create(**hello))
    other = {"extra_headers": {"Forebay-Gateway": "other"}}
    raises(openai.PermissionDeniedError, lambda: ask(**hello, **other), code="forbidden")
    raises(openai.NotFoundError, lambda: ask(model="nobody", input=PROMPT), code="unknown_model", param="model")
    raises(openai.BadRequestError, lambda: ask(model="echo", input=7), code="invalid", param="input")
    once = {"extra_headers": {"Idempotency-Key": NAME}}
    first, again = ask(**hello, **once), ask(**hello, **once)
    assert first.id == again.id
    raises(openai.ConflictError, lambda: ask(**hello, temperature=1, **once), code="conflict")
    raises(openai.NotFoundError, lambda: CLIENT.responses.retrieve("resp_nobody"))


def a_stream_that_breaks_says_so_and_one_that_goes_on_does_not():
    cut = [{"text": ["a", "b"]}, {"delay_ms": 50}, "cut"]
    for events in (list(create(cut, stream=True)), run(lambda client: all_of(client.responses.create(**scripted(cut, stream=True))))):
        assert text_of(events) == "ab" and events[-1].type == "response.failed", events[-1]
        assert events[-1].response.error.message, events[-1]
    goes_on = {"attempts": [cut, [{"text": ["c"]}]]}
    assert text_of(create(goes_on, stream=True, extra_headers={})) == "abc"


def a_silent_stream_is_alive_and_a_silent_answer_times_out():
    slow = [{"delay_ms": 900}, {"text": "a"}, {"delay_ms": 900}, {"text": "b"}]
    patient = CLIENT.with_options(timeout=0.7, max_retries=0)
    assert text_of(patient.responses.create(**scripted(slow), stream=True)) == "ab"
    raises(openai.APITimeoutError, lambda: patient.responses.create(**scripted(slow)))


def who_leaves_ends_a_response_that_wants_that_unless_it_is_in_background():
    for more, ends in (({}, True), ({"background": True}, False)):
        stream = create([{"text": "a"}, {"delay_ms": 400}, {"text": "b"}], stream=True, extra_headers=LEAVE, **more)
        job = job_of(next(stream).response.id)
        stream.close()
        state = soon("the job's end", lambda: (state := state_of(job)) in ("cancelled", "completed") and state)
        assert state == ("cancelled" if ends else "completed"), (more, state)


if __name__ == "__main__":
    main([
        a_real_answer_whole_and_streamed_is_the_same,
        structured_output_is_parsed,
        tools_are_called_and_their_results_are_sent,
        reasoning_refusals_and_usage_are_told,
        a_conversation_goes_on_from_its_last_response,
        a_response_in_background_is_looked_at_until_it_is_done,
        a_stream_is_resumed_after_every_event_with_the_same_events,
        a_response_is_cancelled_and_deleted,
        each_failure_is_its_exception_and_is_not_asked_again,
        what_the_caller_did_wrong_is_said_by_name,
        a_stream_that_breaks_says_so_and_one_that_goes_on_does_not,
        a_silent_stream_is_alive_and_a_silent_answer_times_out,
        who_leaves_ends_a_response_that_wants_that_unless_it_is_in_background,
    ])
