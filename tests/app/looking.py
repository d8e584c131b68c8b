"""What can be seen to be wrong on a page: text cut off, things on each other, no focus ring, axe's findings."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe

# The rectangles of all texts that are seen, with what is named of them.
TEXTS = """
const named = (e) => `${e.tagName.toLowerCase()}.${[...e.classList].join(".")}`;
const seen = (e) => e.checkVisibility({ opacityProperty: true, visibilityProperty: true });
// What of a rectangle is seen through all that clips it.
const clipped = (e, box) => {
  let [left, top, right, bottom] = [box.left, box.top, box.right, box.bottom];
  for (let up = e.parentElement; up; up = up.parentElement) {
    const style = getComputedStyle(up), own = up.getBoundingClientRect();
    if (style.display === "inline") continue;
    if (style.overflowX !== "visible") [left, right] = [Math.max(left, own.left), Math.min(right, own.right)];
    if (style.overflowY !== "visible") [top, bottom] = [Math.max(top, own.top), Math.min(bottom, own.bottom)];
  }
  return { left, top, right, bottom };
};
const hides = (e) => getComputedStyle(e).clipPath !== "none" || /sr-only|visually-hidden/.test(e.className);
const texts = () => {
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode, e = text.parentElement;
    if (!text.data.trim() || !seen(e) || /SCRIPT|STYLE|OPTION|TITLE/i.test(e.tagName)) continue;
    let hidden = false;
    for (let up = e; up; up = up.parentElement) hidden ||= hides(up);
    if (hidden) continue;
    const range = document.createRange();
    range.selectNodeContents(text);
    for (const box of range.getClientRects())
      if (box.width > 1 && box.height > 1) found.push({ e, box, said: text.data.trim().slice(0, 40) });
  }
  return found;
};
"""
CUT_OFF = f"""() => {{
  {TEXTS}
  const wrong = [], wide = document.documentElement.scrollWidth;
  if (wide > innerWidth) wrong.push(`the document is ${{wide}} wide, the screen ${{innerWidth}}`);
  for (const {{ e, box, said }} of texts()) {{
    let left = 0, right = innerWidth, scrolls = false;
    for (let up = e; up; up = up.parentElement) {{
      const style = getComputedStyle(up), own = up.getBoundingClientRect();
      if (/auto|scroll/.test(style.overflowX) && up.scrollWidth > up.clientWidth) scrolls = true;
      if (style.overflowX !== "visible" && style.display !== "inline") {{
        left = Math.max(left, own.left); right = Math.min(right, own.right);
      }}
    }}
    if (!scrolls && (box.left < left - 1 || box.right > right + 1))
      wrong.push(`“${{said}}” (${{named(e)}}) is cut off: ${{Math.round(box.left)}} to ` +
        `${{Math.round(box.right)}} of ${{Math.round(left)}} to ${{Math.round(right)}}`);
  }}
  return wrong;
}}"""
COVERED = f"""() => {{
  {TEXTS}
  let all = texts().map(({{ e, box, said }}) => ({{ e, box: clipped(e, box), said }}));
  for (const e of document.querySelectorAll("button, input, select, textarea, video, img, svg[role]"))
    if (seen(e))
      all.push({{ e, box: clipped(e, e.getBoundingClientRect()), said: e.ariaLabel || e.alt || "" }});
  all = all.filter(({{ box }}) => box.right > box.left && box.bottom > box.top);
  const wrong = [];
  const whole = "label, .zc-overlay, svg, .block:has(.icon-button)";  // whose parts lie on each other
  const related = (a, b) => a.contains(b) || b.contains(a) ||
    (a.closest(whole) && a.closest(whole) === b.closest(whole));
  for (let i = 0; i < all.length; i++)
    for (let j = i + 1; j < all.length; j++) {{
      const [a, b] = [all[i], all[j]];
      const across = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left);
      const down = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top);
      if (across > 2 && down > 3 && !related(a.e, b.e))
        wrong.push(`“${{a.said}}” (${{named(a.e)}}) and “${{b.said}}” (${{named(b.e)}}) lie on each other`);
    }}
  return wrong;
}}"""
PAINTED_OVER = """() => {
  const row = [...document.querySelectorAll(".zc-buttons")].find((e) => e.offsetParent);
  if (!row || getComputedStyle(row).position !== "sticky") return [];
  const wrong = new Set(), down = (y) => scrollTo({ top: y, behavior: "instant" });
  for (let y = 0; y < document.documentElement.scrollHeight - innerHeight; y += 12) {
    down(y);
    const box = row.getBoundingClientRect();
    if (box.top < -1 || box.bottom > innerHeight) continue;
    for (let x = box.left + 8; x < box.right; x += 24) {
      const e = document.elementFromPoint(x, (box.top + box.bottom) / 2);
      if (e && !row.contains(e) && !e.contains(row))
        wrong.add(`“${(e.textContent || "").trim().slice(0, 40)}” (${e.tagName.toLowerCase()}) is painted ` +
          "over the buttons that stay");
    }
  }
  down(0);
  return [...wrong];
}"""
NO_RING = """() => {
  const e = document.activeElement;
  if (!e || e === document.body) return "";
  for (let up = e; up && up !== document.body; up = up.parentElement) {
    const style = getComputedStyle(up);
    if ((style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1) ||
        (up === e && style.boxShadow !== "none")) return "";
  }
  const said = (e.textContent || e.ariaLabel || "").slice(0, 40);
  return `${e.tagName.toLowerCase()}#${e.id} “${said}” has no focus ring`;
}"""


def axe_violations(page: Any, impacts: tuple[str, ...] = ()) -> list[str]:
    """What axe-core finds, of these impacts or of all, with the element it finds it on."""
    return [
        f"axe, {found['impact']}: {found['id']}: {node['target']}"
        for found in Axe().run(page).response["violations"]
        if not impacts or found["impact"] in impacts
        for node in found["nodes"]
    ]
