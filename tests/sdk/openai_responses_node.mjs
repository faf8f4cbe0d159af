// The official OpenAI library for Node against the broker: Responses, also in background. Run by `scripts/sdk.py`.

import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { ASKED, BASE, KEY, LEAVE, NAME, ONCE } from './support/claims.mjs';
import { collect, failing, jobsOf, main, soon, stateOf, throws } from './support/claims.mjs';

const client = new OpenAI({ baseURL: `${BASE}/v1`, apiKey: KEY });
const PROMPT = ASKED[0].content;
const REAL = { model: 'local/smollm2', input: PROMPT, max_output_tokens: 32, temperature: 0 };
const City = z.object({ name: z.string(), people: z.number() });
const WEATHER = { type: 'function', name: 'weather', parameters: { type: 'object', properties: {} }, strict: false };
const CALLS = [
  { text: 'Let me see.' },
  { tool_call: { index: 0, id: 'call_a', name: 'weather', arguments: ['{"city":', '"Paris"}'] } },
  { tool_call: { index: 1, id: 'call_b', name: 'weather', arguments: ['{"city":"Rome"}'] } },
  { finish: 'tool_calls' },
];

const scripted = (script, more = {}) => ({ model: 'echo', input: PROMPT, script, ...more });
const create = (script, more, options) => client.responses.create(scripted(script, more), { headers: ONCE, ...options });
const deltas = (events) => events.filter((event) => event.type === 'response.output_text.delta');
const textOf = (events) => deltas(events).map((event) => event.delta).join('');
const jobOf = (response) => response.replace('resp_', '');

async function a_real_answer_whole_and_streamed_is_the_same() {
  const whole = await client.responses.create(REAL);
  assert.ok(whole.output_text && whole._request_id && whole.usage.input_tokens > 0);
  const events = await collect(await client.responses.create({ ...REAL, stream: true }));
  assert.deepEqual(events.map((event) => event.sequence_number), [...events.keys()]);
  assert.equal(textOf(events), whole.output_text);
  const final = await client.responses.stream(REAL).finalResponse();
  assert.equal(final.output_text, whole.output_text);
}

async function structured_output_is_parsed() {
  const asked = scripted([{ text: ['{"name":"Paris",', '"people":2}'] }], { text: { format: zodTextFormat(City, 'City') } });
  assert.deepEqual((await client.responses.parse(asked)).output_parsed, { name: 'Paris', people: 2 });
  const final = await client.responses.stream(asked).finalResponse();
  assert.deepEqual(final.output_parsed, { name: 'Paris', people: 2 });
}

async function tools_are_called_and_their_results_are_sent() {
  const check = (response) => {
    const calls = response.output.filter((item) => item.type === 'function_call');
    const read = calls.map((call) => [call.call_id, call.name, JSON.parse(call.arguments)]);
    assert.deepEqual(read, [
      ['call_a', 'weather', { city: 'Paris' }],
      ['call_b', 'weather', { city: 'Rome' }],
    ]);
  };
  const whole = await create(CALLS, { tools: [WEATHER] });
  check(whole);
  check(await client.responses.stream(scripted(CALLS, { tools: [WEATHER] })).finalResponse());
  const results = ['call_a', 'call_b'].map((call_id) => ({ type: 'function_call_output', call_id, output: 'rain' }));
  const answer = [{ text: 'Rain.' }];
  assert.equal((await create(answer, { input: [...ASKED, ...whole.output, ...results] })).output_text, 'Rain.');
  assert.equal((await create(answer, { input: results, previous_response_id: whole.id })).output_text, 'Rain.');
}

async function a_conversation_goes_on_from_its_last_response() {
  const first = await create([{ text: 'Hello, Ann.' }], { input: 'I am Ann.' });
  const second = await create([{ text: 'Ann.' }], { input: 'Who am I?', previous_response_id: first.id });
  assert.deepEqual([second.previous_response_id, second.output_text], [first.id, 'Ann.']);
  const items = await collect(client.responses.inputItems.list(first.id));
  assert.deepEqual(items.map((item) => item.content[0].text), ['I am Ann.']);
  const gone = { code: 'previous_response_not_found', param: 'previous_response_id' };
  await throws(OpenAI.BadRequestError, () => create([], { previous_response_id: 'resp_none' }), gone);
}

async function a_response_in_background_is_looked_at_until_it_is_done() {
  const begun = await create([{ repeat: { text: '{n} ', count: 8, interval_ms: 60 } }], { background: true });
  assert.ok(['queued', 'in_progress'].includes(begun.status), begun.status);
  const done = await soon('the end', async () => {
    const now = await client.responses.retrieve(begun.id);
    return now.status === 'completed' && now;
  });
  assert.equal(done.output_text, '0 1 2 3 4 5 6 7 ');
}

