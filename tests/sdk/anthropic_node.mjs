// The official Anthropic library for Node against the broker: messages. Run by `scripts/sdk.py`.

import assert from 'node:assert/strict';
import Anthropic from '@anthropic-ai/sdk';
import { betaZodTool } from '@anthropic-ai/sdk/helpers/beta/zod';
import { OverloadedError } from '@anthropic-ai/sdk/error';
import { z } from 'zod';
import { ASKED, BASE, KEY, LEAVE, NAME, ONCE } from './support/claims.mjs';
import { collect, failing, jobsOf, main, soon, stateOf, throws } from './support/claims.mjs';

const client = new Anthropic({ baseURL: BASE, apiKey: KEY });
const REAL = { model: 'local/smollm2', messages: ASKED, max_tokens: 32, temperature: 0 };
const WEATHER = { name: 'weather', input_schema: { type: 'object', properties: { city: { type: 'string' } } } };
const CALLS = [
  { tool_call: { index: 0, id: 'call_a', name: 'weather', arguments: ['{"city":', '"Paris"}'] } },
  { tool_call: { index: 1, id: 'call_b', name: 'weather', arguments: ['{"city":"Rome"}'] } },
  { finish: 'tool_calls' },
];

const scripted = (script, more = {}) => ({ model: 'echo', max_tokens: 100, messages: ASKED, script, ...more });
const create = (script, more, options) => client.messages.create(scripted(script, more), { headers: ONCE, ...options });
const textOf = (message) => message.content.map((block) => block.text ?? '').join('');
const deltasOf = (events) => events.map((event) => event.delta?.text ?? '').join('');
const jobOf = (message) => message.replace('msg_', '');

async function a_real_answer_whole_and_streamed_is_the_same() {
  const { data: whole, request_id } = await client.messages.create(REAL).withResponse();
  assert.ok(textOf(whole) && request_id && whole.usage.input_tokens > 0);
  const events = await collect(await client.messages.create({ ...REAL, stream: true }));
  assert.deepEqual([events[0].type, events.at(-1).type], ['message_start', 'message_stop']);
  assert.equal(deltasOf(events), textOf(whole));
  const final = await client.messages.stream(REAL).finalMessage();
  assert.deepEqual([textOf(final), final.stop_reason], [textOf(whole), whole.stop_reason]);
}

async function tools_are_called_and_their_results_are_sent() {
  const check = (message) => {
    assert.deepEqual(message.content.map((block) => [block.type, block.id, block.name, block.input]), [
      ['tool_use', 'call_a', 'weather', { city: 'Paris' }],
      ['tool_use', 'call_b', 'weather', { city: 'Rome' }],
    ]);
    assert.equal(message.stop_reason, 'tool_use');
  };
  const asked = scripted(CALLS, { tools: [WEATHER] });
  const whole = await client.messages.create(asked);
  check(whole);
  check(await client.messages.stream(asked).finalMessage());
  const results = ['call_a', 'call_b'].map((tool_use_id) => ({ type: 'tool_result', tool_use_id, content: 'rain' }));
  const messages = [...ASKED, { role: 'assistant', content: whole.content }, { role: 'user', content: results }];
  assert.equal(textOf(await create([{ text: 'Rain.' }], { messages, tools: [WEATHER] })), 'Rain.');
}

async function a_tool_runner_asks_until_there_is_an_answer() {
  // The broker plays the script that comes with a request, so each of the runner's requests gets its own.
  const turns = [CALLS, [{ text: 'Rain.' }]];
  const added = (body) => JSON.stringify({ ...JSON.parse(body), script: turns.shift() });
  const fetched = (url, init) => fetch(url, { ...init, body: added(init.body) });
  const scripting = new Anthropic({ baseURL: BASE, apiKey: KEY, fetch: fetched });
  const asked = [];
  const weather = betaZodTool({
    name: 'weather',
    description: 'The weather.',
    inputSchema: z.object({ city: z.string() }),
    run: ({ city }) => asked.push(city) && `weather of ${city}`,
  });
  const final = await scripting.beta.messages.toolRunner({ ...scripted(), tools: [weather] });
  assert.deepEqual([textOf(final), asked, turns.length], ['Rain.', ['Paris', 'Rome'], 0]);
}

async function thinking_and_usage_are_told() {
  const usage = { input_tokens: 9, output_tokens: 5, cached_input_tokens: 4 };
  const asked = scripted([{ reasoning: ['h', 'm'] }, { text: 'yes' }, { usage }]);
  const thinking = { type: 'enabled', budget_tokens: 1024 };
  const whole = await client.messages.create({ ...asked, thinking });
  for (const message of [whole, await client.messages.stream({ ...asked, thinking }).finalMessage()]) {
    const [thought, said] = message.content;
    assert.deepEqual([thought.type, thought.thinking, said.text], ['thinking', 'hm', 'yes']);
    const { input_tokens, cache_read_input_tokens, output_tokens } = message.usage;
    assert.deepEqual([input_tokens, cache_read_input_tokens, output_tokens], [5, 4, 5]);
  }
}

