// The console: frame, routes and session. Each page is a module, loaded when first opened.

import { get, onNetwork, onSessionEnd, search } from "./api.js";
import * as live from "./live.js";
import { action, ask, heading, icon, notice, run } from "./parts/look.js";
import { announce, h, update } from "./parts/dom.js";
import { Problem, sentenceOf } from "./parts/problem.js";
import { number } from "./parts/words.js";
import * as session from "./session.js";

/** @typedef {import("./types.d.ts").UserIdentity} UserIdentity */
/**
 * Arguments of a page.
 * @typedef {{
 *   main: HTMLElement,
 *   id: string,
 *   query: URLSearchParams,
 *   signal: AbortSignal,
 *   user: UserIdentity,
 *   admin: boolean,
 *   planningCenter: string,
 *   go: (address: string, options?: { replace?: boolean }) => void,
 *   here: (changes: import("./api.js").Query) => string,
 *   note: (changes: import("./api.js").Query) => void,
 *   keep: (unsaved: () => boolean) => void,
 *   absent: (error: unknown) => never,
 * }} Context `planningCenter`: base of Planning Center's own pages; `note` changes the address without navigating; `keep` guards unsaved input;
 *   `absent` replaces the page by a notice that its record does not exist, and rethrows other errors
 */
/** @typedef {{ show: (context: Context) => Promise<unknown> | unknown }} Page */

/** @type {[pattern: RegExp, entry: string, title: string, read: () => Promise<Page>][]} */
const PAGES = [
  [/^\/(?:integrations)?$/, "/integrations", "Integrations", () => import("./pages/integrations.js")],
  [/^\/runs$/, "/integrations", "Sync history", () => import("./pages/runs.js")],
  [/^\/runs\/([^/]+)$/, "/integrations", "Sync", () => import("./pages/run.js")],
  [/^\/proof$/, "/integrations", "Proof of sync", () => import("./pages/proof.js")],
  [/^\/settings$/, "/integrations", "Settings", () => import("./pages/settings.js")],
  [/^\/settings\/calendar$/, "/integrations", "Calendar settings", () => import("./pages/calendar_settings.js")],
  [/^\/people$/, "/people", "People", () => import("./pages/people.js")],
  [/^\/people\/erased$/, "/people", "Erased people", () => import("./pages/erased.js")],
  [/^\/people\/([^/]+)$/, "/people", "Person", () => import("./pages/member.js")],
  [/^\/held$/, "/people", "Held matches", () => import("./pages/held.js")],
  [/^\/families$/, "/families", "Families", () => import("./pages/families.js")],
  [/^\/families\/([^/]+)$/, "/families", "Family", () => import("./pages/family.js")],
  [/^\/conflicts$/, "/conflicts", "Conflicts", () => import("./pages/conflicts.js")],
  [/^\/conflicts\/rules$/, "/conflicts", "Rules", () => import("./pages/rules.js")],
  [/^\/conflicts\/rules\/new$/, "/conflicts", "Rule", () => import("./pages/rule.js")],
  [/^\/events$/, "/events", "Events", () => import("./pages/events.js")],
  [/^\/events\/suggestions$/, "/events", "Suggested links", () => import("./pages/suggestions.js")],
  [/^\/events\/syncs$/, "/events", "Syncs of linked events", () => import("./pages/event_runs.js")],
  [/^\/events\/syncs\/([^/]+)$/, "/events", "Sync of linked events", () => import("./pages/event_run.js")],
  [/^\/events\/([^/]+)\/link$/, "/events", "Link an event", () => import("./pages/link.js")],
  [/^\/events\/([^/]+)$/, "/events", "Event", () => import("./pages/event.js")],
  [/^\/activity$/, "/activity", "Activity", () => import("./pages/activity.js")],
  [/^\/activity\/settings$/, "/activity", "Settings of the log", () => import("./pages/activity_settings.js")],
  [/^\/activity\/deliveries\/([^/]+)$/, "/activity", "Message", () => import("./pages/delivery.js")],
];
const RAIL = [
  ["/integrations", "Integrations", "plug"],
  ["/people", "People", "person"],
  ["/families", "Families", "family"],
  ["/conflicts", "Conflicts", "split"],
  ["/events", "Events", "calendar"],
  ["/activity", "Activity", "list"],
];
const PRODUCT = "Planning Center sync";
/** Titles of pages about one record, until its name is known. */
const RECORDS = ["Person", "Family", "Event"];
/** Pages about a record that their titles do not name. @type {Record<string, string>} */
const ABOUT = { "Link an event": "event", "Sync of linked events": "sync" };

