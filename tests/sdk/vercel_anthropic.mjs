// Vercel's `ai` with its provider for Anthropic's dialect against the broker. Run by `scripts/sdk.py`.

import assert from 'node:assert/strict';
import { createAnthropic } from '@ai-sdk/anthropic';
import { APICallError, Output, generateText, isStepCount, streamText, tool } from 'ai';
import { z } from 'zod';
import { BASE, KEY, LEAVE, NAME, ONCE } from './support/claims.mjs';
import { collect, failing, jobsOf, main, soon, stateOf, throws } from './support/claims.mjs';

globalThis.AI_SDK_LOG_WARNINGS = false;
const PROMPT = 'Say hello in five words.';
const City = z.object({ name: z.string(), people: z.number() });
const CALLS = [
  { tool_call: { index: 0, id: 'call_a', name: 'weather', arguments: ['{"city":', '"Paris"}'] } },
  { tool_call: { index: 1, id: 'call_b', name: 'weather', arguments: ['{"city":"Rome"}'] } },
  { finish: 'tool_calls' },
];

/** Its provider, which adds to each request the next of these scripts. */
function forebay(...scripts) {
  const added = (body) => JSON.stringify({ ...JSON.parse(body), script: scripts.shift() });
  const fetched = (url, init) => fetch(url, scripts.length ? { ...init, body: added(init.body) } : init);
  return createAnthropic({ baseURL: `${BASE}/v1`, apiKey: KEY, fetch: fetched });
}

const scripted = (...scripts) => ({ model: forebay(...scripts)('echo'), prompt: PROMPT, headers: ONCE, maxRetries: 0 });
const quiet = { onError: () => {} };

async function a_real_answer_whole_and_streamed_is_the_same() {
  const asked = { model: forebay()('local/smollm2'), prompt: PROMPT, maxOutputTokens: 32, temperature: 0 };
  const whole = await generateText(asked);
  assert.ok(whole.text && ['stop', 'length'].includes(whole.finishReason) && whole.usage.inputTokens > 0);
  const streamed = streamText(asked);
  assert.equal((await collect(streamed.textStream)).join(''), whole.text);
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
  const said = '{"name":"Paris","people":2}';
  const providerOptions = { anthropic: { structuredOutputMode: 'outputFormat' } };
  const asked = { ...scripted([{ text: said }]), output: Output.object({ schema: City }), providerOptions };
  assert.deepEqual((await generateText(asked)).output, { name: 'Paris', people: 2 });
}

async function thinking_and_usage_are_told() {
  const usage = { input_tokens: 9, output_tokens: 5, cached_input_tokens: 4 };
  const steps = [{ reasoning: ['h', 'm'] }, { text: 'yes' }, { usage }];
  const providerOptions = { anthropic: { thinking: { type: 'enabled', budgetTokens: 1024 } } };
  const whole = await generateText({ ...scripted(steps), providerOptions });
  const streamed = streamText({ ...scripted(steps), providerOptions });
  await streamed.consumeStream();
  for (const told of [whole, streamed]) {
    assert.deepEqual([await told.reasoningText, await told.text], ['hm', 'yes']);
    const { inputTokens, inputTokenDetails, outputTokens } = await told.usage;
    assert.deepEqual([inputTokens, inputTokenDetails.cacheReadTokens, outputTokens], [9, 4, 5]);
  }
}

async function each_failure_is_a_call_error_with_its_status() {
  for (const [status, statusCode] of Object.entries({ 400: 400, 404: 404, 429: 429, 500: 502, 529: 529 })) {
    const steps = [{ status: { status: Number(status), error: { message: 'no' } } }];
    const model = () => forebay(steps)(`${failing()}/echo`);
    const error = await throws(APICallError, () => generateText({ ...scripted(), model: model() }), { statusCode });
    assert.equal(JSON.parse(error.responseBody).type, 'error');
    let seen;
    const streamed = streamText({ ...scripted(), model: model(), onError: (event) => (seen = event.error) });
    await streamed.consumeStream();
    assert.deepEqual([seen.constructor, seen.statusCode], [APICallError, statusCode]);
  }
}

async function a_stream_that_breaks_is_an_error() {
  const parts = [];
  const read = async () => {
    const asked = { ...scripted([{ text: ['a', 'b'] }, { delay_ms: 50 }, 'cut']), ...quiet };
    for await (const part of streamText(asked).fullStream) parts.push(part);
  };
  await throws(APICallError, read, { statusCode: 200 }); // the connection is cut, after it was said why
  assert.equal(parts.filter((part) => part.type === 'text-delta').map((part) => part.text).join(''), 'ab');
  assert.equal(parts.filter((part) => part.type === 'error').length, 1);
}

async function an_abort_ends_a_job_that_wants_that() {
  const tag = `${NAME}-abort`;
  const headers = { ...LEAVE, 'Forebay-Metadata': JSON.stringify({ t: tag }) };
  const abort = new AbortController();
  const streamed = streamText({ ...scripted([{ text: 'a' }, 'stall']), headers, abortSignal: abort.signal, ...quiet });
  for await (const part of streamed.fullStream) {
    if (part.type === 'text-delta') abort.abort();
  }
  const [{ id }] = await jobsOf(tag);
  await soon("the job's end", async () => (await stateOf(id)) === 'cancelled');
}

await main({
  a_real_answer_whole_and_streamed_is_the_same,
  tools_are_called_and_their_results_sent_until_there_is_an_answer,
  structured_output_is_parsed,
  thinking_and_usage_are_told,
  each_failure_is_a_call_error_with_its_status,
  a_stream_that_breaks_is_an_error,
  an_abort_ends_a_job_that_wants_that,
});
