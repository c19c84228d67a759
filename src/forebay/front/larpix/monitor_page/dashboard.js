// What the monitor has counted, on one page. Everything from the network becomes text, never markup.

const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 400;
const HEIGHT = 120;
const PERIOD_MS = 1000;
const PATIENCE_MS = 10000; // a monitor that hangs, or whose host is away, is asked again

function token() {
  return byId("token").value.trim();
}

async function ask(path) {
  const headers = token() ? { Authorization: `Bearer ${token()}` } : {};
  const response = await fetch(path, { headers, signal: AbortSignal.timeout(PATIENCE_MS) });
  if (!response.ok) {
    const said = await response.json().catch(() => ({ what: response.statusText, todo: "" }));
    throw new Error(`${said.what} ${said.todo}`);
  }
  return response;
}

function number(value) {
  if (!Number.isFinite(value)) return String(value);
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)} M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(1)} k`;
  return value >= 100 || Number.isInteger(value) ? value.toFixed(0) : value.toFixed(2);
}

function hertz(value) {
  const text = number(value);
  return text.includes(" ") ? `${text}Hz` : `${text} Hz`;
}

function row(cells, kind = "td") {
  const tr = document.createElement("tr");
  for (const content of cells) {
    const one = document.createElement(kind);
    const [text, name] = Array.isArray(content) ? content : [content, ""];
    one.append(String(text));
    one.className = name;
    tr.append(one);
  }
  return tr;
}

function table(id, rows) {
  byId(id).replaceChildren(...(rows.length ? rows : [["none"]]).map((cells) => row(cells)));
}

function bars(id, values) {
  const most = Math.max(1, ...values);
  const step = WIDTH / Math.max(values.length, 1);
  byId(id).replaceChildren(
    ...values.map((value, i) => {
      const bar = document.createElementNS(SVG, "rect");
      const height = (HEIGHT * value) / most;
      bar.setAttribute("x", i * step);
      bar.setAttribute("y", HEIGHT - height);
      bar.setAttribute("width", Math.max(step - 0.2, 0.2));
      bar.setAttribute("height", height);
      return bar;
    }),
  );
  return most;
}

const chip = (one) => `${one.io_group}-${one.io_channel}-${one.chip_id}`;

const BOARD = {
  words: "data_words",
  "bad parity": "parity_errors",
  PPS: "syncs",
  gaps: "sync_gaps",
  resets: "clock_resets",
  triggers: "trigger_words",
  malformed: "malformed",
};
const FAULTS = new Set(["parity_errors", "sync_gaps", "clock_resets", "malformed"]);

function showBoards(boards) {
  const flags = Object.keys(Object.values(boards)[0]?.fifo || {});
  byId("boards-head").replaceChildren(
    row(["board", "Hz", ...Object.keys(BOARD), ...flags.map((flag) => flag.replace("_", " "))], "th"),
  );
  table(
    "boards",
    Object.entries(boards).map(([group, one]) => [
      group,
      [number(one.rate_hz), one.rate_hz > 0 ? "" : "bad"],
      ...Object.values(BOARD).map((key) => [one[key], FAULTS.has(key) && one[key] ? "bad" : ""]),
      ...flags.map((flag) => [one.fifo[flag], flag.endsWith("full") && one.fifo[flag] ? "bad" : ""]),
    ]),
  );
}

const mapName = (one) => `board ${one.io_group}${one.tile === null ? "" : ` tile ${one.tile}`}`;
const mapQuery = (one) => `?io_group=${one.io_group}${one.tile === null ? "" : `&tile=${one.tile}`}`;
const MANY_UNPLACED = 0.01;

function showMaps(maps) {
  const choices = [["all boards", ""], ...maps.map((one) => [mapName(one), mapQuery(one)])];
  const select = byId("group");
  if (choices.some(([, query], i) => select.options[i]?.value !== query) || select.options.length !== choices.length) {
    const before = select.value;
    select.replaceChildren(...choices.map(([name, query]) => new Option(name, query)));
    if (choices.some(([, query]) => query === before)) select.value = before;
  }
  const chosen = maps.filter((one) => !select.value || mapQuery(one) === select.value);
  const wrong = chosen.filter((one) => one.unplaced > MANY_UNPLACED);
  const names = [...new Set(chosen.map((one) => one.layout ?? "none, each chip is a field of 8 channels a row"))];
  byId("layout").textContent = wrong.length
    ? wrong
        .map((one) => `${(100 * one.unplaced).toFixed(0)} % of ${mapName(one)} is not in layout ${one.layout}`)
        .join("; ")
    : `layout ${names.join(", ") || "none"}`;
  byId("layout").className = wrong.length ? "bad" : "dim";
}

const FLAGS = ["local_half", "local_full", "shared_half", "shared_full"];

function showFifo(chips) {
  const heads = FLAGS.map((flag) => flag.replace("_", " "));
  byId("fifo-head").replaceChildren(...(chips.length ? [row(["chip", "words", ...heads], "th")] : []));
  table(
    "fifo",
    chips.map((one) => [
      chip(one),
      number(one.words),
      ...FLAGS.map((flag) => {
        const now = one[`${flag}_hz`] > 0 ? `, ${hertz(one[`${flag}_hz`])}` : "";
        return [`${number(one[flag])}${now}`, flag.endsWith("full") && now ? "bad" : ""];
      }),
    ]),
  );
}

function showPackets(packets) {
  const names = [...new Set(packets.flatMap((one) => Object.keys(one)))].filter((name) => name !== "bits");
  byId("packets-head").replaceChildren(row(names, "th"));
  table(
    "packets",
    packets.map((one) => names.map((name) => one[name] ?? "")),
  );
}

function showSystem(seen) {
  byId("system").hidden = seen.components === null;
  if (seen.components === null) return;
  const present = seen.components.length > 0;
  byId("state").textContent = present ? `state ${seen.state}` : "the core does not answer";
  byId("state").className = present ? "good" : "bad";
  byId("last-end").textContent = seen.last_end ? `last run: ${seen.last_end}` : "";
  table(
    "components",
    seen.components.map((name) => [name]),
  );
}

function show(seen) {
  const { rates } = seen;
  byId("rate").textContent = hertz(rates.total);
  byId("rate").className = rates.total > 0 ? "good" : "bad";
  const share = rates.share < 0.999 ? `, ${(100 * rates.share).toFixed(0)} % of them counted chip by chip` : "";
  byId("run").textContent =
    `${seen.run === null ? "" : `run ${seen.run}, `}${seen.state ? `${seen.state}, ` : ""}${number(seen.words)} words, ` +
    `mean ${hertz(rates.mean)}${share}`;
  byId("missing").textContent = seen.missing ? `${number(seen.missing)} messages did not come to the monitor` : "";
  const most = bars(
    "seconds",
    seen.seconds.map(([, n]) => n),
  );
  byId("seconds-caption").textContent = `the last ${seen.seconds.length} s, at most ${number(most)}`;
  const highest = bars("adc", seen.adc);
  byId("adc-caption").textContent = `0 to ${seen.adc.length - 1}, at most ${number(highest)}`;
  showBoards(seen.boards);
  showMaps(seen.maps);
  const some = rates.n_chips > rates.chips.length ? ", the busiest of them:" : "";
  byId("chips-caption").textContent =
    `${rates.n_chips} chips, ${rates.n_channels} channels have sent something${some}`;
  table(
    "chips",
    rates.chips.map((one) => [chip(one), hertz(one.rate_hz)]),
  );
  table(
    "hot",
    rates.hot.map((one) => [
      [`${chip(one)} channel ${one.channel_id}`, "bad"],
      Number.isInteger(one.pixel) ? `pixel ${one.pixel}` : "",
      hertz(one.rate_hz),
    ]),
  );
  table(
    "triggers",
    rates.triggers.map((one) => [
      `board ${one.io_group}`,
      `${one.kind} ${one.type}`,
      hertz(one.rate_hz),
      one.count,
    ]),
  );
  table(
    "messages",
    seen.messages.map((text) => [text]),
  );
  showFifo(seen.fifo);
  showPackets(seen.packets);
  showSystem(seen);
}

async function draw() {
  const response = await ask(`pixels.png${byId("group").value}`);
  const image = await createImageBitmap(await response.blob());
  const canvas = byId("pixels");
  canvas.width = image.width;
  canvas.height = image.height;
  canvas.getContext("2d").drawImage(image, 0, 0);
}

async function look() {
  try {
    show(await ask("glance").then((one) => one.json()));
    await draw();
    byId("connection").textContent = "live";
    byId("problem").hidden = true;
  } catch (error) {
    byId("connection").textContent = "connecting";
    byId("problem").textContent = String(error.message || error);
    byId("problem").hidden = false;
  }
  setTimeout(look, document.hidden ? 5 * PERIOD_MS : PERIOD_MS);
}

byId("token").value = sessionStorage.getItem("token") || "";
byId("token").onchange = () => {
  sessionStorage.setItem("token", token());
  location.reload();
};
look();