const frame = /** @type {HTMLElement} */ (document.getElementById("frame"));
const main = h("main", { id: "main", tabindex: "-1" });
const nav = h("nav", { class: "rail", "aria-label": "Main" });
/** @type {UserIdentity} */
let user;
let planningCenter = "";
let conflicts = 0;
let entry = "";
let leaving = new AbortController();
let unsaved = () => false;
/** The address of the open page; after Back, `location` already has the next one. */
let shown = "";

/** @param {string} part of an address; null if it is none */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return null;
  }
}

/** @param {string} address */
async function open(address, focus = true) {
  const { pathname, searchParams: query } = new URL(address, location.origin);
  leaving.abort();
  leaving = new AbortController();
  shown = address;
  unsaved = () => false;
  const { signal } = leaving;
  const found = PAGES.find(([pattern]) => pattern.test(pathname));
  entry = found?.[1] ?? "";
  showRail();
  main.replaceChildren();
  document.getElementById("person-menu")?.hidePopover();
  // A dialog of the former page ends here; the session's dialog opens again.
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
  const id = found && decoded(found[0].exec(pathname)?.[1] ?? "");
  if (!found || id === null) {
    main.append(
      h("h1", { tabindex: "-1" }, "There is no such page"),
      h("p", {}, h("a", { href: "/integrations" }, "Go to Integrations")),
    );
    return;
  }
  const [, , title, read] = found;
  document.title = `${title} · ${PRODUCT}`;
  /** @param {import("./api.js").Query} changes */
  const here = (changes) => pathname + search({ ...Object.fromEntries(query), ...changes });
  /** @type {Context["absent"]} */
  const absent = (error) => {
    if (!signal.aborted && error instanceof Problem && error.status === 404) {
      leaving.abort();
      showAbsent(title, entry);
    }
    throw error;
  };
  try {
    const page = await read().catch(() => {
      throw new Problem("This page can't be read from the server right now. What was saved stays as it is.");
    });
    if (signal.aborted) return;
    await page.show({
      main,
      id: id ?? "",
      query,
      signal,
      user,
      planningCenter,
      admin: user.roles.includes("admin"),
      go,
      here,
      note: (changes) => {
        for (const [name, value] of Object.entries(changes)) {
          if (value === null || value === undefined || value === "") query.delete(name);
          else query.set(name, String(value));
        }
        if (signal.aborted) return;
        history.replaceState(history.state, "", here({}));
        shown = location.href;
      },
      keep: (ask) => (unsaved = ask),
      absent,
    });
  } catch (error) {
    if (signal.aborted) return;
    if (!main.querySelector("h1")) main.prepend(heading(title));
    main.append(notice("bad", h("p", {}, sentenceOf(error)), h("div", { class: "row" }, action("Try again", readAgain))));
    const retry = () => onNetwork(() => void readAgain().catch(retry), signal);
    if (error instanceof Problem && error.status === 0) retry();
  }
  if (signal.aborted) return;
  // The focus stays with a reader who began to type during the load.
  if (focus && !main.contains(document.activeElement)) main.querySelector("h1")?.focus({ preventScroll: true });
  void named(title, signal).then((name) => announce(name));
  scrollBack(history.state?.scroll ?? 0, signal);
}

/** Milliseconds that reading a page's record usually takes. */
const SOON = 1500;

/**
 * The page's title; of a record its name, once known.
 * @param {string} title
 * @param {AbortSignal} signal
 * @returns {Promise<string>}
 */
function named(title, signal) {
  const heading = main.querySelector("h1");
  if (!heading || heading.textContent !== title || !RECORDS.includes(title)) return Promise.resolve(heading?.textContent || title);
  return new Promise((resolve) => {
    const done = () => {
      observer.disconnect();
      if (!signal.aborted) resolve(heading.textContent || title);
    };
    const observer = new MutationObserver(done);
    observer.observe(heading, { childList: true, characterData: true, subtree: true });
    setTimeout(done, SOON);
  });
}

