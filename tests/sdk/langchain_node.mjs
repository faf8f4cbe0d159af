// LangChain's OpenAI models for Node against the broker. Run by `scripts/sdk.py`.

import assert from 'node:assert/strict';
import { ToolMessage } from '@langchain/core/messages';
import { tool } from '@langchain/core/tools';
import { ChatOpenAI, OpenAIEmbeddings } from '@langchain/openai';
import { z } from 'zod';
import { BASE, KEY, LEAVE, NAME, ONCE } from './support/claims.mjs';
import { collect, failing, jobsOf, main, soon, stateOf } from './support/claims.mjs';

const PROMPT = 'Say hello in five words.';
const City = z.object({ name: z.string(), people: z.number() });
const CALLS = [
  { tool_call: { index: 0, id: 'call_a', name: 'weather', arguments: ['{"city":', '"Paris"}'] } },
  { tool_call: { index: 1, id: 'call_b', name: 'weather', arguments: ['{"city":"Rome"}'] } },
  { finish: 'tool_calls' },
];
const weather = tool(({ city }) => `weather of ${city}`, {
  name: 'weather',
  description: 'The weather.',
  schema: z.object({ city: z.string() }),
});

function model(script, { name = 'echo', headers = ONCE, ...more } = {}) {
  const configuration = { baseURL: `${BASE}/v1`, defaultHeaders: headers };
  return new ChatOpenAI({ model: name, apiKey: KEY, configuration, modelKwargs: script && { script }, ...more });
}

const summed = (chunks) => chunks.reduce((total, chunk) => total.concat(chunk));

async function a_real_answer_invoked_and_streamed_is_the_same() {
  const real = model(undefined, { name: 'local/smollm2', headers: {}, maxTokens: 32, temperature: 0 });
  const whole = await real.invoke(PROMPT);
  assert.ok(whole.content && whole.usage_metadata.input_tokens > 0);
  const chunks = await collect(await real.stream(PROMPT));
  assert.ok(chunks.length > 3);
  assert.equal(summed(chunks).content, whole.content);
  assert.equal(summed(chunks).usage_metadata.output_tokens, whole.usage_metadata.output_tokens);
}

async function tools_are_called_and_their_results_are_sent() {
  const bound = model(CALLS).bindTools([weather]);
  const whole = await bound.invoke(PROMPT);
  for (const answer of [whole, summed(await collect(await bound.stream(PROMPT)))]) {
    assert.deepEqual(answer.tool_calls.map(({ id, name, args }) => [id, name, args]), [
      ['call_a', 'weather', { city: 'Paris' }],
      ['call_b', 'weather', { city: 'Rome' }],
    ]);
  }
  const results = whole.tool_calls.map(({ id }) => new ToolMessage({ content: 'rain', tool_call_id: id }));
  const turn = [['user', PROMPT], whole, ...results];
  assert.equal((await model([{ text: 'Rain.' }]).invoke(turn)).content, 'Rain.');
}

async function structured_output_is_parsed() {
  const said = '{"name":"Paris","people":2}';
  const call = { id: 'c', name: 'City', arguments: said };
  for (const [method, script] of [
    ['jsonSchema', [{ text: said }]],
    ['jsonMode', [{ text: said }]],
    ['functionCalling', [{ tool_call: call }, { finish: 'tool_calls' }]],
  ]) {
    const bound = model(script).withStructuredOutput(City, { method, name: 'City' });
    assert.deepEqual(await bound.invoke(PROMPT), { name: 'Paris', people: 2 }, method);
  }
}

async function vectors_are_read() {
  const data = [
    { index: 0, embedding: [0.5, -1.0] },
    { index: 1, embedding: [0.25, 2.0] },
  ];
  // Its models of vectors take no fields of others: the script goes into the body on its way.
  const added = (body) => JSON.stringify({ ...JSON.parse(body), script: [{ output: { data } }] });
  const fetched = (url, init) => fetch(url, { ...init, body: added(init.body) });
  const configuration = { baseURL: `${BASE}/v1`, fetch: fetched };
  const reader = new OpenAIEmbeddings({ model: 'echo', apiKey: KEY, configuration });
  assert.deepEqual(await reader.embedDocuments(['a', 'b']), data.map((one) => one.embedding));
}

async function each_failure_has_its_status() {
  for (const [status, told] of Object.entries({ 400: 400, 404: 404, 429: 429, 500: 502 })) {
    const tag = failing();
    const headers = { ...ONCE, 'Forebay-Metadata': JSON.stringify({ t: tag }) };
    const script = [{ status: { status: Number(status), error: { message: 'no' } } }];
    const asked = model(script, { name: `${tag}/echo`, headers, maxRetries: 0 });
    await assert.rejects(asked.invoke(PROMPT), { status: told });
    assert.equal((await jobsOf(tag)).length, 1);
  }
}

async function a_stream_that_breaks_throws_and_one_that_goes_on_does_not() {
  const cut = [{ text: ['a', 'b'] }, { delay_ms: 50 }, 'cut'];
  const seen = [];
  const read = async () => {
    for await (const chunk of await model(cut).stream(PROMPT)) seen.push(chunk);
  };
  await assert.rejects(read(), { code: 'provider_truncated' });
  assert.equal(summed(seen).content, 'ab');
  const goesOn = model({ attempts: [cut, [{ text: ['c'] }]] }, { headers: {} });
  assert.equal(summed(await collect(await goesOn.stream(PROMPT))).content, 'abc');
}

async function an_abort_ends_a_job_that_wants_that() {
  const tag = `${NAME}-abort`;
  const headers = { ...LEAVE, 'Forebay-Metadata': JSON.stringify({ t: tag }) };
  const abort = new AbortController();
  const read = async () => {
    const asked = model([{ text: 'a' }, 'stall'], { headers });
    for await (const chunk of await asked.stream(PROMPT, { signal: abort.signal })) {
      if (chunk.content) abort.abort();
    }
  };
  await assert.rejects(read());
  const [{ id }] = await jobsOf(tag);
  await soon("the job's end", async () => (await stateOf(id)) === 'cancelled');
}

await main({
  a_real_answer_invoked_and_streamed_is_the_same,
  tools_are_called_and_their_results_are_sent,
  structured_output_is_parsed,
  vectors_are_read,
  each_failure_has_its_status,
  a_stream_that_breaks_throws_and_one_that_goes_on_does_not,
  an_abort_ends_a_job_that_wants_that,
});
