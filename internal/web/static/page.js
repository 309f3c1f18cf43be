// Live parts of the page. It reads well without them.
const policy = window.trustedTypes
  ? window.trustedTypes.createPolicy("labd", { createHTML: (html) => html })
  : { createHTML: (html) => html };
const live = document.getElementById("live");
const parts = ["headline", "jobs", "findings", "drives", "storages", "tree", "past"];
let wanted = 0;

// refresh fetches the page as the server renders it now, and exchanges the parts that differ; never one that holds the focus.
async function refresh() {
  const mine = ++wanted;
  const answer = await fetch(location.pathname + location.search, { headers: { Accept: "text/html" }, cache: "no-store" });
  if (!answer.ok) throw new Error("labd answers " + answer.status);
  const text = await answer.text();
  if (mine !== wanted) return;
  const fresh = new DOMParser().parseFromString(policy.createHTML(text), "text/html");
  document.title = fresh.title;
  for (const id of parts) {
    const old = document.getElementById(id), next = fresh.getElementById(id);
    if (!old || !next || sameText(old, next)) continue;
    if (old.contains(document.activeElement)) continue;
    const open = new Set([...old.querySelectorAll("details[open]")].map((d) => key(d)));
    for (const d of next.querySelectorAll("details")) if (open.has(key(d))) d.open = true;
    old.replaceWith(document.importNode(next, true));
    document.getElementById(id).classList.add("changed");
  }
}

const key = (details) => (details.closest("[id]")?.id ?? "") + details.querySelector("summary").textContent;

// sameText compares without the ages, which always differ.
function sameText(a, b) {
  const plain = (node) => {
    const copy = node.cloneNode(true);
    for (const t of copy.querySelectorAll("time")) t.textContent = t.dateTime;
    for (const d of copy.querySelectorAll("details")) d.removeAttribute("open");
    copy.classList.remove("changed");
    return copy.outerHTML;
  };
  return plain(a) === plain(b);
}

let events = null, lost = 0, timer = 0;

function say(text) { if (live && live.textContent !== text) live.textContent = text; }

function later() {
  clearTimeout(timer);
  timer = setTimeout(() => refresh().then(well, failed), 200);
}

function well() {
  lost = 0;
  document.body.classList.remove("stale");
  say("Live. Read only: labctl on the host repairs and takes back.");
}

function failed() {
  lost ||= Date.now();
  say("Not live since " + new Date(lost).toLocaleTimeString() + ", trying again.");
  document.body.classList.toggle("stale", Date.now() - lost > 30000);
}

function follow() {
  events?.close();
  events = new EventSource("v1/events");
  events.onopen = later;
  events.onerror = failed;
  for (const kind of ["finding.raised", "finding.changed", "finding.cleared", "plan.ended", "reset"]) events.addEventListener(kind, later);
}

// A hidden page keeps no connection: a browser has only six for a host.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) { events?.close(); events = null; } else follow();
});
setInterval(() => { if (!document.hidden) later(); }, 30000);
follow();

const theme = document.getElementById("theme");
if (theme) {
  const order = ["auto", "light", "dark"];
  const now = () => document.documentElement.dataset.theme ?? "auto";
  const name = () => { theme.textContent = "Theme: " + now(); };
  theme.hidden = false;
  name();
  theme.addEventListener("click", () => {
    const next = order[(order.indexOf(now()) + 1) % order.length];
    if (next === "auto") delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = next;
    try { if (next === "auto") localStorage.removeItem("labd-theme"); else localStorage.setItem("labd-theme", next); } catch { /* for this visit */ }
    name();
  });
}

const form = document.querySelector(".tools");
form?.addEventListener("submit", (e) => {
  e.preventDefault();
  const url = new URL(location.href), text = form.elements.q.value.trim();
  if (text) url.searchParams.set("q", text); else url.searchParams.delete("q");
  history.replaceState(null, "", url);
  refresh().then(well, failed);
});
form?.elements.q.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => form.requestSubmit(), 250); });
