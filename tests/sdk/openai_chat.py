"""The official OpenAI library against the broker: chat completions and embeddings. Run by `scripts/sdk.py`."""

import asyncio
import json
import time

import openai
from pydantic import BaseModel
from support.claims import ASKED, BASE, KEY, NAME, failing, jobs_of, main, raises, soon, state_of

CLIENT = openai.OpenAI(base_url=f"{BASE}/v1", api_key=KEY)
REAL = {"model": "local/smollm2", "messages": ASKED, "max_tokens": 32, "temperature": 0}
ONCE = {"Forebay-Options": json.dumps({"retry": {"max_attempts": 1}, "on_stream_failure": "fail"})}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
CALLS = [
    {"text": "Let me see."},
    {"tool_call": {"index": 0, "id": "call_a", "name": "weather", "arguments": ['{"city":', '"Paris"}']}},
    {"tool_call": {"index": 1, "id": "call_b", "name": "weather", "arguments": ['{"city":"Rome"}']}},
    {"finish": "tool_calls"},
]


class City(BaseModel):
    name: str
    people: int


def scripted(steps, **more):
    more.setdefault("extra_headers", ONCE)
    return {"model": "echo", "messages": ASKED, "extra_body": {"script": steps}, **more}


def create(steps, **more):
    return CLIENT.chat.completions.create(**scripted(steps, **more))


def run(ask):
    """What `ask` makes of an asynchronous client, which lives as long as its loop."""

    async def asked():
        async with openai.AsyncOpenAI(base_url=f"{BASE}/v1", api_key=KEY) as client:
            return await ask(client)

    return asyncio.run(asked())


async def stream_of(client, **asked):
    return [chunk async for chunk in await client.chat.completions.create(**asked, stream=True)]


def text_of(chunks):
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def a_real_answer_whole_and_streamed_is_the_same():
    whole = CLIENT.chat.completions.create(**REAL)
    choice = whole.choices[0]
    assert whole.object == "chat.completion" and whole.id.startswith("chatcmpl-") and whole._request_id
    assert choice.message.content and choice.message.role == "assistant" and choice.finish_reason in ("stop", "length")
    assert abs(whole.created - time.time()) < 60 and whole.model == "smollm2"
    usage = whole.usage
    assert usage.prompt_tokens > 0 and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    chunks = list(CLIENT.chat.completions.create(**REAL, stream=True, stream_options={"include_usage": True}))
    assert text_of(chunks) == choice.message.content
    assert chunks[0].choices[0].delta.role == "assistant" and len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].usage.completion_tokens == usage.completion_tokens and chunks[-1].choices == []
    assert chunks[-2].choices[0].finish_reason == choice.finish_reason
    chunks = run(lambda client: stream_of(client, **REAL))
    assert text_of(chunks) == choice.message.content and all(chunk.usage is None for chunk in chunks)


def a_real_answer_keeps_to_a_schema():
    asked = {**REAL, "max_tokens": 200, "messages": [{"role": "user", "content": "Paris: its name and people, as JSON."}]}
    schema = City.model_json_schema() | {"additionalProperties": False}
    schema["properties"]["name"]["maxLength"] = 20
    schema["properties"]["people"] |= {"minimum": 0, "maximum": 99}
    form = {"type": "json_schema", "json_schema": {"name": "City", "schema": schema, "strict": True}}
    answer = CLIENT.chat.completions.create(**asked, response_format=form)
    City.model_validate_json(answer.choices[0].message.content)


def structured_output_is_parsed():
    steps = [{"text": ['{"name":"Paris",', '"people":2}']}]
    parsed = CLIENT.chat.completions.parse(**scripted(steps), response_format=City)
    assert parsed.choices[0].message.parsed == City(name="Paris", people=2)
    with CLIENT.chat.completions.stream(**scripted(steps), response_format=City) as stream:
        kinds = {event.type for event in stream}
        assert stream.get_final_completion().choices[0].message.parsed == City(name="Paris", people=2)
    assert {"chunk", "content.delta", "content.done"} <= kinds, kinds
    try:
        CLIENT.chat.completions.parse(**scripted([*steps, {"finish": "length"}]), response_format=City)
    except openai.LengthFinishReasonError:
        return
    raise AssertionError("an answer that was cut was parsed")


