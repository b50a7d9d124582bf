// What the viewer does with events, whatever their proof: the fake API answers, and the test double verifies.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { answer, event, events } from './fake.mjs';
import { scenario } from './harness.mjs';

const rows = (page) => page.locator('tbody tr[data-id]');
const focused = (page) => page.evaluate(() => {
  const element = document.activeElement?.shadowRoot?.activeElement ?? document.activeElement;
  return element.innerText || element.getAttribute('aria-label') || element.tagName;
});
const button = (page, name) => page.getByRole('button', { name, exact: true });
const last = (t) => Object.fromEntries(t.front.asked.at(-1).query);
const range = (page) => page.locator('footer .range');

async function settled(page) {
  await page.locator('.scroll[aria-busy="false"]').waitFor();
}

/** Waits until the number of rows is this one. */
async function rowsAre(page, count) {
  await page.waitForFunction((wanted) => document.querySelector('audit-log-viewer').shadowRoot.querySelectorAll('tbody tr[data-id]').length === wanted, count);
}

scenario('the page shows events, and the token leaves the address', async (t) => {
  await t.serve({ events: events(60) });
  const page = await t.page({ path: '/viewer?token=a.b.c&lang=en' });
  assert.equal(new URL(page.url()).search, '?lang=en');
  assert.equal(await rows(page).count(), 25);
  assert.equal(await range(page).innerText(), '1–25 of 60');
  assert.deepEqual([t.front.asked[0].token, last(t).limit, last(t).evidence], ['a.b.c', '25', 'true']);
  assert.equal(await page.evaluate(() => performance.getEntriesByType('resource').some(({ name }) => name.includes('a.b.c'))), false);
  assert.match(await page.locator('.badge').innerText(), /^Consistent, checked by code from 127/);
  await t.axe(page, 'events');
  const other = await t.page({ path: '/viewer#token=h.a.sh&action=document.*' });
  assert.equal(new URL(other.url()).hash, '#action=document.*');
  assert.equal(t.front.asked.at(-1).token, 'h.a.sh');
});

scenario('what retention has removed is one line beneath the events', async (t) => {
  await t.serve({ events: events(3), retention: { keep: 'P1Y', pruned_before: '2025-11-27T00:00:00.000000Z', pruned_at: '2026-11-27T03:00:00.000000Z' } });
  const page = await t.page();
  const line = page.locator('.removed');
  await line.waitFor();
  assert.match(await line.innerText(), /^Events before Nov 27, 2025 were removed on Nov 27, 2026 \(kept for: 1 year\)\.$/);
  await t.axe(page, 'removed events');
  await page.evaluate(() => document.querySelector('audit-log-viewer').setAttribute('lang', 'de'));
  await page.getByText(/^Ereignisse vor dem 27\. Nov\. 2025 wurden am 27\. Nov\. 2026 entfernt \(Aufbewahrung: 1 Jahr\)\.$/).waitFor();
  // A rule that does not explain it is not named, and without removed events there is no line.
  t.state.retention = { keep: 'P7Y', pruned_before: '2025-11-27T00:00:00Z', pruned_at: '2026-11-27T03:00:00Z' };
  const other = await t.page({ path: '/viewer?token=b.c.d&lang=en&zone=utc' });
  await other.locator('.removed').waitFor();
  assert.match(await other.locator('.removed').innerText(), /removed on Nov 27, 2026\.$/);
  t.state.retention = { keep: 'P7Y', pruned_before: null, pruned_at: null };
  const none = await t.page({ path: '/viewer?token=c.d.e&lang=en' });
  await settled(none);
  assert.equal(await none.locator('.removed').isVisible(), false);
});

scenario('filters: a form, chips, the address, a click on a value', async (t) => {
  await t.serve({ events: events(200) });
  const page = await t.page();
  await button(page, 'Filter').click();
  await t.axe(page, 'filter panel');
  const field = (name) => page.getByRole('textbox', { name, exact: true });
  await field('Action').fill('document.*');
  for (const [label, value] of [['Actor ID', 'user_8f3k2'], ['Resource type', 'document'], ['Resource ID', 'doc_418'], ['Target type', 'team'], ['Target ID', 'team_5'], ['Session', 'x']]) await field(label).fill(value);
  await page.keyboard.press('Enter');
  await page.getByText('No matching events').waitFor();
  const { actor_id: actor, action, resource, resource_id: resourceId, target_type: type, target_id: target, session_id: session } = last(t);
  assert.deepEqual([actor, action, resource, resourceId, type, target, session], ['user_8f3k2', 'document.*', 'document', 'doc_418', 'team', 'team_5', 'x']);
  assert.equal(await page.locator('.chip').count(), 7);
  await page.getByRole('button', { name: /Remove filter Session/ }).click();
  await rows(page).first().waitFor();
  assert.equal(new URL(page.url()).hash, '#actor_id=user_8f3k2&action=document.*&resource=document&resource_id=doc_418&target_type=team&target_id=team_5');
  await page.reload();
  await settled(page);
  assert.equal(await page.locator('.chip').count(), 6, 'the address keeps the filters');
  await button(page, 'Clear all').click();
  await settled(page);
  assert.equal(new URL(page.url()).hash, '');
  await rows(page).first().locator('.value').first().click();
  await settled(page);
  assert.equal(last(t).actor_id, t.state.events[0].actor.id);
  await page.evaluate(() => { location.hash = '#action=login.*'; });
  await page.locator('.chip', { hasText: 'login.*' }).waitFor();
});

