// A list as a file, fetched by script because the browser's own download would send no token.

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
    // Late enough for the download to have begun.
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  });
