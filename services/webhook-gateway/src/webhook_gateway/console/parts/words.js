// Numbers, times and names in the reader's words.

/** @typedef {import("../types.d.ts").Run} Run */
/** @typedef {import("../types.d.ts").Product} Product */

const NUMBERS = new Intl.NumberFormat();
const EXACT = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const LONG_DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "long" });
const RELATIVE = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

/** @type {Record<Product, string>} */
export const PRODUCTS = { people: "Planning Center People", calendar: "Planning Center Calendar" };

/** @param {number} value */
export const number = (value) => NUMBERS.format(value);

/** The sentence about people whom Planning Center may mail. @param {number} people at most */
export const mailed = (people) =>
  `Planning Center may mail up to ${people === 1 ? "1 person" : `${number(people)} people`}: they sign in there, and their email or phone would change.`;

/**
 * A number with its noun: "1 family", "1,204 families".
 * @param {number} value
 * @param {string} one
 * @param {string} [many]
 */
export const count = (value, one, many = `${one}s`) => `${number(value)} ${value === 1 ? one : many}`;

/** @param {string} text */
export const sentenceCase = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** @param {string} slug */
const unslug = (slug) => sentenceCase(slug.replace(/[_-]+/g, " "));

/** @param {string} iso */
export const exact = (iso) => EXACT.format(new Date(iso));

/**
 * A calendar day, which has no time zone.
 * @param {string} iso `YYYY-MM-DD`
 */
export const day = (iso) => DAY.format(new Date(`${iso}T12:00:00`));

/** The day of an instant: "3 March 2026". @param {string} iso */
export const longDay = (iso) => LONG_DAY.format(new Date(iso));

/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const UNITS = [
  ["year", 31_557_600],
  ["month", 2_629_800],
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];

/** @param {string} iso */
export function ago(iso) {
  const exactly = (new Date(iso).getTime() - Date.now()) / 1000;
  const seconds = Math.round(exactly / 60) * 60;
  for (const [unit, size] of UNITS) {
    if (Math.abs(seconds) >= size) return RELATIVE.format(Math.round(seconds / size), unit);
  }
  return exactly > 0 ? "in less than a minute" : "just now";
}