scenario('search waits for a pause', async (t) => {
  await t.serve({ events: events(200) });
  const page = await t.page();
  const before = t.front.asked.length;
  await page.getByRole('searchbox').pressSequentially('marketing', { delay: 15 });
  await page.locator('.chip').waitFor();
  await settled(page);
  assert.equal(t.front.asked.length, before + 1);
  assert.equal(last(t).search, 'marketing');
  assert.match(await rows(page).first().innerText(), /Marketing/);
});

scenario('periods: presets and bounds of one\'s own, in the zone that is shown', async (t) => {
  await t.serve({ events: events(900) });
  const page = await t.page();
  for (const [name, hours] of [['Last 24 hours', 24], ['Last 7 days', 168], ['Last 30 days', 720]]) {
    await page.locator('.tools > .pop > button').nth(1).click();
    await button(page, name).click();
    await settled(page);
    assert.ok(Math.abs(Date.now() - Date.parse(last(t).from) - hours * 3_600_000) < 60_000, name);
  }
  assert.equal(new URL(page.url()).hash, '#range=30d');
  await page.locator('.tools > .pop > button').nth(1).click();
  await page.getByLabel('From').fill('2026-01-02T10:00');
  await page.getByLabel('To', { exact: true }).fill('2026-01-01T10:00');
  await button(page, 'Apply').click();
  await page.getByText('The period ends before it begins.').waitFor();
  await page.getByLabel('To', { exact: true }).fill('2026-01-03T10:30');
  await t.axe(page, 'period panel');
  await button(page, 'Apply').click();
  await settled(page);
  assert.deepEqual([last(t).from, last(t).to], ['2026-01-02T09:00:00.000Z', '2026-01-03T09:30:59.999999Z']);
  assert.equal(await button(page, 'Live').isDisabled(), true);
});

scenario('columns: the attribute and the picker', async (t) => {
  await t.serve({ events: events(6) });
  const page = await t.page({ path: '/viewer?token=a.b.c&columns=action,time,hash,nonsense,constructor,__proto__' });
  const heads = () => page.locator('th').allInnerTexts();
  assert.deepEqual((await heads()).map((each) => each.trim()), ['Check', 'Action', 'Time', 'Hash']);
  await button(page, 'View').click();
  await t.axe(page, 'view panel');
  await page.getByRole('checkbox', { name: 'IP address' }).check();
  await page.getByRole('checkbox', { name: 'Hash', exact: true }).uncheck();
  assert.deepEqual((await heads()).map((each) => each.trim()), ['Check', 'Time', 'Action', 'IP address']);
  assert.match(await rows(page).first().innerText(), /203\.0\.113/);
  assert.match(page.url(), /columns=time%2Caction%2Cip/);
});

scenario('the drawer shows every field and copies', async (t) => {
  const all = events(6).map((each) => ({ ...each, idempotency_key: 'key-1', version: 3 }));
  all[1] = { ...all[1], actor: { id: null, name: null, type: 'user' }, erased: { columns: ['actor_id', 'actor_name'], metadata: 2, targets: [] } };
  await t.serve({ events: all });
  const page = await t.page({ permissions: ['clipboard-read', 'clipboard-write'] });
  await page.evaluate(() => document.querySelector('audit-log-viewer').addEventListener('event-open', (event) => { globalThis.opened = event.detail.id; }));
  await rows(page).first().click({ position: { x: 700, y: 40 } });
  const drawer = page.getByRole('dialog', { name: 'Event details' });
  const shown = await drawer.innerText();
  const first = all[0];
  for (const value of [first.id, first.actor.id, first.actor.name, first.action, first.resource.name, first.resource.id, 'org_acme', first.session_id, first.ip_address, 'Hamburg, DE', first.user_agent,
    first.integrity.event_hash, first.integrity.previous_event_hash, 'lane 0, number 5000', 'key-1', '"folder": "reports/2026"']) assert.ok(shown.includes(value), value);
  assert.equal(await page.evaluate(() => globalThis.opened), first.id);
  await t.axe(page, 'drawer');
  await page.getByRole('button', { name: 'Copy: Hash' }).click();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), first.integrity.event_hash);
  await page.getByRole('button', { name: 'Copy JSON' }).last().click();
  assert.equal(JSON.parse(await page.evaluate(() => navigator.clipboard.readText())).id, first.id);
  await page.getByRole('button', { name: 'Older event' }).click();
  assert.match(await drawer.innerText(), /erased[\s\S]*2 values were erased/);
  assert.match(await rows(page).nth(1).innerText(), /erased/);
  await page.keyboard.press('Escape');
  assert.equal(await drawer.isVisible(), false);
});

