// One browser for all scenarios. Each gets a page of its own, and fails on errors of scripts and on violations of the policy.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';
import { front } from './front.mjs';

const AXE = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
  // Names that are not loopback, as in an intranet without https, and of an embedding application.
  '--host-resolver-rules=MAP audit.test 127.0.0.1, MAP app.test 127.0.0.1'];

/** @type {[string, (t: Scenario) => Promise<void>][]} */
const scenarios = [];

export function scenario(name, run) {
  scenarios.push([name, run]);
}

class Scenario {
  constructor(browser, environment) {
    Object.assign(this, { browser, environment, faults: [], contexts: [], state: { double: true } });
  }

  /** A server in front of the program, for this scenario. */
  async serve(state = {}) {
    Object.assign(this.state, state);
    this.front = await front(this.environment.program, this.state);
    return this.front;
  }

  async page({ width = 1280, height = 760, path = '/viewer?token=a.b.c', base, ...options } = {}) {
    if (!this.front) await this.serve();
    const context = await this.browser.newContext({ viewport: { width, height }, locale: 'en-GB', timezoneId: 'Europe/Berlin', ...options });
    this.contexts.push(context);
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    page.on('pageerror', (error) => this.faults.push(`error: ${error.stack}`));
    page.on('console', (message) => /content security policy|trusted ?type/i.test(message.text()) && this.faults.push(message.text()));
    await page.addInitScript(() => addEventListener('securitypolicyviolation', (event) => console.error(`Content Security Policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`)));
    if (path) await page.goto((base ?? this.front.url) + path);
    if (path?.startsWith('/viewer')) await page.locator('.scroll[aria-busy="false"]').waitFor();
    return page;
  }

  /** No violation that axe knows of. */
  async axe(page, state) {
    await page.evaluate(`if (!globalThis.axe) { ${AXE} }`);
    // What moves or fades in has no colour of its own yet.
    await page.evaluate(() => Promise.all(document.querySelector('audit-log-viewer').shadowRoot.getAnimations({ subtree: true }).map((each) => (each.effect.getComputedTiming().iterations === Infinity ? null : each.finished))));
    const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
    assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`).slice(0, 2).join(' | ')}`), [], `axe: ${state}`);
  }

  async end() {
    for (const context of this.contexts) await context.close();
    this.front?.close();
    assert.deepEqual(this.faults, []);
  }
}

/** Runs the scenarios whose names have `only` in them, and writes one line of JSON about each. */
export async function run(environment, only = '') {
  const browser = await chromium.launch({ executablePath: environment.chromium ?? '/usr/bin/chromium', args: FLAGS });
  let failed = 0;
  for (const [name, body] of scenarios.filter(([each]) => each.includes(only))) {
    const scenarioOf = new Scenario(browser, environment);
    const begun = Date.now();
    let error = null;
    try {
      await body(scenarioOf);
    } catch (thrown) {
      error = String(thrown.stack ?? thrown);
    }
    try {
      await scenarioOf.end();
    } catch (thrown) {
      error ??= String(thrown.message);
    }
    failed += error ? 1 : 0;
    console.log(JSON.stringify({ name, milliseconds: Date.now() - begun, error, notes: scenarioOf.notes }));
  }
  await browser.close();
  process.exit(failed ? 1 : 0);
}
