"use strict";
// Tells the viewer's own time, and keeps what the viewer has chosen or opened while the list is renewed.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

function tellTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]:not([title])")) {
    time.title = time.textContent;
    time.textContent = new Date(time.dateTime).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
  }
}

function chosen() {
  return [...document.querySelectorAll("#news input:checked, #news details[open]")].map((element) => element.id);
}

function counts() {
  return [...document.querySelectorAll(".counts a")].map((count) => count.textContent).join(", ");
}

function tell(text, changed) {
  for (const [id, now] of [["renewed", text], ["changed", changed]]) {
    const line = document.getElementById(id);
    if (line && line.textContent !== now) line.textContent = now; // a screen reader tells what has changed, not when
  }
}

let kept = [];
document.addEventListener("htmx:beforeSwap", () => { kept = chosen(); });
document.addEventListener("htmx:afterSwap", () => {
  for (const id of kept) {
    const element = document.getElementById(id);
    if (element) element[element.localName === "details" ? "open" : "checked"] = true;
  }
  tellTimes(document);
  tell(`The list was renewed at ${new Date().toLocaleTimeString()}.`, counts());
});
for (const failure of ["htmx:sendError", "htmx:responseError"]) {
  const failed = "The list cannot be renewed now. What is shown may be old.";
  document.addEventListener(failure, () => tell(failed, failed));
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) document.getElementById("news")?.dispatchEvent(new Event("renew"));
});

document.addEventListener("DOMContentLoaded", () => {
  tellTimes(document);
  const changed = document.getElementById("changed");
  if (changed) changed.textContent = counts();
  for (const element of document.querySelectorAll("[data-zone]")) element.textContent = zone;
  for (const field of document.querySelectorAll("input[name=zone]")) field.value = zone;
});