scenario('pages: older, newer, their size', async (t) => {
  await t.serve({ events: events(60) });
  const page = await t.page();
  assert.equal(await button(page, 'Newer').isDisabled(), true);
  await button(page, 'Older').click();
  await settled(page);
  assert.equal(await range(page).innerText(), '26–50 of 60');
  assert.match(await focused(page), /Older/);
  await button(page, 'Older').click();
  await settled(page);
  assert.equal(await range(page).innerText(), '51–60 of 60');
  assert.equal(await button(page, 'Older').isDisabled(), true);
  await button(page, 'Newer').click();
  await settled(page);
  assert.equal(await rows(page).first().getAttribute('data-id'), t.state.events[25].id);
  await page.getByRole('combobox').selectOption('50');
  await settled(page);
  assert.equal(await range(page).innerText(), '1–50 of 60');
});

scenario('CSV: all pages of the filter, for spreadsheets too, and cancelled', async (t) => {
  const all = events(250);
  all[0] = { ...all[0], actor: { id: '=1+1', name: 'Quote " and, comma\r\nline', type: 'user' } };
  await t.serve({ events: all, evidence: { level: 'consistent', failed: { [all[1].id]: 'no' } } });
  const page = await t.page();
  const download = async (spreadsheet) => {
    await page.getByRole('checkbox', { name: 'For spreadsheets' }).setChecked(spreadsheet);
    const [file] = await Promise.all([page.waitForEvent('download'), button(page, 'Download').click()]);
    return readFile(await file.path(), 'utf8');
  };
  await button(page, 'Export').click();
  await t.axe(page, 'export panel');
  const text = await download(false);
  const lines = text.split('\r\n');
  assert.ok(lines[0].startsWith('id,actor_id,actor_name,') && lines[0].endsWith(',check'));
  assert.ok(text.includes(`${all[0].id},=1+1,"Quote "" and, comma\r\nline",user,`));
  assert.equal(lines.length, 1 + 250 + 1 + 1, 'a header, 250 events, one line break inside of a cell, the end');
  assert.ok(lines.some((line) => line.startsWith(all[1].id) && /^[^,]+,+failed$/.test(line)), 'a failed event has no values');
  await page.getByText('250 events exported. One event failed its check.').waitFor();
  const sheet = await download(true);
  assert.ok(sheet.startsWith('\ufeffid,') && sheet.includes(",'=1+1,"));
  all[0] = { ...all[0], actor: { id: 'x;=2+3', name: '\uff1d4+5', type: '; +6' } };
  assert.ok((await download(true)).includes(",x;'=2+3,'\uff1d4+5,; +6,"), 'where a semicolon ends a cell, too');
  t.state.respond = async (query) => { if (query.get('cursor')) await new Promise((resolve) => setTimeout(resolve, 400)); };
  await button(page, 'Download').click();
  await page.getByText('100 of 250 events').waitFor();
  await button(page, 'Cancel').click();
  await page.getByText('Export cancelled').waitFor();
});

scenario('live: new events appear, are counted while paused, and wait for a reader', async (t) => {
  const now = Date.now();
  const all = events(30, now);
  const fresh = (n) => ({ ...event(0, now + n * 1000 + 60_000), id: `0195d3a0-6c1e-7c3a-9f01-${String(n).padStart(12, '0')}` });
  await t.serve({ events: all });
  const page = await t.page();
  await page.evaluate(() => document.querySelector('audit-log-viewer').setAttribute('live-interval', '250'));
  await button(page, 'Live').click();
  t.state.events = [fresh(1), ...all];
  await rowsAre(page, 26);
  assert.equal(await rows(page).first().getAttribute('data-id'), fresh(1).id);
  assert.equal(await range(page).innerText(), '1–26 of 31');
  await button(page, 'Pause').click();
  t.state.events = [fresh(3), fresh(2), fresh(1), ...all];
  const pill = page.getByRole('button', { name: '2 new events' });
  await pill.waitFor();
  await t.axe(page, 'new events');
  assert.equal(await rows(page).count(), 26);
  await pill.click();
  await rowsAre(page, 28);
  await button(page, 'Resume').click();
  await rows(page).nth(3).locator('.open').click();
  t.state.events = [fresh(4), ...t.state.events];
  await page.getByRole('button', { name: '1 new event' }).waitFor();
  assert.equal(await rows(page).count(), 28, 'nothing moves beneath an open drawer');
  await page.keyboard.press('Escape');
  await rowsAre(page, 29);
  await button(page, 'Live').click();
  await page.waitForTimeout(300);
  const before = t.front.asked.length;
  await page.waitForTimeout(600);
  assert.equal(t.front.asked.length, before, 'switched off, it asks nothing');
});

