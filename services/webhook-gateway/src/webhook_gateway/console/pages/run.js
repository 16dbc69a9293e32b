// One sync: live progress, its question, its counts and the list behind each of them.

import { at, get, post } from "../api.js";
import { conflictsOf } from "../parts/choices.js";
import { h } from "../parts/dom.js";
import { downloads } from "../parts/download.js";
import { list } from "../parts/list.js";
import { action, announce, heading, run as work, when } from "../parts/look.js";
import { part } from "../parts/part.js";
import { Problem } from "../parts/problem.js";
import { changesOf, planOf } from "../parts/plan.js";
import { waitsForPlanningCenter, progressOf, runStatus } from "../parts/progress.js";
import { openThere } from "../parts/there.js";
import { undoOf } from "../parts/undo.js";
import {
  count,
  declining,
  duration,
  fieldName,
  hasList,
  inProgress,
  intention,
  mailed,
  number,
  outcomeName,
  phaseName,
  phasesOf,
  runKind,
  runName,
  runState,
  runTrigger,
  replyOf,
  shown,
  tookSeconds,
  writesNothing,
} from "../parts/words.js";

/** @typedef {import("../types.d.ts").Run} Run */
/** @typedef {import("../types.d.ts").RunItem} RunItem */
/** @typedef {import("../types.d.ts").RunQuestion} RunQuestion */
/** @typedef {import("../app.js").Context} Context */

/** @param {Context} context */
export async function show(context) {
  const { main, id, query, signal, admin, absent } = context;
  const asked = query.get("outcome");
  const outcome = asked && hasList(asked) ? asked : null;
  if (asked && !outcome) context.note({ outcome: null });
  let state = "";
  const planned = h("div", { class: "stack" });
  /** Digest of the plan on the page, or a mark that the plan is over. @type {string | null} */
  let digest = null;
  /** @param {Run} run */
  function showPlan(run) {
    const wanted = run.state === "waiting" && run.question ? (run.question.digest ?? null) : query.get("plan") && !inProgress(run) ? "over" : null;
    if (wanted === digest) return;
    digest = wanted;
    planned.replaceChildren(...(wanted ? [planOf(context, run)] : []));
  }
  /** @type {import("../parts/part.js").Part<Run>} */
  const page = part({
    signal,
    load: () => get(at`/people/runs/${id}`, undefined, signal).catch(absent),
    follows: ["/people/runs"],
    onFact: (fact, /** @type {Run} */ value) => {
      const run = /** @type {Run | undefined} */ (fact.body.run);
      if (!run || run.id !== id) return value;
      return run.version > value.version ? run : value;
    },
    render: (/** @type {Run} */ run) => {
      if (state && state !== run.state) announce(`Sync: ${runState(run, admin)}.`);
      if (state && state !== run.state) void ended.reload();
      state = run.state;
      showPlan(run);
      const title = main.querySelector("h1");
      if (title && title.textContent !== runName(run)) title.textContent = runName(run);
      return content(run, admin, outcome, page.show, context);
    },
  });
  /** Records refused by Planning Center; empty for most runs. */
  const ended = part({
    signal,
    skeleton: () => null,
    load: () => get(at`/people/runs/${id}/rejections`, undefined, signal),
    render: (/** @type {import("../types.d.ts").Page<import("../types.d.ts").RejectionGroup>} */ groups) => refused(groups.items),
  });
  main.append(heading("Sync", h("a", { href: "/runs" }, "Sync history")), page.element, planned, ended.element);
  if (outcome) {
    const items = list(context, {
      caption: outcomeName(outcome),
      columns: ["Name", "What", "What happened", "Planning Center"],
      noun: ["record", "records"],
      load: (after, limit) => get(at`/people/runs/${id}/items`, { after, limit, outcome }, signal),
      id: (/** @type {RunItem} */ item) => `${item.record_kind}:${item.record_id ?? item.pco_id}`,
      href: recordAddress,
      file: downloads(at`/people/runs/${id}/items.csv`, { outcome }),
      follows: ["/people/runs"],
      // The end of the run changes the list: records not carried out are in no outcome list before.
      onFact: (fact) => (fact.body.run?.id === id && !inProgress(fact.body.run) ? { id: "", item: null } : null),
      cells: (item) => [
        item.name || "No name",
        item.record_kind === "family" ? "Family" : "Person",
        item.sentence ?? outcomeName(item.outcome),
        openThere(context, item.record_kind === "family" ? "family" : "member", item.pco_id, item.name || "No name"),
      ],
      empty: () => h("p", {}, "No record of this sync has this outcome."),
    });
    main.append(
      h(
        "section",
        { class: "stack", "aria-labelledby": "behind" },
        h("div", { class: "row spread" }, h("h2", { id: "behind" }, outcomeName(outcome)), h("a", { href: at`/runs/${id}` }, "Close this list")),
        items.element,
      ),
    );
    await items.ready;
  }
}

