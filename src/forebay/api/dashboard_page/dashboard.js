// What the REST interface says, on one page. Everything from the network becomes text, never markup.

const byId = (id) => document.getElementById(id);
const GOOD = new Set(["ready", "idle", "busy", "running", "finished"]);
const BAD = new Set(["failing", "failed", "restarting"]);
const ENDS = new Set(["finished", "failed", "cancelled"]);
const jobs = new Map();

function token() {
  return byId("token").value.trim();
}

async function ask(path, options = {}) {
  const headers = token() ? { Authorization: `Bearer ${token()}` } : {};
  const response = await fetch(path, { ...options, headers });
  if (!response.ok) {
    const said = await response.json().catch(() => ({ what: response.statusText, todo: "" }));
    throw new Error(`${said.what} ${said.todo}`);
  }
  return response;
}

function problem(error) {
  byId("problem").textContent = error ? String(error.message || error) : "";
  byId("problem").hidden = !error;
}

function cell(content, kind = "") {
  const td = document.createElement("td");
  td.append(content);
  td.className = kind;
  return td;
}

function row(...cells) {
  const tr = document.createElement("tr");
  tr.append(...cells);
  return tr;
}

function kindOf(state) {
  return GOOD.has(state) ? "good" : BAD.has(state) ? "bad" : "dim";
}

function showServices(services) {
  byId("services").replaceChildren(
    ...services.map((one) => {
      const age = Date.now() / 1000 - one.heard_ns / 1e9;
      const when = age > 5 ? `silent for ${age.toFixed(0)} s` : "";
      return row(cell(one.key), cell(one.state, kindOf(one.state)), cell(one.detail.reason || when, "dim"));
    }),
  );
}

function progress(job) {
  if (!job.n_asked) return cell(String(job.n_done));
  const bar = document.createElement("progress");
  bar.max = job.n_asked;
  bar.value = job.n_done;
  const td = cell(bar);
  td.append(` ${job.n_done} of ${job.n_asked}`);
  return td;
}

function cancelButton(job) {
  if (ENDS.has(job.state)) return "";
  const button = document.createElement("button");
  button.textContent = "cancel";
  button.onclick = () =>
    ask(`jobs/${encodeURIComponent(job.id)}/cancel`, { method: "POST" }).then(() => problem(null), problem);
  return button;
}

function showJobs() {
  const newest = [...jobs.values()].sort((a, b) => b.created_ns - a.created_ns).slice(0, 15);
  byId("jobs").replaceChildren(
    ...newest.map((job) =>
      row(
        cell(job.kind),
        cell((job.parameters.sources || [job.parameters.name || ""]).join(", ")),
        cell(job.state, kindOf(job.state)),
        progress(job),
        cell(job.reason, "dim"),
        cell(cancelButton(job)),
      ),
    ),
  );
}

function showRun(run) {
  const number = run.run === null ? "no run yet" : `run ${run.run}`;
  byId("run").textContent = `${run.proposal}: ${number}, ${run.state} ${run.reason}`;
}

function options(select, names) {
  const before = select.value;
  select.replaceChildren(...names.map((name) => new Option(name, name)));
  if (names.includes(before)) select.value = before;
}

async function look() {
  const proposal = byId("proposal").value;
  const query = proposal ? `?proposal=${encodeURIComponent(proposal)}` : "";
  const [status, newest] = await Promise.all([
    ask(`status${query}`).then((one) => one.json()),
    ask(`jobs?limit=15${query.replace("?", "&")}`).then((one) => one.json()),
  ]);
  jobs.clear();
  for (const job of [...newest, ...status.jobs]) jobs.set(job.id, job);
  showServices(status.services);
  showRun(status.run);
  showJobs();
}

function take(event, update) {
  if (event !== "job") return;
  const job = jobs.get(update.id);
  if (!job) return void look().catch(problem);
  for (const name of ["state", "n_done", "n_asked", "reason"]) {
    if (update.body[name] !== undefined && update.body[name] !== null) job[name] = update.body[name];
  }
  showJobs();
}

async function watch() {
  const reader = (await ask("watch")).body.pipeThrough(new TextDecoderStream()).getReader();
  byId("connection").textContent = "live";
  problem(null);
  await look();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const said = Object.fromEntries(
        block.split("\n").map((line) => [line.slice(0, line.indexOf(": ")), line.slice(line.indexOf(": ") + 2)]),
      );
      if (said.event === "gap") await look();
      else if (said.data) take(said.event, JSON.parse(said.data));
    }
  }
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function keep(body, pause) {
  for (;;) {
    try {
      await body();
    } catch (error) {
      problem(error);
    }
    await sleep(pause);
  }
}

async function keepWatching() {
  try {
    options(byId("proposal"), (await ask("proposals").then((one) => one.json())).map((one) => one.name));
    options(byId("detector"), await ask("live").then((one) => one.json()));
    await watch();
  } finally {
    byId("connection").textContent = "connecting";
  }
}

async function draw() {
  const detector = byId("detector").value;
  if (!detector || document.hidden) return;
  const response = await ask(`live/${encodeURIComponent(detector)}`).catch(() => null);
  if (!response) {
    byId("caption").textContent = "no image";
    return;
  }
  const [rows, columns] = response.headers.get("X-Forebay-Shape").split(",").map(Number);
  const pixels = new Uint8Array(await response.arrayBuffer());
  const canvas = byId("image");
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  for (let i = 0; i < pixels.length; i++) {
    image.data.fill(pixels[i], 4 * i, 4 * i + 3);
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  const [low, high] = response.headers.get("X-Forebay-Range").split(",");
  byId("caption").textContent = `pulse ${response.headers.get("X-Forebay-Pulse")}, ${low} to ${high}`;
}

byId("token").value = sessionStorage.getItem("token") || "";
byId("token").onchange = () => {
  sessionStorage.setItem("token", token());
  location.reload();
};
byId("proposal").onchange = () => look().catch(problem);
keep(keepWatching, 2000);
keep(draw, 300);
keep(async () => byId("connection").textContent === "live" && (await look()), 3000);
