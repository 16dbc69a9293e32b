// DOM without a framework: h() makes nodes, update() changes what is on the page in place, so that focus, open
// dialogs and half-made input survive a live change.

/** @typedef {import("../types.d.ts").Child} Child */
/** @typedef {Record<string, any>} Props */

const HANDLERS = ["onclick", "onsubmit", "oninput", "onchange", "onkeydown", "ontoggle", "onclose", "oncancel"];

/**
 * An element. Text is always text: nothing here reads markup.
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
 * Whatever a handler gives is dropped: a browser takes `false` for "do nothing else", and then a field takes no key.
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
 * An element that looks after itself, as a child: where it is on the page already, it stays as it is.
 * @param {HTMLElement} element with a key
 */
export function slot(element) {
  if (!element.isConnected) return element;
  const place = h(element.localName, { key: element.dataset.key, "data-slot": true });
  STANDS_FOR.set(place, element);
  return place;
}

/** Put the elements in place of the slots that stand for them in a new node. @param {Node} node */
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

/** What went wrong with a button stays beside it until the next attempt. @param {Node | null} node */
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
    // A keyed node may have others before it that are gone or moved; any other must stand right here.
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
  // It stands for something that is here already and looks after itself.
  if (wanted.hasAttribute("data-slot")) return;
  for (const { name, value } of wanted.attributes) {
    if (present.getAttribute(name) !== value) present.setAttribute(name, value);
  }
  for (const { name } of [...present.attributes]) {
    // Whether something is open is the reader's choice, and a button that works stays shut until it is done.
    const own = name === "open" || name === "data-busy" || (name === "disabled" && present.hasAttribute("data-busy"));
    if (!own && !wanted.hasAttribute(name)) present.removeAttribute(name);
  }
  for (const name of HANDLERS) /** @type {any} */ (present)[name] = /** @type {any} */ (wanted)[name];
  // A custom element looks after its own content.
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