scenario('themes: light, dark, what the system says, and properties of the page', async (t) => {
  await t.serve({ events: events(6) });
  const page = await t.page({ colorScheme: 'dark' });
  const background = () => page.locator('.root').evaluate((root) => getComputedStyle(root).backgroundColor);
  const dark = await background();
  await t.axe(page, 'dark');
  await rows(page).first().locator('.open').click();
  await t.axe(page, 'dark drawer');
  await page.keyboard.press('Escape');
  await button(page, 'View').click();
  await page.getByRole('radio', { name: 'Light' }).check();
  const light = await background();
  assert.equal(light, 'rgb(255, 255, 255)');
  assert.notEqual(dark, light);
  await page.getByRole('radio', { name: 'Auto' }).check();
  assert.equal(await background(), dark);
  await page.locator('audit-log-viewer').evaluate((element) => element.style.setProperty('--alv-background', 'rgb(1, 2, 3)'));
  assert.equal(await background(), 'rgb(1, 2, 3)');
});

scenario('languages, dates, and the zone', async (t) => {
  await t.serve({ events: events(6) });
  const page = await t.page({ path: '/viewer?token=a.b.c&lang=de' });
  const bar = await page.locator('.bar').innerText();
  assert.match(bar, /Alle Zeiten[\s\S]*Ansicht/);
  assert.match(await range(page).innerText(), /1–6 von 6/);
  await t.axe(page, 'German');
  const time = page.locator('tbody time').first();
  assert.match(await time.innerText(), /vor \d+ Sekunden|vor 1 Minute/);
  const exact = await time.getAttribute('title');
  assert.match(exact, /MEZ|MESZ|GMT\+/);
  assert.ok(exact.endsWith(t.state.events[0].created_at), 'to the microsecond');
  const local = await time.locator('.first').innerText();
  await button(page, 'Ansicht').click();
  await page.getByRole('radio', { name: 'UTC' }).check();
  assert.notEqual(await time.locator('.first').innerText(), local);
  assert.match(await time.getAttribute('title'), /UTC/);
  assert.match(page.url(), /zone=utc/);
  await page.locator('audit-log-viewer').evaluate((element) => element.setAttribute('lang', 'en'));
  assert.match(await page.locator('.bar').innerText(), /All time[\s\S]*View/);
  assert.equal(await rows(page).count(), 6, 'what is loaded stays');
  await page.locator('audit-log-viewer').evaluate((element) => element.setAttribute('lang', 'xx-nonsense-123456789'));
  assert.match(await page.locator('.bar').innerText(), /All time/);
});

scenario('the keyboard alone', async (t) => {
  await t.serve({ events: events(60) });
  const page = await t.page();
  const press = async (...keys) => { for (const key of keys) await page.keyboard.press(key); };
  const tabTo = async (wanted) => {
    for (let n = 0; n < 30; n += 1) {
      await press('Tab');
      if (wanted.test(await focused(page))) return;
    }
    assert.fail(`Tab does not reach ${wanted}`);
  };
  await tabTo(/^Details of the event/);
  const first = await focused(page);
  await press('ArrowDown', 'ArrowDown');
  assert.notEqual(await focused(page), first);
  await press('Home');
  assert.equal(await focused(page), first);
  assert.ok(await page.evaluate(() => getComputedStyle(document.activeElement.shadowRoot.activeElement).outlineStyle !== 'none'), 'focus is seen');
  await press('End', 'PageUp', 'PageDown', 'Home', 'ArrowDown', 'Enter');
  const drawer = page.getByRole('dialog', { name: 'Event details' });
  await drawer.waitFor();
  await press('Tab', 'Tab');
  assert.equal(await focused(page), 'Older event');
  await press('Enter', 'Escape');
  assert.equal(await drawer.isVisible(), false);
  assert.ok((await focused(page)).startsWith('Details of the event'), 'focus returns to the row');
  await press('Home', 'ArrowRight');
  assert.equal(await focused(page), t.state.events[0].actor.name ?? t.state.events[0].actor.id);
  await press('Enter');
  await settled(page);
  assert.equal(last(t).actor_id, t.state.events[0].actor.id);
  await press('Tab', 'Enter');
  assert.equal(await page.getByRole('dialog', { name: 'Filters' }).isVisible(), true);
  await press('Escape');
  assert.equal(await page.getByRole('dialog', { name: 'Filters' }).isVisible(), false);
  assert.match(await focused(page), /^Filter/);
  await press('Enter', 'Tab', 'Tab');
  await page.keyboard.type('role.*');
  await press('Enter');
  await settled(page);
  assert.equal(last(t).resource, 'role.*');
  await tabTo(/^Older|^Clear all|^Remove/);
});

scenario('360 pixels: rows become cards', async (t) => {
  await t.serve({ events: events(60) });
  const page = await t.page({ width: 360, height: 740, path: '/viewer?token=a.b.c&lang=de#action=*.*&range=30d' });
  const overflow = () => page.evaluate(() => {
    const root = document.querySelector('audit-log-viewer').shadowRoot;
    return [document.documentElement.scrollWidth, ...['.scroll', '.main', '.bar', '.tools'].map((each) => root.querySelector(each).scrollWidth)].filter((width) => width > 360);
  });
  assert.deepEqual(await overflow(), []);
  assert.equal(await rows(page).first().evaluate((row) => getComputedStyle(row).display), 'flex');
  assert.equal(await page.getByRole('row').count(), 26, 'it is a table still');
  await t.axe(page, 'narrow');
  await rows(page).first().locator('.open').click();
  assert.equal(await page.locator('.drawer').evaluate((drawer) => drawer.getBoundingClientRect().width >= 356), true);
  assert.equal(await page.locator('.main').evaluate((main) => main.inert), true);
  await t.axe(page, 'narrow drawer');
  assert.deepEqual(await overflow(), []);
  await page.keyboard.press('Escape');
  for (const at of [0, 1, 2, 3]) {
    await page.locator('.tools > .pop > button').nth(at).click().catch(() => assert.fail(`panel ${at}`));
    const box = await page.locator('.panel:visible').boundingBox();
    assert.ok(box.x >= 0 && box.x + box.width <= 360, `panel ${at} is inside`);
    await page.keyboard.press('Escape');
  }
});