/**
 * Restore the scroll position once the page is high enough, unless the reader scrolls first.
 * @param {number} top
 * @param {AbortSignal} signal
 */
function scrollBack(top, signal) {
  scrollTo(0, top);
  if (top === 0 || Math.abs(scrollY - top) < 2) return;
  const over = new AbortController();
  const grown = new ResizeObserver(() => {
    scrollTo(0, top);
    if (Math.abs(scrollY - top) < 2) over.abort();
  });
  over.signal.addEventListener("abort", () => grown.disconnect());
  signal.addEventListener("abort", () => over.abort(), { signal: over.signal });
  for (const act of ["wheel", "keydown", "pointerdown", "touchstart"]) addEventListener(act, () => over.abort(), { signal: over.signal, passive: true });
  grown.observe(main);
}

/** Reload the document once the server answers: browsers may cache a module's failed load for the document's lifetime. */
async function readAgain() {
  await get("/me");
  location.reload();
}

/**
 * @param {string} title of the page
 * @param {string} above the address of the list
 */
function showAbsent(title, above) {
  const list = RAIL.find(([address]) => address === above)?.[1];
  main.replaceChildren(
    heading(`There is no such ${(ABOUT[title] ?? title).toLowerCase()}`),
    h("p", {}, "It was deleted, or the address is not complete. Nothing was changed."),
    h("p", {}, h("a", { href: title === "Sync" ? "/runs" : above }, title === "Sync" ? "See every sync in the sync history" : `Go to ${list}`)),
  );
  main.querySelector("h1")?.focus({ preventScroll: true });
  announce(main.querySelector("h1")?.textContent ?? "");
}

const mayLeave = () => !unsaved() || confirm("What you typed is not saved. Leave without saving it?");

/** @param {string} address */
function go(address, { replace = false } = {}) {
  if (!mayLeave()) return;
  if (!replace) history.replaceState({ scroll: scrollY }, "");
  history[replace ? "replaceState" : "pushState"]({}, "", address);
  void open(address);
}

function showRail() {
  const links = RAIL.map(([address, name, image]) =>
    h(
      "li",
      {},
      h(
        "a",
        { href: address, "aria-current": address === entry && "page" },
        icon(String(image)),
        h("span", {}, name),
        address === "/conflicts" && conflicts > 0
          ? h("span", { class: "badge" }, number(conflicts), h("span", { class: "hidden-visually" }, " open"))
          : null,
      ),
    ),
  );
  update(nav, h("ul", { role: "list" }, ...links));
}

async function countConflicts() {
  try {
    conflicts = (await get("/conflicts/count")).open;
    showRail();
  } catch {
    // The Conflicts page explains the error; a badge that cannot be read stays unchanged.
  }
}

/** @type {Promise<void> | undefined} */
let asking;

/** Ask for a new sign-in in place, and resolve once the person is signed in again. */
function signInAgain() {
  asking ??= (async () => {
    while (!session.current()) {
      await ask("Sign in again", (dialog) => {
        dialog.oncancel = (event) => event.preventDefault();
        return [
          h("p", {}, "Your session has ended. This page stays as it is, with everything you typed."),
          h(
            "div",
            { class: "dialog-actions" },
            action("Sign in", () => session.signInAgain((now) => (isSame(now) ? dialog.close() : startOver())), {
              class: "primary",
            }),
          ),
        ];
      });
    }
  })().finally(() => (asking = undefined));
  return asking;
}

/** @param {UserIdentity} now */
const isSame = (now) => now.user_id === user.user_id && now.organization_id === user.organization_id;

/** Leave the page after another person signed in: no shown or typed data may reach their church. */
function startOver() {
  unsaved = () => false;
  location.replace("/");
}

