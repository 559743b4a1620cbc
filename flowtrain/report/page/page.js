"use strict";
// Draws the report from the JSON beside it (content.py says what is in it). All text of a run (names, settings, notes)
// enters the page as text nodes and attributes, never as HTML: a run may be called "<img onerror=...>". Plotly, which
// takes names of curves, reads a few tags such as <b> in them and shows all others as text.
(() => {
  const content = JSON.parse(document.getElementById("content").textContent);
  const runs = content.runs;
  const main = document.getElementById("main");
  const PALETTE = ["#2563eb", "#e8710a", "#0f9d75", "#c2185b", "#7c4dff", "#a16207", "#0891b2", "#dc2626", "#4d7c0f", "#64748b"];
  const PARTS = [["steps", "training steps"], ["data", "waiting for data"], ["callbacks", "callbacks"], ["saving", "saving"]];
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = (index) => PALETTE[index % PALETTE.length];
  // Plotly takes colours, not CSS variables: they are read again at each drawing, as dark mode changes them.
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // ---------------------------------------------------------------- what survives the renewal of a page that is watched
  // In sessionStorage, so that each tab has its own choices, and by path: all file:// pages share one storage.
  const KEY = `flowtrain-report ${location.pathname}`;
  const state = { smooth: 0, log: false, axis: "step", find: "", hidden: [], picture: {}, histogram: {}, zoom: {}, open: {} };
  try { Object.assign(state, JSON.parse(sessionStorage.getItem(KEY) || "{}")); } catch { /* a browser without storage for files */ }
  const keep = () => { try { sessionStorage.setItem(KEY, JSON.stringify(state)); } catch { /* the same */ } };
  const hidden = (run) => state.hidden.includes(run.name);

  // ---------------------------------------------------------------- small helpers
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) { // as in HTML: true is an attribute without a value, false is none
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }
  const shown = (value) => {
    if (value === null || value === undefined) return "–";
    if (Number.isInteger(value) && Math.abs(value) < 1e7) return value.toLocaleString("en");
    const size = Math.abs(value);
    return size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
  };
  const duration = (seconds) => {
    if (seconds === null || seconds === undefined) return "–";
    if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
    const s = Math.round(seconds), h = Math.floor(s / 3600), m = Math.floor((s % 3600) / 60);
    return h ? `${h} h ${m} min` : m ? `${m} min ${s % 60} s` : seconds < 10 ? `${seconds.toFixed(1)} s` : `${s} s`;
  };
  const dot = (run, index) => make("button", {
    class: "run", type: "button", style: `--c:${colour(index)}`, "aria-pressed": String(!hidden(run)), "data-run": run.name,
    title: "show or hide this run's curves", onclick: () => toggle(run),
  }, make("i"), document.createTextNode(run.name));

  function section(id, title, lead) {
    const element = make("section", { id }, make("h2", {}, title), lead ? make("p", { class: "lead" }, lead) : null);
    main.append(element);
    document.getElementById("sections").append(make("a", { href: `#${id}` }, title));
    return element;
  }

  // A cell is a text, or { text | node | nodes, sort, top }: `sort` is what the column is sorted by (its text has units
  // and digits cut off), `top` marks the best value.
  function table(heads, rows, attributes = {}) {
    const body = make("tbody");
    const draw = () => body.replaceChildren(...rows.map((row) => make("tr", {}, ...row.map((cell) =>
      make("td", { class: cell?.top ? "top" : undefined }, ...(cell?.nodes ?? [cell?.node ?? cell?.text ?? cell ?? ""]))))));
    const head = make("tr", {}, ...heads.map((title, column) => make("th", { scope: "col" }, make("button", {
      type: "button", onclick: (event) => {
        const th = event.currentTarget.closest("th"), down = th.getAttribute("aria-sort") === "ascending";
        th.parentNode.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
        th.setAttribute("aria-sort", down ? "descending" : "ascending");
        const of = (row) => row[column]?.sort ?? row[column]?.text ?? row[column] ?? "";
        rows.sort((a, b) => {
          const [one, other] = [of(a), of(b)];
          const order = typeof one === "number" && typeof other === "number" ? one - other : String(one).localeCompare(String(other));
          return down ? -order : order;
        });
        draw();
      },
    }, title))));
    draw();
    return make("div", { class: "card scroll" }, make("table", attributes, make("thead", {}, head), body));
  }

  // ---------------------------------------------------------------- plots
  const plots = [];
  // Plotly's own `responsive` follows the window alone, but a plot's width also changes with the grid and a scroll bar.
  // Without an <svg> a plot is not drawn yet, and there is nothing to resize.
  const sizes = new ResizeObserver((changes) => changes.forEach(({ target }) => target.querySelector(".main-svg") && Plotly.Plots.resize(target)));
  function base(extra = {}) {
    const ink = css("--soft"), axis = { gridcolor: css("--grid"), linecolor: css("--line"), zeroline: false, automargin: true, tickfont: { size: 11 } };
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, size: 12, family: "system-ui, sans-serif" },
      margin: { l: 46, r: 12, t: 8, b: 34 }, hovermode: "closest",
      modebar: { bgcolor: "rgba(0,0,0,0)", color: ink, activecolor: css("--accent") },
      hoverlabel: { bgcolor: css("--card"), bordercolor: css("--line"), font: { color: css("--ink") } },
      legend: { orientation: "h", x: 0, y: -0.16, yanchor: "top", font: { size: 11 } },
      xaxis: { ...axis }, yaxis: { ...axis }, ...extra,
    };
  }
  // Where nothing hovers (touch), the buttons of a plot, which the style shows on hover, would be there unseen.
  const OPTIONS = { displayModeBar: matchMedia("(hover: hover)").matches, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "toImage"] };
  function plot(parent, title, traces, layout, tall) {
    const target = make("div", { class: `draw${tall ? " tall" : ""}` });
    const card = make("article", { class: "card plot" }, make("h3", {}, title), target);
    parent.append(card);
    const entry = { card, target, traces, layout };
    plots.push(entry);
    // Traces and layout are functions: the choices (smoothing, axis, hidden runs, dark mode) are read at each drawing.
    entry.draw = () => { const drawn = entry.traces(); return Plotly.react(target, drawn, entry.layout(drawn), OPTIONS); };
    entry.draw();
    sizes.observe(target);
    return entry;
  }

  // Exponential moving average, divided by the weights so far, as TensorBoard smooths: without that a curve begins near
  // 0. A gap (null: NaN or infinity) stays one, and does not enter the average.
  function smoothed(values, weight) {
    let sum = 0, norm = 0;
    return values.map((value) => {
      if (value === null) return null;
      sum = weight * sum + (1 - weight) * value;
      norm = weight * norm + (1 - weight);
      return sum / norm;
    });
  }

  function curves(panel) {
    const traces = [], several = runs.length > 1;
    const there = panel.names.filter((name) => runs.some((run) => run.curves[name]));
    runs.forEach((run, index) => there.forEach((name, which) => {
      const curve = run.curves[name];
      if (!curve) return;
      const x = state.axis === "time" ? (curve.t || []).map((t) => t === null ? null : t / 60) : curve.x;
      const label = several ? (there.length > 1 ? `${run.name} · ${name}` : run.name) : name;
      // Of one run a colour tells the curves apart; of several it tells the runs apart, and dashes tell the curves.
      const line = { color: colour(several ? index : which), width: 1.8, dash: several && which ? ["dot", "dash", "dashdot"][(which - 1) % 3] : "solid" };
      const common = { x, type: "scatter", legendgroup: label, visible: hidden(run) ? "legendonly" : true };
      // With few points markers show where values were measured; a single point has no line at all.
      const few = curve.x.length < 30 ? "lines+markers" : "lines";
      if (state.smooth > 0 && curve.x.length > 2) {
        // The measured curve shines through, so that smoothing hides no peak.
        traces.push({ ...common, y: curve.y, mode: "lines", line: { ...line, width: 1 }, opacity: 0.25, showlegend: false, hoverinfo: "skip", name: label });
        traces.push({ ...common, y: smoothed(curve.y, state.smooth), mode: "lines", line, name: label, text: curve.y.map(shown),
          hovertemplate: "%{y:.5g} (measured %{text})<extra>%{fullData.name}</extra>" });
      } else {
        traces.push({ ...common, y: curve.y, mode: few, marker: { size: 4.5, color: line.color }, line, name: label,
          hovertemplate: `${state.axis === "time" ? "%{x:.1f} min" : "step %{x}"}: %{y:.5g}<extra>%{fullData.name}</extra>` });
      }
    }));
    return traces;
  }

  function curveLayout(panel, traces) {
    const layout = base();
    layout.xaxis.title = { text: state.axis === "time" ? "minutes" : "step", font: { size: 11 }, standoff: 4 };
    layout.yaxis.type = state.log ? "log" : "linear";
    layout.showlegend = traces.filter((trace) => trace.showlegend !== false).length > 1;
    // By axis and scale too: Plotly's ranges are minutes or steps, and logarithms on a logarithmic axis.
    const zoom = state.zoom[`${panel.title} ${state.axis} ${state.log}`];
    if (zoom?.x) { layout.xaxis.range = zoom.x; layout.xaxis.autorange = false; }
    if (zoom?.y) { layout.yaxis.range = zoom.y; layout.yaxis.autorange = false; }
    return layout;
  }

  function toggle(run) {
    state.hidden = hidden(run) ? state.hidden.filter((name) => name !== run.name) : [...state.hidden, run.name];
    keep();
    document.querySelectorAll("button.run").forEach((button) => {
      if (button.dataset.run === run.name) button.setAttribute("aria-pressed", String(!hidden(run)));
    });
    plots.forEach((entry) => entry.draw());
    document.querySelectorAll("figure[data-run]").forEach((figure) => { figure.hidden = state.hidden.includes(figure.dataset.run); });
  }

  // ---------------------------------------------------------------- the sections
  function measured() {
    const names = [...new Set(runs.flatMap((run) => Object.keys(run.results)))];
    // Validation first, then the cost: the order of runs_table (table.py).
    const rank = (name) => (/^val(idation)?_/.test(name) ? 0 : name === "cost" ? 1 : 2);
    return names.sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
  }

  function overview() {
    const part = section("runs", runs.length > 1 ? "Runs" : "Run");
    const names = measured();
    if (runs.length === 1) {
      const [run] = runs;
      const cards = [[make("span", { class: `badge ${run.status}` }, run.status), "status"], [`${run.epoch}${run.epochs ? ` / ${run.epochs}` : ""}`, "epochs"],
        [shown(run.step), "steps"], [duration(run.seconds), "training time"],
        ...names.slice(0, 4).map((name) => [shown(run.results[name].best), `best ${name}`])];
      part.append(make("div", { class: "figures" }, ...cards.map(([value, what]) => make("div", { class: "card figure" }, make("b", {}, value), make("span", {}, what)))));
    }
    const top = (name) => {
      const values = runs.map((run) => run.results[name]?.best).filter((value) => value !== null && value !== undefined);
      return content.higher.includes(name) ? Math.max(...values) : Math.min(...values);
    };
    const rows = runs.map((run, index) => [
      { node: dot(run, index), sort: run.name },
      { node: make("span", { class: `badge ${run.status}` }, run.status), sort: run.status },
      { text: `${run.epoch}${run.epochs ? ` / ${run.epochs}` : ""}`, sort: run.epoch }, { text: shown(run.step), sort: run.step },
      { text: duration(run.seconds), sort: run.seconds ?? 0 }, { text: run.started ?? "–" },
      ...names.map((name) => {
        const found = run.results[name];
        if (!found) return { text: "–", sort: Infinity }; // at the end where the least value comes first
        return { nodes: [make("b", {}, shown(found.best)), make("small", {}, `last ${shown(found.last)}`)], sort: found.best ?? Infinity, top: runs.length > 1 && found.best === top(name) };
      }),
    ]);
    part.append(table(["run", "status", "epochs", "steps", "time", "started", ...names], rows, { class: "runs" }));
    runs.filter((run) => run.note).forEach((run) => part.append(make("p", { class: "note" }, make("b", {}, run.name), ` · ${run.note}`)));
    if (content.differences.length) {
      const differ = section("differences", "What differs", "The settings that these runs do not have in common.");
      differ.append(table(["setting", ...runs.map((run) => run.name)], content.differences.map((row) => [row.name, ...row.values.map((value) => value || "–")]), { class: "words" }));
    } else if (runs.length > 1) {
      section("differences", "What differs").append(make("p", { class: "card empty" }, "Nothing: all settings, commands and versions are the same."));
    }
  }

  function curveSection() {
    if (!content.panels.length) return;
    const part = section("curves", "Curves");
    const redraw = () => { keep(); plots.filter((entry) => entry.panel).forEach((entry) => entry.draw()); };
    const output = make("output", {}, state.smooth.toFixed(2));
    const timed = runs.some((run) => Object.values(run.curves).some((curve) => curve.t));
    if (!timed) state.axis = "step"; // the kept choice may be of a report at this path whose runs had times
    const filter = () => plots.filter((entry) => entry.panel).forEach((entry) => {
      entry.card.hidden = !entry.panel.names.some((name) => name.toLowerCase().includes(state.find.toLowerCase()));
    });
    part.append(make("div", { class: "card controls" },
      make("label", {}, "smoothing", make("input", { type: "range", id: "smooth", min: 0, max: 0.99, step: 0.01, value: state.smooth,
        oninput: (event) => { state.smooth = Number(event.target.value); output.value = state.smooth.toFixed(2); redraw(); } }), output),
      make("label", {}, make("input", { type: "checkbox", id: "log", checked: state.log, onchange: (event) => { state.log = event.target.checked; redraw(); } }), "logarithmic"),
      make("label", {}, "by", make("select", { id: "axis", onchange: (event) => { state.axis = event.target.value; redraw(); } },
        make("option", { value: "step", selected: state.axis === "step" }, "step"), timed ? make("option", { value: "time", selected: state.axis === "time" }, "wall time") : null)),
      content.panels.length > 4 ? make("label", {}, make("input", { type: "search", id: "find", placeholder: "find a curve", "aria-label": "find a curve", value: state.find,
        oninput: (event) => { state.find = event.target.value; keep(); filter(); } })) : null,
      ...(runs.length > 1 ? runs.map(dot) : [])));
    const grid = make("div", { class: "plots" });
    part.append(grid);
    for (const panel of content.panels) {
      const entry = plot(grid, panel.title, () => curves(panel), (traces) => curveLayout(panel, traces));
      entry.panel = panel;
      entry.target.on("plotly_relayout", (change) => {
        const key = `${panel.title} ${state.axis} ${state.log}`;
        if (change["xaxis.autorange"] || change["yaxis.autorange"]) delete state.zoom[key];
        else if ("xaxis.range[0]" in change || "yaxis.range[0]" in change) {
          // The event has the axis that changed alone; _fullLayout has both (Plotly documents no other way to read them).
          const { xaxis, yaxis } = entry.target._fullLayout;
          state.zoom[key] = { x: [...xaxis.range], y: [...yaxis.range] };
        }
        keep();
      });
    }
    filter();
    const thinned = runs.flatMap((run) => Object.entries(run.curves).filter(([, curve]) => curve.of).map(([name, curve]) => `${name} (${shown(curve.of)} points)`));
    if (thinned.length) part.append(make("p", { class: "note" }, `Drawn with the least and the greatest value of each stretch: ${[...new Set(thinned)].join(", ")}.`));
  }

  function pictureSection() {
    const kinds = new Map();
    runs.forEach((run, index) => run.pictures.forEach((entry) => {
      const name = entry.name.replace(/\/\d+$/, ""); // the pictures of one batch are name/0, name/1, ...
      const key = `${name} by ${entry.unit}`;
      if (!kinds.has(key)) kinds.set(key, { name, unit: entry.unit, of: [] });
      kinds.get(key).of.push({ ...entry, run, index });
    }));
    if (!kinds.size) return;
    const part = section("pictures", "Pictures", "Move a slider, or use the arrow keys on it, to go through the run.");
    const grid = make("div", { class: "pictures" });
    part.append(grid);
    for (const [key, kind] of kinds) {
      const at = [...new Set(kind.of.flatMap((entry) => entry.at))].sort((a, b) => a - b);
      const many = kind.of.length > 2, frames = make("div", { class: `frames${many ? " small" : ""}` }), output = make("output");
      const images = kind.of.map(({ run, index, name }) => {
        const image = make("img", { alt: `${name} of ${run.name}`, onload: (event) => event.target.classList.toggle("tiny", event.target.naturalWidth < 100) });
        frames.append(make("figure", { "data-run": run.name, hidden: hidden(run) }, image, runs.length > 1 ? make("figcaption", { style: `color:${colour(index)}` }, run.name) : null));
        return image;
      });
      const show = (place) => {
        const now = at[place];
        output.value = `${kind.unit} ${shown(now)}`;
        kind.of.forEach((entry, which) => {
          let latest = 0; // runs log at different steps: each shows its last picture up to now, or its first
          entry.at.forEach((moment, index) => { if (moment <= now) latest = index; });
          if (entry.src[latest]) images[which].src = entry.src[latest];
        });
      };
      const start = Math.min(state.picture[key] ?? at.length - 1, at.length - 1);
      const slider = make("input", { type: "range", min: 0, max: at.length - 1, step: 1, value: start, "aria-label": `${kind.unit} of ${kind.name}`,
        oninput: (event) => {
          const place = Number(event.target.value);
          if (place === at.length - 1) delete state.picture[key]; else state.picture[key] = place; // at the end: follow a run that goes on
          keep(); show(place);
        } });
      grid.append(make("article", { class: `card shown${many ? " all" : kind.of.length > 1 || kind.unit === "epoch" ? " wide" : ""}` }, make("h3", {}, kind.name), frames, at.length > 1 ? make("div", { class: "slide" }, slider, output) : make("div", { class: "slide" }, output)));
      show(start);
    }
  }

  function histogramSection() {
    const all = runs.flatMap((run, index) => run.histograms.map((grid) => ({ run, index, grid })));
    if (!all.length) return;
    const part = section("histograms", "Histograms", "How the values are spread, and how that moves: the stronger the colour, the more of them lie there.");
    const grid = make("div", { class: "plots" });
    part.append(grid);
    for (const { run, grid: found } of all) {
      plot(grid, runs.length > 1 ? `${found.name} · ${run.name}` : found.name,
        () => [{ type: "heatmap", x: found.steps, y: found.values, z: found.shares, zmin: 0, showscale: false,
          colorscale: [[0, css("--card")], [0.15, dark.matches ? "#1e3a8a" : "#bfd3fb"], [0.5, dark.matches ? "#3b82f6" : "#5b8df0"], [1, dark.matches ? "#dbeafe" : "#122f73"]],
          hovertemplate: "step %{x}, around %{y:.4g}: %{z:.1%}<extra></extra>" }],
        () => { const layout = base(); layout.xaxis.title = { text: "step", font: { size: 11 }, standoff: 4 }; return layout; });
    }
  }

  function timeSection() {
    const timed = runs.filter((run) => run.epoch_times.length);
    if (!timed.length) return;
    const part = section("time", "Where the time went");
    const grid = make("div", { class: "plots" });
    for (const run of timed) {
      const totals = Object.fromEntries(PARTS.map(([key]) => [key, run.epoch_times.reduce((sum, epoch) => sum + (epoch.seconds[key] || 0), 0)]));
      const all = Object.values(totals).reduce((sum, value) => sum + value, 0) || 1;
      // The steps of an epoch are counted from the end of the one before. Where the timeline has lost that line they are
      // not known, and the epoch's time must not be divided by those of the others.
      let steps = 0, spent = 0;
      run.epoch_times.forEach(({ epoch, step, seconds }, index) => {
        const before = epoch === 1 ? { step: 0 } : run.epoch_times.find((other, at) => at < index && other.epoch === epoch - 1);
        if (before) { steps += step - before.step; spent += seconds.steps || 0; }
      });
      const share = (key) => `${Math.round((100 * totals[key]) / all)} %`;
      // A fifth: below it, faster data would gain less than the noise of an epoch's time.
      const advice = totals.data > 0.2 * all ? " The data is the limit: look at its profile, or add workers." : "";
      part.append(make("p", { class: "lead" }, runs.length > 1 ? make("b", {}, `${run.name}: `) : "",
        `${duration(all)} in all; ${PARTS.map(([key, text]) => `${text} ${share(key)}`).join(", ")}. ${steps > 0 ? `A step took ${shown((1000 * spent) / steps)} ms.` : ""}${advice}`));
      plot(grid, runs.length > 1 ? `seconds of each epoch · ${run.name}` : "seconds of each epoch",
        () => PARTS.map(([key, text], index) => ({ type: "bar", name: text, x: run.epoch_times.map((epoch) => epoch.epoch), y: run.epoch_times.map((epoch) => epoch.seconds[key] || 0),
          marker: { color: colour(index) }, hovertemplate: `epoch %{x}: %{y:.3g} s ${text}<extra></extra>` })),
        () => { const layout = base({ barmode: "stack", bargap: run.epoch_times.length > 60 ? 0 : 0.15 });
          layout.xaxis.title = { text: "epoch", font: { size: 11 }, standoff: 4 }; layout.yaxis.title = { text: "seconds", font: { size: 11 } }; layout.showlegend = true; return layout; }, true);
    }
    part.append(grid);
  }

  function profileSection() {
    const found = runs.filter((run) => run.profile);
    if (!found.length) return;
    const part = section("data", "Data");
    for (const run of found) {
      const { stages, verdict, per_second: rate, first_seconds: first } = run.profile;
      part.append(make("p", { class: "lead" }, runs.length > 1 ? make("b", {}, `${run.name}: `) : "", `${verdict} `, `${shown(rate)} datapoints a second; the first came after ${duration(first)}.`));
      part.append(table(["stage", "made", "ms each", "ms per output", "share", "queue"], stages.map((stage) => [
        { text: `${"\u2003".repeat(stage.depth)}${stage.name}` /* em spaces: HTML folds plain ones */ }, { text: stage.where }, { text: shown(stage.ms), sort: stage.ms }, { text: shown(stage.ms_per_output), sort: stage.ms_per_output },
        { nodes: [make("span", { class: "meter" }, make("i", { style: `width:${(100 * stage.share).toFixed(1)}%` })), `${Math.round(100 * stage.share)} %`], sort: stage.share },
        { text: stage.queue === null ? "" : `${Math.round(100 * stage.queue)} % ready`, sort: stage.queue ?? -1 }])));
    }
  }

  function checkpointSection() {
    const found = runs.filter((run) => run.checkpoints.length);
    if (!found.length) return;
    const part = section("checkpoints", "Checkpoints");
    const names = measured().slice(0, 6);
    const rows = found.flatMap((run) => run.checkpoints.map((one) => [
      { text: runs.length > 1 ? `${run.name}/${one.name}` : one.name }, { text: shown(one.epoch), sort: one.epoch ?? -1 }, { text: shown(one.step), sort: one.step ?? -1 },
      ...names.map((name) => ({ text: shown(one.values[name]), sort: one.values[name] ?? Infinity })), { text: one.saved.replace(/ [+-]\d{4}$/, "") }, { text: `${shown(one.megabytes)} MB`, sort: one.megabytes }]));
    part.append(table(["checkpoint", "epoch", "step", ...names, "saved", "size"], rows));
  }

  function environmentSection() {
    const part = section("settings", "Settings and environment");
    for (const run of runs) {
      const words = (title, values) => {
        const rows = Object.entries(values).filter(([, value]) => value !== "").map(([key, value]) => [key, value]);
        if (!rows.length) return;
        const key = `${run.name} ${title}`;
        part.append(make("details", { class: "card", open: state.open[key] ?? runs.length === 1, ontoggle: (event) => { state.open[key] = event.target.open; keep(); } },
          make("summary", {}, runs.length > 1 ? `${run.name} · ${title}` : title), table(["", ""], rows, { class: "words" })));
      };
      words("configuration", run.config);
      words("environment", { folder: run.path, ...run.environment });
    }
  }

  overview();
  curveSection();
  pictureSection();
  histogramSection();
  timeSection();
  profileSection();
  checkpointSection();
  environmentSection();
  document.body.append(make("footer", {}, "Made by flowtrain report. This file holds everything it shows and needs no network."));
  const made = document.getElementById("made");
  made.textContent = `as of ${content.made}`;
  dark.addEventListener("change", () => plots.forEach((entry) => entry.draw()));

  // ---------------------------------------------------------------- a page that is watched renews itself
  const refresh = Number(document.body.dataset.refresh);
  if (refresh > 0) {
    made.classList.add("live");
    let touched = 0;
    ["pointerdown", "pointermove", "keydown", "wheel"].forEach((kind) => addEventListener(kind, (event) => {
      if (kind !== "pointermove" || event.buttons) touched = Date.now(); // not in the middle of a drag or a word
    }, { passive: true }));
    setInterval(() => { if (!document.hidden && Date.now() - touched > 1500) location.reload(); }, refresh * 1000);
  }
})();
