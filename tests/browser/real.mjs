// The viewer over a real log: the program answers, and the module of the viewer verifies.

import assert from 'node:assert/strict';
import { scenario } from './harness.mjs';

const rows = (page) => page.locator('tbody tr[data-id]');

/** The component on a page that trusts the keys of the log and of its witness. */
function trusting({ token, trust }) {
  return `<!doctype html><html lang="en"><title>Host</title><script type="module" src="/viewer.js"></script><style>body { margin: 0 } audit-log-viewer { height: 700px }</style>
    <main><h1>My application</h1><audit-log-viewer token="${token}" log-origin="${trust.origin}" log-keys="${trust.logKeys.join(' ')}" witness-keys="${trust.witnessKeys.join(' ')}" tenant-id="${trust.tenantId}" time-zone="utc"></audit-log-viewer></main>`;
}

async function open(t, state = {}) {
  // Nothing is changed, and still each answer goes through the test.
  await t.serve({ double: false, change: (page) => page, ...state });
  t.state.pages = { '/host': trusting(t.environment) };
  const page = await t.page({ path: '/host' });
  await page.locator('.badge[data-level]').waitFor();
  return page;
}

scenario('real: events that a witness saw', async (t) => {
  const page = await open(t);
  const count = await rows(page).count();
  assert.match(await page.locator('.badge').innerText(), new RegExp(`^These ${count} events were in the log before \\d\\d:\\d\\d UTC \\(witness ${t.environment.witness}\\)$`));
  assert.equal(await page.locator('.mark[data-status="verified"]').count(), count);
  assert.ok(count >= 10);
  const erased = page.locator('tr', { hasText: 'erased' }).first();
  await erased.locator('.open').click();
  assert.match(await page.getByRole('dialog', { name: 'Event details' }).innerText(), /erased/);
  await t.axe(page, 'real drawer');
});

scenario('real: numbers keep their digits', async (t) => {
  const page = await open(t);
  await page.locator('tr', { hasText: 'price.set' }).locator('.open').click();
  const shown = await page.locator('.drawer pre').first().innerText();
  for (const part of ['"price": 1.10', '123456789012345678901234567890', '"__proto__"', '0.000']) assert.ok(shown.includes(part), part);
});

scenario('real: a row that was changed on its way', async (t) => {
  const page = await open(t, { change: (answer) => {
    const victim = answer.data[3];
    victim.actor.name = 'Mallory';
    victim.actor_name = 'Mallory';
    return answer;
  } });
  const failed = page.locator('tr.failed');
  assert.equal(await failed.count(), 1);
  assert.match(await failed.innerText(), /failed its check[\s\S]*differ in actor/);
  assert.equal((await page.locator('body').innerText()).includes('Mallory'), false);
  assert.equal(await page.locator('.badge').innerText(), '1 event failed its check');
});

scenario('real: a document that was changed on its way', async (t) => {
  const page = await open(t, { change: (answer) => {
    const evidence = answer.evidence.events[answer.data[2].id];
    evidence.line = evidence.line.replace(/"seq":(\d+)/, (_, seq) => `"seq":${Number(seq) + 1}`);
    return answer;
  } });
  assert.match(await page.locator('tr.failed').first().innerText(), /The document does not have the hash of the event/);
});

scenario('real: the page itself, filters, pages, and a token that opens nothing', async (t) => {
  await t.serve({ double: false, change: (page) => page });
  const page = await t.page({ path: `/viewer?token=${t.environment.token}&lang=en#action=price.*` });
  await rows(page).first().waitFor();
  assert.equal(await rows(page).count(), 1);
  assert.match(await page.locator('.badge').innerText(), /^Consistent, checked by code from 127/);
  await page.getByRole('button', { name: 'Remove filter Action' }).click();
  await page.locator('tr', { hasText: 'acme' }).or(rows(page).nth(5)).first().waitFor();
  assert.equal(await page.locator('tr.failed').count(), 0);
  for (const range of ['24h', '7d']) {
    const again = await t.page({ path: `/viewer?token=${t.environment.token}#range=${range}` });
    assert.ok((await rows(again).count()) > 5, range);
    assert.equal(await again.locator('tr.failed').count(), 0, range);
  }
  const bulk = await t.page({ path: `/viewer?token=${t.environment.bulk}#range=24h` });
  assert.match(await bulk.locator('footer .range').innerText(), /^1–25 of /);
  await bulk.getByRole('button', { name: 'Older', exact: true }).click();
  await bulk.waitForFunction(() => document.querySelector('audit-log-viewer').shadowRoot.querySelector('.range').textContent.startsWith('26'));
  assert.equal(await bulk.locator('tr.failed').count(), 0);
  const refused = await t.page({ path: '/viewer?token=ey.no.pe' });
  await refused.getByText('Your access has expired').waitFor();
});

scenario('real: a page that is not https', async (t) => {
  await t.serve({ double: false, change: (page) => page });
  const page = await t.page({ base: `http://audit.test:${t.front.port}`, path: `/viewer?token=${t.environment.token}` });
  assert.equal(await page.locator('.badge').innerText(), 'Not checked: page is not https');
  assert.ok((await rows(page).count()) > 5);
  assert.equal(await page.locator('.mark[data-status="unchecked"]').count(), await rows(page).count());
});
