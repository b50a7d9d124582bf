/**
 * A page in a real browser loads the JavaScript client as a module and reads events with a viewer token from a server of
 * another origin. Arguments: a folder to serve, the server's address, a token, an API key. Prints what the page found.
 */

import { createServer } from "node:http";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { existsSync } from "node:fs";

const [folder, baseUrl, token, key] = process.argv.slice(2);
const require = createRequire(new URL("../browser/package.json", import.meta.url));
const { chromium } = require("playwright-core");

const site = createServer(async ({ url }, response) => {
  const script = url.endsWith(".js");
  response.writeHead(200, { "Content-Type": script ? "text/javascript" : "text/html" });
  response.end(script ? await readFile(folder + url) : "<!doctype html><title>t</title>");
}).listen(0, "127.0.0.1");
await once(site, "listening");
const browser = await chromium.launch({
  executablePath: ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find(existsSync),
  args: ["--no-sandbox"],
});
try {
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${site.address().port}/`);
  console.log(JSON.stringify(await page.evaluate(async ([baseUrl, token, key]) => {
    const { ImmutableClient } = await import("/index.js");
    const viewer = new ImmutableClient({ apiKey: token, baseUrl });
    const failure = (call) => call.then(() => null, ({ status, code }) => [status, code]);
    const events = [];
    let cursor;
    do {
      const page = await viewer.getEvents({ cursor, limit: 2 });
      events.push(...page.data.map((event) => event.actor_name));
      cursor = page.pagination.has_more ? page.pagination.next_cursor : undefined;
    } while (cursor);
    return {
      events,
      write: await failure(viewer.track({ actor_id: "u", action: "a.b" })),
      expired: await failure(new ImmutableClient({ apiKey: token + "x", baseUrl }).getEvents()),
      key: await failure(new ImmutableClient({ apiKey: key, baseUrl }).getEvents({ limit: 1 })),
    };
  }, [baseUrl, token, key])));
} finally {
  await browser.close();
  site.close();
}