/** The sentence about the work that a stop leaves. @param {Run} run */
function stopping(run) {
  if (run.purpose === "undo") return "What is put back stays, everything else is as it was.";
  return writesNothing(run)
    ? "Nothing has been written. The next one reads from the beginning."
    : "What is done stays, and is not done twice. The next sync reads from the beginning.";
}

/** Address of a row: the question to answer, if any, else the record. @param {RunItem} item */
function recordAddress(item) {
  if (item.outcome === "conflict" && item.record_id) return `/conflicts?record_id=${encodeURIComponent(item.record_id)}`;
  if (item.cause === "held" && item.record_id) return `/held?candidate=${encodeURIComponent(item.record_id)}`;
  // A held person has no record here yet.
  if (!item.record_id) return ["held", "waits_for_you"].includes(item.outcome) && item.pco_id ? `/held?pco_id=${encodeURIComponent(item.pco_id)}` : null;
  return item.record_kind === "family" ? at`/families/${item.record_id}` : at`/people/${item.record_id}`;
}

/**
 * @param {Run} run
 * @param {boolean} admin
 * @param {string | null} outcome
 * @param {(run: Run) => void} showRun
 * @param {Context} context
 */
function content(run, admin, outcome, showRun, context) {
  const going = inProgress(run);
  const counts = Object.entries(run.counts);
  return [
    h(
      "section",
      { key: "state", class: "card", "aria-label": "State" },
      h("div", { class: "row spread" }, runStatus(run, admin, true), h("span", { class: "quiet" }, runKind(run))),
      h("p", {}, "Started ", when(run.started_at ?? run.created_at), " by ", runTrigger(run), tookOf(run)),
      answersOf(run),
      run.message ? h("p", { key: "message" }, run.message) : null,
      going
        ? [
            h(
              "ol",
              { class: "phases", "aria-label": "Phases" },
              ...phasesOf(run).map((phase, position, order) =>
                h(
                  "li",
                  { "aria-current": phase === run.progress.phase && "step" },
                  order.indexOf(run.progress.phase) > position ? `${phaseName(phase)} ✓` : phaseName(phase),
                ),
              ),
            ),
            progressOf(run),
            waitsForPlanningCenter(run)
              ? h("p", { key: "reconnect" }, h("a", { href: "/integrations" }, "See the connection on the Integrations page"))
              : null,
          ]
        : h("p", { class: "quiet" }, `${count(run.progress.requests, "request")} to Planning Center`),
      going && admin && run.state !== "stopping" && (!run.question || run.question.kind === "first_match")
        ? h(
            "div",
            { key: "stop", class: "row" },
            action("Stop safely", async () => showRun(await post(at`/people/runs/${run.id}/stop`))),
            h("span", { class: "quiet small" }, stopping(run)),
          )
        : null,
      admin && !going && changedAnything(run)
        ? h(
            "div",
            { key: "undo", class: "row" },
            undoOf(context, run.purpose === "undo" ? "Undo this undo" : "Undo this sync", { run_id: run.id }),
            h("span", { class: "quiet small" }, "You see first what would be put back, here and in Planning Center."),
          )
        : null,
    ),
    run.question && run.state === "waiting"
      ? run.question.kind === "first_match"
        ? question(run, run.question, admin, showRun)
        : approval(run, run.question, admin, showRun)
      : null,
    !going && run.purpose !== "sync" && run.purpose !== "proof" && !context.query.get("plan")
      ? h("p", { key: "planned" }, h("a", { href: context.here({ plan: "all", outcome: null, rows: null }) }, "See what was planned, and what became of it"))
      : null,
    counts.length > 0
      ? h(
          "section",
          { key: "counts", class: "stack", "aria-label": "Counts by outcome" },
          h("h2", {}, going ? "So far" : (ENDED_BEFORE[run.state] ?? "Outcome")),
          run.purpose === "proof" ? h("p", {}, "This comparison wrote nothing, here or in Planning Center. ", h("a", { href: "/proof" }, "Proof of sync")) : null,
          h(
            "div",
            { class: "counts" },
            ...counts.map(([name, amount]) => {
              const content = [h("strong", {}, number(amount)), h("span", {}, outcomeName(name))];
              return hasList(name)
                ? h("a", { key: name, href: context.here({ outcome: name, rows: null }), "aria-current": name === outcome && "true" }, ...content)
                : h("div", { key: name }, ...content, h("span", { class: "quiet small" }, "As they were, so not listed"));
            }),
          ),
        )
      : null,
  ];
}

