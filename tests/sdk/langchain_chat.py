"""LangChain's OpenAI models against the broker. Run by `scripts/sdk.py`."""

import asyncio
import json
import warnings

import openai
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel
from support.claims import BASE, KEY, NAME, failing, jobs_of, main, soon, state_of

warnings.filterwarnings("ignore", module="pydantic")  # of how it hands its own objects on
PROMPT = "Say hello in five words."
ONCE = {"Forebay-Options": json.dumps({"retry": {"max_attempts": 1}, "on_stream_failure": "fail"})}
CALLS = [
    {"tool_call": {"index": 0, "id": "call_a", "name": "weather", "arguments": ['{"city":', '"Paris"}']}},
    {"tool_call": {"index": 1, "id": "call_b", "name": "weather", "arguments": ['{"city":"Rome"}']}},
    {"finish": "tool_calls"},
]
CALLED = [("call_a", "weather", {"city": "Paris"}), ("call_b", "weather", {"city": "Rome"})]


class City(BaseModel):
    """A place."""

    name: str
    people: int


def weather(city: str) -> str:
    """The weather in a city."""
    return f"weather of {city}"


def model(steps=None, name="echo", headers=ONCE, **more):
    body = {} if steps is None else {"extra_body": {"script": steps}}
    return ChatOpenAI(model=name, base_url=f"{BASE}/v1", api_key=KEY, default_headers=headers, **body, **more)


def summed(chunks):
    total = None
    for chunk in chunks:
        total = chunk if total is None else total + chunk
    return total


async def all_of(stream):
    return [chunk async for chunk in stream]


def a_real_answer_invoked_and_streamed_is_the_same():
    real = model(name="local/smollm2", headers={}, max_tokens=32, temperature=0, stream_usage=True)
    whole = real.invoke(PROMPT)
    assert whole.content and whole.response_metadata["finish_reason"] in ("stop", "length")
    assert whole.usage_metadata["input_tokens"] > 0
    for chunks in (list(real.stream(PROMPT)), asyncio.run(all_of(real.astream(PROMPT)))):
        total = summed(chunks)
        assert len(chunks) > 3 and total.content == whole.content
        assert total.usage_metadata["output_tokens"] == whole.usage_metadata["output_tokens"]
    assert real.batch([PROMPT, PROMPT])[1].content == whole.content


def tools_are_called_and_their_results_are_sent():
    bound = model(CALLS).bind_tools([weather])
    for answer in (bound.invoke(PROMPT), summed(bound.stream(PROMPT))):
        assert [(call["id"], call["name"], call["args"]) for call in answer.tool_calls] == CALLED, answer
    turn = [HumanMessage(PROMPT), answer, *(ToolMessage(f"{id}: rain", tool_call_id=id) for id, *_ in CALLED)]
    assert model([{"text": "Rain."}]).bind_tools([weather]).invoke(turn).content == "Rain."


def structured_output_is_parsed():
    said = '{"name":"Paris","people":2}'
    for way, steps in (
        ("json_schema", [{"text": said}]),
        ("json_mode", [{"text": said}]),
        ("function_calling", [{"tool_call": {"id": "c", "name": "City", "arguments": said}}, {"finish": "tool_calls"}]),
    ):
        bound = model(steps).with_structured_output(City, method=way)
        assert bound.invoke(PROMPT) == City(name="Paris", people=2), way
        assert list(bound.stream(PROMPT))[-1] == City(name="Paris", people=2), way


def vectors_are_read():
    output = {"data": [{"index": 0, "embedding": [0.5, -1.0]}, {"index": 1, "embedding": [0.25, 2.0]}]}
    # It can count tokens itself, but only with tables from elsewhere.
    reader = OpenAIEmbeddings(
        model="echo", base_url=f"{BASE}/v1", api_key=KEY, check_embedding_ctx_length=False,
        model_kwargs={"extra_body": {"script": [{"output": output}]}},
    )
    assert reader.embed_documents(["a", "b"]) == [[0.5, -1.0], [0.25, 2.0]]
    assert reader.embed_query("a") == [0.5, -1.0]


def each_failure_is_openais_exception_or_langchains_own_of_it():
    for status, kind in {400: openai.BadRequestError, 404: openai.NotFoundError, 429: openai.RateLimitError,
                         500: openai.InternalServerError}.items():
        for ask in (ChatOpenAI.invoke, lambda chat, prompt: list(chat.stream(prompt))):
            tag = failing()
            headers = {**ONCE, "Forebay-Metadata": json.dumps({"t": tag})}
            steps = [{"status": {"status": status, "error": {"message": "no"}}}]
            try:
                ask(model(steps, f"{tag}/echo", headers), PROMPT)
            except kind as error:
                assert error.code.startswith("provider_"), error
            else:
                raise AssertionError(f"{status} is no error")
            assert len(jobs_of(tag)) == 1, f"{status} was asked again"


def a_stream_that_breaks_raises_and_one_that_goes_on_does_not():
    cut = [{"text": ["a", "b"]}, {"delay_ms": 50}, "cut"]
    seen = []
    try:
        for chunk in model(cut).stream(PROMPT):
            seen.append(chunk)
    except openai.APIError as error:
        assert error.code == "provider_truncated", error
    else:
        raise AssertionError("it ended politely")
    assert summed(seen).content == "ab"
    assert summed(model({"attempts": [cut, [{"text": ["c"]}]]}, headers={}).stream(PROMPT)).content == "abc"


def who_leaves_ends_a_job_that_wants_that():
    tag = f"{NAME}-left"
    headers = {"Forebay-Options": json.dumps({"on_disconnect": "cancel"}), "Forebay-Metadata": json.dumps({"t": tag})}
    stream = model([{"text": "a"}, "stall"], headers=headers).stream(PROMPT)
    assert any(chunk.content == "a" for chunk in stream)  # and no further
    stream.close()
    [job] = jobs_of(tag)
    soon("the job's end", lambda: state_of(job["id"]) == "cancelled")


if __name__ == "__main__":
    main([
        a_real_answer_invoked_and_streamed_is_the_same,
        tools_are_called_and_their_results_are_sent,
        structured_output_is_parsed,
        vectors_are_read,
        each_failure_is_openais_exception_or_langchains_own_of_it,
        a_stream_that_breaks_raises_and_one_that_goes_on_does_not,
        who_leaves_ends_a_job_that_wants_that,
    ])
