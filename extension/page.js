/** What the extension's pages have in common. */
import { api } from "./api.js";

export const $ = (id) => document.getElementById(id);

/** Put text into an element; what stands between backticks becomes code. */
export function say(element, text) {
  const parts = String(text).split("`");
  element.replaceChildren(
    ...parts.map((part, index) => {
      if (index % 2 === 0) return part;
      const code = document.createElement("code");
      code.textContent = part;
      return code;
    }),
  );
  element.hidden = !text;
}

/**
 * Have the background do something.
 * @throws what went wrong there
 */
export async function tell(task) {
  const answer = await api.runtime.sendMessage({ task });
  if (answer?.error) throw new Error(answer.error);
  return answer;
}

/** Show a view: its headline, and what stands behind it. */
export function showView({ word, headline, reason, remedy }) {
  $("headline").className = word;
  say($("headline"), headline);
  say($("reason"), reason);
  say($("remedy"), remedy);
}
