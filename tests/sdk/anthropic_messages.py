"""The official Anthropic library against the broker: messages. Run by `scripts/sdk.py`."""

import asyncio
import json

import anthropic
import httpx2
from anthropic import beta_tool
from pydantic import BaseModel
from support.claims import ASKED, BASE, KEY, NAME, all_of, failing, jobs_of, main, raises, soon, state_of

CLIENT = anthropic.Anthropic(base_url=BASE, api_key=KEY)
REAL = {"model": "local/smollm2", "messages": ASKED, "max_tokens": 32, "extra_body": {"temperature": 0}}
ONCE = {"Forebay-Options": json.dumps({"retry": {"max_attempts": 1}, "on_stream_failure": "fail"})}
LEAVE = {"Forebay-Options": json.dumps({"on_disconnect": "cancel"})}
WEATHER = {
    "name": "weather",
    "description": "The weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CALLS = [
    {"text": "Let me see."},
    {"tool_call": {"index": 0, "id": "call_a", "name": "weather", "arguments": ['{"city":', '"Paris"}']}},
    {"tool_call": {"index": 1, "id": "call_b", "name": "weather", "arguments": ['{"city":"Rome"}']}},
    {"finish": "tool_calls"},
]
CALLED = [("call_a", "weather", {"city": "Paris"}), ("call_b", "weather", {"city": "Rome"})]
USAGE = {"usage": {"input_tokens": 9, "output_tokens": 5, "cached_input_tokens": 4, "reasoning_tokens": 2}}


class City(BaseModel):
    name: str
    people: int


def scripted(steps, **more):
    more.setdefault("extra_headers", ONCE)
    return {"model": "echo", "max_tokens": 100, "messages": ASKED, "extra_body": {"script": steps}, **more}


def create(steps, **more):
    return CLIENT.messages.create(**scripted(steps, **more))


def run(ask):
    """What `ask` makes of an asynchronous client, which lives as long as its loop."""

    async def asked():
        async with anthropic.AsyncAnthropic(base_url=BASE, api_key=KEY) as client:
            return await ask(client)

    return asyncio.run(asked())


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def deltas_of(events):
    deltas = (event.delta for event in events if event.type == "content_block_delta")
    return "".join(delta.text for delta in deltas if delta.type == "text_delta")


def job_of(message):
    return message.removeprefix("msg_")


def calls_of(message):
    return [(block.id, block.name, block.input) for block in message.content if block.type == "tool_use"]


def a_real_answer_whole_and_streamed_is_the_same():
    whole = CLIENT.messages.create(**REAL)
    assert (whole.type, whole.role) == ("message", "assistant") and whole.id.startswith("msg_") and whole._request_id
    assert text_of(whole) and whole.stop_reason in ("end_turn", "max_tokens") and whole.usage.input_tokens > 0
    for events in (list(CLIENT.messages.create(**REAL, stream=True)),
                   run(lambda client: all_of(client.messages.create(**REAL, stream=True)))):
        assert (events[0].type, events[-1].type) == ("message_start", "message_stop")
        assert deltas_of(events) == text_of(whole)
        assert events[-2].delta.stop_reason == whole.stop_reason
        assert events[-2].usage.output_tokens == whole.usage.output_tokens
    with CLIENT.messages.stream(**REAL) as stream:
        assert "".join(stream.text_stream) == text_of(whole)
        assert stream.get_final_message().stop_reason == whole.stop_reason


def tools_are_called_and_their_results_are_sent():
    whole = create(CALLS, tools=[WEATHER])
    assert calls_of(whole) == CALLED and text_of(whole) == "Let me see." and whole.stop_reason == "tool_use", whole
    with CLIENT.messages.stream(**scripted(CALLS, tools=[WEATHER])) as stream:
        final = stream.get_final_message()
    assert calls_of(final) == CALLED and final.stop_reason == "tool_use", final
    results = [{"type": "tool_result", "tool_use_id": id, "content": "rain"} for id, *_ in CALLED]
    turns = [*ASKED, {"role": "assistant", "content": final.content}, {"role": "user", "content": results}]
    assert text_of(create([{"text": "Rain."}], messages=turns, tools=[WEATHER])) == "Rain."


def a_tool_runner_asks_until_there_is_an_answer():
    asked, turns = [], [CALLS[1:], [{"text": "Rain."}]]

    @beta_tool
    def weather(city: str) -> str:
        """The weather in a city."""
        asked.append(city)
        return f"weather of {city}"

    class Scripting(httpx2.HTTPTransport):
        """The broker plays the script that comes with a request, so each of the runner's requests gets its own."""

        def handle_request(self, request):
            body = json.loads(request.read()) | {"script": turns.pop(0)}
            headers = {name: value for name, value in request.headers.items() if name != "content-length"}
            return super().handle_request(httpx2.Request("POST", request.url, headers=headers, json=body))

    scripting = anthropic.Anthropic(base_url=BASE, api_key=KEY, http_client=httpx2.Client(transport=Scripting()))
    runner = scripting.beta.messages.tool_runner(model="echo", max_tokens=100, messages=ASKED, tools=[weather])
    assert text_of(runner.until_done()) == "Rain."
    assert (asked, turns) == (["Paris", "Rome"], []), asked


def structured_output_is_parsed():
    steps = [{"text": ['{"name":"Paris",', '"people":2}']}]
    parsed = CLIENT.messages.parse(**scripted(steps), output_format=City)
    assert parsed.parsed_output == City(name="Paris", people=2), parsed