/** @param {number} seconds */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return count(whole, "second");
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.round((whole % 3600) / 60)} min`;
}

/**
 * The time left as an honest range: "2 to 3 minutes left".
 * @param {number} low seconds
 * @param {number} high seconds
 */
export function remaining(low, high) {
  if (high < 60) return "less than a minute left";
  const from = Math.max(1, Math.floor(low / 60));
  const to = Math.ceil(high / 60);
  return from === to ? `about ${count(to, "minute")} left` : `${from} to ${count(to, "minute")} left`;
}

/** @type {Record<string, string>} */
const FIELDS = {
  first_name: "First name",
  last_name: "Last name",
  birthdate: "Birthdate",
  gender: "Gender",
  child: "Child",
  email: "Email",
  phone: "Phone",
  address: "Address",
  name: "Name",
  member_ids: "Members",
  members: "Members",
  primary_contact_id: "Primary contact",
  primary_contact: "Primary contact",
  active: "Active",
  planning_center_id: "Planning Center ID",
  created: "Added from Planning Center, with the ID",
  create_again: "Create again in Planning Center",
  kept_out: "Kept out of the sync",
  joined: "Joined with",
  erased: "A person was erased",
  kept_two: "Said to be somebody else than",
  title: "Title",
  starts_at: "Starts",
  ends_at: "Ends",
  time_zone: "Time zone",
  location: "Where",
  description: "Description",
  recurrence: "Repeats",
  occurrence: "One occurrence",
  first_day: "First day",
  last_day: "Last day",
  times: "Dates",
  linked_to: "Linked with",
};

/** @param {string} field */
export const fieldName = (field) => FIELDS[field] ?? unslug(field);

/** Parts of an address in the order of an envelope; stored addresses have any order. */
const ADDRESS = ["street_line_1", "street_line_2", "city", "state", "zip", "country_code"];

/**
 * A field's value as text; empty for none.
 * @param {unknown} value
 * @returns {string}
 */
export function shown(value) {
  if (value === null || value === undefined || value === "") return "";
  if (typeof value === "boolean") return value ? "Yes" : "No";
  if (Array.isArray(value)) return value.map(shown).filter(Boolean).join(", ");
  if (typeof value === "object") return Object.values("street_line_1" in value ? ADDRESS.map((part) => /** @type {any} */ (value)[part]) : value).map(shown).filter(Boolean).join(", ");
  if (typeof value === "string" && /^\d{4}-\d{2}-\d{2}$/.test(value)) return day(value);
  return String(value);
}

/** @type {Record<string, string>} */
const PHASES = {
  pull: "From Planning Center",
  compare: "Compare",
  apply: "Change records here",
  undo: "Put back here",
  push: "To Planning Center",
  prove: "Name each difference",
  finish: "Finish",
};

/** The phases of a run in order, by its purpose. @type {Record<string, string[]>} */
const PHASES_OF = {
  proof: ["pull", "compare", "prove"],
  undo: ["compare", "undo", "push", "finish"],
};

/** @param {Run} run */
export const phasesOf = (run) => PHASES_OF[run.purpose] ?? ["pull", "compare", "apply", "push", "finish"];

/** @param {string} phase */
export const phaseName = (phase) => PHASES[phase] ?? unslug(phase);

/** @type {Record<string, string>} */
const OUTCOMES = {
  unchanged: "Unchanged",
  linked: "Linked",
  created_here: "Added here",
  updated_here: "Updated here",
  created_there: "Added in Planning Center",
  updated_there: "Updated in Planning Center",
  updated_both: "Updated on both sides",
  inactivated_there: "Made inactive in Planning Center",
  converged: "Conflicts that ended by themselves",
  merged: "Merged in Planning Center",
  conflict: "In conflict",
  held: "Held matches",
  gone: "Gone in Planning Center",
  kept_out: "Kept out of the sync",
  rejected: "Refused by Planning Center",
  later: "Waiting for your answer or the next sync",
  not_done: "Not done, the sync ended before",
  kept_different: "Kept different",
  waits_for_you: "Waiting for your answer",
  waits_for_sync: "Waiting for the next sync",
  refused: "Refused by Planning Center",
  not_read: "Not read completely",
  one_side: "On one side only",
  unexplained: "Different without a known reason",
  undone: "Put back",
  taken_back: "Deleted here",
  restored: "Here again",
  made_inactive: "Made inactive in Planning Center",
  left_out: "Left as they are",
  differs: "Different from Planning Center",
  missing: "Not shown by Planning Center",
  not_linked: "No longer linked",
};

/** Intended effects of a sync that asks first. @type {Record<string, string>} */
const INTENTIONS = {
  matched: "People found in both places",
  people_with_differences: "People whose details differ",
  differing_values: "Details that differ",
  families_with_differences: "Families whose name or primary contact differs",
  linked_records: "Linked records in all",
  created_here: "Would be added here",
  updated_here: "Would change here",
  created_there: "Would be added in Planning Center",
  updated_there: "Would change in Planning Center",
  updated_both: "Would change on both sides",
  inactivated_there: "Would become inactive in Planning Center",
  gone: "Would be marked as gone in Planning Center",
  linked: "Would be linked",
  conflict: "Would wait in conflict",
  converged: "Conflicts that would end by themselves",
  held: "Would be asked in Held matches",
  merged: "Would follow a merge in Planning Center",
  undone: "Would be put back",
  taken_back: "Would be deleted here",
  restored: "Would be here again",
  left_out: "Would stay as they are",
};

/** @param {string} name */
export const intention = (name) => INTENTIONS[name] ?? outcomeName(name);

/** Whether an outcome has a list; unchanged records have none. @param {string} outcome */
export const hasList = (outcome) => outcome in OUTCOMES && outcome !== "unchanged";

/** @param {string} outcome */
export const outcomeName = (outcome) => OUTCOMES[outcome] ?? unslug(outcome);

/** @type {Record<string, string>} */
const RUN_STATES = {
  queued: "Waiting to start",
  running: "Syncing",
  waiting: "Waiting",
  stopping: "Stopping",
  done: "Done",
  stopped: "Stopped",
  failed: "Failed",
};

/** @param {Run} run @param {boolean} admin who reads it */
export function runState(run, admin) {
  if (run.state === "waiting" && run.question) return admin ? "Waiting for your answer" : "Waiting for an administrator";
  if (run.state === "running" && writesNothing(run)) return "Comparing";
  if (run.state === "running" && run.purpose === "undo") return "Undoing";
  return RUN_STATES[run.state] ?? unslug(run.state);
}

/** Whether the run writes nothing in its present phase. @param {Run} run */
export const writesNothing = ({ purpose, progress }) =>
  purpose === "proof" || (purpose === "preview" && ["pull", "compare"].includes(progress.phase));

/** @type {Record<string, string>} */
const KINDS = { full: "Full sync", calendar: "All linked events" };

/** @param {Run} run */
export const runKind = (run) => purposeOf(run) ?? KINDS[run.kind] ?? "Changes only";

/** @param {Run} run */
export const runName = (run) => purposeOf(run) ?? "Sync";

/** Purposes of runs other than plain syncs. @type {Record<string, string>} */
const PURPOSES = { preview: "Preview", undo: "Undo", proof: "Comparison, writes nothing" };

/** An approved preview writes like any sync, so "Preview" would deny its changes. @param {Run} run */
const purposeOf = ({ purpose, answered }) =>
  purpose === "preview" && answered.some(({ question, answer }) => question === "plan" && answer !== "stop") ? "Previewed sync" : PURPOSES[purpose];

/** @param {Run} run */
export function runTrigger(run) {
  if (run.started_by_name) return run.started_by_name;
  /** @type {Record<string, string>} */
  const names = { schedule: "the schedule", connection: "connecting", person: "a person", held_match: "a held match" };
  return names[run.trigger] ?? run.trigger.replace(/[_-]+/g, " ");
}

/** @param {Run} run */
export const inProgress = (run) => ["queued", "running", "waiting", "stopping"].includes(run.state);

/** Maximum number of names in a sentence. */
const NAMED = 12;

/** "Ann, Bob and 3 more". @param {string[]} names */
export function listed(names) {
  if (names.length > NAMED) return `${names.slice(0, NAMED).join(", ")} and ${number(names.length - NAMED)} more`;
  return names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names.at(-1)}` : String(names[0] ?? "");
}