async function a_stream_is_resumed_after_every_event_with_the_same_events() {
  const steps = [{ reasoning: 'hm' }, { text: ['a', 'b'] }, CALLS[1], { delay_ms: 300 }, { text: 'c' }];
  for (const background of [true, false]) {
    let id;
    for await (const event of await create(steps, { background, stream: true })) {
      id = event.response.id;
      break; // while it runs
    }
    const live = await collect(await client.responses.retrieve(id, { stream: true, starting_after: 0 }));
    const whole = await collect(await client.responses.retrieve(id, { stream: true }));
    assert.deepEqual(live, whole.slice(1));
    for (let at = 0; at < whole.length - 1; at++) {
      const rest = await collect(await client.responses.retrieve(id, { stream: true, starting_after: at }));
      assert.deepEqual(rest, whole.slice(at + 1));
    }
    const helper = client.responses.stream({ response_id: id, starting_after: 3 });
    const numbers = (await collect(helper)).map((event) => event.sequence_number);
    assert.deepEqual(numbers, [...whole.keys()].slice(4));
    assert.equal((await helper.finalResponse()).output_text, textOf(whole));
  }
}

async function a_response_is_cancelled_and_deleted() {
  const begun = await create([{ text: 'a' }, 'stall'], { background: true });
  assert.equal((await client.responses.cancel(begun.id)).status, 'cancelled');
  assert.equal(await stateOf(jobOf(begun.id)), 'cancelled');
  await client.responses.delete(begun.id);
  await throws(OpenAI.NotFoundError, () => client.responses.retrieve(begun.id));
}

async function each_failure_is_its_class_and_is_not_asked_again() {
  const kinds = {
    400: OpenAI.BadRequestError,
    401: OpenAI.InternalServerError, // the provider does not take our key: not the caller's fault
    404: OpenAI.NotFoundError,
    429: OpenAI.RateLimitError,
    500: OpenAI.InternalServerError,
  };
  for (const [status, kind] of Object.entries(kinds)) {
    for (const stream of [false, true]) {
      const tag = failing();
      const headers = { ...ONCE, 'Forebay-Metadata': JSON.stringify({ t: tag }) };
      const steps = [{ status: { status: Number(status), error: { message: 'no' } } }];
      const error = await throws(kind, () => create(steps, { model: `${tag}/echo`, stream }, { headers }));
      assert.ok(error.code.startsWith('provider_') && error.requestID, `${error.code} ${error.requestID}`);
      assert.equal((await jobsOf(tag)).length, 1, `${status} was asked again`);
    }
  }
  await throws(OpenAI.AuthenticationError, () => client.withOptions({ apiKey: 'wrong' }).responses.create(scripted([])));
  await throws(OpenAI.NotFoundError, () => create([], { model: 'nobody' }), { code: 'unknown_model', param: 'model' });
  await throws(OpenAI.BadRequestError, () => create([], { input: 7 }), { code: 'invalid', param: 'input' });
}

async function a_stream_that_breaks_says_so() {
  const events = await collect(await create([{ text: ['a', 'b'] }, { delay_ms: 50 }, 'cut'], { stream: true }));
  assert.deepEqual([textOf(events), events.at(-1).type], ['ab', 'response.failed']);
}

async function a_silent_stream_is_alive_and_a_silent_answer_times_out() {
  const slow = [{ delay_ms: 900 }, { text: 'a' }, { delay_ms: 900 }, { text: 'b' }];
  const impatient = { timeout: 700, maxRetries: 0 };
  assert.equal(textOf(await collect(await create(slow, { stream: true }, impatient))), 'ab');
  await throws(OpenAI.APIConnectionTimeoutError, () => create(slow, {}, impatient));
}

async function an_abort_ends_a_response_that_wants_that() {
  const abort = new AbortController();
  const stream = await create([{ text: 'a' }, 'stall'], { stream: true }, { headers: LEAVE, signal: abort.signal });
  let job;
  for await (const event of stream) {
    job ??= jobOf(event.response.id);
    abort.abort();
  }
  await soon("the job's end", async () => (await stateOf(job)) === 'cancelled');
}

await main({
  a_real_answer_whole_and_streamed_is_the_same,
  structured_output_is_parsed,
  tools_are_called_and_their_results_are_sent,
  a_conversation_goes_on_from_its_last_response,
  a_response_in_background_is_looked_at_until_it_is_done,
  a_stream_is_resumed_after_every_event_with_the_same_events,
  a_response_is_cancelled_and_deleted,
  each_failure_is_its_class_and_is_not_asked_again,
  a_stream_that_breaks_says_so,
  a_silent_stream_is_alive_and_a_silent_answer_times_out,
  an_abort_ends_a_response_that_wants_that,
});