def thinking_and_usage_are_told():
    steps = [{"reasoning": ["h", "m"]}, {"text": "yes"}, USAGE]
    thinking = {"type": "enabled", "budget_tokens": 1024}
    with CLIENT.messages.stream(**scripted(steps, thinking=thinking)) as stream:
        final = stream.get_final_message()
    for message in (create(steps, thinking=thinking), final):
        [thought, said] = message.content
        assert (thought.type, thought.thinking, said.text) == ("thinking", "hm", "yes"), message
        usage = message.usage
        # What was read from a cache is counted apart in this dialect.
        assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (5, 4, 5), usage
    turns = [*ASKED, {"role": "assistant", "content": final.content}, {"role": "user", "content": "Sure?"}]
    assert text_of(create([{"text": "Yes."}], messages=turns)) == "Yes."


def tokens_are_counted_before():
    counted = CLIENT.messages.count_tokens(model="echo", messages=ASKED, tools=[WEATHER])
    assert counted.input_tokens > CLIENT.messages.count_tokens(model="echo", messages=ASKED).input_tokens > 3


def each_failure_is_its_exception_and_is_not_asked_again():
    kinds = {
        400: (anthropic.BadRequestError, "invalid_request_error"),
        401: (anthropic.InternalServerError, "api_error"),  # the provider does not take our key
        404: (anthropic.NotFoundError, "not_found_error"),
        413: (anthropic.ContentTooLargeError, "request_too_large"),
        422: (anthropic.UnprocessableEntityError, "invalid_request_error"),
        429: (anthropic.RateLimitError, "rate_limit_error"),
        500: (anthropic.InternalServerError, "api_error"),
        529: (anthropic.OverloadedError, "overloaded_error"),
    }
    for status, (kind, family) in kinds.items():
        for more in ({}, {"stream": True}):
            tag = failing()
            headers = {**ONCE, "Forebay-Metadata": json.dumps({"t": tag})}
            steps = [{"status": {"status": status, "error": {"message": "no"}}}]
            asked = {**scripted(steps, extra_headers=headers, **more), "model": f"{tag}/echo"}
            error = raises(kind, lambda: CLIENT.messages.create(**asked), type=family)
            assert error.request_id and error.body["type"] == "error", error.body
            assert len(jobs_of(tag)) == 1, f"{status} was asked again"


def what_the_caller_did_wrong_is_said_by_name():
    hello = {"model": "echo", "max_tokens": 9, "messages": ASKED}
    ask = CLIENT.messages.create
    raises(anthropic.AuthenticationError, lambda: CLIENT.with_options(api_key="wrong").messages.create(**hello),
           type="authentication_error")
    other = {"extra_headers": {"Forebay-Gateway": "other"}}
    raises(anthropic.PermissionDeniedError, lambda: ask(**hello, **other), type="permission_error")
    raises(anthropic.NotFoundError, lambda: ask(**{**hello, "model": "nobody"}), type="not_found_error")
    error = raises(anthropic.BadRequestError, lambda: ask(**{**hello, "messages": "Hi"}), type="invalid_request_error")
    assert "messages" in error.api_message, error
    once = {"extra_headers": {"Idempotency-Key": NAME}}
    assert ask(**hello, **once).id == ask(**hello, **once).id
    raises(anthropic.ConflictError, lambda: ask(**hello, system="Be kind.", **once))


def a_stream_that_breaks_raises_and_one_that_goes_on_does_not():
    cut = [{"text": ["a", "b"]}, {"delay_ms": 50}, "cut"]
    seen = []

    def reads():
        for event in create(cut, stream=True):
            seen.append(event)

    try:
        reads()
    except anthropic.APIStatusError as error:
        assert error.type == "api_error", error.body
    else:
        raise AssertionError("it ended politely")
    assert deltas_of(seen) == "ab"
    goes_on = {"attempts": [cut, [{"text": ["c"]}]]}
    assert deltas_of(create(goes_on, stream=True, extra_headers={})) == "abc"


def a_silent_stream_is_alive_and_a_silent_answer_times_out():
    slow = [{"delay_ms": 900}, {"text": "a"}, {"delay_ms": 900}, {"text": "b"}]
    patient = CLIENT.with_options(timeout=0.7, max_retries=0)
    assert deltas_of(patient.messages.create(**scripted(slow), stream=True)) == "ab"
    raises(anthropic.APITimeoutError, lambda: patient.messages.create(**scripted(slow)))


def who_leaves_ends_a_job_that_wants_that():
    stream = create([{"text": "a"}, "stall"], stream=True, extra_headers=LEAVE)
    job = job_of(next(stream).message.id)
    assert state_of(job) == "streaming"
    stream.close()
    soon("the job's end", lambda: state_of(job) == "cancelled")


if __name__ == "__main__":
    main([
        a_real_answer_whole_and_streamed_is_the_same,
        tools_are_called_and_their_results_are_sent,
        a_tool_runner_asks_until_there_is_an_answer,
        structured_output_is_parsed,
        thinking_and_usage_are_told,
        tokens_are_counted_before,
        each_failure_is_its_exception_and_is_not_asked_again,
        what_the_caller_did_wrong_is_said_by_name,
        a_stream_that_breaks_raises_and_one_that_goes_on_does_not,
        a_silent_stream_is_alive_and_a_silent_answer_times_out,
        who_leaves_ends_a_job_that_wants_that,
    ])
