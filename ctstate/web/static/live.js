/* The live page: looks again while somebody looks, draws the hours, and knows two keys. Without it all can be read. */
"use strict";

(() => {
  const EVERY_MS = 5000;

  /* -- looking again ------------------------------------------------------------------------------------- */

  const live = document.getElementById("live");
  const fresh = document.getElementById("fresh");
  let last = Date.now();

  function reading() {
    /* Whoever is in the middle of the page with the keyboard, or has marked something, is left in peace. */
    const selection = document.getSelection();
    return live.contains(document.activeElement) || (selection && !selection.isCollapsed && live.contains(selection.anchorNode));
  }

  function look() {
    if (document.hidden || Date.now() - last < EVERY_MS - 100 || reading()) return;
    last = Date.now();
    htmx.trigger(live, "look");
  }

  if (live && live.hasAttribute("hx-get")) {
    setInterval(look, EVERY_MS);
    document.addEventListener("visibilitychange", look);
    const words = fresh.textContent;
    const gone = () => { fresh.textContent = "It does not answer: is `ctstate serve` still running, and the way to it open?"; fresh.className = "bad"; };
    document.body.addEventListener("htmx:sendError", gone);
    document.body.addEventListener("htmx:timeout", gone);
    document.body.addEventListener("htmx:responseError", gone);
    let open = [];
    document.body.addEventListener("htmx:beforeSwap", () => {
      open = [...live.querySelectorAll("details[open] > summary")].map((one) => one.id);
    });
    document.body.addEventListener("htmx:afterSwap", () => {
      fresh.textContent = words;
      fresh.className = "";
      open.forEach((id) => { const one = document.getElementById(id); if (one) one.parentElement.open = true; });
      draw();
    });
  }

  /* -- the hours ----------------------------------------------------------------------------------------- */

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const two = (number) => String(number).padStart(2, "0");

  function clock(seconds, place, all) {
    const at = new Date(seconds * 1000);
    const day = `${at.getUTCFullYear()}-${two(at.getUTCMonth() + 1)}-${two(at.getUTCDate())}`;
    const first = place === 0 || new Date(all[place - 1] * 1000).getUTCDate() !== at.getUTCDate();
    return `${two(at.getUTCHours())}:00${first ? `\n${day}` : ""}`;
  }

  function draw() {
    const figure = document.querySelector("[data-chart]");
    if (!figure || typeof uPlot === "undefined") return;
    const rows = [...figure.querySelectorAll("tbody tr")].reverse();
    const known = new Map(rows.map((row) => [Date.parse(row.querySelector("time").dateTime) / 1000,
      [...row.querySelectorAll("[data-n]")].map((cell) => Number(cell.dataset.n))]));
    const first = Math.min(...known.keys());
    const end = Math.max(...known.keys());
    const begin = Math.max(Math.min(first, end - 23 * 3600), end - 14 * 24 * 3600);
    const hours = [], uploaded = [], failed = [];
    for (let hour = begin; hour <= end; hour += 3600) {
      const [up, down] = known.get(hour) || [0, 0];
      hours.push(hour); uploaded.push(up + down); failed.push(down);
    }
    const plot = figure.querySelector(".plot");
    plot.textContent = "";
    const axis = { stroke: colour("--faint"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
    const bars = uPlot.paths.bars({ size: [0.8, 40], align: 1 });
    const series = (label, name) => ({ label, fill: colour(name), stroke: colour(name), width: 0, paths: bars, points: { show: false } });
    new uPlot({
      width: plot.clientWidth, height: 200, tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      legend: { show: false }, cursor: { show: false },
      scales: { x: { range: (_, from, to) => [from, to + 3600] }, y: { range: (_, from, to) => [0, Math.max(to, 1) * 1.05] } },
      axes: [{ ...axis, space: 60, size: 52, values: (_, at) => at.map(clock) }, { ...axis, size: 60, values: (_, at) => at.map((n) => Number.isInteger(n) ? n.toLocaleString("en") : "") }],
      series: [{}, series("uploaded", "--uploaded"), series("failed", "--failed")],
    }, [hours, uploaded, failed], plot);
  }

  let waiting = 0;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(draw, 150); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();

  /* -- keys ---------------------------------------------------------------------------------------------- */

  addEventListener("keydown", (event) => {
    const target = event.target;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && target.matches("[data-question]")) {
      target.form.requestSubmit();
    } else if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey && !target.matches("input, textarea, select")) {
      const find = document.querySelector("[data-find], [data-question]");
      if (find) { event.preventDefault(); find.focus(); find.select(); }
    }
  });
})();
