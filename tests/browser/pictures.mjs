// Takes the pictures of docs/images: node pictures.mjs http://PROGRAM FOLDER

import { chromium } from 'playwright-core';
import { events } from './fake.mjs';
import { front } from './front.mjs';

const [program, folder] = process.argv.slice(2);
const all = events(1284);
const now = Date.now();
const proven = { level: 'proven', checkpoint: { origin: 'audit.example.com/log', size: 48211, time: new Date(now - 20_000).toISOString(), cosignedBy: [{ name: 'witness.example.org', time: new Date(now).toISOString() }] } };
const state = { events: all, double: true, evidence: proven };
const server = await front(program, state);
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--headless', '--no-sandbox', '--disable-gpu'] });

/** @param {string} name @param {any} options */
async function picture(name, { narrow = false, dark = false, lang = 'en-GB', hash = '', evidence = proven, respond = null, shown = all, act } = {}) {
  Object.assign(state, { evidence, respond, events: shown });
  const context = await browser.newContext({ viewport: narrow ? { width: 360, height: 720 } : { width: 1280, height: 720 }, colorScheme: dark ? 'dark' : 'light', locale: lang, timezoneId: 'Europe/Berlin', reducedMotion: 'reduce' });
  const page = await context.newPage();
  await page.goto(`${server.url}/viewer?token=a.b.c&zone=utc&lang=${lang}${hash}`);
  await page.locator('.scroll[aria-busy="false"]').waitFor();
  await act?.(page);
  await page.mouse.move(0, 0);
  await page.screenshot({ path: `${folder}/${name}.png` });
  await context.close();
}

const open = (at) => (page) => page.locator('tbody tr .open').nth(at).click();
const tampered = { ...proven, level: 'signed', failed: { [all[2].id]: 'the server\'s answer and the document differ in actor.name' } };

await picture('viewer');
await picture('viewer-dark', { dark: true });
await picture('viewer-details', { act: open(3) });
await picture('viewer-details-dark', { dark: true, act: open(3) });
await picture('viewer-de', { lang: 'de', hash: '#action=document.*&range=7d' });
await picture('viewer-tampered', { evidence: tampered });
await picture('viewer-expired', { respond: () => ({ status: 401, body: { error: 'unauthenticated', message: '' } }) });
await picture('viewer-empty', { shown: [] });
await picture('viewer-narrow', { narrow: true });
await picture('viewer-narrow-de-dark', { narrow: true, dark: true, lang: 'de', hash: '#action=document.*' });
await picture('viewer-narrow-details', { narrow: true, act: open(3) });
await browser.close();
process.exit();