scenario('states: empty, no match, loading, error, offline', async (t) => {
  await t.serve({ events: [] });
  const page = await t.page();
  await page.getByText('No events yet').waitFor();
  await t.axe(page, 'empty');
  await page.getByRole('searchbox').fill('x');
  await page.getByText('No matching events').waitFor();
  await t.axe(page, 'no match');
  let release;
  t.state.respond = () => new Promise((resolve) => { release = resolve; });
  await button(page, 'Clear all').click();
  await page.locator('.skeleton').waitFor();
  await t.axe(page, 'loading');
  release({ status: 503, body: { error: 'unavailable', message: 'down' } });
  await page.getByText('The server is busy.').waitFor();
  await t.axe(page, 'error');
  const told = page.evaluate(() => new Promise((resolve) => document.querySelector('audit-log-viewer').addEventListener('audit-log-error', (event) => resolve(event.detail), { once: true })));
  t.state.respond = () => ({ status: 422, body: { error: 'validation_failed', message: 'The action is odd.' } });
  await button(page, 'Try again').click();
  await page.getByText('The server does not accept this filter: The action is odd.').waitFor();
  assert.deepEqual(await told, { status: 422, code: 'validation_failed', message: 'The action is odd.' });
  await page.context().setOffline(true);
  await button(page, 'Try again').click();
  await page.getByText('You are offline').waitFor();
  await t.axe(page, 'offline');
  t.state.respond = null;
  t.state.events = events(3);
  await page.context().setOffline(false);
  await rowsAre(page, 3);
});

scenario('an expired token: said, told, and replaced', async (t) => {
  let valid = 'none';
  await t.serve({ events: events(30), respond: (_, request) => (request.headers.authorization === `Bearer ${valid}` ? null : { status: 401, body: { error: 'unauthenticated', message: 'Invalid or missing API key.' } }),
    pages: { '/fresh': JSON.stringify({ viewer_token: 'from-endpoint' }) } });
  const page = await t.page();
  await page.getByText('Your access has expired').waitFor();
  await t.axe(page, 'expired');
  const viewer = page.locator('audit-log-viewer');
  valid = 'second';
  await viewer.evaluate((element) => element.setAttribute('token', 'second'));
  await rowsAre(page, 25);
  valid = 'third';
  const told = viewer.evaluate((element) => new Promise((resolve) => element.addEventListener('token-expired', () => resolve(true), { once: true })));
  await button(page, 'Older').click();
  await page.getByText('Your access has expired').waitFor();
  assert.equal(await told, true);
  assert.equal(await rows(page).count(), 25, 'what was read stays');
  await viewer.evaluate((element) => { element.token = 'third'; });
  await page.waitForFunction(() => document.querySelector('audit-log-viewer').shadowRoot.querySelector('.strip').hidden);
  valid = 'from-endpoint';
  await viewer.evaluate((element) => element.setAttribute('token-endpoint', '/fresh'));
  await button(page, 'Older').click();
  await page.waitForFunction(() => document.querySelector('audit-log-viewer').shadowRoot.querySelector('.range').textContent.startsWith('26'));
  const none = await t.page({ path: '/viewer' });
  await none.getByText('No access yet').waitFor();
  await t.axe(none, 'no token');
});

scenario('pages with other checkpoints: the badge says of no row what was said of another', async (t) => {
  const all = events(150);
  const seen = (time, name) => ({ level: 'proven', checkpoint: { origin: 'log', size: 9, time, cosignedBy: [{ name, time }] } });
  const signed = { level: 'signed', checkpoint: { origin: 'log', size: 9, time: null, cosignedBy: [] } };
  const [late, early] = [seen('2020-05-05T10:00:00Z', 'W1'), seen('2020-05-01T10:00:00Z', 'W2')];
  const badge = async (first, second) => {
    t.state.respond = (query) => ({ body: answer(query, all, query.get('cursor') ? second : first) });
    const page = await t.page({ path: '/viewer?token=a.b.c&rows=scroll&zone=utc&lang=en-GB' });
    await page.locator('.scroll').evaluate((element) => element.scrollTo(0, 1e6));
    await page.getByText('1–150 of 150').waitFor();
    return page.locator('.badge').innerText();
  };
  await t.serve({ events: all });
  assert.equal(await badge(signed, late), 'Before 5 May 2020, 10:00 UTC, 50 of these 150 events were in the log (witness W1)');
  assert.equal(await badge(late, signed), 'Before 5 May 2020, 10:00 UTC, 100 of these 150 events were in the log (witness W1)');
  assert.equal(await badge(late, early), 'These 150 events were in the log before 5 May 2020, 10:00 UTC (witness W2, W1)');
});

