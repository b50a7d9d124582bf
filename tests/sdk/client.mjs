/**
 * Calls every method of the JavaScript client and prints the answers, a JSON value on each line.
 * Arguments: the client's module, the server's address, a key.
 */

const [module, baseUrl, apiKey] = process.argv.slice(2);
const { ImmutableClient } = await import(module);
const client = new ImmutableClient({ apiKey, baseUrl });
const show = (name, value) => console.log(JSON.stringify([name, value]));
const failure = (call) => call.then(() => null, ({ status, code, message, errors }) => ({ status, code, message, errors }));

show("track", await client.track({ actor_id: "u1", action: "doc.made", tenant_id: "t1", metadata: { n: 1 } }));
show("builder", await client.actor(7, { name: "Ωmega 😀", type: "user" }).tenant("t1").session("s1").version(0).idempotencyKey("k")
  .actionCategory("documents").target("folder", "f1").occurredAt(new Date("2026-01-02T03:04:05.678Z"))
  .track("doc.shared", { type: "document", id: 5, name: "Q4" }, { targets: [{ type: "team", id: "e" }] }));
show("again", await client.actor(7).tenant("t1").idempotencyKey("k").track("doc.shared"));
show("batch", await client.trackBatch([{ actorId: "u2", action: "doc.made", tenantId: "t1" }, { actorId: "u2", action: "" }]));
show("events", await client.getEvents({ tenantId: "t1", action: "doc.*", limit: 2 }));
const { data: [{ id }] } = await client.getEvents({ tenant_id: "t1", actorId: 7 });
show("event", await client.getEvent(id));
show("verify", await client.verify({ limit: 1000 }));
const token = await client.createViewerToken({ tenantId: "t1", ttl: 60 });
show("token", token);
const viewer = new ImmutableClient({ apiKey: token.viewer_token, baseUrl });
show("seen", (await viewer.getEvents({ action: "doc.*" })).pagination.total);
show("forbidden", await failure(viewer.track({ actor_id: "u", action: "a.b" })));
show("alerts", await client.getAlerts({ limit: 1 }));
const { data: { id: exported } } = await client.createExport({ tenantId: "t1" });
let state;
do {
  ({ data: state } = await client.getExport(exported));
} while (state.status === "pending" || state.status === "processing");
const download = await fetch(state.download_url);
show("export", { ...state, lines: (await download.text()).trimEnd().split(/\r?\n/).length });
const anchors = await client.getAnchors({ limit: 1 });
show("anchors", anchors);
show("anchor", await client.getAnchor(anchors.data[0].id));
show("verified", await client.verifyAnchor(anchors.data[0].id));
show("invalid", await failure(client.track({ actor_id: "u", action: "" })));
show("absent", await failure(client.getEvent("a/b")));
show("unauthenticated", await failure(new ImmutableClient({ apiKey: "imk_invalid", baseUrl }).getEvents()));
