// What is known of the cluster, and which view is shown. Nothing here makes HTML of text: see views.js.
import { announce, views } from "./views.js";

const KINDS = ["curationjobs", "curationapprovals", "curationmodules", "curationpolicies", "clustercurationpolicies"];
export const known = Object.fromEntries(KINDS.map((kind) => [kind, { rows: new Map(), trouble: "", seen: false }]));
let shown = null;
let pending = null;

function take(messages) {
  const changes = {};
  for (const message of messages) {
    const place = known[message.kind];
    if (message.all) {
      place.rows = new Map(Object.entries(message.all));
      place.trouble = message.trouble;
      place.seen = message.seen;
      changes[message.kind] = null;
    } else {
      const keys = Object.keys(message.rows);
      for (const key of keys) {
        if (message.rows[key] === null) place.rows.delete(key);
        else place.rows.set(key, message.rows[key]);
      }
      changes[message.kind] = keys;
    }
  }
  count();
  shown?.changed(changes);
}

function count() {
  const approvals = [...known.curationapprovals.rows.values()].filter((row) => row.decision === "Pending").length;
  const sources = KINDS.slice(2).flatMap((kind) => [...known[kind].rows.values()]).filter((row) => row.ready !== "True").length;
  put("count-jobs", known.curationjobs.rows.size, false);
  put("count-approvals", approvals, true);
  put("count-sources", sources, true);
  if (known.curationapprovals.seen && approvals !== pending) {
    if (pending !== null || approvals) announce(`${approvals} ${approvals === 1 ? "approval waits" : "approvals wait"} for a decision`);
    pending = approvals;
  }
}

function put(id, number, calls) {
  const element = document.getElementById(id);
  const text = number ? String(number) : "";
  if (element.textContent !== text) element.textContent = text;
  element.classList.toggle("calls", calls && number > 0);
}

function route() {
  const [section = "jobs", namespace, name] = location.hash.replace(/^#\//, "").split("/").filter(Boolean).map(decodeURIComponent);
  const view = views[section] ?? views.jobs;
  const first = shown === null;
  shown?.leave?.();
  const main = document.getElementById("main");
  shown = view(main, known, namespace, name);
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.section === shown.section) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${shown.title} · Curation`;
  if (!first) main.focus();
}

function connect() {
  const line = document.getElementById("connection");
  const source = new EventSource("feed");
  source.onmessage = (event) => {
    line.textContent = "Live";
    line.classList.remove("lost");
    take(JSON.parse(event.data));
  };
  source.onerror = () => {
    line.textContent = "Connection lost: is kubectl curation dashboard still running?";
    line.classList.add("lost");
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 3000);
  };
}

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main").focus();
});
addEventListener("hashchange", route);
setInterval(() => shown?.tick?.(), 10000);
route();
connect();
