"""The page: a header, and one tab for each kind of model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import gradio as gr

from . import (
    background,
    callers,
    comparing,
    device,
    engine,
    explained,
    first_sight,
    forecast,
    guard,
    links,
    outputs,
    tab,
    views,
    visitors,
)
from .endpoints import add_endpoints
from .tab import QUICK

# As after a run: on a phone the result of a link is below the screen. It comes when its tab is drawn.
RESTORED = """() => {
  let times = 30;
  const look = () => {
    const result = [...document.querySelectorAll(".zc-result")].find((box) => box.offsetParent);
    if (!result && times--) return setTimeout(look, 100);
    const figures = result?.closest(".zc-figures");
    if (figures && !scrollY && figures.getBoundingClientRect().top > innerHeight / 2)
      figures.scrollIntoView();
  };
  look();
}"""


def build_demo(hosts: Mapping[str, engine.Engine] | None = None) -> gr.Blocks:
    """Return the page; `hosts` are the engines by kind, by default those the environment asks for.

    The first model begins to load in the background, the others when their tab is opened; the page
    is served before any is there. On ZeroGPU all are there before.
    """
    engine.use(hosts or engine.lineup())
    if engine.on_zero_gpu():
        for host in engine.all_hosts().values():
            host.load_here()
    engine.of("image").start()
    background.begin(forecast.prepare, "zcache-count")
    with gr.Blocks(title="Z-Cache", analytics_enabled=False, delete_cache=(3600, 86400)) as demo:
        gr.HTML(first_sight.head(), elem_classes="zc-head", padding=False)
        told = gr.HTML(elem_classes="zc-plan", padding=False)
        chips, tabs, settings, shown = {}, {}, {}, {}
        with gr.Tabs() as all_tabs:
            for kind in engine.EMBEDDED:
                with gr.Tab(kind.capitalize(), id=kind) as tabs[kind]:
                    settings[kind], shown[kind], chips[kind] = tab.build(demo, kind, _chip(kind))
            with gr.Tab("Compare", id="compare"):
                labels = [settings["class"]["label"], comparing.build()]
            with gr.Tab("How it works", id="how"):
                explained.build()
        _keep_status(demo, tabs, list(chips.values()), [box for box in labels if not box.choices])
        _restore(demo, all_tabs, settings, shown, told)
        demo.unload(_leave)
        add_endpoints()
    demo.queue(max_size=20, api_open=False)
    guard.keep_alive(demo)
    visitors.share_queue(demo)
    callers.follow(demo)
    return demo


def _keep_status(
    demo: gr.Blocks, tabs: Mapping[str, gr.Tab], chips: list[gr.HTML], empty: list[gr.Dropdown]
) -> None:
    """Show what each model does, every second while one loads, and in the lists that were empty when the page was
    laid out the classes of a model that is there now."""
    timer = gr.Timer(1.0)
    for kind, opened in tabs.items():
        opened.select(partial(_open, kind), None, timer, **QUICK)
    gr.on([demo.load, timer.tick], _refresh, None, [*chips, timer], **QUICK)
    for box in empty:
        gr.on([demo.load, timer.tick], _fill, box, box, **tab.AS_TYPED, **QUICK)


def _restore(
    demo: gr.Blocks,
    all_tabs: gr.Tabs,
    settings: dict[str, dict[str, Any]],
    shown: dict[str, dict[str, Any]],
    told: gr.HTML,
) -> None:
    """Set what the address of the page asks for, say what of it is not to be had, and show its result where
    the store has it."""
    parts = [part for of_kind in settings.values() for part in of_kind.values()]
    results = [part for of_kind in shown.values() for part in of_kind.values()]

    def restore(request: gr.Request) -> dict[Any, Any]:
        query = dict(request.query_params)
        found = links.restored(query)
        said = {told: views.ignored(links.ignored(query))}
        if found is None:
            other = query.get(links.TAB) in links.OTHER_TABS
            return said | {all_tabs: gr.Tabs(selected=query[links.TAB]) if other else gr.skip()}
        kind, values = found
        engine.of(kind).start()
        chosen = {settings[kind][name]: v for name, v in values.items() if name in settings[kind]}
        return {all_tabs: gr.Tabs(selected=kind), **said, **chosen}

    def result(request: gr.Request) -> dict[Any, Any]:
        found = links.result(dict(request.query_params))
        if found is None:
            return {all_tabs: gr.skip()}
        kind, outcome, link = found
        return outputs.of_outcome(shown[kind], outcome, link, earlier=True)

    demo.load(restore, None, [all_tabs, told, *parts], **QUICK)
    found = demo.load(result, None, [all_tabs, *results], **QUICK)
    found.success(None, js=RESTORED, **QUICK)


def _leave(request: gr.Request) -> None:
    """Stop what a visitor who goes away has running."""
    device.stop_all(f"{request.session_hash}/")


def _open(kind: str) -> gr.Timer:
    engine.of(kind).start()
    return gr.Timer(active=True)


def _refresh() -> tuple[Any, ...]:
    busy = any(engine.of(kind).loading for kind in engine.EMBEDDED)
    return *map(_chip, engine.EMBEDDED), gr.Timer(active=busy)


def _fill(chosen: str | None) -> Any:
    host = engine.of("class")
    names = host.labels() if host.status()["state"] == engine.READY and not chosen else []
    return gr.Dropdown(names, value=names[0]) if names else gr.skip()


def _chip(kind: str) -> str:
    return views.chip(engine.of(kind).status())
