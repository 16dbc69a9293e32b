// DOM without a framework: h() makes nodes, update() changes present nodes in place, so that focus, open dialogs and
// half-made input survive a live change.

/** @typedef {import("../types.d.ts").Child} Child */
/** @typedef {Record<string, any>} Props */

const HANDLERS = ["onclick", "onsubmit", "oninput", "onchange", "onkeydown", "ontoggle", "onclose", "oncancel"];

/**
 * An element. Text is always text: no code here parses markup.
 * `class`, `key` and attributes by name; `true` sets an attribute, `false` and null leave it out; `on...` are handlers.
 * @template {string} K
 * @param {K} tag
 * @param {Props} [props]
 * @param {...Child} children
 * @returns {K extends keyof HTMLElementTagNameMap ? HTMLElementTagNameMap[K] : HTMLElement}
 */
export function h(tag, props = {}, ...children) {
  const element = /** @type {any} */ (document.createElement(tag));
  for (const [name, value] of Object.entries(props)) {
    if (HANDLERS.includes(name)) element[name] = handler(value);
    else if (value === false || value == null) continue;
    else element.setAttribute(name === "key" ? "data-key" : name, value === true ? "" : String(value));
  }
  append(element, children);
  if (element instanceof HTMLSelectElement && props.value != null) element.value = String(props.value);
  return element;
}

/**
 * A handler without its return value: browsers read `false` as preventDefault, and a field would refuse every key.
 * @param {((event: Event) => unknown) | null | undefined} act
 */
function handler(act) {
  if (!act) return null;
  return (/** @type {Event} */ event) => {
    void act(event);
  };
}

/**
 * @param {Node} parent
 * @param {Child[]} children
 */
function append(parent, children) {
  for (const child of children) {
    if (Array.isArray(child)) append(parent, child);
    else if (child instanceof Node) parent.appendChild(child);
    else if (child !== null && child !== undefined && child !== false) parent.appendChild(new Text(String(child)));
  }
}

/**
 * Make `parent` hold these children, changing as little as possible.
 * @param {Element} parent
 * @param {...Child} children
 */
export function update(parent, ...children) {
  const wanted = document.createDocumentFragment();
  append(wanted, children);
  syncChildren(parent, wanted);
}

/** @type {WeakMap<Node, HTMLElement>} */
const STANDS_FOR = new WeakMap();

/**
 * A placeholder for an element that updates itself: update() leaves it unchanged if it is already on the page.
 * @param {HTMLElement} element with a key
 */
export function slot(element) {
  if (!element.isConnected) return element;
  const place = h(element.localName, { key: element.dataset.key, "data-slot": true });
  STANDS_FOR.set(place, element);
  return place;
}

/** Replace the slots in a new node by their elements. @param {Node} node */
function settle(node) {
  if (!(node instanceof Element)) return;
  for (const place of [node, ...node.querySelectorAll("[data-slot]")]) {
    const element = STANDS_FOR.get(place);
    if (element) place.replaceWith(element);
  }
}

/** @param {Node} node */
const keyOf = (node) => (node instanceof Element ? node.getAttribute("data-key") : null);

/** @param {Node} a @param {Node} b */
const alike = (a, b) => a.nodeName === b.nodeName && keyOf(a) === keyOf(b);

/** Whether a node is a button's failure, which stays until the next attempt. @param {Node | null} node */
const kept = (node) => node instanceof Element && node.classList.contains("failure");

/**
 * @param {Node} parent
 * @param {Node} wanted
 */
function syncChildren(parent, wanted) {
  let present = parent.firstChild;
  for (const next of [...wanted.childNodes]) {
    while (kept(present)) present = /** @type {ChildNode} */ (present).nextSibling;
    let match = present;
    // Removed or moved nodes may precede a keyed node; a node without a key must match in place.
    if (keyOf(next) !== null) while (match && !alike(match, next)) match = match.nextSibling;
    if (!match || !alike(match, next)) {
      parent.insertBefore(next, present);
      settle(next);
      continue;
    }
    while (present !== match) {
      const gone = /** @type {ChildNode} */ (present);
      present = gone.nextSibling;
      if (!kept(gone)) gone.remove();
    }
    present = match.nextSibling;
    sync(match, next);
  }
  while (present) {
    const gone = present;
    present = gone.nextSibling;
    if (!kept(gone)) gone.remove();
  }
}

/**
 * @param {Node} present
 * @param {Node} wanted
 */
function sync(present, wanted) {
  if (!(present instanceof HTMLElement) || !(wanted instanceof HTMLElement)) {
    if (present instanceof Text) {
      if (present.data !== wanted.textContent) present.data = wanted.textContent ?? "";
    } else if (!present.isEqualNode(wanted)) {
      /** @type {ChildNode} */ (present).replaceWith(wanted);
    }
    return;
  }
  // The slot's element is already on the page and updates itself.
  if (wanted.hasAttribute("data-slot")) return;
  for (const { name, value } of wanted.attributes) {
    if (present.getAttribute(name) !== value) present.setAttribute(name, value);
  }
  for (const { name } of [...present.attributes]) {
    // `open` is the reader's choice, and a busy button stays disabled until its work is done.
    const own = name === "open" || name === "data-busy" || (name === "disabled" && present.hasAttribute("data-busy"));
    if (!own && !wanted.hasAttribute(name)) present.removeAttribute(name);
  }
  for (const name of HANDLERS) /** @type {any} */ (present)[name] = /** @type {any} */ (wanted)[name];
  // A custom element updates its own content.
  if (!present.nodeName.includes("-")) syncChildren(present, wanted);
}

/**
 * Say something to screen readers, politely. The same sentence twice in a row is said once.
 * @param {string} sentence
 */
export function announce(sentence) {
  const region = document.getElementById("announcer");
  if (region && region.textContent !== sentence) region.textContent = sentence;
}
