// A list as a file. The browser's own download would carry no sign-in.

import { search, send } from "../api.js";
import { announce, h } from "./dom.js";
import { action } from "./look.js";

/**
 * @param {string} path below `/api/v1`
 * @param {import("../api.js").Query} query the list's filters
 * @param {string} what is announced: "The list"
 */
export const downloads = (path, query = {}, what = "The list") =>
  action("Download as CSV", async () => {
    const answer = await send(path + search(query), { method: "GET" });
    const address = URL.createObjectURL(await answer.blob());
    const name = path.slice(path.lastIndexOf("/") + 1);
    h("a", { href: address, download: name }).click();
    announce(`${what} was downloaded.`);
    // The download has begun by then.
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  });