/** Outcomes that changed no value on either side. */
const NOTHING_CHANGED = ["unchanged", "converged", "conflict", "held", "gone", "merged", "rejected", "later", "not_done", "left_out", "kept_out"];

/** @param {Run} run */
const changedAnything = (run) => run.purpose !== "proof" && Object.entries(run.counts).some(([outcome, amount]) => amount > 0 && !NOTHING_CHANGED.includes(outcome));

/** Headings of a sync's counts when it did not finish. @type {Record<string, string>} */
const ENDED_BEFORE = { stopped: "Until it was stopped", failed: "Until it failed" };

/** @param {Run} run */
function tookOf(run) {
  const seconds = tookSeconds(run);
  if (seconds === null) return "";
  return `, took ${duration(seconds)}${run.answered.length > 0 ? ", without the time it waited for an answer" : ""}`;
}

/** The answers to the run's questions, with names. @param {Run} run */
const answersOf = ({ answered }) =>
  answered.length === 0
    ? null
    : h(
        "ul",
        { key: "answered", class: "plain-list", "aria-label": "Answers" },
        ...answered.map((one) => {
          const [asked, answer] = replyOf(one);
          return h("li", {}, `${asked} ${one.by_name ?? "Somebody"} answered: `, h("strong", {}, answer), ", ", when(one.answered_at), ".");
        }),
      );

/** @type {Record<string, [title: string, hint: string]>} */
const ANSWERS = {
  planning_center: ["Planning Center's value", "What is replaced here stays in the record's history and can be undone."],
  ask: ["Ask me", "Each difference becomes a conflict. Nothing is overwritten on either side."],
  ours: ["Keep ours", "Values here replace those in Planning Center."],
};

/** The button's verb by chosen answer. @type {Record<string, string>} */
const VERBS = {
  planning_center: "Keep Planning Center's values and go on",
  ask: "Go on, and ask me about each",
  ours: "Keep our values and go on",
};

/** @param {HTMLFormElement} form */
const chosen = (form) => String(new FormData(form).get("answer"));

/**
 * Answer a question. After a lost race the notice names the faster person and their answer, and links to it.
 * @param {Run} run
 * @param {Record<string, unknown>} body
 * @param {(run: Run) => void} showRun
 */
async function replyTo(run, body, showRun) {
  try {
    showRun(await post(at`/people/runs/${run.id}/answer`, body));
  } catch (error) {
    if (!(error instanceof Problem) || !["answered", "no-question"].includes(error.kind)) throw error;
    const said = new Problem(error.message, { status: error.status });
    said.remedy = action("Show the sync as it is now", async () => showRun(await get(at`/people/runs/${run.id}`)));
    throw said;
  }
}

/** Number of differing records: "6 people and 1 family have". @param {RunQuestion["counts"]} counts */
function different({ people_with_differences: people = 0, families_with_differences: families = 0 }) {
  const who = [people || !families ? count(people, "person", "people") : "", families ? count(families, "family", "families") : ""].filter(Boolean);
  return `${who.join(" and ")} ${people + families === 1 ? "has" : "have"}`;
}

/**
 * @param {Run} run
 * @param {RunQuestion} asked
 * @param {boolean} admin
 * @param {(run: Run) => void} showRun
 */
