// Drives the viewer in a browser: node viewer.mjs '{"program": "http://…", …}' [a part of a scenario's name]

import './features.mjs';
import './real.mjs';
import { run } from './harness.mjs';

await run(JSON.parse(process.argv[2]), process.argv[3]);
