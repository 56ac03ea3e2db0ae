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

  const STEP = Math.PI / 18;
  const KEYS = { // round, up, how much farther away
    ArrowLeft: [-STEP, 0, 1], ArrowRight: [STEP, 0, 1], ArrowUp: [0, STEP, 1], ArrowDown: [0, -STEP, 1],
    "+": [0, 0, 1 / 1.15], "=": [0, 0, 1 / 1.15], "-": [0, 0, 1.15],
  };

  function turned({ x, y, z }, round, up, farther) {
    const across = Math.hypot(x, y), away = Math.min(Math.max(Math.hypot(across, z) * farther, 0.3), 6);
    const azimuth = Math.atan2(y, x) + round, height = Math.min(Math.max(Math.atan2(z, across) + up, -1.5), 1.5);
    const flat = away * Math.cos(height);
    return { x: flat * Math.cos(azimuth), y: flat * Math.sin(azimuth), z: away * Math.sin(height) };
  }

  async function start(root) {
    const figure = JSON.parse(root.dataset.figure);
    const stage = root.querySelector(".stage"), picture = root.querySelector("img"), hint = root.querySelector("p");
    const probe = document.createElement("canvas");
    if (!probe.getContext("webgl2") && !probe.getContext("webgl")) return; // the still picture stays
    await loadPlotly();
    stage.style.height = `${figure.layout.height}px`;
    stage.hidden = hint.hidden = false;
    // The bar of buttons has room beside the organs only on a wide screen, and needs a mouse to be called up.
    const bar = matchMedia("(hover: hover) and (min-width: 700px)").matches && "hover";
    await Plotly.newPlot(stage, figure.data, { ...figure.layout, ...colours(root) },
      { ...figure.config, responsive: true, displayModeBar: bar });
    picture.hidden = true;
    stage.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab leaves the keys to the picture
    new MutationObserver(() => Plotly.relayout(stage, colours(root)))
      .observe(document.documentElement, { attributeFilter: ["data-theme"] });

    const scenes = Object.keys(figure.layout).filter((name) => name.startsWith("scene"));
    const first = figure.layout.scene.camera;
    let camera = first, wanted = null, busy = false;
    async function look(to) { // all views turn together
      camera = wanted = to;
      if (busy) return;
      busy = true;
      while (wanted) {
        const views = Object.fromEntries(scenes.map((scene) => [`${scene}.camera`, wanted]));
        wanted = null;
        await Plotly.relayout(stage, views);
      }
      busy = false;
    }
    stage.on("plotly_relayout", (change) => {
      const scene = scenes.find((name) => change[`${name}.camera`]);
      if (scene && !busy) look(change[`${scene}.camera`]);
    });
    stage.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey || !(event.key in KEYS || event.key === "0")) return;
      event.preventDefault();
      event.stopPropagation();
      look(event.key === "0" ? first : { ...camera, eye: turned(camera.eye, ...KEYS[event.key]) });
    });
    followFinger(stage, (right, down) => look({ ...camera, eye: turned(camera.eye, -right, down, 1) }));
  }

  // plotly would turn only the view under the finger, and keep the page from scrolling. Here the browser scrolls where
  // the finger starts up or down (touch-action: pan-y), and hands over what starts to the side.
  function followFinger(stage, turn) {
    let last = null, sideways;
    const ours = (event) => event.target.closest("canvas, .gl-container") || event.target.matches("svg, .main-svg *");
    for (const name of ["touchstart", "touchmove", "touchend"])
      stage.addEventListener(name, (event) => ours(event) && event.stopPropagation(), { capture: true, passive: true });
    stage.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch" && event.isPrimary && ours(event)) [last, sideways] = [event, false];
    }, true);
    stage.addEventListener("pointermove", (event) => {
      if (!last || event.pointerId !== last.pointerId) return;
      sideways ||= Math.abs(event.clientX - last.clientX) > 8; // until then it may yet become a scroll
      if (!sideways) return;
      const share = Math.PI / stage.clientWidth; // half a turn from edge to edge
      turn(share * (event.clientX - last.clientX), share * (event.clientY - last.clientY));
      last = event;
    }, true);
    for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, () => (last = null), true);
  }

  // The paper is the page's own, and the letters are as dark or as light as the text around.
  function colours(root) {
    return { paper_bgcolor: "rgba(0, 0, 0, 0)", font: { color: getComputedStyle(root).color } };
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
