/**
 * The calls of the documented TypeScript client, as plain requests, the way it sends them: Content-Type on each of them, and
 * a body of JSON.stringify(). Arguments: the server's address, a key. Prints [name, status, answer] on each line.
 */

const [baseUrl, apiKey] = process.argv.slice(2);

async function call(name, method, path, body) {
  const response = await fetch(`${baseUrl}/api${path}`, {
    method,
    headers: { Authorization: `Bearer ${apiKey}`, Accept: "application/json", "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal: AbortSignal.timeout(5000),
  });
  console.log(JSON.stringify([name, response.status, await response.json()]));
}

await call("number", "POST", "/v1/events", { actor_id: 7, action: "doc.made", metadata: { n: NaN, when: new Date(0), gone: undefined } });
await call("targets", "POST", "/v1/events", {
  actor_id: "u", action: "doc.shared", resource: "document", metadata: { targets: [{ type: "folder", id: "f1", name: "n" }] },
});
await call("batch", "POST", "/v1/events/batch", { events: [{ actor_id: "u", action: "doc.made" }] });
await call("events", "GET", "/v1/events?action=doc.*&limit=2");
await call("target", "GET", "/v1/events?target_type=folder&target_id=f1");
await call("verify", "GET", "/v1/verify");
await call("token", "POST", "/v1/viewer-token", { tenant_id: "t", ttl: 3600 });
await call("tokens", "POST", "/v1/viewer-tokens", { tenantId: "t" });
await call("wide", "POST", "/v1/viewer-token", { tenant: "t" });
await call("export", "POST", "/v1/exports");
await call("no such path", "GET", "/v1/nothing");
await call("no such method", "PUT", "/v1/events", {});
