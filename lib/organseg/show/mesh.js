// Draws the renderings of a page when they come into sight; plotly is taken from the page, or from beside this script.
(() => {
  const beside = document.currentScript?.src;
  let loading;

  function loadPlotly() {
    if (window.Plotly) return Promise.resolve();
    window.PlotlyConfig = { MathJaxConfig: "local" }; // leave the page's formulas alone
    loading ??= new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = new URL("plotly.min.js", beside);
      script.onload = done;
      script.onerror = failed;
      document.head.append(script);
    });
    return loading;
  }

  function turned(eye, key) {
    const across = Math.hypot(eye.x, eye.y), length = Math.hypot(across, eye.z);
    let round = Math.atan2(eye.y, eye.x), up = Math.atan2(eye.z, across), away = length;
    const step = Math.PI / 18;
    if (key === "ArrowLeft") round -= step;
    else if (key === "ArrowRight") round += step;
    else if (key === "ArrowUp") up = Math.min(up + step, 1.5);
    else if (key === "ArrowDown") up = Math.max(up - step, -1.5);
    else if (key === "+" || key === "=") away = Math.max(away / 1.15, 0.3);
    else if (key === "-") away = Math.min(away * 1.15, 6);
    else return null;
    const flat = away * Math.cos(up);
    return { x: flat * Math.cos(round), y: flat * Math.sin(round), z: away * Math.sin(up) };
  }

  async function start(root) {
    const figure = JSON.parse(root.dataset.figure);
    const stage = root.querySelector(".stage"), picture = root.querySelector("img"), hint = root.querySelector("p");
    const probe = document.createElement("canvas");
    if (!probe.getContext("webgl2") && !probe.getContext("webgl")) return; // the still picture stays
    await loadPlotly();
    stage.style.height = `${figure.layout.height}px`;
    stage.hidden = hint.hidden = false;
    await Plotly.newPlot(stage, figure.data, figure.layout, { ...figure.config, responsive: true });
    picture.hidden = true;
    stage.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab leaves the keys to the picture

    const scenes = Object.keys(figure.layout).filter((name) => name.startsWith("scene"));
    const first = figure.layout.scene.camera;
    let camera = first, busy = false;
    async function look(to) {
      if (busy) return;
      busy = true;
      camera = to;
      await Plotly.relayout(stage, Object.fromEntries(scenes.map((scene) => [`${scene}.camera`, to])));
      busy = false;
    }
    stage.on("plotly_relayout", (change) => {
      const scene = scenes.find((name) => change[`${name}.camera`]);
      if (scene && !busy) look(change[`${scene}.camera`]); // both views turn together
    });
    stage.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const eye = turned(camera.eye, event.key);
      if (!eye && event.key !== "0") return;
      event.preventDefault();
      event.stopPropagation();
      look(eye ? { ...camera, eye } : first);
    });
  }

  function begin() {
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        seen.unobserve(entry.target);
        start(entry.target);
      }
    }, { rootMargin: "300px" });
    for (const root of document.querySelectorAll(".organseg-rendering:not([data-begun])")) {
      root.dataset.begun = "yes";
      seen.observe(root);
    }
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
  else begin();
})();
