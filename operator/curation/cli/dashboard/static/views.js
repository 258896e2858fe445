// Each view fills <main> and returns {section, title, changed, leave, tick}. Texts become text nodes, never HTML.
const PHASES = ["Queued", "Submitted", "AwaitingApproval", "Running", "Completed", "Failed"];
const MARKS = { AwaitingApproval: "waits", Running: "running", Submitted: "running", Completed: "done", Failed: "failed",
  Pending: "waits", Approved: "approved", Denied: "failed", Revoked: "cancelled", Expired: "cancelled" };

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function announce(text) {
  document.getElementById("announce").textContent = text;
}

const address = (section, row) => `#/${section}/${encodeURIComponent(row.namespace)}/${encodeURIComponent(row.name)}`;
const mark = (word, kind = MARKS[word] ?? "") => h("span", { class: `mark ${kind}` }, word);
const facts = (pairs) => h("dl", {}, pairs.filter(([, value]) => value).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
const webLink = (url) => (/^https?:\/\//.test(url ?? "") ? h("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, url) : url);

function ago(time) {
  if (!time) return "";
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(time)) / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86400)}d`;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// A table whose rows are kept by key: a change touches its own row and no other.
function liveTable(caption, columns, place, cells, show) {
  const body = h("tbody");
  const line = h("caption", {}, caption);
  const table = h("table", {}, line, h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col" }, name)))), body);
  const elements = new Map();
  let keys = [];

  function fill(element, row) {
    const now = cells(row);
    now.forEach((cell, index) => {
      const slot = element.children[index];
      const text = typeof cell === "string" ? cell : cell.key;
      if (slot.dataset.said === text) return;
      slot.dataset.said = text;
      slot.replaceChildren(typeof cell === "string" ? cell : cell.made());
    });
    element.hidden = !show(row);
  }
  function make(key, row) {
    const element = h("tr", {}, columns.map((name, index) => (index === 0 ? h("th", { scope: "row" }) : h("td", { class: name === "Message" || name === "Request" ? "text" : null }))));
    elements.set(key, element);
    fill(element, row);
    return element;
  }
  function all(rows) {
    elements.clear();
    keys = [...rows.keys()].sort();
    body.replaceChildren(...keys.map((key) => make(key, rows.get(key))));
  }
  function some(rows, changed) {
    for (const key of changed) {
      const row = rows.get(key);
      const element = elements.get(key);
      if (!row) {
        element?.remove();
        elements.delete(key);
        keys = keys.filter((each) => each !== key);
      } else if (element) fill(element, row);
      else {
        let low = 0;
        let high = keys.length;
        while (low < high) {
          const middle = (low + high) >> 1;
          if (keys[middle] < key) low = middle + 1;
          else high = middle;
        }
        body.insertBefore(make(key, row), elements.get(keys[low]) ?? null);
        keys.splice(low, 0, key);
      }
    }
  }
  function refresh(rows) {
    for (const [key, element] of elements) fill(element, rows.get(key));
  }
  all(place.rows);
  return { table, line, all, some, refresh };
}

const linked = (section, row, text) => ({ key: `${text}`, made: () => h("a", { href: address(section, row) }, text) });
const marked = (word) => ({ key: word, made: () => mark(word) });
const timed = (time) => (time ? { key: ago(time), made: () => h("time", { datetime: time, title: time }, ago(time)) } : "");

function trouble(place) {
  return h("p", { class: "note", role: "status" }, place.trouble ? `Not shown: ${place.trouble}` : "");
}

function jobs(main, known) {
  const place = known.curationjobs;
  let phase = "";
  let text = "";
  const said = trouble(place);
  const show = (row) => (!phase || row.phase === phase) && (!text || `${row.namespace}/${row.name} ${row.reason} ${row.message}`.toLowerCase().includes(text));
  const cells = (row) => [
    linked("job", row, row.name), row.namespace, marked(row.phase ?? "Unreadable"), row.reason ?? "", row.attempt ? String(row.attempt) : "",
    row.session ?? "", timed(row.since ?? row.created), row.unreadable ?? row.message ?? ""];
  const live = liveTable("", ["Name", "Namespace", "Phase", "Reason", "Attempt", "Session", "For", "Message"], place, cells, show);
  const buttons = ["", ...PHASES].map((each) => h("button", { type: "button", "data-phase": each, "aria-pressed": String(each === phase), onclick: () => {
    phase = each;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.phase === phase));
    live.refresh(place.rows);
    counted();
  } }));
  function counted() {
    const rows = [...place.rows.values()];
    for (const button of buttons) {
      const each = button.dataset.phase;
      setText(button, `${each || "All"} ${each ? rows.filter((row) => row.phase === each).length : rows.length}`);
    }
    setText(live.line, `${rows.filter(show).length} of ${rows.length} jobs`);
  }
  const search = h("input", { type: "search", id: "search", autocomplete: "off", oninput: (event) => {
    text = event.target.value.trim().toLowerCase();
    live.refresh(place.rows);
    counted();
  } });
  main.replaceChildren(h("h1", {}, "Jobs"), said,
    h("div", { class: "filters", role: "group", "aria-label": "Filter" }, buttons, h("label", {}, "Find ", search)), live.table);
  counted();
  return {
    section: "jobs", title: "Jobs",
    changed(changes) {
      if (!("curationjobs" in changes)) return;
      if (changes.curationjobs === null) live.all(place.rows);
      else live.some(place.rows, changes.curationjobs);
      setText(said, place.trouble ? `Not shown: ${place.trouble}` : "");
      counted();
    },
    tick: () => live.refresh(place.rows),
  };
}

function approvals(main, known) {
  const place = known.curationapprovals;
  let decision = "Pending";
  const said = trouble(place);
  const show = (row) => !decision || row.decision === decision;
  const cells = (row) => [
    linked("approval", row, row.name), row.namespace, marked(row.decision ?? "Unreadable"), row.unreadable ?? row.request ?? "", String(row.waiting ?? ""),
    (row.requesters ?? []).join(", "), timed(row.created), row.decidedBy ?? "", row.scope ?? "", row.ends ?? ""];
  const live = liveTable("", ["Name", "Namespace", "Decision", "Request", "Waiting", "Asked by", "Asked", "Decided by", "Scope", "Ends"], place, cells, show);
  const buttons = ["Pending", "Approved", "Denied", "Revoked", ""].map((each) => h("button", { type: "button", "data-decision": each, "aria-pressed": String(each === decision), onclick: () => {
    decision = each;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.decision === decision));
    live.refresh(place.rows);
    counted();
  } }));
  function counted() {
    const rows = [...place.rows.values()];
    for (const button of buttons) {
      const each = button.dataset.decision;
      setText(button, `${each || "All"} ${each ? rows.filter((row) => row.decision === each).length : rows.length}`);
    }
    setText(live.line, `${rows.filter(show).length} of ${rows.length} approvals`);
  }
  main.replaceChildren(h("h1", {}, "Approvals"), said, h("div", { class: "filters", role: "group", "aria-label": "Filter" }, buttons), live.table);
  counted();
  return {
    section: "approvals", title: "Approvals",
    changed(changes) {
      if (!("curationapprovals" in changes)) return;
      if (changes.curationapprovals === null) live.all(place.rows);
      else live.some(place.rows, changes.curationapprovals);
      setText(said, place.trouble ? `Not shown: ${place.trouble}` : "");
      counted();
    },
    tick: () => live.refresh(place.rows),
  };
}

function sources(main, known) {
  const kinds = ["curationmodules", "curationpolicies", "clustercurationpolicies"];
  const body = h("div");
  function draw() {
    const parts = kinds.map((kind) => (known[kind].trouble ? h("p", { class: "note" }, `${kind}: not shown: ${known[kind].trouble}`) : null));
    const rows = kinds.flatMap((kind) => [...known[kind].rows.values()]).filter((row) => row.ready !== "True");
    rows.sort((one, other) => `${one.kind}${one.namespace}/${one.name}`.localeCompare(`${other.kind}${other.namespace}/${other.name}`));
    const table = h("table", {}, h("caption", {}, `${rows.length} are not Ready`),
      h("thead", {}, h("tr", {}, ["Name", "Namespace", "Kind", "Reason", "Message"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, h("th", { scope: "row" }, row.name), h("td", {}, row.namespace), h("td", {}, row.kind),
        h("td", {}, mark(row.reason || "Not seen yet", "waits")), h("td", { class: "text" }, row.message)))));
    body.replaceChildren(...parts.filter(Boolean), table);
  }
  main.replaceChildren(h("h1", {}, "Modules and policies that are not Ready"), body);
  draw();
  return { section: "sources", title: "Modules and policies", changed: (changes) => kinds.some((kind) => kind in changes) && draw() };
}

async function ask(path, namespace, name) {
  const answer = await fetch(`${path}?${new URLSearchParams({ namespace, name })}`);
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error ?? `the answer was ${answer.status}`);
  return found;
}

// Asks again when the object has changed, and not more often than it is answered.
function following(kind, namespace, name, path, draw) {
  let stopped = false;
  let asking = false;
  let again = false;
  async function refresh() {
    if (asking) { again = true; return; }
    asking = true;
    do {
      again = false;
      try {
        const found = await ask(path, namespace, name);
        if (!stopped) draw(found, "");
      } catch (error) {
        if (!stopped) draw(null, error.message);
      }
      if (again) await new Promise((done) => setTimeout(done, 300));
    } while (again && !stopped);
    asking = false;
  }
  refresh();
  return {
    changed(changes) {
      if (kind in changes && (changes[kind] === null || changes[kind].includes(`${namespace}/${name}`))) refresh();
    },
    leave: () => { stopped = true; },
    refresh,
  };
}

function job(main, known, namespace, name) {
  const body = h("div");
  main.replaceChildren(h("p", {}, h("a", { href: "#/jobs" }, "All jobs")), h("h1", {}, `Job ${namespace}/${name}`), body);
  let before = "";
  const follow = following("curationjobs", namespace, name, "job", (found, problem) => {
    const text = JSON.stringify([found, problem]);
    if (text === before) return;
    before = text;
    if (!found) { body.replaceChildren(h("p", { class: "note failed", role: "alert" }, problem)); return; }
    const part = (title, ...content) => [h("h2", {}, title), ...content];
    body.replaceChildren(
      facts([["Phase", mark(found.phase)], ["Reason", found.reason], ["Message", found.message], ["Module", found.module],
        ["Approval", found.approval && h("a", { href: address("approval", { namespace, name: found.approval }) }, found.approval)],
        ["Session", found.session && h("span", {}, found.session.id, " ", webLink(found.session.url) ?? "")], ["Run", found.run]]),
      ...part("Attempts", h("table", {}, h("thead", {}, h("tr", {}, ["Attempt", "Outcome", "Reason", "Ended", "Run"].map((each) => h("th", { scope: "col" }, each)))),
        h("tbody", {}, found.attempts.map((each) => h("tr", {}, h("th", { scope: "row" }, `${each.generation}.${each.attempt}`),
          h("td", {}, mark(each.outcome, each.mark), each.cleaning ? " its session is being cancelled" : ""), h("td", {}, each.reason), h("td", {}, each.ended ?? ""), h("td", {}, each.id)))))),
      ...part("Timeline", found.eventsShown ? null : h("p", { class: "note" }, "Events are not shown: you may not list them."),
        h("ol", { class: "timeline" }, found.timeline.map((each) => h("li", {}, h("time", { datetime: each.at }, each.at), mark(each.title, each.mark), " ", each.text)))).filter(Boolean),
      ...part("Input", h("pre", { tabindex: "0", "aria-label": "Input" }, found.input)),
      ...(found.progress ? part("Progress", h("pre", { tabindex: "0", "aria-label": "Progress" }, found.progress)) : []),
      ...(found.output ? part("Output", h("pre", { tabindex: "0", "aria-label": "Output" }, found.output)) : []),
      ...(found.log ? part("Log of the failed run", h("pre", { tabindex: "0", "aria-label": "Log" }, found.log)) : []));
  });
  return { section: "jobs", title: `Job ${name}`, changed: follow.changed, leave: follow.leave };
}

const ENDS = [["", "By default"], ["1h", "After 1 hour"], ["24h", "After 1 day"], ["7d", "After 7 days"], ["30d", "After 30 days"], ["never", "Never"]];

function approval(main, known, namespace, name) {
  const body = h("div");
  const outcome = h("p", { class: "note", role: "alert", id: "outcome" });
  let latest = null;
  let before = "";
  const byDefault = h("option", { value: "" }, "By default");
  const ends = h("select", { id: "expires" }, byDefault, ENDS.slice(1).map(([value, text]) => h("option", { value }, text)));
  const comment = h("textarea", { id: "comment", maxlength: "1024" });
  const scopes = h("fieldset", { class: "scopes" });
  const choice = (each, checked) => {
    const id = `scope-${each.scope}`;
    const more = each.others.length ? ` It also answers ${each.others.join(", ")}.` : "";
    return h("div", { class: "scope" }, h("input", { type: "radio", name: "scope", id, value: each.scope, checked, "aria-describedby": `${id}-words` }),
      h("label", { for: id }, each.scope), h("span"), h("p", { id: `${id}-words` }, each.words + more));
  };
  async function decide(decision) {
    const scope = form.querySelector("input[name=scope]:checked")?.value ?? "Request";
    outcome.className = "note";
    outcome.textContent = "";
    for (const button of buttons) button.disabled = true;
    try {
      const answer = await fetch("decide", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({
        namespace, name, uid: latest.uid, generation: latest.generation, decision, scope, expires: ends.value, comment: comment.value }) });
      const found = await answer.json();
      if (!answer.ok) throw new Error(found.error);
      outcome.className = "note done";
      outcome.textContent = `${found.decision} by ${found.by ?? "you"}.`;
      comment.value = "";
    } catch (error) {
      outcome.className = "note failed";
      outcome.textContent = error.message;
    }
    follow.refresh();
    able();
  }
  const approve = h("button", { type: "button", id: "approve", class: "good", onclick: () => decide("Approved") }, "Approve");
  const deny = h("button", { type: "button", id: "deny", class: "bad", onclick: () => decide("Denied") }, "Deny");
  const revoke = h("button", { type: "button", id: "revoke", class: "bad", onclick: () => decide("Revoked") }, "Revoke");
  const buttons = [approve, deny, revoke];
  const hint = h("p", { class: "hint", id: "may" });
  const choices = h("div", {}, scopes, h("label", { for: "expires" }, "Ends"), ends);
  const form = h("form", { "aria-label": "Decide", onsubmit: (event) => event.preventDefault() }, h("h2", {}, "Decide"), hint, choices,
    h("label", { for: "comment" }, "Comment"), comment, h("div", { class: "buttons" }, buttons), outcome);
  function able() {
    const may = latest && !latest.may;
    const pending = latest?.state === "Pending";
    approve.hidden = deny.hidden = choices.hidden = !pending;
    revoke.hidden = latest?.state !== "Approved";
    for (const button of buttons) button.disabled = !may;
    form.hidden = !latest || (!pending && latest.state !== "Approved" && !outcome.textContent);
    setText(hint, latest?.may ?? "");
  }
  const follow = following("curationapprovals", namespace, name, "approval", (found, problem) => {
    const text = JSON.stringify([found, problem]);
    if (text === before) return;
    before = text;
    if (!found) { latest = null; able(); body.replaceChildren(h("p", { class: "note failed", role: "alert" }, problem)); return; }
    if (latest?.uid !== found.uid || JSON.stringify(latest.covers) !== JSON.stringify(found.covers)) {
      const chosen = latest?.uid === found.uid ? form.querySelector("input[name=scope]:checked")?.value : "Request";
      const focused = document.activeElement?.id;
      scopes.replaceChildren(h("legend", {}, "Scope"), ...found.covers.map((each) => choice(each, each.scope === chosen)));
      if (focused?.startsWith("scope-")) document.getElementById(focused)?.focus();
    }
    latest = found;
    setText(byDefault, found.defaultEnd ? `By default: ${found.defaultEnd}` : "By default");
    able();
    const list = (items, empty) => (items.length ? h("ul", {}, items.map((each) => h("li", {}, each))) : h("p", {}, empty));
    body.replaceChildren(
      facts([["Request", found.request], ["State", mark(found.state)], ["Build", found.moduleDigest], ["Decided by", found.decidedBy], ["Comment", found.comment],
        ["Scope", found.state === "Pending" ? "" : found.scope], ["Ends", found.ends ?? (found.state === "Approved" ? "never" : "")], ["Jobs that wait", `${found.waiting} ${found.jobs.join(", ")}`]]),
      h("h2", {}, "Who asks, and why it was denied"),
      ...found.asked.map((each) => h("section", {}, h("h3", {}, h("a", { href: address("job", { namespace, name: each.job }) }, each.job)),
        facts([["Created by", each.createdBy], ["Last asked for by", each.requestedBy === each.createdBy ? "" : each.requestedBy], ["Last changed by", each.editedBy], ["Denied", each.denied], ["Input's digest", each.inputDigest]]),
        each.input ? h("pre", { tabindex: "0", "aria-label": `Beginning of the input of ${each.job}` }, each.input) : "")),
      found.asked.length ? "" : h("p", {}, "The operator has not written it yet."),
      h("h2", {}, "What a grant holds for"), h("p", {}, `Every job of this build in the namespace; now of the module: ${found.sameModule.join(", ") || "none"}. ${found.underCancel}`),
      ...(found.forbidden.length ? [h("h2", {}, "Forbidden all the same"), list(found.forbidden, "")] : []),
      h("h2", {}, "Decided before"), list(found.before, "Nothing."),
      h("details", {}, h("summary", {}, "The Cedar policy that a grant stands for"), h("pre", { tabindex: "0" }, found.cedar)));
  });
  main.replaceChildren(h("p", {}, h("a", { href: "#/approvals" }, "All approvals")), h("h1", {}, `Approval ${namespace}/${name}`), h("div", { class: "two" }, body, form));
  able();
  return {
    section: "approvals", title: `Approval ${name}`, leave: follow.leave,
    changed: (changes) => "curationapprovals" in changes && follow.refresh(), // others of the namespace count too
  };
}

export const views = { jobs, approvals, sources, job, approval };
