/** An HTTP server that keeps what it was asked, and answers what a test says. */

import { createServer } from "node:http";
import { once } from "node:events";

/**
 * @param {(request: any, response: import("node:http").ServerResponse, count: number) => void} answer
 * @param {(server: {url: string, requests: any[]}) => Promise<void>} test
 */
export async function serve(answer, test) {
  const requests = [];
  const server = createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    const body = Buffer.concat(parts).toString();
    const { method, url, headers } = request;
    requests.push({ method, url, headers, text: body, body: body && JSON.parse(body) });
    answer(requests.at(-1), response, requests.length);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    await test({ url: `http://127.0.0.1:${server.address().port}`, requests });
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** Answers JSON. */
export function json(response, status, body, headers = {}) {
  response.writeHead(status, { "Content-Type": "application/json", ...headers });
  response.end(typeof body === "string" ? body : JSON.stringify(body));
}
