// The page "Try it": the reader chooses a scan, a worker does the work, the scroller shows what came of it.
const root = document.getElementById("try-it"), find = (name) => root.querySelector("." + name);
const here = new URL("./", import.meta.url);
let worker, config, countdown;

const number = (value, digits = 2) => Number(value.toPrecision(digits)).toLocaleString("en", { maximumFractionDigits: 1 });
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

function choose(file) {
  restart();
  find("run").disabled = true;
  find("result").hidden = true;
  find("doubts").replaceChildren();
  say(`Looking at ${file.name} …`);
  worker.postMessage({ do: "look", file });
}

function seen({ name, shape, spacing, memory, doubts }) {
  const size = shape.join(" × "), mm = spacing.map((n) => number(n, 3)).join(" × ");
  say(`${name}: ${size} voxels of ${mm} mm. It will take about ${bytes(memory)} of memory here.`);
  warn(doubts);
  find("run").disabled = false;
}

function warn(lines) {
  find("doubts").append(...lines.map((line) => Object.assign(document.createElement("li"), { textContent: line })));
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
    say(rest > 1 ? `${words}: about ${seconds(rest)} left` : `${words}: a little longer than thought, nearly there`);
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

function failed({ words }) {
  busy(false);
  find("run").disabled = true;
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
    button.addEventListener("click", async () => {
      const answer = await fetch(new URL(`made/${name}`, here));
      choose(new File([await answer.blob()], name));
    });
    find("phantoms").append(button);
  }
  find("file").addEventListener("change", (event) => event.target.files[0] && choose(event.target.files[0]));
  for (const kind of ["dragover", "dragleave", "drop"])
    find("drop").addEventListener(kind, (event) => {
      event.preventDefault();
      find("drop").classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files[0] && !find("choose").disabled) choose(event.dataTransfer.files[0]);
    });
  find("run").addEventListener("click", () => (busy(true), worker.postMessage({ do: "run" })));
  find("cancel").addEventListener("click", () => {
    busy(false);
    restart(); // what the network has begun cannot be asked to stop
    find("run").disabled = true;
    say("Cancelled. Choose a scan to begin again.");
  });
  find("save").addEventListener("click", () => worker.postMessage({ do: "save" }));
  say("Choose a phantom, or a CT of your own.");
}

start();
