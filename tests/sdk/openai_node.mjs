// The official OpenAI library for Node against the broker: chat, embeddings, models. Run by `scripts/sdk.py`.

import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { LengthFinishReasonError } from 'openai/error';
import { zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { ASKED, BASE, KEY, LEAVE, NAME, ONCE } from './support/claims.mjs';
import { collect, failing, jobsOf, main, soon, stateOf, throws } from './support/claims.mjs';

const client = new OpenAI({ baseURL: `${BASE}/v1`, apiKey: KEY });
const REAL = { model: 'local/smollm2', messages: ASKED, max_tokens: 32, temperature: 0 };
const City = z.object({ name: z.string(), people: z.number() });
const PARIS = { name: 'Paris', people: 2 };
const WEATHER = { type: 'function', function: { name: 'weather', parameters: { type: 'object', properties: {} } } };
const CALLS = [
  { text: 'Let me see.' },
  { tool_call: { index: 0, id: 'call_a', name: 'weather', arguments: ['{"city":', '"Paris"}'] } },
  { tool_call: { index: 1, id: 'call_b', name: 'weather', arguments: ['{"city":"Rome"}'] } },
  { finish: 'tool_calls' },
];

const scripted = (script, more = {}) => ({ model: 'echo', messages: ASKED, script, ...more });
const create = (script, more, options) =>
  client.chat.completions.create(scripted(script, more), { headers: ONCE, ...options });
const textOf = (chunks) =>
  chunks.flatMap((chunk) => chunk.choices.map((choice) => choice.delta.content ?? '')).join('');

async function a_real_answer_whole_and_streamed_is_the_same() {
  const { data: whole, request_id } = await client.chat.completions.create(REAL).withResponse();
  const [choice] = whole.choices;
  assert.equal(whole.object, 'chat.completion');
  assert.match(whole.id, /^chatcmpl-/);
  assert.ok(request_id && choice.message.content && ['stop', 'length'].includes(choice.finish_reason));
  assert.ok(Math.abs(whole.created - Date.now() / 1000) < 60 && whole.usage.prompt_tokens > 0);
  const asked = { ...REAL, stream: true, stream_options: { include_usage: true } };
  const chunks = await collect(await client.chat.completions.create(asked));
  assert.equal(textOf(chunks), choice.message.content);
  assert.equal(chunks.at(-1).usage.completion_tokens, whole.usage.completion_tokens);
  assert.equal(chunks.at(-2).choices[0].finish_reason, choice.finish_reason);
  const final = await client.chat.completions.stream(REAL).finalChatCompletion();
  assert.equal(final.choices[0].message.content, choice.message.content);
}

async function structured_output_is_parsed() {
  const steps = [{ text: ['{"name":"Paris",', '"people":2}'] }];
  const response_format = zodResponseFormat(City, 'City');
  const whole = await client.chat.completions.parse(scripted(steps, { response_format }));
  assert.deepEqual(whole.choices[0].message.parsed, PARIS);
  const stream = client.chat.completions.stream(scripted(steps, { response_format }));
  const parts = [];
  stream.on('content', (delta) => parts.push(delta));
  assert.deepEqual((await stream.finalChatCompletion()).choices[0].message.parsed, PARIS);
  assert.equal(parts.length, 2);
  const cut = scripted([...steps, { finish: 'length' }], { response_format });
  await throws(LengthFinishReasonError, () => client.chat.completions.parse(cut));
}

async function a_real_answer_keeps_to_a_schema() {
  const messages = [{ role: 'user', content: 'Paris: its name and people, as JSON.' }];
  const Small = z.object({ name: z.string().max(20), people: z.int().min(0).max(99) });
  const asked = { ...REAL, messages, max_tokens: 200, response_format: zodResponseFormat(Small, 'City') };
  const answer = await client.chat.completions.parse(asked);
  Small.parse(answer.choices[0].message.parsed);
}

async function tools_are_called_also_in_parallel() {
  const check = (message) => {
    const read = ({ id, type, function: { name, arguments: json } }) => [id, type, name, JSON.parse(json)];
    const calls = message.tool_calls.map(read);
    assert.deepEqual(calls, [
      ['call_a', 'function', 'weather', { city: 'Paris' }],
      ['call_b', 'function', 'weather', { city: 'Rome' }],
    ]);
  };
  const whole = await create(CALLS, { tools: [WEATHER], parallel_tool_calls: true });
  check(whole.choices[0].message);
  assert.equal(whole.choices[0].finish_reason, 'tool_calls');
  const stream = client.chat.completions.stream(scripted(CALLS, { tools: [WEATHER] }));
  const final = await stream.finalMessage();
  check(final);
  assert.equal(final.content, 'Let me see.');
}

async function a_tool_runner_asks_until_there_is_an_answer() {
  // The broker plays the script that comes with a request, so each of the runner's requests gets its own.
  let requests = 0;
  const turns = [CALLS.slice(1), [{ text: 'Rain, then sun.' }]];
  const scripting = new OpenAI({
    baseURL: `${BASE}/v1`,
    apiKey: KEY,
    fetch: (url, init) => {
      const body = JSON.parse(init.body);
      return fetch(url, { ...init, body: JSON.stringify({ ...body, script: turns[requests++] }) });
    },
  });
  for (const stream of [false, true]) {
    requests = 0;
    const asked = [];
    const weather = ({ city }) => asked.push(city) && `weather of ${city}`;
    const tool = { type: 'function', function: { ...WEATHER.function, parse: JSON.parse, function: weather } };
    const runner = scripting.chat.completions.runTools({ model: 'echo', messages: ASKED, tools: [tool], stream });
    assert.equal(await runner.finalContent(), 'Rain, then sun.');
    assert.deepEqual([asked, requests], [['Paris', 'Rome'], 2]);
  }
}

async function vectors_are_read_in_either_form() {
  const data = [
    { index: 0, embedding: [0.5, -1.0] },
    { index: 1, embedding: [0.25, 2.0] },
  ];
  const script = [{ output: { data } }, { usage: { input_tokens: 3, output_tokens: 0 } }];
  const asked = { model: 'echo', input: ['a', 'b'], script };
  for (const form of [{}, { encoding_format: 'float' }]) {
    const answer = await client.embeddings.create({ ...asked, ...form });
    assert.deepEqual(answer.data.map((one) => [...one.embedding]), data.map((one) => one.embedding));
    assert.equal(answer.usage.prompt_tokens, 3);
  }
  const base64 = await client.embeddings.create({ ...asked, encoding_format: 'base64' });
  assert.equal(typeof base64.data[0].embedding, 'string');
}

async function each_failure_is_its_class_and_is_not_asked_again() {
  const kinds = {
    400: OpenAI.BadRequestError,
    401: OpenAI.InternalServerError, // the provider does not take our key: not the caller's fault
    404: OpenAI.NotFoundError,
    422: OpenAI.UnprocessableEntityError,
    429: OpenAI.RateLimitError,
    500: OpenAI.InternalServerError,
    503: OpenAI.InternalServerError,
  };
  for (const [status, kind] of Object.entries(kinds)) {
    for (const stream of [false, true]) {
      const tag = failing();
      const headers = { ...ONCE, 'Forebay-Metadata': JSON.stringify({ t: tag }) };
      const steps = [{ status: { status: Number(status), error: { message: 'no', code: 'their_code' } } }];
      const error = await throws(kind, () => create(steps, { model: `${tag}/echo`, stream }, { headers }));
      assert.ok(error.code.startsWith('provider_') && error.requestID, `${error.code} ${error.requestID}`);
      assert.equal(error.error.provider_code, 'their_code');
      assert.equal((await jobsOf(tag)).length, 1, `${status} was asked again`);
    }
  }
}

async function what_the_caller_did_wrong_is_said_by_name() {
  const chat = (more, headers = {}, options = {}) =>
    client.withOptions(options).chat.completions.create({ model: 'echo', messages: ASKED, ...more }, { headers });
  await throws(OpenAI.AuthenticationError, () => chat({}, {}, { apiKey: 'wrong' }), { code: 'unauthenticated' });
  await throws(OpenAI.PermissionDeniedError, () => chat({}, { 'Forebay-Gateway': 'other' }), { code: 'forbidden' });
  await throws(OpenAI.NotFoundError, () => chat({ model: 'nobody' }), { code: 'unknown_model', param: 'model' });
  await throws(OpenAI.BadRequestError, () => chat({ messages: 'Hi' }), { code: 'invalid', param: 'messages' });
  await throws(OpenAI.BadRequestError, () => chat({}, { 'Forebay-Metadata': 'x' }), { param: 'forebay-metadata' });
  await chat({}, { 'Idempotency-Key': NAME });
  await throws(OpenAI.ConflictError, () => chat({ temperature: 1 }, { 'Idempotency-Key': NAME }), { code: 'conflict' });
}

async function a_retry_after_a_broken_connection_joins_the_job_and_asks_nobody_twice() {
  const tag = `${NAME}-retry`;
  let tries = 0;
  const broken = new OpenAI({
    baseURL: `${BASE}/v1`,
    apiKey: KEY,
    fetch: async (url, init) => {
      const answer = await fetch(url, init);
      if (tries++ > 0) return answer;
      await answer.text(); // it was done, and paid for
      throw new TypeError('the connection broke');
    },
  });
  const headers = { 'Idempotency-Key': tag, 'Forebay-Metadata': JSON.stringify({ t: tag }) };
  const asked = broken.chat.completions.create(scripted([{ text: 'once' }]), { headers });
  const { data, response } = await asked.withResponse();
  assert.equal(data.choices[0].message.content, 'once');
  assert.deepEqual([tries, response.headers.get('forebay-cache')], [2, 'join']);
  assert.equal((await jobsOf(tag)).length, 1);
}

async function a_stream_that_breaks_throws_and_one_that_goes_on_does_not() {
  const cut = [{ text: ['a', 'b'] }, { delay_ms: 50 }, 'cut'];
  const seen = [];
  const read = async () => {
    for await (const chunk of await create(cut, { stream: true })) seen.push(chunk);
  };
  await throws(OpenAI.APIError, read, { code: 'provider_truncated', type: 'server_error' });
  assert.equal(textOf(seen), 'ab');
  const goesOn = await create({ attempts: [cut, [{ text: ['c'] }]] }, { stream: true }, { headers: {} });
  assert.equal(textOf(await collect(goesOn)), 'abc');
}

async function a_silent_stream_is_alive_and_a_silent_answer_times_out() {
  const slow = [{ delay_ms: 900 }, { text: 'a' }, { delay_ms: 900 }, { text: 'b' }];
  const impatient = { timeout: 700, maxRetries: 0 };
  assert.equal(textOf(await collect(await create(slow, { stream: true }, impatient))), 'ab');
  await throws(OpenAI.APIConnectionTimeoutError, () => create(slow, {}, impatient));
}

async function an_abort_ends_a_job_that_wants_that() {
  const stalls = [{ text: 'a' }, 'stall'];
  const ends = (job) => soon("the job's end", async () => (await stateOf(job)) === 'cancelled');

  const abort = new AbortController();
  const stream = await create(stalls, { stream: true }, { headers: LEAVE, signal: abort.signal });
  let job;
  for await (const chunk of stream) {
    job = chunk.id.replace('chatcmpl-', '');
    assert.equal(await stateOf(job), 'streaming');
    abort.abort();
  }
  await ends(job);

  const left = await create(stalls, { stream: true }, { headers: LEAVE });
  for await (const chunk of left) {
    job = chunk.id.replace('chatcmpl-', '');
    break; // which is a way to abort
  }
  await ends(job);

  const tag = `${NAME}-abort`;
  const whole = new AbortController();
  const headers = { ...LEAVE, 'Forebay-Metadata': JSON.stringify({ t: tag }) };
  const asked = throws(OpenAI.APIUserAbortError, () => create(stalls, {}, { headers, signal: whole.signal }));
  const [{ id }] = await soon('the job', async () => {
    const jobs = await jobsOf(tag);
    return jobs.length && jobs;
  });
  whole.abort();
  await asked;
  await ends(id);
}

async function models_are_listed_and_looked_up() {
  const listed = await collect(client.models.list());
  assert.ok(listed.some((model) => model.id === 'echo' && model.object === 'model'));
  for (const id of ['echo', 'openai/gpt-5']) assert.equal((await client.models.retrieve(id)).id, id);
  await throws(OpenAI.NotFoundError, () => client.models.retrieve('nobody'), { code: 'unknown_model' });
}

await main({
  a_real_answer_whole_and_streamed_is_the_same,
  a_real_answer_keeps_to_a_schema,
  structured_output_is_parsed,
  tools_are_called_also_in_parallel,
  a_tool_runner_asks_until_there_is_an_answer,
  vectors_are_read_in_either_form,
  each_failure_is_its_class_and_is_not_asked_again,
  what_the_caller_did_wrong_is_said_by_name,
  a_retry_after_a_broken_connection_joins_the_job_and_asks_nobody_twice,
  a_stream_that_breaks_throws_and_one_that_goes_on_does_not,
  a_silent_stream_is_alive_and_a_silent_answer_times_out,
  an_abort_ends_a_job_that_wants_that,
  models_are_listed_and_looked_up,
});
