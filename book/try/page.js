// The page "Try it": the reader chooses a scan, a worker does the work, the scroller shows what came of it.
const root = document.getElementById("try-it"), find = (name) => root.querySelector("." + name);
const here = new URL("./", import.meta.url);
let worker, config, countdown;

const number = (value, digits = 2) => Number(value.toPrecision(digits)).toLocaleString("en", { maximumFractionDigits: 3 });
const bytes = (n) => (n < 1e9 ? `${number(n / 1e6)} MB` : `${number(n / 1e9)} GB`);
const seconds = (s) => (s < 90 ? `${Math.max(1, Math.round(s))} s` : `${Math.round(s / 60)} minutes`);

function say(words, kind = "") {
  find("status").textContent = words;
  find("status").dataset.kind = kind;
}

function restart() {
  worker?.terminate();
  worker = new Worker(new URL("worker.js", here), { type: "module" });
  worker.onmessage = ({ data }) => ({ seen, working, done, saved, failed })[data.step](data);
  worker.onerror = (event) => failed({ words: `this browser cannot run the page (${event.message || "no module workers"})` });
}

function busy(yes) {
  clearInterval(countdown);
  find("run").disabled = yes;
  find("cancel").hidden = find("progress").hidden = !yes;
  find("choose").disabled = yes;
}

// What was there before goes at once: no run can begin on a scan that is being replaced.
function clear(words) {
  busy(false);
  restart();
  find("run").disabled = find("result").hidden = true;
  find("doubts").replaceChildren();
  find("file").value = ""; // so that the same file can be chosen again
  say(words);
}

function choose(file) {
  clear(`Looking at ${file.name} …`);
  worker.postMessage({ do: "look", file });
}

async function choosePhantom(name, words) {
  clear(`Fetching ${words} …`);
  const mine = worker, answer = await fetch(new URL(`made/${name}`, here)).catch(() => ({ ok: false }));
  if (mine !== worker) return; // something else was chosen meanwhile
  if (answer.ok) choose(new File([await answer.blob()], name));
  else failed({ words: "The book's server does not answer; see that you are connected, and try again" });
}

function drop(transfer) {
  const [file] = transfer.files, folder = [...transfer.items].some((item) => item.webkitGetAsEntry?.()?.isDirectory);
  if (!file || find("choose").disabled) return;
  if (folder) return clear("That is a folder. Drop one file, .nii or .nii.gz; a folder of DICOM files becomes one as described below.");
  const more = transfer.files.length > 1;
  choose(file);
  if (more) warn([`${transfer.files.length} files were dropped; this is the first`]);
}

function seen({ name, shape, spacing, memory, doubts }) {
  const size = shape.join(" × "), mm = spacing.map((n) => number(n, 3)).join(" × ");
  say(`${name}: ${size} voxels of ${mm} mm. It will take about ${bytes(memory)} of memory here.`);
  warn(doubts);
  find("run").disabled = false;
}

function warn(lines) {
  const told = find("doubts").innerText; // a scan that is run twice is not doubted twice
  find("doubts").append(...lines.filter((line) => !told.includes(line)).map((line) => Object.assign(document.createElement("li"), { textContent: line })));
}

// One call of the network cannot be asked how far it is: its time is counted down from what a small piece took.
function working({ words, share, seconds: left }) {
  clearInterval(countdown);
  find("progress").value = share;
  say(left ? `${words}: about ${seconds(left)} left` : `${words} …`);
  if (!left) return;
  const began = performance.now();
  countdown = setInterval(() => {
    const gone = (performance.now() - began) / 1000, rest = left - gone;
    find("progress").value = share + (1 - share) * Math.min(0.97, gone / left);
    say(rest > 1 ? `${words}: about ${seconds(rest)} left` : `${words}: taking longer than expected`);
  }, 500);
}

function done({ volumes, shown, doubts, threads, seconds: took }) {
  busy(false);
  warn(doubts);
  say(`Done in ${seconds(took)}, on ${threads === 1 ? "one core" : `${threads} cores`} of this machine.`, "done");
  const rows = config.organs.map(([name, colour], n) => {
    const row = document.createElement("tr"), swatch = Object.assign(document.createElement("i"), { title: colour });
    swatch.style.background = colour;
    const cells = [name, volumes[n] ? number(volumes[n], 3) : "not found"].map((text, at) =>
      Object.assign(document.createElement(at ? "td" : "th"), { textContent: text }));
    cells[0].scope = "row";
    cells[0].prepend(swatch);
    row.append(...cells);
    return row;
  });
  find("volumes").replaceChildren(...rows);
  show(shown);
  find("result").hidden = false;
  find("result").dataset.volumes = JSON.stringify(volumes);
}

function show(shown) {
  const words = `${shown.shape.join(" × ")} voxels of ${shown.spacing.map((n) => number(n, 3)).join(" × ")} mm`;
  const scroller = Object.assign(document.createElement("div"), { className: "organseg-scroller" });
  scroller.dataset.volume = JSON.stringify({ ...shown, ...config.scroller, organs: config.organs, words, sent: words });
  find("scroller").replaceChildren(scroller);
  const script = document.createElement("script"); // starts each scroller that it finds
  script.src = new URL("made/scroller.js", here);
  script.onload = () => script.remove();
  document.body.append(script);
}

function saved({ blob, name }) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function failed({ words, again }) {
  busy(false);
  find("run").disabled = !again;
  say(words, "failed");
}

async function start() {
  try {
    config = await (await fetch(new URL("made/config.json", here))).json();
  } catch {
    return say("This copy of the book was built without the network for this page; `make book` adds it.", "failed");
  }
  if (config.missing) return say(config.missing, "failed");
  find("choose").disabled = false;
  for (const [name, words] of config.phantoms) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: words });
    button.addEventListener("click", () => choosePhantom(name, words));
    find("phantoms").append(button);
  }
  find("file").addEventListener("change", (event) => event.target.files[0] && choose(event.target.files[0]));
  for (const kind of ["dragover", "dragleave", "drop"])
    find("drop").addEventListener(kind, (event) => {
      event.preventDefault();
      find("drop").classList.toggle("over", kind === "dragover");
      if (kind === "drop") drop(event.dataTransfer);
    });
  find("run").addEventListener("click", () => {
    busy(true);
    find("result").hidden = true;
    find("status").dataset.kind = "";
    worker.postMessage({ do: "run" });
  });
  // What the network has begun cannot be asked to stop: its worker is ended.
  find("cancel").addEventListener("click", () => clear("Cancelled. Choose a scan to begin again."));
  find("save").addEventListener("click", () => worker.postMessage({ do: "save" }));
  say("Choose a phantom, or a CT of your own.");
}

start();
