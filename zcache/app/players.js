// The two clips of a comparison play in step: what one does, the other does.
(() => {
  const DRIFT = 0.06; // seconds; below a frame of any clip

  const clips = (video) => [...(video.closest?.(".zc-clips")?.querySelectorAll("video") ?? [])];
  const align = (video, other) => {
    if (Math.abs(video.currentTime - other.currentTime) > DRIFT) other.currentTime = video.currentTime;
  };

  const follow = ({ type, target }) => {
    for (const other of clips(target)) {
      if (other === target) continue;
      if (type === "timeupdate" && target !== clips(target)[0]) continue; // the first one leads
      align(target, other);
      if (type === "play" && other.paused) other.play().catch(() => {});
      if (type === "pause" && !other.paused && !target.ended) other.pause();
      if (type === "ratechange") other.playbackRate = target.playbackRate;
    }
  };

  // These events do not bubble; the document sees them on their way down.
  for (const type of ["play", "pause", "seeking", "ratechange", "timeupdate"]) {
    document.addEventListener(type, follow, true);
  }
})();
