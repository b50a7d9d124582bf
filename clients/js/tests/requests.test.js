import assert from "node:assert/strict";
import { test } from "node:test";
import { ImmutableClient, PendingEvent } from "../index.js";
import { json, serve } from "./server.js";

const QUEUED = { id: "0195d3a0-6c1e-7c3a-9f00-000000000001", status: "queued" };

/** What is sent by calls of a client to a server that answers all of them alike. */
async function sent(calls, answer = QUEUED, base = "") {
  let seen;
  await serve((request, response) => json(response, 202, answer), async ({ url, requests }) => {
    await calls(new ImmutableClient({ apiKey: "imk_1", baseUrl: url + base }));
    seen = requests;
  });
  return seen;
}

test("a builder sends what it was given, and nothing that is empty", async () => {
  const requests = await sent(async (client) => {
    await client.actor("u1").track("a.b");
    await client
      .actor(7, { name: "Sarah Chen", type: "user" })
      .session("s1")
      .version(0)
      .idempotencyKey("k")
      .actionCategory("documents")
      .tenant("org_1")
      .occurredAt(new Date(0))
      .target("folder", "f1", "Reports", { depth: 2 })
      .track("a.b", { type: "document", id: 0, name: "Q4" }, { size: 1 });
    await client.actor("u1", { name: "" }).session("").version(null).track("a.b", "", {});
  });
  assert.deepEqual(requests.map((request) => request.body), [
    { actor_id: "u1", action: "a.b" },
    {
      actor_id: "7", action: "a.b", actor_name: "Sarah Chen", actor_type: "user", resource: "document", resource_id: "0",
      resource_name: "Q4", session_id: "s1", version: 0, idempotency_key: "k", action_category: "documents", tenant_id: "org_1",
      occurred_at: "1970-01-01T00:00:00.000Z", metadata: { size: 1 },
      targets: [{ type: "folder", id: "f1", name: "Reports", metadata: { depth: 2 } }],
    },
    { actor_id: "u1", action: "a.b" },
  ]);
  const [{ method, url, headers }] = requests;
  assert.deepEqual([method, url], ["POST", "/api/v1/events"]);
  assert.equal(headers.authorization, "Bearer imk_1");
  assert.equal(headers["content-type"], "application/json");
});

test("targets among the metadata are targets", async () => {
  const team = { type: "team", id: "5" };
  const bodies = (await sent(async (client) => {
    const metadata = { k: 1, targets: [team] };
    await client.actor("u").track("a.b", "r", metadata);
    assert.deepEqual(metadata, { k: 1, targets: [team] });
    await client.actor("u").target("folder", "f").track("a.b", "r", { targets: [team] });
    await client.actor("u").track("a.b", "r", { targets: [3, 5] });
    await client.actor("u").track("a.b", "r", { targets: "all" });
    await client.actor("u").targets([team]).targets([]).track("a.b", "r", { targets: [] });
    await new PendingEvent(client, { id: "u" }).targets([team]).track("a.b");
  })).map(({ body: { targets, metadata } }) => ({ targets, metadata }));
  assert.deepEqual(bodies, [
    { targets: [team], metadata: { k: 1 } },
    { targets: [{ type: "folder", id: "f" }, team], metadata: undefined },
    { targets: undefined, metadata: { targets: [3, 5] } },
    { targets: undefined, metadata: { targets: "all" } },
    { targets: undefined, metadata: undefined },
    { targets: [team], metadata: undefined },
  ]);
});

test("events may be written in camelCase, and what is unknown is the server's to judge", async () => {
  const [one, batch] = await sent(async (client) => {
    await client.track({ actorId: "u", action: "a.b", tenantId: "t", actor_name: "n", other: 1, newThing: 2, session_id: null });
    await client.trackBatch([{ actorId: "u", action: "a.b", occurredAt: new Date(0) }]);
  });
  assert.deepEqual(one.body, { actor_id: "u", action: "a.b", tenant_id: "t", actor_name: "n", other: 1, newThing: 2 });
  assert.equal(batch.url, "/api/v1/events/batch");
  assert.deepEqual(batch.body, { events: [{ actor_id: "u", action: "a.b", occurred_at: "1970-01-01T00:00:00.000Z" }] });
});

