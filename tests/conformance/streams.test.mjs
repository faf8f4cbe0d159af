// The Durable Streams protocol's own tests, against the broker at FOREBAY_HTTP (scripts/conformance.py).

import { runConformanceTests } from '@durable-streams/server-conformance-tests'

runConformanceTests({
  baseUrl: process.env.FOREBAY_HTTP,
  longPollTimeoutMs: Number(process.env.FOREBAY_LONG_POLL_MS),
})