def tools_are_called_also_in_parallel():
    def check(message):
        calls = [(call.id, call.type, call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls]
        assert calls == [
            ("call_a", "function", "weather", {"city": "Paris"}),
            ("call_b", "function", "weather", {"city": "Rome"}),
        ], calls

    whole = create(CALLS, tools=[WEATHER], parallel_tool_calls=True)
    check(whole.choices[0].message)
    assert whole.choices[0].finish_reason == "tool_calls" and whole.choices[0].message.content == "Let me see."
    only = create(CALLS[1:], tools=[WEATHER])
    assert only.choices[0].message.content is None
    with CLIENT.chat.completions.stream(**scripted(CALLS[1:]), tools=[WEATHER]) as stream:
        final = stream.get_final_completion()
    check(final.choices[0].message)
    assert final.choices[0].message.content is None and final.choices[0].finish_reason == "tool_calls"
    turn = [*ASKED, only.choices[0].message, {"role": "tool", "tool_call_id": "call_a", "content": "rain"}]
    again = CLIENT.chat.completions.create(model="echo", messages=turn)
    assert again.choices[0].message.content == "Say hello in five words."


def reasoning_refusals_usage_and_several_answers_are_told():
    steps = [{"reasoning": ["h", "m"]}, {"refusal": ["n", "o"]}]
    steps += [{"usage": {"input_tokens": 9, "output_tokens": 5, "cached_input_tokens": 4, "reasoning_tokens": 2}}]
    whole = create(steps)
    message = whole.choices[0].message
    assert (message.content, message.refusal, message.reasoning_content) == (None, "no", "hm"), message
    details = whole.usage.prompt_tokens_details.cached_tokens, whole.usage.completion_tokens_details.reasoning_tokens
    assert details == (4, 2) and whole.usage.total_tokens == 14
    deltas = [chunk.choices[0].delta for chunk in create(steps, stream=True)]
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == "hm"
    assert "".join(delta.refusal or "" for delta in deltas) == "no"

    def several(end):
        said = [(0, "a", None), (1, "b", None), (1, "B", end), (0, "A", "stop")]
        choices = [{"index": at, "delta": {"content": text}, "finish_reason": why} for at, text, why in said]
        return [*({"packet": {"choices": [choice]}} for choice in choices), "done"]

    answers = create(several("length"), n=2).choices
    got = [(one.index, one.message.content, one.finish_reason) for one in answers]
    assert got == [(0, "aA", "stop"), (1, "bB", "length")], got
    with CLIENT.chat.completions.stream(**scripted(several("stop")), n=2) as stream:
        final = stream.get_final_completion().choices
    got = [(one.index, one.message.content, one.finish_reason) for one in final]
    assert got == [(0, "aA", "stop"), (1, "bB", "stop")], got


def vectors_are_read_in_either_form():
    output = {"data": [{"index": 0, "embedding": [0.5, -1.0]}, {"index": 1, "embedding": [0.25, 2.0]}]}
    steps = {"script": [{"output": output}, {"usage": {"input_tokens": 3, "output_tokens": 0}}]}
    for form in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"}):
        answer = CLIENT.embeddings.create(model="echo", input=["a", "b"], extra_body=steps, **form)
        assert [one.index for one in answer.data] == [0, 1] and answer.usage.prompt_tokens == 3
        if form.get("encoding_format") != "base64":
            assert [list(one.embedding) for one in answer.data] == [[0.5, -1.0], [0.25, 2.0]], answer
    answer = run(lambda client: client.embeddings.create(model="echo", input="a", extra_body=steps))
    assert answer.data[1].embedding == [0.25, 2.0]


def each_failure_is_its_exception_and_is_not_asked_again():
    kinds = {
        400: openai.BadRequestError,
        401: openai.InternalServerError,  # the provider does not take our key: not the caller's fault
        403: openai.InternalServerError,
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
            error = raises(kind, lambda: CLIENT.chat.completions.create(**asked))
            assert error.code.startswith("provider_") and error.request_id and error.body["provider_code"] == "their_code"
            assert len(jobs_of(tag)) == 1, f"{status} was asked again"


def what_the_caller_did_wrong_is_said_by_name():
    hello = {"model": "echo", "messages": ASKED}
    chat = CLIENT.chat.completions.create
    raises(openai.AuthenticationError, lambda: CLIENT.with_options(api_key="wrong").chat.completions.create(**hello))
    headers = lambda **said: {"extra_headers": {name.replace("_", "-"): value for name, value in said.items()}}
    raises(openai.PermissionDeniedError, lambda: chat(**hello, **headers(Forebay_Gateway="other")), code="forbidden")
    raises(openai.NotFoundError, lambda: chat(model="nobody", messages=ASKED), code="unknown_model", param="model")
    raises(openai.BadRequestError, lambda: chat(model="echo", messages="Hi"), code="invalid", param="messages")
    raises(openai.BadRequestError, lambda: chat(**hello, **headers(Forebay_Metadata="x")), param="forebay-metadata")
    chat(**hello, **headers(Idempotency_Key=NAME))
    conflict = lambda: chat(**hello, temperature=1, **headers(Idempotency_Key=NAME))
    raises(openai.ConflictError, conflict, code="conflict")
    team = CLIENT.with_options(base_url=f"{BASE}/g/team/v1")
    raw = team.chat.completions.with_raw_response.create(**hello)
    assert CLIENT.get(f"/jobs/{raw.headers['forebay-job-id']}", cast_to=object)["gateway"] == "team"


def a_stream_that_breaks_raises_and_one_that_goes_on_does_not():
    cut = [{"text": ["a", "b"]}, {"delay_ms": 50}, "cut"]
    seen = []
    reads = lambda: [seen.append(chunk) for chunk in create(cut, stream=True)]
    raises(openai.APIError, reads, code="provider_truncated", type="server_error")
    assert text_of(seen) == "ab"
    raises(openai.APIError, lambda: run(lambda client: stream_of(client, **scripted(cut))), code="provider_truncated")
    goes_on = {"attempts": [cut, [{"text": ["c"]}]]}
    assert text_of(create(goes_on, stream=True, extra_headers={})) == "abc"


def a_silent_stream_is_alive_and_a_silent_answer_times_out():
    slow = [{"delay_ms": 900}, {"text": "a"}, {"delay_ms": 900}, {"text": "b"}]
    patient = CLIENT.with_options(timeout=0.7, max_retries=0)
    assert text_of(patient.chat.completions.create(**scripted(slow), stream=True)) == "ab"
    assert text_of(run(lambda client: stream_of(client.with_options(timeout=0.7), **scripted(slow)))) == "ab"
    raises(openai.APITimeoutError, lambda: patient.chat.completions.create(**scripted(slow)))


def who_leaves_ends_a_job_that_wants_that():
    leave = {"Forebay-Options": json.dumps({"on_disconnect": "cancel"})}
    stream = create([{"text": "a"}, "stall"], stream=True, extra_headers=leave)
    job = next(stream).id.removeprefix("chatcmpl-")
    assert state_of(job) == "streaming"
    stream.close()
    soon("the job's end", lambda: state_of(job) == "cancelled")


CLAIMS = [
    a_real_answer_whole_and_streamed_is_the_same,
    a_real_answer_keeps_to_a_schema,
    structured_output_is_parsed,
    tools_are_called_also_in_parallel,
    reasoning_refusals_usage_and_several_answers_are_told,
    vectors_are_read_in_either_form,
    each_failure_is_its_exception_and_is_not_asked_again,
    what_the_caller_did_wrong_is_said_by_name,
    a_stream_that_breaks_raises_and_one_that_goes_on_does_not,
    a_silent_stream_is_alive_and_a_silent_answer_times_out,
    who_leaves_ends_a_job_that_wants_that,
]


if __name__ == "__main__":
    main(CLAIMS)
