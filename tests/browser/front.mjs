// A server in front of the program: it passes the viewer's files on, and answers or changes what the API says.

import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { fileURLToPath } from 'node:url';
import { answer } from './fake.mjs';

const HERE = fileURLToPath(new URL('.', import.meta.url));

/** Passes a request on, and gives the answer as {status, headers, body}. */
export function pass(base, request, headers = {}) {
  return new Promise((resolve, reject) => {
    const url = new URL(request.url, base);
    const asked = http.request(url, { method: request.method, headers: { ...request.headers, host: url.host, ...headers } }, (from) => {
      const parts = [];
      from.on('data', (part) => parts.push(part)).on('end', () => resolve({ status: from.statusCode, headers: from.headers, body: Buffer.concat(parts) }));
    });
    asked.on('error', reject);
    asked.end();
  });
}

/** Modules that the program sent once: what they are is tested elsewhere, and each scenario loads them anew. */
const modules = new Map();

async function passModule(base, request) {
  const key = `${base}${request.url} ${request.headers['accept-encoding']}`;
  if (!modules.has(key)) modules.set(key, await pass(base, request));
  return modules.get(key);
}

/**
 * Starts one. `state` can be changed while it runs:
 *   events, evidence: what the fake API answers; double: whether the test double verifies; respond(query, request): an answer of the test's own;
 *   change(page): changes what the real API answers; pages: {path: html}, pages of the embedding application.
 */
export async function front(program, state) {
  const asked = [];
  const send = (response, status, body, headers = {}) => response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store', 'access-control-allow-origin': '*', 'access-control-allow-headers': 'authorization', ...headers }).end(body);
  const handle = async (request, response) => {
    const url = new URL(request.url, 'http://front');
    if (state.pages?.[url.pathname]) return send(response, 200, state.pages[url.pathname], { 'content-type': 'text/html; charset=utf-8', ...(state.pageHeaders ?? {}) });
    if (url.pathname === '/viewer/evidence/index.js' && state.double) return send(response, 200, await readFile(`${HERE}double/evidence.js`), { 'content-type': 'text/javascript' });
    if (!url.pathname.startsWith('/api/')) {
      const { status, headers, body } = await (url.pathname.startsWith('/viewer/') ? passModule : pass)(program, request);
      return response.writeHead(status, headers).end(body);
    }
    if (request.method === 'OPTIONS') return send(response, 204, '');
    // Beside the events the viewer asks once what retention has removed.
    if (url.pathname === '/api/v1/retention') return send(response, 200, JSON.stringify({ data: state.retention ?? null }));
    asked.push({ path: url.pathname, query: url.searchParams, token: request.headers.authorization?.replace('Bearer ', '') });
    if (state.change) {
      const { status, body } = await pass(program, request, { 'accept-encoding': 'identity' });
      return send(response, status, status === 200 ? JSON.stringify(state.change(JSON.parse(body))) : body);
    }
    const own = await state.respond?.(url.searchParams, request);
    if (own) return send(response, own.status ?? 200, JSON.stringify(own.body));
    return send(response, 200, JSON.stringify(answer(url.searchParams, state.events ?? [], state.evidence)));
  };
  const server = http.createServer((request, response) => handle(request, response).catch((error) => send(response, 500, JSON.stringify({ error: 'server_error', message: String(error) }))));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${server.address().port}`, port: server.address().port, asked, close: () => server.closeAllConnections() ?? server.close() };
}