test("filters go into the query under the server's names", async () => {
  const page = { data: [], pagination: { has_more: false, next_cursor: null, total: 0 } };
  const urls = (await sent(async (client) => {
    await client.getEvents();
    await client.getEvents({ cursor: undefined, limit: 100 });
    await client.getEvents({ actor_id: "a&b=c d", targetType: "folder", from: new Date(0), action: "doc.*", search: "" });
    await client.verify({ to: "2026-01-01", limit: 5 });
    await client.verify("2026-01-01", undefined, 7);
    await client.verify();
    await client.getAnchors(3);
    await client.getAlerts({ ruleType: "new_country" });
    await client.getAnchors({ limit: 1 });
    await client.getExport("exp_1");
    await client.getAnchor("a/b?c#d");
    await client.verifyAnchor("anc_1");
  }, page, "/audit//")).map(({ url }) => url);
  assert.deepEqual(urls, [
    "/audit/api/v1/events",
    "/audit/api/v1/events?limit=100",
    "/audit/api/v1/events?actor_id=a%26b%3Dc+d&target_type=folder&from=1970-01-01T00%3A00%3A00.000Z&action=doc.*&search=",
    "/audit/api/v1/verify?to=2026-01-01&limit=5",
    "/audit/api/v1/verify?from=2026-01-01&limit=7",
    "/audit/api/v1/verify",
    "/audit/api/v1/anchors?limit=3",
    "/audit/api/v1/alerts?rule_type=new_country",
    "/audit/api/v1/anchors?limit=1",
    "/audit/api/v1/exports/exp_1",
    "/audit/api/v1/anchors/a%2Fb%3Fc%23d",
    "/audit/api/v1/anchors/anc_1/verify",
  ]);
});

test("rows have the members of actor and resource beside the others", async () => {
  const event = { id: "1", actor: { id: "u", name: "n", type: null }, resource: { type: "document", id: "d", name: "Q4" }, action: "a.b" };
  const page = { data: [event], pagination: { has_more: false, next_cursor: null, total: 1 }, evidence: {} };
  await sent(async (client) => {
    const answer = await client.getEvents();
    assert.deepEqual(answer, {
      ...page,
      data: [{
        ...event, actor_id: "u", actor_name: "n", actor_type: null, resource_type: "document", resource_id: "d", resource_name: "Q4",
      }],
    });
  }, page);
  await sent(async (client) => {
    const answer = await client.getEvent("1");
    assert.deepEqual([answer.data.resource_name, answer.resource_name, answer.actor.id], ["Q4", "Q4", "u"]);
  }, { data: event });
});

test("a viewer's token has both of its names, and is as narrow as it was meant", async () => {
  const requests = await sent(async (client) => {
    for (const scope of [{ tenantId: "t", ttl: 60 }, { tenant_id: "t", actorId: 7 }, {}]) {
      const { token, viewer_token, expires_at } = await client.createViewerToken(scope);
      assert.deepEqual([token, viewer_token, expires_at], ["eyJ", "eyJ", 5]);
    }
    for (const scope of [{ tenantId: undefined }, { actorId: null }, { tenantId: "" }, { tenant: "t" }, { tenantId: "a", tenant_id: "b" }]) {
      await assert.rejects(client.createViewerToken(scope), TypeError);
    }
  }, { token: "eyJ", expires_at: 5 });
  assert.deepEqual(requests.map(({ body }) => body), [{ tenant_id: "t", ttl: 60 }, { tenant_id: "t", actor_id: "7" }, {}]);
  assert.equal(requests[0].url, "/api/v1/viewer-token");
});

test("what would show or record something else is refused before it is sent", async () => {
  const requests = await sent(async (client) => {
    for (const call of [
      () => client.getEvents({ tenant: "t" }),
      () => client.getEvents({ tenantId: "" }),
      () => client.getEvents({ actor_id: { id: "u" } }),
      () => client.getEvents({ actor_id: "a", actorId: "b" }),
      () => client.createExport({ filters: { action: "a.b" } }),
      () => client.getEvent(""),
      () => client.getEvent(".."),
      () => client.getEvent(undefined),
      () => client.track({ actor_id: "u", action: "a.b", metadata: { n: NaN } }),
      () => client.track({ actor_id: "u", action: "a.b", metadata: { deep: [-Infinity] } }),
      () => client.track([]),
      async () => client.actor(undefined),
      async () => client.actor({ id: 1 }),
      async () => new ImmutableClient({ apiKey: "", baseUrl: "https://a" }),
      async () => new ImmutableClient({ apiKey: "imk_1\r\nX: y", baseUrl: "https://a" }),
      async () => new ImmutableClient({ apiKey: "imk_1", baseUrl: "audit.example.com" }),
      async () => new ImmutableClient({ apiKey: "imk_1", baseUrl: "https://a", timeout: NaN }),
    ]) {
      await assert.rejects(call, TypeError, String(call));
    }
  });
  assert.deepEqual(requests, []);
});

test("the key is in no printed form of the client", async () => {
  const { inspect } = await import("node:util");
  const client = new ImmutableClient({ apiKey: "imk_secret", baseUrl: "https://a" });
  assert.doesNotMatch(inspect(client, { depth: 9, showHidden: true }) + JSON.stringify(client), /imk_secret/);
});
