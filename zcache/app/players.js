// The clips of a comparison play in step: what one does, the others do, and one button and one slider
// rule them all. The slider over two pictures moves the edge between them. Links to files say their names.
// Tab leaves a list closed. Who listens to the page is told the verdict.
(() => {
  const DRIFT = 0.06; // seconds; below a frame of any clip
  const still = matchMedia("(prefers-reduced-motion: reduce)");

  const clips = (node) => [...(node.closest?.(".zc-tab")?.querySelectorAll(".zc-clips video") ?? [])];
  const align = (video, other) => {
    if (Math.abs(video.currentTime - other.currentTime) > DRIFT) other.currentTime = video.currentTime;
  };

  const follow = ({ type, target }) => {
    const all = clips(target);
    if (!all.includes(target)) return;
    if (type === "play" && hold(target)) return;
    const first = target === all[0];
    for (const other of all) {
      if (other === target) continue;
      if (type === "timeupdate" && !first) continue; // the first one leads
      align(target, other);
      if (type === "play" && other.paused) other.play().catch(() => {});
      if (type === "pause" && !other.paused && !target.ended) other.pause();
      if (type === "ratechange") other.playbackRate = target.playbackRate;
    }
    if (first) show(target);
  };

  const show = (video) => {
    const player = video.closest(".zc-tab").querySelector(".zc-player");
    if (!player) return;
    player.querySelector("button").textContent = video.paused ? "Play" : "Pause";
    player.querySelector("input").value = video.currentTime / (video.duration || 1);
  };

  const prepare = ({ target }) => {
    if (!clips(target).includes(target)) return;
    target.setAttribute("aria-label", `Clip: ${target.dataset.testid.replace("-player", "")}`);
    hold(target);
  };

  // Who asked for less motion starts the clips, and they end.
  const hold = (video) => {
    if (!still.matches) return false;
    if (video.dataset.asked) return false;
    video.pause();
    return true;
  };

  // These events do not bubble; the document sees them on their way down.
  for (const type of ["play", "pause", "seeking", "ratechange", "timeupdate"]) {
    document.addEventListener(type, follow, true);
  }
  document.addEventListener("loadedmetadata", prepare, true);
  document.addEventListener("click", ({ target }) => {
    if (!target.closest?.(".zc-player button")) return;
    const all = clips(target);
    for (const clip of all) {
      clip.dataset.asked = "yes";
      if (still.matches) clip.loop = false;
    }
    if (all.length) all[0].paused ? all[0].play() : all[0].pause();
  });
  document.addEventListener("input", ({ target }) => {
    const [first] = target.closest?.(".zc-player") ? clips(target) : [];
    if (first) first.currentTime = target.value * first.duration;
    target.closest?.(".zc-overlay")?.style.setProperty("--cut", `${target.value}%`);
  });

  // Gradio's dropdowns answer Tab after they have lost the focus, and open their list again.
  const leave = (event) => {
    if (event.key === "Tab" && event.target.matches?.("[role=combobox]")) event.stopPropagation();
  };
  document.addEventListener("keydown", leave, true);

  // Gradio tells listeners the names of its own words, "common.complete"; they hear what is to be read.
  const reword = (node) => {
    const region = node.parentElement;
    if (!/^(common|status)\.\w+$/.test(node.data ?? "") || !region?.matches(".sr-only[role=status]")) return;
    const seen = [...document.querySelectorAll(".zc-verdict, .zc-waiting")].find((e) => e.offsetParent);
    node.data = node.data === "common.complete" ? (seen?.innerText ?? "Done.") : "";
  };
  new MutationObserver((changes) => changes.forEach(({ target }) => reword(target))).observe(document, {
    characterData: true,
    subtree: true,
  });

  // Gradio's links say the size of a file only, and hold a button of their own.
  const named = (link) => {
    const name = `Download ${link.download}`;
    if (link.getAttribute("aria-label") === name) return;
    link.setAttribute("aria-label", name);
    link.querySelector("button")?.setAttribute("tabindex", "-1");
  };
  new MutationObserver(() => {
    for (const link of document.querySelectorAll("a.download-link[download]")) named(link);
  }).observe(document, { childList: true, subtree: true, attributeFilter: ["download"] });
})();