function showFrame() {
  const menu = h(
    "div",
    { id: "person-menu", class: "menu", popover: "auto" },
    h("strong", {}, user.name),
    user.email && h("span", { class: "quiet small" }, user.email),
    h("span", { class: "quiet small" }, user.roles.includes("admin") ? "Administrator" : "Staff"),
    h("button", { type: "button", onclick: () => session.signOut() }, "Sign out"),
  );
  menu.addEventListener("focusout", ({ relatedTarget }) => {
    if (relatedTarget instanceof Node && !menu.contains(relatedTarget)) menu.hidePopover();
  });
  const connection = h("p", { class: "small quiet", role: "status", hidden: true }, "Live updates are off; reconnecting.");
  frame.replaceChildren(
    h(
      "header",
      { class: "top" },
      h("a", { class: "brand", href: "/integrations" }, h("img", { src: "/style/icon.svg", alt: "" }), h("span", {}, PRODUCT)),
      h("span", { class: "church" }, user.organization_name),
      connection,
      h(
        "button",
        { type: "button", class: "person row", popovertarget: "person-menu", "aria-label": `Signed in as ${user.name}` },
        icon("person"),
        h("span", {}, user.name),
      ),
      menu,
    ),
    h("div", { class: "columns" }, nav, main),
  );
  return (/** @type {boolean} */ connected) => (connection.hidden = connected);
}

/** @param {string} [sentence] */
function showWelcome(sentence) {
  document.title = `Sign in · ${PRODUCT}`;
  const row = h("div", { class: "row" });
  row.append(
    h("button", { type: "button", class: "primary", onclick: () => run(row, session.signIn) }, "Sign in"),
  );
  frame.replaceChildren(
    h(
      "main",
      { id: "main", class: "welcome" },
      h(
        "div",
        { class: "card" },
        h("h1", {}, PRODUCT),
        sentence ? notice("warn", h("p", {}, sentence)) : null,
        h("p", {}, "Keeps your church's members and families in sync with Planning Center. Sign in to go on."),
        row,
      ),
    ),
  );
}

/** The signed-in person; while the server cannot be reached, retries until it can. @returns {Promise<import("./types.d.ts").Me>} */
async function whoIsHere() {
  for (;;) {
    try {
      return await get("/me");
    } catch (error) {
      const away = error instanceof Problem && (error.status === 0 || error.status >= 500);
      if (!away) throw error;
      document.title = PRODUCT;
      update(
        frame,
        h("main", { id: "main", class: "welcome" }, h("div", { class: "card" }, h("h1", {}, PRODUCT), notice("bad", h("p", {}, sentenceOf(error)), h("p", {}, "This page goes on by itself as soon as it can.")))),
      );
      await new Promise((resolve) => onNetwork(() => resolve(undefined), new AbortController().signal));
    }
  }
}

/** @param {MouseEvent} event */
function follow(event) {
  const link = event.target instanceof Element ? event.target.closest("a[href]") : null;
  if (!(link instanceof HTMLAnchorElement) || link.origin !== location.origin || link.target) return;
  if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  if (link.hash && link.pathname === location.pathname) return;
  event.preventDefault();
  go(link.href);
}

async function start() {
  if (session.returning()) {
    try {
      const back = await session.finish();
      if (back === null) {
        frame.replaceChildren(h("main", { class: "welcome" }, h("p", {}, "You are signed in. Close this window.")));
        return;
      }
      history.replaceState({}, "", back);
    } catch (error) {
      return showWelcome(sentenceOf(error));
    }
  }
  if (location.pathname === "/oauth/callback") {
    // The address holds a one-time code: remove it before any other step.
    sessionStorage.setItem("connecting", location.search);
    history.replaceState({}, "", "/integrations");
  }
  await session.share();
  if (!session.current()) {
    return showWelcome(session.hadSession() ? "Your session has ended. Sign in again to go on." : undefined);
  }
  onSessionEnd(signInAgain);
  try {
    ({ user, planning_center_url: planningCenter } = await whoIsHere());
  } catch (error) {
    return showWelcome(sentenceOf(error));
  }
  if (user.roles.length === 0) {
    return showWelcome(
      `${user.name} has no role here at ${user.organization_name}. Ask an administrator for one, then sign in again.`,
    );
  }
  const connected = showFrame();
  history.scrollRestoration = "manual";
  document.addEventListener("click", follow);
  addEventListener("popstate", () => {
    if (mayLeave()) void open(location.href);
    else history.pushState({}, "", shown);
  });
  addEventListener("beforeunload", (event) => {
    if (unsaved()) event.preventDefault();
  });
  addEventListener("pagehide", () => history.replaceState({ scroll: scrollY }, ""));
  void countConflicts();
  live.follow("/conflicts/count", countConflicts, new AbortController().signal);
  void live.start(connected);
  await open(location.href, false);
}

void start();