scenario('a server that repeats events, sends more than was asked for, or events without an id', async (t) => {
  const all = events(250);
  await t.serve({ events: all, respond: (query) => {
    const page = answer(query, all);
    if (!query.get('cursor')) return { body: page };
    const again = answer(new URLSearchParams({ limit: '100' }), all);
    return { body: { ...again, data: t.state.some ? again.data.slice(0, 2) : again.data } };
  } });
  const page = await t.page({ path: '/viewer?token=a.b.c' });
  await button(page, 'Export').click();
  await button(page, 'Download').click();
  await page.getByText('sends the same events again').waitFor();
  t.state.some = true;
  await page.keyboard.press('Escape');
  await page.goto(`${t.front.url}/viewer?token=a.b.c&rows=scroll`);
  await settled(page);
  await page.locator('.scroll').evaluate((element) => element.scrollTo(0, 1e6));
  await page.getByText('2 events failed their check').waitFor();
  t.state.respond = () => ({ body: { ...answer(new URLSearchParams({ limit: '26' }), all) } });
  await page.goto(`${t.front.url}/viewer?token=a.b.c&rows=25`);
  await page.getByText('more events than were asked for').waitFor();
  t.state = Object.assign(t.state, { double: false, respond: () => ({ body: { data: [null, { id: 5 }, 'x'], pagination: { has_more: false }, evidence: null } }) });
  const own = await t.page();
  await own.getByText('3 events failed their check').waitFor();
  assert.equal(await rows(own).locator('.mark[data-status="failed"]').count(), 3);
});

scenario('a frame whose address gets another token', async (t) => {
  await t.serve({ events: events(30), pages: {} });
  t.state.pages['/host'] = `<!doctype html><title>Host</title><iframe id="frame" src="${t.front.url}/viewer#token=first&range=7d" width="900" height="600"></iframe>`;
  const page = await t.page({ path: '/host', base: `http://app.test:${t.front.port}` });
  await page.frameLocator('#frame').locator('tbody tr[data-id]').first().waitFor();
  await page.evaluate((url) => (document.querySelector('#frame').src = `${url}/viewer#token=second&action=document.*`), t.front.url);
  await page.frameLocator('#frame').locator('.chip').waitFor();
  await settled(page.frameLocator('#frame'));
  assert.deepEqual([t.front.asked.at(-1).token, last(t).action], ['second', 'document.*']);
  assert.equal(page.frames()[1].url(), `${t.front.url}/viewer#action=document.*`, 'the address does not keep it');
});

scenario('in a frame of another origin: messages, and who may send them', async (t) => {
  let valid = 'first';
  await t.serve({ events: events(30), respond: (_, request) => (request.headers.authorization === `Bearer ${valid}` ? null : { status: 401, body: { error: 'unauthenticated', message: 'no' } }), pages: {} });
  t.state.pages['/host'] = `<!doctype html><title>Host</title><iframe id="frame" src="${t.front.url}/viewer?token=first" width="900" height="600"></iframe>
    <script>window.got = []; addEventListener('message', (event) => window.got.push({ ...event.data, origin: event.origin }));</script>`;
  const page = await t.page({ path: '/host', base: `http://app.test:${t.front.port}` });
  const frame = page.frameLocator('#frame');
  await frame.locator('tbody tr[data-id]').first().waitFor();
  const got = (type) => page.waitForFunction((wanted) => window.got.find((each) => each.type === wanted && each.source === 'audit-log-viewer'), type).then((handle) => handle.jsonValue());
  assert.equal((await got('ready')).origin, t.front.url);
  await frame.locator('.open').first().click();
  assert.deepEqual(Object.keys(await got('event-open')).sort(), ['id', 'origin', 'source', 'type'], 'what an event says stays inside');
  assert.match(await frame.locator('.badge').innerText(), /checked by code from 127\.0\.0\.1/);
  valid = 'second';
  await frame.getByRole('button', { name: 'Close' }).click();
  await frame.getByRole('button', { name: 'Older', exact: true }).click();
  await got('token-expired');
  // A frame inside of the viewer's own origin is not the parent.
  await page.evaluate((origin) => {
    const other = document.createElement('iframe');
    other.srcdoc = `<script>parent.frames[0].postMessage({ type: 'token', token: 'second' }, '${origin}')</scr` + `ipt>`;
    document.body.append(other);
  }, t.front.url);
  await page.waitForTimeout(200);
  assert.equal(t.front.asked.some(({ token }) => token === 'second'), false, 'another frame cannot pass a token');
  await page.evaluate((origin) => document.querySelector('#frame').contentWindow.postMessage({ type: 'token', token: 'second' }, origin), t.front.url);
  await frame.locator('.strip').waitFor({ state: 'hidden' });
  // The code of the guide asks its own server for another token, and passes it on.
  const guide = (await readFile(new URL('../../docs/viewer.md', import.meta.url), 'utf8')).split('```js\n')[1].split('```')[0];
  const code = guide.replace('https://audit.example.com', t.front.url);
  assert.notEqual(code, guide);
  t.state.pages['/my/viewer-token'] = '{"token": "third"}';
  await page.addScriptTag({ content: code });
  valid = 'third';
  await frame.getByRole('button', { name: 'Older', exact: true }).click();
  for (let waited = 0; t.front.asked.at(-1).token !== 'third'; waited += 1) {
    assert.ok(waited < 100, 'the page passes the new token on');
    await page.waitForTimeout(100);
  }
  await frame.locator('.strip').waitFor({ state: 'hidden' });
  await page.evaluate((origin) => document.querySelector('#frame').contentWindow.postMessage({ type: 'settings', theme: 'dark', lang: 'de' }, origin), t.front.url);
  await frame.getByRole('button', { name: 'Ansicht' }).waitFor();
});