function question(run, asked, admin, showRun) {
  const { may_be_mailed = 0, ...counts } = asked.counts;
  const made = document.querySelector('#question ~ form [name="answer"]:checked');
  // A live update keeps the chosen answer and the button's verb.
  const half = made instanceof HTMLInputElement ? made.value : "planning_center";
  return h(
    "section",
    { key: `question-${asked.kind}`, class: "card", "aria-labelledby": "question" },
    h("h2", { id: "question" }, "Which details should we keep?"),
    h(
      "p",
      {},
      `${different(asked.counts)} different details here and in Planning Center. Where only one side has a value, the other gets it; this is about the rest. Nothing has been written yet.`,
    ),
    h("p", {}, "Your answer becomes the setting for people who match later. It can be changed in ", h("a", { href: "/settings" }, "Settings of the People sync"), "."),
    h(
      "dl",
      { class: "facts" },
      ...Object.entries(counts).flatMap(([name, amount]) => [h("dt", {}, intention(name)), h("dd", {}, number(amount))]),
    ),
    may_be_mailed ? h("p", {}, mailed(may_be_mailed), " If Planning Center's value wins, the fewest people are mailed.") : "",
    asked.examples.length > 0 ? examples(asked.examples) : null,
    admin
      ? h(
          "form",
          {
            class: "stack",
            onsubmit: (/** @type {SubmitEvent} */ event) => {
              event.preventDefault();
              const form = /** @type {HTMLFormElement} */ (event.currentTarget);
              const answer = chosen(form);
              void work(form, () => replyTo(run, { question: asked.kind, answer }, showRun));
            },
            onchange: (/** @type {Event} */ event) => {
              const form = /** @type {HTMLFormElement} */ (event.currentTarget);
              /** @type {HTMLElement} */ (form.querySelector("button.primary")).textContent = VERBS[chosen(form)] ?? "Go on";
            },
          },
          h(
            "fieldset",
            { class: "stack tight" },
            h("legend", {}, "Your answer"),
            ...asked.answers.map((answer) => {
              const [title, hint] = ANSWERS[answer] ?? [outcomeName(answer), ""];
              return h(
                "div",
                { class: "choice" },
                h("input", { type: "radio", name: "answer", id: `answer-${answer}`, value: answer, required: true, checked: answer === "planning_center", "aria-describedby": `answer-${answer}-hint` }),
                h("label", { for: `answer-${answer}` }, title),
                h("span", { class: "hint quiet small", id: `answer-${answer}-hint` }, hint),
              );
            }),
          ),
          h("div", { class: "row" }, h("button", { class: "primary" }, VERBS[half])),
        )
      : h("p", { class: "quiet" }, "Nothing is written until an administrator answers."),
    h("p", { class: "quiet" }, "The plan below shows what would happen with Planning Center's value."),
  );
}

/** Heading and explanation by kind of question. @type {Record<string, [title: string, text: string]>} */
const APPROVALS = {
  plan: ["Should these changes be made?", "This is everything that the sync would write. Nothing has been written yet. A record that changes before you agree is left out and named."],
  threshold: [
    "This sync would change a lot",
    "It would change more records than your settings allow without asking. Nothing has been written yet. A record that changes before you agree is left out and named.",
  ],
  undo: ["Should these changes be undone?", "Each field gets the value that it had before, here and in Planning Center. What somebody has edited since is left as it is and named below. Where Planning Center was edited after the last sync, only our side is put back, and you decide in Conflicts. Nothing has been written yet."],
};

/**
 * The approval of a plan.
 * @param {Run} run
 * @param {RunQuestion} asked
 * @param {boolean} admin
 * @param {(run: Run) => void} showRun
 */
