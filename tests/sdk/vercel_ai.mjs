// Vercel's `ai` with its provider for OpenAI's dialect against the broker. Run by `scripts/sdk.py`.

import assert from 'node:assert/strict';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { APICallError, Output, RetryError, embed, embedMany, generateObject, generateText } from 'ai';
import { isStepCount, streamObject, streamText, tool } from 'ai';
import { z } from 'zod';
import { BASE, KEY, LEAVE, NAME, ONCE } from './support/claims.mjs';
import { collect, failing, jobsOf, main, soon, stateOf, throws } from './support/claims.mjs';

globalThis.AI_SDK_LOG_WARNINGS = false;
const PROMPT = 'Say hello in five words.';
const City = z.object({ name: z.string(), people: z.number() });
const PARIS = { name: 'Paris', people: 2 };
const JSON_STEPS = [{ text: ['{"name":"Paris",', '"people":2}'] }];
const CALLS = [
  { tool_call: { index: 0, id: 'call_a', name: 'weather', arguments: ['{"city":', '"Paris"}'] } },
  { tool_call: { index: 1, id: 'call_b', name: 'weather', arguments: ['{"city":"Rome"}'] } },
  { finish: 'tool_calls' },
];

/** Its provider, which adds to each request the next of these scripts. */
function forebay(...scripts) {
  const transformRequestBody = (body) => (scripts.length ? { ...body, script: scripts.shift() } : body);
  const settings = { name: 'forebay', baseURL: `${BASE}/v1`, apiKey: KEY, transformRequestBody };
  return createOpenAICompatible({ ...settings, includeUsage: true, supportsStructuredOutputs: true });
}

const scripted = (...scripts) => ({ model: forebay(...scripts)('echo'), prompt: PROMPT, headers: ONCE, maxRetries: 0 });
const quiet = { onError: () => {} };

async function a_real_answer_whole_and_streamed_is_the_same() {
  const asked = { model: forebay()('local/smollm2'), prompt: PROMPT, maxOutputTokens: 32, temperature: 0 };
  const whole = await generateText(asked);
  assert.ok(whole.text && ['stop', 'length'].includes(whole.finishReason) && whole.usage.inputTokens > 0);
  const streamed = streamText(asked);
  assert.equal((await collect(streamed.textStream)).join(''), whole.text);
  assert.equal(await streamed.finishReason, whole.finishReason);
  assert.equal((await streamed.usage).outputTokens, whole.usage.outputTokens);
}

async function tools_are_called_and_their_results_sent_until_there_is_an_answer() {
  const check = (asked, steps, text) => {
    assert.deepEqual([asked, steps.length, text], [['Paris', 'Rome'], 2, 'Rain, then sun.']);
    assert.deepEqual(steps[0].toolCalls.map((call) => call.toolCallId), ['call_a', 'call_b']);
  };
  const ask = (asked) => {
    const execute = async ({ city }) => asked.push(city) && `weather of ${city}`;
    const weather = tool({ description: 'The weather.', inputSchema: z.object({ city: z.string() }), execute });
    return { ...scripted(CALLS, [{ text: 'Rain, then sun.' }]), tools: { weather }, stopWhen: isStepCount(5) };
  };
  const whole = [];
  const { steps, text } = await generateText(ask(whole));
  check(whole, steps, text);
  const live = [];
  const streamed = streamText(ask(live));
  check(live, await streamed.steps, await streamed.text);
}

async function structured_output_is_parsed() {
  assert.deepEqual((await generateObject({ ...scripted(JSON_STEPS), schema: City })).object, PARIS);
  const streamed = streamObject({ ...scripted(JSON_STEPS), schema: City });
  assert.deepEqual((await collect(streamed.partialObjectStream)).at(-1), PARIS);
  assert.deepEqual(await streamed.object, PARIS);
  const { output } = await generateText({ ...scripted(JSON_STEPS), output: Output.object({ schema: City }) });
  assert.deepEqual(output, PARIS);
}

async function reasoning_and_usage_are_told() {
  const usage = { input_tokens: 9, output_tokens: 5, cached_input_tokens: 4, reasoning_tokens: 2 };
  const steps = [{ reasoning: ['h', 'm'] }, { text: 'yes' }, { usage }];
  const whole = await generateText(scripted(steps));
  const streamed = streamText(scripted(steps));
  await streamed.consumeStream();
  for (const told of [whole, streamed]) {
    assert.deepEqual([await told.reasoningText, await told.text], ['hm', 'yes']);
    const { inputTokens, inputTokenDetails, outputTokens, outputTokenDetails } = await told.usage;
    assert.deepEqual([inputTokens, inputTokenDetails.cacheReadTokens], [9, 4]);
    assert.deepEqual([outputTokens, outputTokenDetails.reasoningTokens], [5, 2]);
  }
}

