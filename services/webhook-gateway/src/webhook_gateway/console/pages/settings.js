// Settings of the People sync.

import { get } from "../api.js";
import { h } from "../parts/dom.js";
import { field, heading } from "../parts/look.js";
import { settingsForm } from "../parts/settings_form.js";

/** @typedef {import("../types.d.ts").PeopleSettings} PeopleSettings */

/** @param {import("../app.js").Context} context */
export async function show(context) {
  const { main, signal, admin } = context;
  /** @type {PeopleSettings} */
  const settings = await get("/people/settings", undefined, signal);
  const disabled = !admin;

  /** @param {string} name @param {string} value @param {string} title @param {string} hint */
  const radio = (name, value, title, hint) =>
    h(
      "div",
      { class: "choice" },
      h("input", { type: "radio", name, id: `${name}-${value}`, value, disabled, checked: settings.first_match === value, "aria-describedby": `${name}-${value}-hint` }),
      h("label", { for: `${name}-${value}` }, title),
      h("span", { class: "hint quiet small", id: `${name}-${value}-hint` }, hint),
    );
  /** @param {"merge_different_fields" | "inactivate_deleted"} name @param {string} title @param {string} hint */
  const check = (name, title, hint) =>
    h(
      "div",
      { class: "choice" },
      h("input", { type: "checkbox", name, id: name, disabled, checked: settings[name], "aria-describedby": `${name}-hint` }),
      h("label", { for: name }, title),
      h("span", { class: "hint quiet small", id: `${name}-hint` }, hint),
    );

  /** @param {FormData} data */
  const read = (data) => ({
    ...(data.has("first_match") ? { first_match: data.get("first_match") } : {}),
    merge_different_fields: data.has("merge_different_fields"),
    threshold_percent: Number(data.get("threshold_percent")),
    threshold_minimum: Number(data.get("threshold_minimum")),
    schedule_hours: Number(data.get("schedule_hours")),
    inactivate_deleted: data.has("inactivate_deleted"),
  });
  const unchosen = h("p", { class: "quiet small", hidden: settings.first_match !== null }, "Not chosen yet: the first sync that finds different details asks you, with examples.");
  const fields = [
    h(
      "fieldset",
      { class: "stack tight" },
      h("legend", {}, "When the same person is found on both sides for the first time, with different details"),
      radio("first_match", "planning_center", "Planning Center's value", "What is replaced here stays in the record's history and can be undone."),
      radio("first_match", "ask", "Ask me", "Each difference becomes a conflict. Nothing is overwritten on either side."),
      radio("first_match", "ours", "Keep ours", "Values here replace those in Planning Center."),
      unchosen,
    ),
    h(
      "fieldset",
      { class: "stack tight" },
      h("legend", {}, "When both sides changed"),
      check("merge_different_fields", "Merge edits to different fields", "Only fields that were changed on both sides become a conflict."),
    ),
    h(
      "fieldset",
      { class: "stack tight" },
      h("legend", {}, "Ask before a sync that changes a lot"),
      h(
        "div",
        { class: "fields" },
        field("Percent of linked records", "threshold_percent", { type: "number", min: 1, max: 100, required: true, value: settings.threshold_percent, disabled }),
        field("And at least this many records", "threshold_minimum", { type: "number", min: 1, max: 100000, required: true, value: settings.threshold_minimum, disabled }),
      ),
    ),
    h(
      "fieldset",
      { class: "stack tight" },
      h("legend", {}, "Schedule"),
      field("Hours between syncs of changes", "schedule_hours", { type: "number", min: 1, max: 168, required: true, value: settings.schedule_hours, disabled }),
    ),
    h(
      "fieldset",
      { class: "stack tight" },
      h("legend", {}, "When a person is deleted here"),
      check("inactivate_deleted", "Make the person inactive in Planning Center", "Otherwise nothing changes there. Nobody is ever deleted in Planning Center."),
    ),
  ];
  main.append(
    heading("Settings of the People sync", h("a", { href: "/integrations" }, "Integrations")),
    settingsForm(context, {
      path: "/people/settings",
      fields,
      read,
      saved: "Saved. The next sync uses these settings.",
      filled: (/** @type {PeopleSettings} */ { first_match }) => (unchosen.hidden = first_match !== null),
    }),
  );
}
