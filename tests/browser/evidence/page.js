// The page that test_viewer_evidence.py took from a server, and ways to change it.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

/** { events, evidence, trust, filters, stranger, other } */
export const page = JSON.parse(readFileSync(process.env.IMMUTABLE_PAGE, "utf8"));

export const copy = (value) => structuredClone(value);

/** A copy of the page, changed. */
export function changed(change) {
  const made = copy(page);
  change(made);
  return made;
}

export const idsOf = ({ events }) => events.map((event) => event.id);

const AFTER = ',"event_hash":"';

/** The line of an event of which this document is the hashed one. */
export function forged(line, change, disclose = (text) => text) {
  const [head, rest] = line.split(AFTER);
  const document = change(head.slice('{"document":'.length));
  const hash = createHash("sha256").update(document).digest("hex");
  return `{"document":${document}${AFTER}${hash}${disclose(rest.slice(64))}`;
}

export const hashOf = (line) => line.split(AFTER)[1].slice(0, 64);
export const documentOf = (line) => JSON.parse(line.split(AFTER)[0].slice('{"document":'.length));