function approval(run, asked, admin, showRun) {
  const [title, sentence] = APPROVALS[asked.kind] ?? ["Should these changes be made?", ""];
  const changes = changesOf(run);
  const limits = asked.threshold;
  const { conflict = 0, may_be_mailed = 0, linked_records = 0, created_there = 0, taken_back = 0 } = asked.counts;
  const go = asked.answers.find((answer) => answer !== "stop") ?? "approve";
  /** @param {string} answer @param {boolean} [inactivate] */
  const reply = (answer, inactivate = false) => replyTo(run, { question: asked.kind, answer, digest: asked.digest, inactivate }, showRun);
  /** Label of the undo's option to make people inactive whom the sync created there; empty without such people. */
  const inactive = run.purpose === "undo" && created_there > 0 ? `Make the ${count(created_there, "person", "people")} inactive in Planning Center` : "";
  return h(
    "section",
    { key: `question-${asked.kind}`, class: "card", "aria-labelledby": "question" },
    h("h2", { id: "question" }, title),
    h("p", {}, sentence),
    h("p", {}, h("strong", {}, changes === 0 ? (inactive ? "No value would be put back" : "Nothing would change") : `${count(changes, "record")} would change`), linked_records && !limits ? ` of ${count(linked_records, "linked record")}.` : "."),
    limits
      ? h("p", {}, `${number(limits.changed)} of ${count(limits.linked, "linked record")} would change, which is ${percent(limits.changed, limits.linked)}. `, `Your settings ask above ${limits.percent} % and from ${count(limits.minimum, "record")} on. `, h("a", { href: "/settings" }, "Settings"))
      : null,
    taken_back ? h("p", {}, `${count(taken_back, "person or family that was added here is", "people and families that were added here are")} deleted here.`) : null,
    conflict ? h("p", {}, `${count(conflict, "record")} would wait in conflict, as ${conflict === 1 ? "it is" : "they are"} on both sides, until you decide.`) : null,
    may_be_mailed ? h("p", {}, mailed(may_be_mailed)) : null,
    admin
      ? h(
          "form",
          {
            class: "stack",
            onsubmit: (/** @type {SubmitEvent} */ event) => {
              event.preventDefault();
              const form = /** @type {HTMLFormElement} */ (event.currentTarget);
              void work(form, () => reply(go, inactive ? changes === 0 || new FormData(form).has("inactivate") : false));
            },
          },
          inactive && changes > 0
            ? h(
                "div",
                { class: "choice" },
                h("input", { type: "checkbox", name: "inactivate", id: "inactivate" }),
                h("label", { for: "inactivate" }, `${inactive} whom the sync created there`),
              )
            : null,
          h(
            "div",
            { class: "row" },
            changes > 0
              ? h("button", { class: taken_back ? "dangerous" : "primary" }, asked.kind === "undo" ? `Undo ${these(changes)}` : `Make ${these(changes)}`)
              : inactive
                ? h("button", { class: "primary" }, inactive)
                : conflict
                  ? h("button", { class: "primary" }, `Open ${conflictsOf(conflict)} for an answer`)
                  : null,
            action(declining(asked.kind), () => reply("stop"), { name: asked.kind === "threshold" ? "Stop this sync" : "Discard this plan" }),
          ),
        )
      : h("p", { class: "quiet" }, "Nothing is written until an administrator approves it."),
  );
}

/** @param {number} part @param {number} whole */
const percent = (part, whole) => (whole === 0 ? "all of them" : `${number(Math.round((part / whole) * 1000) / 10)} %`);

/** "this change", "these 12 changes". @param {number} changes */
const these = (changes) => (changes === 1 ? "this change" : `these ${count(changes, "change")}`);

/** @param {RunQuestion["examples"]} given of fields with two values */
function examples(given) {
  const columns = ["Name", "Field", "Here", "Planning Center"];
  return h(
    "table",
    { class: "table fold" },
    h("caption", { class: "hidden-visually" }, "Examples"),
    h("thead", {}, h("tr", {}, ...columns.map((name) => h("th", { scope: "col" }, name)))),
    h(
      "tbody",
      {},
      ...given.map((example) => {
        const cells = [fieldName(example.field ?? ""), shown(example.here) || "empty", shown(example.planning_center) || "empty"];
        return h(
          "tr",
          {},
          h("th", { scope: "row" }, example.name || "No name"),
          ...cells.map((cell, position) => h("td", { "data-label": columns[position + 1] }, cell)),
        );
      }),
    ),
  );
}

/** @param {import("../types.d.ts").RejectionGroup[]} groups */
function refused(groups) {
  if (groups.length === 0) return null;
  return h(
    "section",
    { class: "stack", "aria-labelledby": "refused" },
    h("h2", { id: "refused" }, "Refused by Planning Center"),
    h("p", {}, "Planning Center did not store these values. The next sync tries again."),
    ...groups.map((group) =>
      h(
        "details",
        { key: group.cause, class: "card" },
        h("summary", {}, `${group.sentence} (${count(group.count, "record")})`),
        h(
          "ul",
          { class: "bullets" },
          ...group.examples.map((item) => {
            const address = recordAddress(item);
            return h("li", {}, address ? h("a", { href: address }, item.name || "No name") : item.name, item.sentence && `: ${item.sentence}`);
          }),
        ),
      ),
    ),
  );
}

