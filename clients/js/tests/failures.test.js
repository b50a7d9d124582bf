import assert from "node:assert/strict";
import { test } from "node:test";
import { ImmutableClient, ImmutableError } from "../index.js";
import { json, serve } from "./server.js";

const EVENT = { actor_id: "u", action: "a.b" };
const KEYED = { ...EVENT, idempotency_key: "k" };
const QUEUED = { id: "0195d3a0-6c1e-7c3a-9f00-000000000001", status: "queued" };
const client = (url, options) => new ImmutableClient({ apiKey: "imk_1", baseUrl: url, ...options });

/** The error of a call to a server with one answer. */
async function failure(answer, call = (c) => c.track(EVENT)) {
  let error;
  await serve(answer, async ({ url }) => {
    error = await call(client(url)).then(() => assert.fail("it should have failed"), (e) => e);
  });
  assert.ok(error instanceof ImmutableError && error instanceof Error, String(error));
  return error;
}

test("an error has the server's sentence, code and fields", async () => {
  const body = { error: "validation_failed", message: "The action field is required.", errors: { action: ["The action field is required."] } };
  const error = await failure((request, response) => json(response, 422, body));
  assert.deepEqual(
    [error.name, error.message, error.code, error.status, error.statusCode, error.errors, error.responseBody],
    ["ImmutableError", body.message, body.error, 422, 422, body.errors, body],
  );
});

test("an error without a sentence, or with other things in its place", async () => {
  for (const [body, message, code] of [
    [{ error: "gone" }, "gone", "gone"],
    [{}, "HTTP 410", "unknown"],
    [{ error: { a: 1 }, message: 7, errors: 3 }, "HTTP 410", "unknown"],
  ]) {
    const error = await failure((request, response) => json(response, 410, body));
    assert.deepEqual([error.message, error.code, error.errors], [message, code, {}]);
  }
});

test("an answer that is not a JSON object is an error, whatever its status", async () => {
  for (const [status, text] of [[502, "<html>bad gateway"], [202, ""], [200, "[]"], [200, "null"], [404, ""]]) {
    const error = await failure((request, response) => json(response, status, text));
    assert.deepEqual([error.code, error.status, error.responseBody], ["not_json", status, text]);
  }
});

test("a redirect is an error, and is not followed", async () => {
  await serve((request, response) => json(response, 308, "{}", { Location: "/elsewhere" }), async ({ url, requests }) => {
    await assert.rejects(client(url).getEvents(), { code: "redirect", status: 308 });
    assert.equal(requests.length, 1);
  });
});

test("no server is an error without a status", async () => {
  let gone;
  await serve(() => {}, async ({ url }) => {
    gone = url;
  });
  await assert.rejects(client(gone).track(EVENT), (error) => {
    assert.deepEqual([error.code, error.status, error.responseBody], ["network", 0, null]);
    return error.cause instanceof Error;
  });
});

test("a server that is silent, or stops in the middle, is left in time", async () => {
  for (const answer of [() => {}, (request, response) => response.writeHead(200).write('{"data"')]) {
    await serve(answer, async ({ url }) => {
      await assert.rejects(client(url, { timeout: 30 }).track(EVENT), { code: "timeout", status: 0, message: "Request timed out" });
      await assert.rejects(client(url).getEvents({}, { timeout: 30 }), { code: "timeout" });
    });
  }
});

test("a caller ends a call, and gets the reason back", async () => {
  const controller = new AbortController();
  await serve(() => controller.abort(), async ({ url, requests }) => {
    const call = client(url).actor("u").track("a.b", null, null, { signal: controller.signal });
    await assert.rejects(call, { name: "AbortError" });
    const reason = new Error("the page is closed");
    await assert.rejects(client(url).getEvents({}, { signal: AbortSignal.abort(reason) }), reason);
    assert.equal(requests.length, 1);
  });
});

test("a call that is over leaves nothing behind", async () => {
  await serve((request, response) => json(response, 202, QUEUED), async ({ url }) => {
    let listeners = 0;
    const { signal } = new AbortController();
    const add = signal.addEventListener.bind(signal), remove = signal.removeEventListener.bind(signal);
    Object.assign(signal, {
      addEventListener: (...a) => (listeners++, add(...a)),
      removeEventListener: (...a) => (listeners--, remove(...a)),
    });
    const c = client(url, { fetch: (address, init) => fetch(address, { ...init }), timeout: Infinity });
    assert.deepEqual(await c.track(EVENT, { signal }), QUEUED);
    assert.equal(listeners, 0);
  });
});

/** How many requests a call makes of a server that is away for two of them. */
async function attempts(call, away = (response) => json(response, 503, { error: "unavailable", message: "Later." })) {
  let count, outcome;
  await serve((request, response, n) => (n <= 2 ? away(response) : json(response, 202, { ...QUEUED, data: [], events: [] })), async ({ url, requests }) => {
    outcome = await call(client(url)).then(() => "done", (error) => error.code);
    count = requests.length;
  });
  return [count, outcome];
}

test("what may be repeated is repeated, and nothing else", async () => {
  const once = [1, "unavailable"], thrice = [3, "done"];
  assert.deepEqual(await attempts((c) => c.getEvents()), thrice);
  assert.deepEqual(await attempts((c) => c.track(KEYED)), thrice);
  assert.deepEqual(await attempts((c) => c.trackBatch([KEYED, KEYED])), thrice);
  assert.deepEqual(await attempts((c) => c.actor("u").idempotencyKey("k").track("a.b")), thrice);
  assert.deepEqual(await attempts((c) => c.track(EVENT)), once);
  assert.deepEqual(await attempts((c) => c.trackBatch([KEYED, EVENT])), once);
  assert.deepEqual(await attempts((c) => c.createViewerToken({ tenantId: "t" })), once);
  assert.deepEqual(await attempts((c) => c.createExport()), once);
  const broken = (response) => response.destroy();
  assert.deepEqual(await attempts((c) => c.track(KEYED), broken), thrice);
  assert.deepEqual(await attempts((c) => c.track(EVENT), broken), [1, "network"]);
  const wrong = (response) => json(response, 422, { error: "validation_failed" });
  assert.deepEqual(await attempts((c) => c.track(KEYED), wrong), [1, "validation_failed"]);
  const html = (response) => json(response, 502, "<html>");
  assert.deepEqual(await attempts((c) => c.getEvents(), html), thrice);
});

test("a server that asks for more time than there is gets no second request", async () => {
  await serve((request, response) => json(response, 429, { error: "rate_limited" }, { "Retry-After": "60" }), async ({ url, requests }) => {
    await assert.rejects(client(url).getEvents(), { code: "rate_limited", status: 429 });
    assert.equal(requests.length, 1);
  });
});