scenario('the component on a page of another origin, with a strict policy and pinned modules', async (t) => {
  await t.serve({ events: events(6), double: false, pages: {} });
  const pins = await (await fetch(`${t.front.url}/viewer/integrity.json`)).json();
  const { origin } = new URL(t.front.url);
  const host = (integrity) => `<!doctype html><html lang="en"><title>Host</title><script type="importmap" nonce="n">${JSON.stringify({ integrity })}</script>
    <script type="module" nonce="n" src="${origin}/viewer.js"></script><main><h1>My application</h1><audit-log-viewer token="a.b.c" endpoint="${origin}" columns="time action"></audit-log-viewer></main>`;
  const right = Object.fromEntries(Object.entries(pins).map(([path, hash]) => [`${origin}/${path}`, hash]));
  t.state.pageHeaders = { 'content-security-policy': `default-src 'none'; script-src 'nonce-n' ${origin}; connect-src ${origin}; require-trusted-types-for 'script'; trusted-types 'none'` };
  t.state.pages['/right'] = host(right);
  t.state.pages['/wrong'] = host({ ...right, [`${origin}/viewer/element.js`]: pins['viewer.js'] });
  const page = await t.page({ path: '/right', base: `http://app.test:${t.front.port}` });
  await rows(page).first().waitFor();
  assert.equal(await page.locator('th').count(), 3);
  assert.equal(new URL(page.url()).hash, '', 'the address of the page is its own');
  assert.match(await page.locator('.root').evaluate((root) => getComputedStyle(root).display), /flex/);
  await t.axe(page, 'component');
  const wrong = await t.page({ path: '/wrong', base: `http://app.test:${t.front.port}` });
  await wrong.waitForTimeout(300);
  assert.equal(await wrong.evaluate(() => customElements.get('audit-log-viewer')), undefined, 'a changed module does not run');
});

scenario('hostile values', async (t) => {
  const nasty = ['<img src=x onerror="globalThis.pwned=1">', '"><script>globalThis.pwned=1</script>', '\u202Egnp.exe\u202D RTL شركة', 'W'.repeat(4000), '👩‍👩‍👧‍👦🏳️‍🌈'.repeat(40), 'a\u0000b'.replace('\u0000', '\u2400'), '{{7*7}} ${7*7} javascript:alert(1)', '\u0301'.repeat(60)];
  const all = nasty.map((value, n) => ({ ...event(n), actor: { id: value, name: value, type: value }, action: value, action_category: value, resource: { type: value, id: value, name: value }, session_id: value, ip_address: value, user_agent: value,
    targets: [{ type: value, id: value, name: value, metadata: { [value]: value } }], metadata: { [value]: 'x'.repeat(n === 3 ? 64_000 : 5), __proto__x: { constructor: value } } }));
  all.push({ ...event(9), actor: null, resource: null, targets: null, metadata: null, integrity: null, action: null, created_at: 'not a time' });
  await t.serve({ events: all });
  const page = await t.page({ path: '/viewer?token=a.b.c&columns=time,actor,action,resource,targets,session,ip,location,agent,metadata,id' });
  const sane = async (what) => {
    const found = await page.evaluate(() => {
      const root = document.querySelector('audit-log-viewer').shadowRoot;
      const heights = [...root.querySelectorAll('tbody tr')].map((row) => row.offsetHeight);
      return { pwned: globalThis.pwned, injected: root.querySelectorAll('img, script, a').length, tallest: Math.max(...heights), wide: document.documentElement.scrollWidth > innerWidth };
    });
    assert.deepEqual({ ...found, tallest: found.tallest < 120 }, { pwned: undefined, injected: 0, tallest: true, wide: false }, what);
  };
  await sane('table');
  for (let n = 0; n < all.length; n += 1) {
    await rows(page).nth(n).locator('.open').click();
    const body = page.locator('.drawer .body');
    assert.equal((await body.locator('bdi').allInnerTexts()).some((words) => words.includes(' · ')), false, 'each value has a direction of its own');
    assert.equal(await body.evaluate((element) => element.scrollWidth <= element.clientWidth), true, `drawer ${n} does not overflow`);
    await sane(`drawer ${n}`);
    await page.keyboard.press('Escape');
  }
  await rows(page).first().locator('.value.act').click();
  await settled(page);
  await sane('chip');
  assert.equal(last(t).action, nasty[0]);
});