async function vectors_are_read() {
  const data = [
    { index: 0, embedding: [0.5, -1.0] },
    { index: 1, embedding: [0.25, 2.0] },
  ];
  const steps = [{ output: { data } }, { usage: { input_tokens: 3, output_tokens: 0 } }];
  // Its models of vectors take no fields of others: the script goes into the body on its way.
  const added = (body) => JSON.stringify({ ...JSON.parse(body), script: steps });
  const fetched = (url, init) => fetch(url, { ...init, body: added(init.body) });
  const provider = createOpenAICompatible({ name: 'forebay', baseURL: `${BASE}/v1`, apiKey: KEY, fetch: fetched });
  const model = provider.embeddingModel('echo');
  const many = await embedMany({ model, values: ['a', 'b'] });
  assert.deepEqual(many.embeddings, data.map((one) => one.embedding));
  assert.equal(many.usage.tokens, 3);
  assert.deepEqual((await embed({ model, value: 'a' })).embedding, [0.5, -1.0]);
}

async function each_failure_is_a_call_error_with_its_status() {
  const statuses = { 400: 400, 401: 502, 404: 404, 422: 422, 429: 429, 500: 502, 503: 502 };
  for (const [status, statusCode] of Object.entries(statuses)) {
    const steps = [{ status: { status: Number(status), error: { message: 'no', code: 'their_code' } } }];
    const model = () => forebay(steps)(`${failing()}/echo`);
    const ask = () => generateText({ ...scripted(), model: model() });
    const error = await throws(APICallError, ask, { statusCode });
    assert.equal(JSON.parse(error.responseBody).error.provider_code, 'their_code');
    let seen;
    const streamed = streamText({ ...scripted(), model: model(), onError: (event) => (seen = event.error) });
    await streamed.consumeStream();
    assert.deepEqual([seen.constructor, seen.statusCode], [APICallError, statusCode]);
  }
  await throws(APICallError, () => generateText({ ...scripted(), model: forebay()('nobody') }), { statusCode: 404 });
}

async function its_own_retries_join_the_job_and_ask_nobody_twice() {
  const tag = failing();
  const steps = [{ status: { status: 503, error: { message: 'no' } } }];
  const headers = { ...ONCE, 'Idempotency-Key': tag, 'Forebay-Metadata': JSON.stringify({ t: tag }) };
  const model = forebay(steps, steps)(`${tag}/echo`);
  const error = await throws(RetryError, () => generateText({ model, prompt: PROMPT, headers, maxRetries: 1 }));
  assert.deepEqual(error.errors.map((each) => each.statusCode), [502, 502]);
  assert.equal((await jobsOf(tag)).length, 1);
}

async function a_stream_that_breaks_is_an_error_and_one_that_goes_on_is_not() {
  const cut = [{ text: ['a', 'b'] }, { delay_ms: 50 }, 'cut'];
  const parts = [];
  const read = async () => {
    for await (const part of streamText({ ...scripted(cut), ...quiet }).fullStream) parts.push(part);
  };
  await throws(APICallError, read, { statusCode: 200 }); // the connection is cut, after it was said why
  assert.equal(parts.filter((part) => part.type === 'text-delta').map((part) => part.text).join(''), 'ab');
  const errors = parts.filter((part) => part.type === 'error');
  assert.deepEqual(errors.map((part) => part.error.code), ['provider_truncated']);
  const goesOn = { ...scripted({ attempts: [cut, [{ text: ['c'] }]] }), headers: {} };
  assert.equal(await streamText(goesOn).text, 'abc');
}

async function an_abort_ends_a_job_that_wants_that() {
  const tag = `${NAME}-abort`;
  const headers = { ...LEAVE, 'Forebay-Metadata': JSON.stringify({ t: tag }) };
  const abort = new AbortController();
  const streamed = streamText({ ...scripted([{ text: 'a' }, 'stall']), headers, abortSignal: abort.signal, ...quiet });
  const seen = [];
  for await (const part of streamed.fullStream) {
    seen.push(part.type);
    if (part.type === 'text-delta') abort.abort();
  }
  assert.equal(seen.at(-1), 'abort');
  const [{ id }] = await jobsOf(tag);
  await soon("the job's end", async () => (await stateOf(id)) === 'cancelled');
}

await main({
  a_real_answer_whole_and_streamed_is_the_same,
  tools_are_called_and_their_results_sent_until_there_is_an_answer,
  structured_output_is_parsed,
  reasoning_and_usage_are_told,
  vectors_are_read,
  each_failure_is_a_call_error_with_its_status,
  its_own_retries_join_the_job_and_ask_nobody_twice,
  a_stream_that_breaks_is_an_error_and_one_that_goes_on_is_not,
  an_abort_ends_a_job_that_wants_that,
});