async function tokens_are_counted_before() {
  assert.ok((await client.messages.countTokens({ model: 'echo', messages: ASKED })).input_tokens > 3);
}

async function each_failure_is_its_class_and_is_not_asked_again() {
  const kinds = {
    400: [Anthropic.BadRequestError, 'invalid_request_error'],
    404: [Anthropic.NotFoundError, 'not_found_error'],
    429: [Anthropic.RateLimitError, 'rate_limit_error'],
    500: [Anthropic.InternalServerError, 'api_error'],
    529: [OverloadedError, 'overloaded_error'],
  };
  for (const [status, [kind, type]] of Object.entries(kinds)) {
    for (const stream of [false, true]) {
      const tag = failing();
      const headers = { ...ONCE, 'Forebay-Metadata': JSON.stringify({ t: tag }) };
      const steps = [{ status: { status: Number(status), error: { message: 'no' } } }];
      const error = await throws(kind, () => create(steps, { model: `${tag}/echo`, stream }, { headers }));
      assert.deepEqual([error.error.error.type, typeof error.requestID], [type, 'string']);
      assert.equal((await jobsOf(tag)).length, 1, `${status} was asked again`);
    }
  }
  const ask = (more, headers = {}, options = {}) =>
    client.withOptions(options).messages.create(scripted([], more), { headers });
  await throws(Anthropic.AuthenticationError, () => ask({}, {}, { apiKey: 'wrong' }));
  await throws(Anthropic.PermissionDeniedError, () => ask({}, { 'Forebay-Gateway': 'other' }));
  await throws(Anthropic.NotFoundError, () => ask({ model: 'nobody' }));
  await throws(Anthropic.BadRequestError, () => ask({ messages: 'Hi' }));
}

async function a_retry_after_a_broken_connection_joins_the_job_and_asks_nobody_twice() {
  const tag = `${NAME}-retry`;
  let tries = 0;
  const fetched = async (url, init) => {
    const answer = await fetch(url, init);
    if (tries++ > 0) return answer;
    await answer.text(); // it was done, and paid for
    throw new TypeError('the connection broke');
  };
  const broken = new Anthropic({ baseURL: BASE, apiKey: KEY, fetch: fetched });
  const headers = { 'Idempotency-Key': tag, 'Forebay-Metadata': JSON.stringify({ t: tag }) };
  assert.equal(textOf(await broken.messages.create(scripted([{ text: 'once' }]), { headers })), 'once');
  assert.deepEqual([tries, (await jobsOf(tag)).length], [2, 1]);
}

async function a_stream_that_breaks_throws() {
  const seen = [];
  const read = async () => {
    for await (const event of await create([{ text: ['a', 'b'] }, { delay_ms: 50 }, 'cut'], { stream: true })) seen.push(event);
  };
  const error = await throws(Anthropic.APIError, read);
  assert.equal(error.error.error.type, 'api_error');
  assert.equal(deltasOf(seen), 'ab');
}

async function a_silent_stream_is_alive_and_a_silent_answer_times_out() {
  const slow = [{ delay_ms: 900 }, { text: 'a' }, { delay_ms: 900 }, { text: 'b' }];
  const impatient = { timeout: 700, maxRetries: 0 };
  assert.equal(deltasOf(await collect(await create(slow, { stream: true }, impatient))), 'ab');
  await throws(Anthropic.APIConnectionTimeoutError, () => create(slow, {}, impatient));
}

async function an_abort_ends_a_job_that_wants_that() {
  const stream = client.messages.stream(scripted([{ text: 'a' }, 'stall']), { headers: LEAVE });
  const job = new Promise((found) => stream.on('streamEvent', ({ message }) => message && found(jobOf(message.id))));
  const id = await job;
  assert.equal(await stateOf(id), 'streaming');
  stream.abort();
  await throws(Anthropic.APIUserAbortError, () => stream.finalMessage());
  await soon("the job's end", async () => (await stateOf(id)) === 'cancelled');
}

await main({
  a_real_answer_whole_and_streamed_is_the_same,
  tools_are_called_and_their_results_are_sent,
  a_tool_runner_asks_until_there_is_an_answer,
  thinking_and_usage_are_told,
  tokens_are_counted_before,
  each_failure_is_its_class_and_is_not_asked_again,
  a_retry_after_a_broken_connection_joins_the_job_and_asks_nobody_twice,
  a_stream_that_breaks_throws,
  a_silent_stream_is_alive_and_a_silent_answer_times_out,
  an_abort_ends_a_job_that_wants_that,
});
