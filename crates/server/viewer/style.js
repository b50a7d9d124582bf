// The look. A constructed style sheet needs no inline style, so it works under any Content-Security-Policy.
// Properties that begin with --alv- are for embedding pages: docs/viewer.md lists them.

const CSS = `
:host {
  --bg: var(--alv-background, light-dark(#ffffff, #14171c));
  --raised: var(--alv-raised, light-dark(#ffffff, #1b1f26));
  --sunken: var(--alv-sunken, light-dark(#f6f7f9, #101318));
  --fg: var(--alv-text, light-dark(#1b2230, #e5e8ee));
  --muted: var(--alv-text-muted, light-dark(#596274, #9aa4b5));
  --line: var(--alv-border, light-dark(#e4e7ec, #2a303a));
  --edge: var(--alv-border-strong, light-dark(#c6ccd6, #414a58));
  --accent: var(--alv-accent, light-dark(#2454c7, #8fb2ff));
  --on-accent: var(--alv-on-accent, light-dark(#ffffff, #10203f));
  --hover: var(--alv-hover, light-dark(#f3f6fb, #1f242c));
  --ok: var(--alv-ok, light-dark(#0f6b3f, #6fd19d));
  --ok-bg: var(--alv-ok-background, light-dark(#e9f6ef, #14291f));
  --bad: var(--alv-bad, light-dark(#a61b14, #ff9d94));
  --bad-bg: var(--alv-bad-background, light-dark(#fdefee, #331917));
  --warn: var(--alv-warn, light-dark(#7a4b00, #f2c063));
  --warn-bg: var(--alv-warn-background, light-dark(#fff6e3, #2d2412));
  --radius: var(--alv-radius, 8px);
  --font: var(--alv-font, Inter, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif);
  --mono: var(--alv-font-mono, ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace);
  --size: var(--alv-font-size, 14px);
  --pad: var(--alv-row-padding, 9px);
  color-scheme: light dark; display: block; height: 44rem; min-height: 20rem; contain: layout; container-type: inline-size;
  font: 400 var(--size)/1.45 var(--font); color: var(--fg); text-align: start; -webkit-text-size-adjust: 100%;
}
:host([theme="light"]) { color-scheme: light; }
:host([theme="dark"]) { color-scheme: dark; }
:host([hidden]) { display: none; }
*, *::before, *::after { box-sizing: border-box; }
[hidden] { display: none !important; }
button, input, select { font: inherit; color: inherit; letter-spacing: inherit; }
button { cursor: pointer; }
bdi { unicode-bidi: isolate; }
.t0, .t1, .t2, p, dl, dd, ul, pre { margin: 0; padding: 0; }
.icon { width: 1.15em; height: 1.15em; flex: none; fill: none; stroke: currentColor; stroke-width: 1.8; stroke-linecap: round; stroke-linejoin: round; }
:focus { outline: none; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
.quiet { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

.root { position: relative; display: flex; flex-direction: column; height: 100%; min-height: 0; background: var(--bg); border: 1px solid var(--alv-frame, var(--line)); border-radius: var(--alv-frame-radius, var(--radius)); overflow: hidden; }
.main { display: flex; flex-direction: column; flex: 1; min-height: 0; }
header { display: flex; align-items: center; gap: .75rem; padding: .9rem 1rem .7rem; flex-wrap: wrap; }
.t0 { font-size: 1.2em; font-weight: 620; letter-spacing: -.012em; margin-inline-end: auto; }

.badge { display: inline-flex; align-items: center; gap: .45em; max-width: 100%; padding: .28em .75em .28em .6em; border: 1px solid transparent; border-radius: 99px; font-size: .93em; font-weight: 500; text-align: start; background: var(--sunken); color: var(--muted); line-height: 1.35; }
.badge:hover { border-color: currentColor; }
.badge[data-level="proven"], .badge[data-level="signed"] { color: var(--ok); background: var(--ok-bg); }
.badge[data-level="consistent"] { color: var(--fg); background: var(--sunken); border-color: var(--line); }
.badge[data-level="consistent"] .icon { color: var(--ok); }
.badge[data-level="failed"] { color: var(--bad); background: var(--bad-bg); }
.badge[data-level="unavailable"] { color: var(--warn); background: var(--warn-bg); }

.bar { display: flex; flex-wrap: wrap; gap: .5rem; padding: 0 1rem .75rem; align-items: center; }
.tools { display: contents; }
.tools > .spread { flex: 1; }
.button { display: inline-flex; align-items: center; justify-content: center; gap: .45em; min-height: 2.3em; padding: .3em .8em; border: 1px solid var(--line); border-radius: var(--radius); background: var(--raised); font-weight: 500; white-space: nowrap; }
.button:hover { background: var(--hover); border-color: var(--edge); }
.button .icon { color: var(--muted); }
.button:disabled { opacity: .5; cursor: default; background: none; }
.button[aria-expanded="true"] { border-color: var(--accent); }
.button.primary { background: var(--accent); border-color: var(--accent); color: var(--on-accent); }
.button.primary .icon { color: inherit; }
.button.primary:hover { filter: brightness(1.08); }
.button.plain { border-color: transparent; background: none; }
.button.plain:hover { background: var(--hover); }
.button.square { padding: .3em .55em; }
.button .count { min-width: 1.5em; padding: 0 .4em; border-radius: 99px; background: var(--accent); color: var(--on-accent); font-size: .82em; line-height: 1.5em; }
.button.on { color: var(--ok); border-color: currentColor; background: var(--ok-bg); }
.button.on .icon, .button.held .icon { color: inherit; }
.button.held { color: var(--warn); border-color: currentColor; background: var(--warn-bg); }
.search { position: relative; flex: 1 1 14rem; max-width: 26rem; min-width: 9rem; }
.search .icon { position: absolute; inset-inline-start: .7em; top: .6em; color: var(--muted); pointer-events: none; }
.field, .search input, select { width: 100%; min-height: 2.3em; padding: .3em .7em; border: 1px solid var(--edge); border-radius: var(--radius); background: var(--raised); }
.search input { padding-inline-start: 2.2em; }
.search input::-webkit-search-cancel-button { filter: grayscale(1); }
input::placeholder { color: var(--muted); opacity: 1; }
.field:focus-visible, .search input:focus-visible, select:focus-visible { outline-offset: -1px; border-color: transparent; }
select { width: auto; padding-inline-end: .4em; }

.chips { display: flex; flex-wrap: wrap; gap: .4rem; padding: 0 1rem .75rem; margin: 0; list-style: none; align-items: center; }
.chip { display: inline-flex; align-items: center; max-width: 100%; border-radius: 99px; background: var(--sunken); border: 1px solid var(--line); font-size: .93em; padding-inline-start: .75em; }
.chip > span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; max-width: 22rem; padding-block: .2em; }
.chip .of { color: var(--muted); }
.chip button { display: inline-flex; border: 0; background: none; padding: .42em .55em; border-radius: 99px; color: var(--muted); }
.chip button:hover { color: var(--fg); }
.link { border: 0; background: none; padding: .2em .3em; color: var(--accent); font-weight: 500; border-radius: 4px; }
.link:hover { text-decoration: underline; }

.pop { position: relative; display: inline-flex; }
.panel { position: absolute; z-index: 6; top: calc(100% + 6px); inset-inline-start: 0; width: 21rem; max-width: calc(100cqw - 2rem); max-height: min(34rem, 70vh); overflow: auto; padding: 1rem; background: var(--raised); border: 1px solid var(--line); border-radius: calc(var(--radius) + 2px); box-shadow: 0 1px 2px rgb(0 0 0 / .06), 0 10px 32px rgb(0 0 0 / .16); white-space: normal; }
.panel.end { inset-inline-start: auto; inset-inline-end: 0; }
.panel .t1 { font-size: 1em; font-weight: 600; margin-bottom: .7rem; }
.panel .t1 ~ .t1 { margin-top: 1.1rem; }
.panel .t2, .panel .small { margin: .9rem 0 .4rem; font-size: .86em; font-weight: 600; color: var(--muted); }

.panel p { color: var(--muted); margin-bottom: .5rem; }
.panel .form { display: grid; grid-template-columns: minmax(4rem, auto) minmax(0, 1fr); gap: .5rem .75rem; align-items: center; }
.panel .wide { grid-column: 1 / -1; }
.panel .foot { display: flex; justify-content: flex-end; gap: .5rem; margin-top: .9rem; }
.panel .note { font-size: .93em; }
.panel .bad { color: var(--bad); }
.choices { display: grid; gap: .1rem; }
.choice { display: flex; align-items: center; gap: .6em; padding: .32em .4em; border-radius: 6px; cursor: pointer; }
.choice:hover { background: var(--hover); }
.choice input { accent-color: var(--accent); width: 1.05em; height: 1.05em; margin: 0; flex: none; }
.choices.two { grid-template-columns: 1fr 1fr; }
.choices.presets { gap: .4rem; }
.button[aria-pressed="true"]:not(.on, .held) { border-color: var(--accent); color: var(--accent); }
.segments { display: flex; border: 1px solid var(--edge); border-radius: var(--radius); overflow: clip; }
.segments label { flex: 1; text-align: center; padding: .28em .5em; cursor: pointer; position: relative; }
.segments label + label { border-inline-start: 1px solid var(--edge); }
.segments input { position: absolute; opacity: 0; inset: 0; margin: 0; cursor: pointer; }
.segments label:has(:checked) { background: var(--accent); color: var(--on-accent); font-weight: 500; }
.segments label:has(:focus-visible) { outline: 2px solid var(--accent); outline-offset: -4px; outline-color: currentColor; }
progress { width: 100%; height: 8px; accent-color: var(--accent); }
.panel.broad { width: 27rem; }
.panel dl { display: grid; grid-template-columns: auto minmax(0, 1fr); gap: .25rem .9rem; margin-top: .7rem; padding-top: .7rem; border-top: 1px solid var(--line); }
.panel dt { color: var(--muted); }
.panel dd { overflow-wrap: anywhere; }

.strip { display: flex; align-items: center; gap: .6rem; padding: .55rem 1rem; border-top: 1px solid var(--line); background: var(--warn-bg); color: var(--warn); }
.strip.bad { background: var(--bad-bg); color: var(--bad); }
.strip span { flex: 1; }
.strip .button { color: inherit; background: none; border-color: currentColor; }
.strip .button .icon { color: inherit; }

.scroll { position: relative; flex: 1; min-height: 0; overflow: auto; border-top: 1px solid var(--line); overscroll-behavior: contain; scrollbar-width: thin; scrollbar-color: var(--edge) transparent; }
.scroll:focus-visible { outline-offset: -2px; }
.fresh { position: sticky; inset-inline: 0; top: 2.6rem; height: 0; z-index: 3; display: flex; justify-content: center; }
.fresh button { height: 2.3em; border-radius: 99px; box-shadow: 0 4px 14px rgb(0 0 0 / .22); }
table { width: 100%; min-width: var(--least, 40rem); table-layout: fixed; border-collapse: separate; border-spacing: 0; }
caption { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
th { position: sticky; top: 0; z-index: 2; padding: .55rem .75rem; background: var(--sunken); border-bottom: 1px solid var(--line); color: var(--muted); font-size: .86em; font-weight: 550; text-align: start; white-space: nowrap; }
td { padding: var(--pad) .75rem; border-bottom: 1px solid var(--line); vertical-align: top; min-width: 5rem; max-width: 18rem; }
th:first-child, td:first-child { padding-inline-start: 1rem; }
th.c-check, td.c-check { width: 2.6rem; min-width: 0; padding-inline: 1rem 0; }
tbody tr { cursor: pointer; }
tbody tr:hover td { background: var(--hover); }
tbody tr.at td { background: var(--hover); }
tbody tr.at td:first-child { box-shadow: inset 3px 0 0 var(--accent); }
tbody tr.is-open td { background: color-mix(in srgb, var(--accent) 9%, var(--bg)); }
tr.failed td, tr.failed:hover td, tr.failed.at td { background: var(--bad-bg); color: var(--bad); }
tr.failed td:first-child { box-shadow: inset 3px 0 0 var(--bad); }
tr.failed td { max-width: none; }
tr.failed .second { color: inherit; }
tr.fresh-row td { animation: arrive 2.4s ease-out; }
@keyframes arrive { from { background: var(--ok-bg); } }
tr.space, tr.space:hover { cursor: default; }
tr.space td { padding: 0; border: 0; background: none; }
.mark { display: inline-flex; color: var(--muted); margin-top: .12em; }
.mark[data-status="verified"] { color: var(--ok); }
.mark[data-status="consistent"] { color: var(--ok); opacity: .8; }
.mark[data-status="failed"] { color: var(--bad); }
.first, .second { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; max-width: 100%; }
.second { color: var(--muted); font-size: .89em; }
.c-time { white-space: nowrap; }
.open { display: block; border: 0; background: none; padding: 0; text-align: start; border-radius: 4px; font-variant-numeric: tabular-nums; max-width: 100%; }
.value { border: 0; background: none; padding: 0; margin: 0; border-radius: 4px; text-align: start; max-width: 100%; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; vertical-align: bottom; }
.value:hover { color: var(--accent); text-decoration: underline; text-underline-offset: 3px; }
.act { font-weight: 550; }
.mono { font-family: var(--mono); font-size: .92em; line-height: inherit; }
.person { display: flex; gap: .65rem; min-width: 0; }
.person > div { min-width: 0; }
.face { flex: none; display: grid; place-items: center; width: 2.35em; height: 2.35em; border-radius: 50%; background: color-mix(in srgb, var(--accent) 12%, var(--bg)); color: var(--fg); font-size: .84em; font-weight: 600; margin-top: .1em; overflow: hidden; }
.erased { color: var(--muted); font-style: italic; }
.bone { display: block; height: .8em; margin: .3em 0; border-radius: 5px; background: var(--line); animation: breathe 1.4s ease-in-out infinite alternate; }
@keyframes breathe { to { opacity: .45; } }
.w0 { width: 55%; } .w1 { width: 80%; } .w2 { width: 40%; } .w3 { width: 68%; }
.state { display: grid; justify-items: center; gap: .4rem; padding: 4.5rem 1.5rem; text-align: center; }
.state .disc { display: grid; place-items: center; width: 3.4rem; height: 3.4rem; margin-bottom: .5rem; border-radius: 50%; background: var(--sunken); color: var(--muted); font-size: 1.35rem; }
.state.bad .disc { background: var(--bad-bg); color: var(--bad); }
.state .t1 { font-size: 1.1em; font-weight: 600; }
.state p { color: var(--muted); max-width: 30rem; overflow-wrap: anywhere; }
.state .button { margin-top: .8rem; }
.more { padding: 1rem; text-align: center; color: var(--muted); }

footer { display: flex; align-items: center; flex-wrap: wrap; gap: .5rem .8rem; padding: .6rem 1rem; border-top: 1px solid var(--line); color: var(--muted); }
.removed { margin: 0; padding: .5rem 1rem; border-top: 1px solid var(--line); color: var(--muted); }
footer .range { margin-inline-end: auto; font-variant-numeric: tabular-nums; }
footer label { display: inline-flex; align-items: center; gap: .5em; }
footer select { color: var(--fg); border-color: var(--line); }
footer nav { display: inline-flex; gap: .4rem; }
footer .button { color: var(--fg); }

.drawer { position: absolute; z-index: 8; inset-block: 0; inset-inline-end: 0; width: min(30rem, 100%); display: flex; flex-direction: column; background: var(--raised); border-inline-start: 1px solid var(--line); box-shadow: -12px 0 36px rgb(0 0 0 / .14); animation: slide .18s ease-out; }
@keyframes slide { from { transform: translateX(1.5rem); opacity: 0; } }
.drawer .head { display: flex; align-items: center; gap: .2rem; padding: .7rem .7rem .7rem 1.2rem; border-bottom: 1px solid var(--line); }
.drawer .head .t1 { flex: 1; font-size: 1.05em; font-weight: 600; }
.drawer .body { flex: 1; overflow: auto; padding: 1.1rem 1.2rem 2rem; scrollbar-width: thin; scrollbar-color: var(--edge) transparent; }
.drawer .body:focus-visible { outline-offset: -2px; }
.drawer .lead { font-size: 1.15em; font-weight: 600; overflow-wrap: anywhere; }
.drawer .lead + p { color: var(--muted); overflow-wrap: anywhere; }
.drawer .verdict { display: flex; gap: .6em; margin: .9rem 0 0; padding: .6rem .75rem; border-radius: var(--radius); background: var(--sunken); overflow-wrap: anywhere; }
.drawer .verdict .icon { margin-top: .15em; color: var(--muted); }
.drawer .verdict[data-status="verified"] { background: var(--ok-bg); color: var(--ok); }
.drawer .verdict[data-status="verified"] .icon, .drawer .verdict[data-status="consistent"] .icon { color: var(--ok); }
.drawer .verdict[data-status="failed"] { background: var(--bad-bg); color: var(--bad); }
.drawer .verdict[data-status="failed"] .icon { color: inherit; }
.drawer section { margin-top: 1.4rem; }
.drawer .t2 { margin: 0 0 .35rem; font-size: .86em; font-weight: 600; color: var(--muted); }
.pairs { display: grid; grid-template-columns: 8.5rem minmax(0, 1fr); }
.pairs > div { display: contents; }
.pairs dt, .pairs dd { padding: .38rem 0; border-top: 1px solid var(--line); min-width: 0; }
.pairs dt { color: var(--muted); padding-inline-end: .75rem; overflow-wrap: anywhere; }
.pairs dd { display: flex; align-items: flex-start; gap: .3rem; overflow-wrap: anywhere; }
.pairs dd > .it { flex: 1; min-width: 0; max-height: 12em; overflow: auto; }
.pairs .value { white-space: normal; overflow-wrap: anywhere; }
.tool { flex: none; display: inline-flex; padding: .25em; border: 0; background: none; color: var(--muted); border-radius: 5px; }
.tool:hover { color: var(--fg); background: var(--hover); }
.tool.done { color: var(--ok); }
.targets { list-style: none; display: grid; grid-template-columns: minmax(0, 1fr); gap: .4rem; }
.targets .first, .targets .second, .targets .value { white-space: normal; overflow-wrap: anywhere; }
.targets pre { margin-top: .5rem; }
.targets li { padding: .5rem .7rem; border: 1px solid var(--line); border-radius: var(--radius); overflow-wrap: anywhere; }
pre { font-family: var(--mono); font-size: .88em; line-height: 1.5; white-space: pre-wrap; overflow-wrap: anywhere; padding: .7rem .8rem; max-height: 24rem; overflow: auto; background: var(--sunken); border: 1px solid var(--line); border-radius: var(--radius); unicode-bidi: plaintext; }
.titled { display: flex; align-items: center; justify-content: space-between; }

@container (max-width: 46rem) {
  header { padding: .8rem .8rem .6rem; gap: .5rem; }
  .bar, .chips { padding-inline: .8rem; }
  .search { flex-basis: 100%; max-width: none; }
  .tools { display: flex; gap: .4rem; flex: 1 1 100%; min-width: 0; }
  .tools > .spread { min-width: 0; }
  .tools > .button, .tools > .pop { flex: none; }
  .tools > .period { flex: 0 1 auto; min-width: 0; }
  .period > .button { min-width: 0; max-width: 100%; }
  .period .label { overflow: hidden; text-overflow: ellipsis; }
  .pop { position: static; }
  .bar { position: relative; }
  header { position: relative; }
  .panel, .panel.end { inset-inline: .8rem; width: auto; max-width: none; }
  .wordless .label { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table { min-width: 0; }
  table, tbody, tr, td { display: block; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  tbody tr { display: flex; flex-wrap: wrap; gap: .15rem .6rem; padding: .8rem; border-bottom: 1px solid var(--line); position: relative; }
  tbody tr:hover td, tbody tr.at td, tbody tr.is-open td, tr.failed td, tr.failed:hover td { background: none; box-shadow: none; }
  tbody tr.failed { background: var(--bad-bg); box-shadow: inset 3px 0 0 var(--bad); }
  tbody tr.at { background: var(--hover); box-shadow: inset 3px 0 0 var(--accent); }
  tr.failed td:first-child, tr.failed.at td:first-child { box-shadow: none; }
  td.c-why { padding-inline-end: 2rem; }
  td.c-why .first, td.c-why .second { white-space: normal; }
  tbody tr.is-open { background: color-mix(in srgb, var(--accent) 9%, var(--bg)); }
  td, td:first-child { padding: 0; border: 0; max-width: 100%; min-width: 0; flex: 1 1 100%; }
  td.c-check, td.c-check:first-child { position: absolute; inset-inline-end: .8rem; top: .8rem; width: auto; padding: 0; }
  td.c-action { order: -3; padding-inline-end: 2rem; font-size: 1.04em; }
  td.c-action .box { display: flex; gap: .5em; align-items: baseline; }
  td.c-resource { order: -2; }
  td.c-actor { order: -1; margin-block: .3rem .1rem; }
  td.c-time { order: 9; }
  td.c-time .open { color: var(--muted); font-size: .92em; }
  td.c-time time { display: flex; gap: .45em; }
  td.c-time .second { font-size: 1em; }
  td.c-time .second::before { content: '· '; }
  td:not(.c-action, .c-actor, .c-resource, .c-time, .c-check, .c-why) { display: flex; gap: .6rem; }
  td:not(.c-action, .c-actor, .c-resource, .c-time, .c-check, .c-why)::before { content: attr(data-label); flex: none; color: var(--muted); font-size: .92em; }
  td:not(.c-action, .c-actor, .c-resource, .c-time, .c-check, .c-why) > * { min-width: 0; flex: 1; }
  td.void { display: none !important; }
  td .box { display: flex; align-items: baseline; flex-wrap: wrap; gap: 0 .5em; }
  .bar { gap: .4rem; }
  .bar .button { padding-inline: .65em; }
  .c-resource .box { display: flex; flex-wrap: wrap; gap: 0 .5em; }
  tr.space { padding: 0; border: 0; }
  .fresh { top: .5rem; }
  .drawer { width: 100%; border: 0; }
  .pairs { grid-template-columns: 7rem minmax(0, 1fr); }
  footer { padding: .5rem .8rem; flex-wrap: nowrap; gap: .5rem; }
  footer label > span { display: none; }
  td.c-actor .box { display: flex; gap: 0 .5em; align-items: center; min-width: 0; }
  .person { align-items: center; }
  .person .second { flex-shrink: 4; }
  .face { width: 1.9em; height: 1.9em; font-size: .78em; margin: 0; }
  .state { padding-block: 3rem; }
}
@media (prefers-reduced-motion: reduce) { *, *::before, *::after { animation: none !important; transition: none !important; scroll-behavior: auto !important; } }
@media (forced-colors: active) { .badge, .button, .chip, .drawer, tr.failed td { border: 1px solid; } .segments label:has(:checked) { outline: 2px solid Highlight; } }
@media print { :host { height: auto; } .scroll { overflow: visible; } .bar, footer, .drawer { display: none; } }
`;

/** @type {CSSStyleSheet|undefined} */
let sheet;

/** The style sheet, which all viewers of a page share. */
export function styleSheet() {
  if (!sheet) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(CSS);
  }
  return sheet;
}
