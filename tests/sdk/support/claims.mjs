// What the files of one library have in common: where the broker is, and how claims are checked and told.

export const BASE = process.env.FOREBAY_HTTP;
export const KEY = process.env.FOREBAY_KEY;
export const NAME = process.env.FOREBAY_LIBRARY; // this file's; what it names in the broker begins with it
export const ASKED = [{ role: 'user', content: 'Say hello in five words.' }];
export const ONCE = { 'Forebay-Options': JSON.stringify({ retry: { max_attempts: 1 }, on_stream_failure: 'fail' }) };
export const LEAVE = { 'Forebay-Options': JSON.stringify({ on_disconnect: 'cancel' }) };
const WAIT_MS = 10_000;

let providers = 0;
/** A provider that nobody has asked before: one that fails is left alone for a while. */
export const failing = () => `${NAME}-${providers++}`;

/** The JSON of the broker's own interface. */
export async function get(path) {
  const answer = await fetch(`${BASE}${path}`, { headers: { authorization: `Bearer ${KEY}` } });
  return answer.json();
}

export const stateOf = async (job) => (await get(`/v1/jobs/${job}`)).state;
export const jobsOf = async (tag) => (await get(`/v1/jobs?tag.t=${tag}`)).jobs;

/** What `look` finds, within a time that is long enough on any machine. */
export async function soon(what, look) {
  const deadline = Date.now() + WAIT_MS;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

/** What `ask` throws, a `kind` and no subclass of it, with the properties that are `said`. */
export async function throws(kind, ask, said = {}) {
  let error;
  try {
    await ask();
  } catch (thrown) {
    error = thrown;
  }
  if (error?.constructor !== kind) throw new Error(`not ${kind.name} but ${error?.constructor.name}`, { cause: error });
  for (const [name, value] of Object.entries(said)) {
    if (error[name] !== value) throw new Error(`${name} is ${error[name]}, not ${value}`, { cause: error });
  }
  return error;
}

export async function collect(stream) {
  const all = [];
  for await (const one of stream) all.push(one);
  return all;
}

export async function main(claims) {
  for (const [name, claim] of Object.entries(claims)) {
    const what = name.replaceAll('_', ' ');
    const began = Date.now();
    try {
      await claim();
      console.log(`  ✓ ${what} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
    } catch (error) {
      process.exitCode = 1;
      console.log(`  ✗ NOT SO: ${what}`);
      console.log(error);
    }
  }
}
