// Errors with a sentence to show.

/** @typedef {import("../types.d.ts").Problem} ProblemDocument */

export class Problem extends Error {
  /**
   * @param {string} sentence
   * @param {Partial<ProblemDocument> & { retryAfter?: number, joined_into?: string }} [about]
   */
  constructor(sentence, about = {}) {
    super(sentence);
    this.status = about.status ?? 0;
    /** Slug of the problem's type. */
    this.kind = (about.type ?? "").replace("/problems/", "");
    /** Messages by field. @type {Map<string, string>} */
    this.errors = new Map((about.errors ?? []).map(({ field, message }) => [field.replace(/^body\./, ""), message]));
    this.retryAfter = about.retryAfter ?? 0;
    /** Id of the member that the missing member was joined to. */
    this.joinedInto = about.joined_into ?? "";
    /** A remedy shown beside the sentence. @type {Node | null} */
    this.remedy = null;
  }
}

/**
 * @param {Response} answer
 * @returns {Promise<Problem>}
 */
export async function problemOf(answer) {
  const retryAfter = Number(answer.headers.get("retry-after")) || 0;
  const document = await answer.json().catch(() => ({}));
  const sentence = document.detail || unexplained(answer.status, retryAfter);
  return new Problem(sentence, { ...document, status: answer.status, retryAfter });
}

/**
 * The problem for an answer that is no problem document, such as a proxy's error page.
 * @param {number} status
 * @param {number} retryAfter
 */
function unexplained(status, retryAfter) {
  const stays = "What was saved stays as it is.";
  if (status !== 429) return `The server answered ${status}. ${stays} Reload the page.`;
  return `You have sent too many requests. ${stays} Try again in ${retryAfter > 1 ? `${retryAfter} seconds` : "a moment"}.`;
}

/** @param {unknown} error */
export const sentenceOf = (error) =>
  error instanceof Error ? error.message : "Something went wrong on this page. Reload it.";
