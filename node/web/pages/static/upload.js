// Sends files that a person drops or chooses by STOW-RS (PS3.18 section 10.5), in messages of some files each, and
// follows the studies that came of them until they are analysed.
"use strict";

const FILES_AT_ONCE = 50;
const BYTES_AT_ONCE = 64e6;
const FOLLOW_EVERY = 1500;
const MOVING = ["receiving", "queued", "analysing"];
const told = JSON.parse(document.getElementById("told").textContent);
const token = document.querySelector("meta[name=csrf]").content;
const drop = document.getElementById("drop");
const chosen = document.getElementById("files");
const sent = document.getElementById("sent");
const bar = document.getElementById("bar");
const waiting = [];
const studies = new Map(); // Study Instance UID -> {stored, line}
let total = 0;
let done = 0;
let busy = false;

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((found, failed) => entry.file(found, failed))];
  const reader = entry.createReader();
  const files = [];
  for (;;) {
    const some = await new Promise((found, failed) => reader.readEntries(found, failed));
    if (!some.length) return files;
    for (const one of some) files.push(...(await filesOf(one)));
  }
}

function take(files) {
  const named = [...files].filter((file) => file.name !== "DICOMDIR" && !file.name.startsWith("."));
  waiting.push(...named);
  total += named.length;
  if (!busy) sendAll();
}

function some() {
  const found = [waiting.shift()];
  let bytes = found[0].size;
  while (waiting.length && found.length < FILES_AT_ONCE && bytes + waiting[0].size <= BYTES_AT_ONCE) {
    bytes += waiting[0].size;
    found.push(waiting.shift());
  }
  return found;
}

async function sendAll() {
  busy = true;
  sent.hidden = false;
  while (waiting.length) {
    const files = some();
    try {
      read(files, await send(files, (share) => progress(done + share * files.length)));
    } catch (error) {
      refuse(files, error.message);
    }
    done += files.length;
    progress(done);
  }
  busy = false;
}

function progress(number) {
  bar.max = total;
  bar.value = number;
  const words = number < total ? `Sending: ${Math.floor(number)} of ${total} files` : `${total} ${total === 1 ? "file" : "files"} sent`;
  sent.querySelector("span").textContent = words;
}

function send(files, tell) {
  const boundary = `lungnode-${crypto.getRandomValues(new Uint32Array(4)).join("-")}`;
  const parts = files.flatMap((file) => [`\r\n--${boundary}\r\nContent-Type: application/dicom\r\n\r\n`, file]);
  const request = new XMLHttpRequest(); // fetch tells nothing of how far an upload is
  request.open("POST", told.store);
  request.setRequestHeader("Content-Type", `multipart/related; type="application/dicom"; boundary=${boundary}`);
  request.setRequestHeader("Accept", "application/dicom+json");
  request.setRequestHeader("X-CSRF-Token", token);
  request.upload.addEventListener("progress", (event) => event.lengthComputable && tell(event.loaded / event.total));
  return new Promise((answered, failed) => {
    request.addEventListener("load", () => answered(request));
    request.addEventListener("error", () => failed(new Error("the connection broke off")));
    request.send(new Blob([...parts, `\r\n--${boundary}--\r\n`]));
  });
}

// The Store Instances Response Module, PS3.18 annex I.
function read(files, request) {
  let model;
  try {
    model = JSON.parse(request.responseText);
  } catch {
    model = null;
  }
  if (!model || (!model["00081199"] && !model["00081198"] && !model["0008119A"])) {
    refuse(files, model?.detail ?? request.responseText.trim() ?? `status ${request.status}`);
    return;
  }
  for (const one of model["00081199"]?.Value ?? []) {
    const study = one["00081190"].Value[0].match(/\/studies\/([0-9.]+)/)[1];
    stored(study);
  }
  const failures = [...(model["00081198"]?.Value ?? []), ...(model["0008119A"]?.Value ?? [])];
  const counted = new Map();
  for (const one of failures) counted.set(one["00081197"].Value[0], (counted.get(one["00081197"].Value[0]) ?? 0) + 1);
  for (const [reason, number] of counted) {
    refuse(files, told.reasons[reason] ?? `reason ${reason}`, files.length > 1 ? number : 0);
  }
}

function line(list, name, text) {
  const item = document.createElement("li");
  const title = document.createElement("span");
  title.className = "name";
  title.append(name);
  const said = document.createElement("span");
  said.append(text);
  item.append(title, said);
  document.getElementById(list).append(item);
  return { item, said };
}

function refuse(files, reason, number = files.length > 1 ? files.length : 0) {
  line("refused", number ? `${number} of ${files.length} files` : files[0].name, `Not stored: ${reason}.`.replace(/\.\.$/, "."));
}

function stored(study) {
  const known = studies.get(study);
  if (known) {
    known.stored += 1;
    return;
  }
  const link = document.createElement("a");
  link.href = `/studies/${study}`;
  link.textContent = `Study …${study.slice(-12)}`;
  const { said } = line("studies", link, "Stored");
  studies.set(study, { stored: 1, said, moving: true });
}

async function follow() {
  for (const [study, one] of studies) {
    if (!one.moving) continue;
    const answer = await fetch(`/studies/${study}/state`, { cache: "no-store" }).catch(() => null);
    if (!answer?.ok) continue;
    const found = await answer.json();
    one.moving = MOVING.includes(found.state) || busy;
    const state = document.createElement("span");
    state.className = `state ${found.tone}`;
    state.textContent = found.words;
    const images = document.createElement("span");
    images.className = "quiet";
    images.textContent = ` ${one.stored} ${one.stored === 1 ? "image" : "images"} `;
    const parts = [images, state];
    if (MOVING.includes(found.state)) parts.push(Object.assign(document.createElement("progress"), { ariaLabel: "Work on this study" }));
    else parts.push(` ${found.sentence}`);
    if (one.last !== JSON.stringify(found) + one.stored) one.said.replaceChildren(...parts);
    one.last = JSON.stringify(found) + one.stored;
  }
}

function takeChosen() {
  if (!chosen.files.length) return;
  take(chosen.files);
  chosen.value = "";
}

chosen.addEventListener("change", takeChosen);
takeChosen(); // what a quick hand chose before this script ran
for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
drop.addEventListener("drop", async (event) => {
  event.preventDefault();
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  for (const entry of entries) take(await filesOf(entry));
});
drop.addEventListener("submit", (event) => event.preventDefault());
setInterval(follow, FOLLOW_EVERY);
