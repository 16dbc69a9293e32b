// A member's values: as a list, as a form, and read from a form.

import { h } from "./dom.js";
import { field, limit, showValidity, status } from "./look.js";
import { fieldName, fullName, shown } from "./words.js";

/** @typedef {import("../types.d.ts").Member} Member */
/** @typedef {import("../types.d.ts").MemberValues} MemberValues */

/** @type {(keyof MemberValues)[]} */
export const FIELDS = ["first_name", "last_name", "email", "phone", "address", "birthdate", "gender", "child"];

/**
 * A member's name among others, with the first value that tells namesakes apart, else a number.
 * @template {MemberValues} T
 * @param {T} member one of `members`
 * @param {T[]} members each of them once
 */
export function nameAmong(member, members) {
  const name = fullName(member);
  const twins = members.filter((other) => fullName(other) === name);
  if (twins.length < 2) return name;
  const telling = FIELDS.find((field) => shown(member[field]) && new Set(twins.map((twin) => shown(twin[field]))).size === twins.length);
  return telling ? `${name}, ${shown(member[telling])}` : `${name}, number ${twins.indexOf(member) + 1}`;
}

/** @param {MemberValues} values */
export const valuesOf = (values) =>
  h("dl", { class: "facts" }, ...FIELDS.flatMap((name) => [h("dt", {}, fieldName(name)), h("dd", {}, shown(values[name]) || "—")]));

/**
 * @param {{ link: { state: string, merged_with?: string | null } | null, active?: boolean, kept_out?: boolean }} record
 * @param {string} [without] words for a record without a link
 */
export function linkStatus(record, without = "Only here") {
  if (record.kept_out) return status("calm", "Kept out of the sync");
  if (record.active === false) return status("calm", "Inactive");
  if (!record.link) return status("calm", without);
  return record.link.state === "gone"
    ? status("warn", record.link.merged_with ? "Merged in Planning Center" : "Gone in Planning Center")
    : status("good", "Linked", { icon: "link" });
}

/** @type {[string, string, number][]} */
const ADDRESS = [
  ["street_line_1", "Street", 200],
  ["street_line_2", "Street, second line", 200],
  ["city", "City", 100],
  ["state", "State", 100],
  ["zip", "ZIP code", 30],
];

const MOST_OF_NAME = 100;

/** Attributes of a name field, which refuses spaces alone. */
export const WRITTEN = { pattern: ".*\\S.*", title: "A name has at least one letter" };

const COUNTRY = "Two letters, such as US. Empty means your church's own.";

/** @param {HTMLFieldSetElement} address */
function checkCountry(address) {
  const inputs = [...address.querySelectorAll("input")];
  const country = /** @type {HTMLInputElement} */ (inputs.pop());
  const code = country.value.trim();
  country.setCustomValidity(
    code && !/^[a-z]{2}$/i.test(code)
      ? "Two letters, such as US."
      : code && !inputs.some(({ value }) => value.trim())
        ? "A country alone is not kept: fill in the address too, or leave this empty."
        : "",
  );
  showValidity(country, COUNTRY);
}

/**
 * An address with one line per street field: further lines move into the second field.
 * @param {import("../types.d.ts").Address | null | undefined} address
 */
function inLines(address) {
  if (!address) return null;
  const [first = "", ...rest] = address.street_line_1.split(/\s*[\r\n]+\s*/).filter(Boolean);
  return { ...address, street_line_1: first, street_line_2: [...rest, address.street_line_2].filter(Boolean).join(", ") };
}

const NAMES = "One of the two names may be empty.";

/** @param {HTMLElement} names the two fields */
function checkNames(names) {
  const [first, last] = names.querySelectorAll("input");
  if (!first || !last) return;
  limit(first, MOST_OF_NAME);
  if (!first.value.trim() && !last.value.trim()) first.setCustomValidity("Give a first name or a last name.");
}

/** @param {MemberValues | null} values */
export function memberFields(values) {
  const address = inLines(values?.address);
  // A person from Planning Center may lack both names; their other fields must stay editable.
  const required = !values || Boolean(values.first_name || values.last_name);
  const names = h(
    "div",
    {
      class: "fields",
      oninput: () => {
        if (required) checkNames(names);
        showValidity(/** @type {HTMLInputElement} */ (names.querySelector("input")), NAMES);
      },
    },
    field("First name", "first_name", { value: values?.first_name, most: MOST_OF_NAME, hint: NAMES }),
    field("Last name", "last_name", { value: values?.last_name, most: MOST_OF_NAME }),
  );
  if (required) checkNames(names);
  return [
    names,
    h(
      "div",
      { class: "fields" },
      field("Email", "email", { value: values?.email, type: "email" }),
      field("Phone", "phone", { value: values?.phone, type: "tel", most: 50 }),
      field("Birthdate", "birthdate", { value: values?.birthdate, type: "date", max: "9999-12-31" }),
      field("Gender", "gender", { value: values?.gender, options: [["", "Not given"], ["Female", "Female"], ["Male", "Male"]] }),
    ),
    h(
      "div",
      { class: "choice" },
      h("input", { type: "checkbox", name: "child", id: "f-child", checked: values?.child }),
      h("label", { for: "f-child" }, "Child"),
    ),
    h(
      "fieldset",
      {
        class: "stack tight",
        oninput: (/** @type {Event} */ event) => checkCountry(/** @type {HTMLFieldSetElement} */ (event.currentTarget)),
      },
      h("legend", {}, "Address"),
      h(
        "div",
        { class: "fields" },
        ...ADDRESS.map(([name, label, most]) =>
          field(label, `address.${name}`, { value: address?.[/** @type {"city"} */ (name)], most }),
        ),
        field("Country code", "address.country_code", { value: address?.country_code, hint: COUNTRY }),
      ),
    ),
  ];
}

/**
 * The form's values for the API; empty text becomes null.
 * @param {HTMLFormElement} form
 */
export function readMember(form) {
  const data = new FormData(form);
  /** @param {string} name */
  const text = (name) => String(data.get(name) ?? "").trim();
  const address = Object.fromEntries(
    [...ADDRESS.map(([name]) => name), "country_code"].map((name) => [name, text(`address.${name}`)]),
  );
  address.country_code = (address.country_code ?? "").toUpperCase();
  return {
    first_name: text("first_name"),
    last_name: text("last_name"),
    email: text("email") || null,
    phone: text("phone") || null,
    birthdate: text("birthdate") || null,
    gender: text("gender") || null,
    child: data.has("child"),
    address: Object.values(address).some(Boolean) ? address : null,
  };
}

/**
 * Only the fields that differ.
 * @param {Record<string, unknown>} next
 * @param {Record<string, unknown>} before
 */
export function differing(next, before) {
  return Object.fromEntries(
    Object.entries(next).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name] ?? null)),
  );
}
