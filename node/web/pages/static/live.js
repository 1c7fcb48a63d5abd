// Keeps a part of a page up to date: asks for its markup every two seconds, and puts it in where it differs.
// data-live: where to ask; data-done: an attribute value of the answer after which the whole page is loaded anew.
"use strict";

const EVERY = 2000;

function keepUpToDate(part) {
  let tag = null;
  async function ask() {
    if (document.hidden) return;
    const headers = { "Lungnode-Unattended": "yes" }; // a page left open keeps nobody logged in
    if (tag) headers["If-None-Match"] = tag;
    let answer;
    try {
      answer = await fetch(part.dataset.live, { headers, cache: "no-store", redirect: "error" });
    } catch {
      return; // the node is away; the next turn asks again
    }
    if (answer.status === 401) location.reload(); // the login has ended
    if (answer.status !== 200) return;
    const before = tag;
    tag = answer.headers.get("ETag");
    const text = await answer.text();
    if (before === null && text.trim() === part.innerHTML.trim()) return;
    const focused = document.activeElement?.closest("[data-live] a")?.getAttribute("href");
    part.innerHTML = text; // markup of our own templates, every value escaped there
    if (focused) part.querySelector(`a[href="${CSS.escape(focused).replaceAll("\\", "")}"]`)?.focus();
    if (part.querySelector("[data-reload]")) location.reload();
  }
  setInterval(ask, EVERY);
}

document.querySelectorAll("[data-live]").forEach(keepUpToDate);