scenario('10,000 events scroll', async (t) => {
  await t.serve({ events: events(10_000) });
  const page = await t.page({ path: '/viewer?token=a.b.c&rows=scroll&columns=time,actor,action', height: 420 });
  const begun = Date.now();
  const most = await page.evaluate(async () => {
    const root = document.querySelector('audit-log-viewer').shadowRoot;
    const [scroll, more] = [root.querySelector('.scroll'), root.querySelector('.more')];
    let drawn = 0;
    for (let n = 0; n < 2000 && !more.hidden; n += 1) {
      scroll.scrollTop = scroll.scrollHeight;
      await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
      drawn = Math.max(drawn, root.querySelectorAll('tbody tr[data-id]').length);
    }
    return drawn;
  });
  t.notes = `${Date.now() - begun} ms to the end of 10,000 events, at most ${most} rows drawn`;
  assert.equal(await range(page).innerText(), '1–10,000 of 10,000');
  assert.ok(most < 1000, `${most} rows at once`);
  const at = await page.evaluate(() => {
    const root = document.querySelector('audit-log-viewer').shadowRoot;
    return root.querySelector('table').getAttribute('aria-rowcount');
  });
  assert.equal(at, '10001');
  await page.locator('.scroll').evaluate((scroll) => { scroll.scrollTop = scroll.scrollHeight; });
  const end = page.locator(`tbody tr[data-id="${t.state.events.at(-1).id}"]`);
  await end.waitFor();
  await end.locator('.open').focus();
  await page.keyboard.press('Home');
  assert.ok((await focused(page)).startsWith('Details of the event'));
  assert.equal(await page.locator('.scroll').evaluate((scroll) => scroll.scrollTop < 200), true, 'the first row is drawn again and focused');
});

scenario('a failed row is red, says why, and shows nothing', async (t) => {
  const all = events(6);
  await t.serve({ events: all, evidence: { level: 'proven', failed: { [all[2].id]: 'the document does not have the hash of the event' }, checkpoint: { origin: 'log.example', size: 30, time: '2026-03-01T10:00:00Z', cosignedBy: [{ name: 'w.example', time: '2026-03-01T10:00:00Z' }] } } });
  const page = await t.page({ path: '/viewer?token=a.b.c&lang=de' });
  const row = rows(page).nth(2);
  assert.match(await row.innerText(), /nicht bestanden[\s\S]*Das Dokument hat nicht den Hash des Ereignisses\./);
  for (const hidden of [all[2].actor.id, all[2].resource.name, all[2].action]) assert.equal((await row.innerHTML()).includes(hidden), false);
  assert.equal(await page.locator('.badge').innerText(), '1 Ereignis hat die Prüfung nicht bestanden');
  await t.axe(page, 'failed row');
  await row.locator('.open').click();
  await t.axe(page, 'failed drawer');
  assert.equal((await page.locator('.drawer').innerText()).includes(all[2].action), false);
  t.state.evidence.failed = {};
  const good = await t.page({ path: '/viewer?token=a.b.c&zone=utc&lang=en-GB' });
  assert.equal(await good.locator('.badge').innerText(), 'These 6 events were in the log before 1 Mar 2026, 10:00 UTC (witness w.example)');
  await good.locator('.badge').click();
  await t.axe(good, 'badge');
  assert.equal(/complete/i.test(await good.locator('body').innerText()), false);
});

scenario('reduced motion: nothing moves', async (t) => {
  await t.serve({ events: events(6) });
  const page = await t.page({ reducedMotion: 'reduce' });
  await rows(page).first().locator('.open').click();
  assert.equal(await page.evaluate(() => document.querySelector('audit-log-viewer').shadowRoot.getAnimations({ subtree: true }).length), 0);
});

scenario('a page that is not https says that nothing was checked', async (t) => {
  await t.serve({ events: events(30), double: false });
  const page = await t.page({ base: `http://audit.test:${t.front.port}` });
  assert.equal(await page.evaluate(() => isSecureContext), false);
  assert.equal(await page.locator('.badge').innerText(), 'Not checked: page is not https');
  await t.axe(page, 'not checked');
});

scenario('the first page is small', async (t) => {
  await t.serve({ events: events(25) });
  const page = await t.page({ path: null });
  const sizes = [];
  page.on('response', async (response) => sizes.push(response.request().sizes().then(({ responseBodySize }) => (/\/viewer/.test(response.url()) ? responseBodySize : 0))));
  await page.goto(`${t.environment.program}/viewer`);
  await page.locator('.state').waitFor();
  const bytes = (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
  const timing = await page.evaluate(() => Math.round(Math.max(...performance.getEntriesByType('resource').map(({ responseEnd }) => responseEnd))));
  t.notes = `${bytes} bytes in ${sizes.length} files, the last one after ${timing} ms`;
  assert.ok(bytes > 10_000 && bytes <= 150 * 1024, `${bytes} bytes`);
});