/** Answers to a run's questions, in words. @type {Record<string, string>} */
const REPLIES = {
  planning_center: "Planning Center's value",
  ask: "Ask me",
  ours: "Keep ours",
  approve: "Make these changes",
  continue: "Make these changes",
};

/** @type {Record<string, string>} */
const QUESTIONS = {
  first_match: "Which details should we keep?",
  threshold: "Should so much change?",
  plan: "Should these changes be made?",
  undo: "Should these changes be undone?",
};

/** @param {import("../types.d.ts").RunAnswer} answered @returns {[question: string, answer: string]} */
export const replyOf = ({ question, answer }) => [
  QUESTIONS[question] ?? unslug(question),
  answer === "stop" ? declining(question) : question === "undo" ? "Undo these changes" : (REPLIES[answer] ?? unslug(answer)),
];

/** The label of the answer that makes none of the changes. @param {string} question */
export const declining = (question) => (question === "plan" || question === "undo" ? "Discard" : "Stop");

/** Seconds that a run took, without its waits for a person. @param {Run} run */
export function tookSeconds({ started_at, finished_at, answered }) {
  if (!started_at || !finished_at) return null;
  const waited = answered.reduce((sum, one) => sum + Date.parse(one.answered_at) - Date.parse(one.asked_at), 0);
  return Math.max(0, Date.parse(finished_at) - Date.parse(started_at) - waited) / 1000;
}

/** @param {{ first_name: string, last_name: string }} person */
export const fullName = (person) => `${person.first_name} ${person.last_name}`.trim() || "No name";
