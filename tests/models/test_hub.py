"""The Hub, answered at the edge of the network with the headers the real one sends."""

import importlib

import huggingface_hub
import pytest
from huggingface_hub.utils import _http

from zcache import CheckpointError
from zcache.models import catalogue, hub, loading


@pytest.fixture
def answer(monkeypatch, tmp_path):
    """Call it with status and headers, or an exception: what the Hub says to auth-check, and to the
    rest."""
    httpx = importlib.import_module(type(_http.get_session()).__module__.split(".")[0])

    def install(auth, rest=(500, {}), body=None):
        def handler(request):
            said = auth if request.url.path.endswith("/auth-check") else rest
            if isinstance(said, str):
                raise getattr(httpx, said)("unreachable", request=request)
            status, headers = said
            return httpx.Response(status, headers=headers, request=request, json=body or {})

        transport = httpx.MockTransport(handler)
        huggingface_hub.set_client_factory(lambda: httpx.Client(transport=transport))

    yield install
    huggingface_hub.set_client_factory(_http.default_client_factory)


GATED = (403, {"X-Error-Code": "GatedRepo"})
WRONG_TOKEN = (401, {"X-Error-Message": "Invalid credentials in Authorization header"})


@pytest.mark.parametrize(
    ("auth", "rest", "message"),
    [
        (GATED, (500, {}), "is gated .* accept its licence .* HF_TOKEN"),
        (WRONG_TOKEN, (500, {}), "refused the token .*HTTP 401"),
        ((403, {}), (500, {}), "refused the token .*HTTP 403"),
        ((404, {"X-Error-Code": "RepoNotFound"}), (500, {}), "no repository owner/name"),
        ((401, {}), (500, {}), "no repository owner/name"),
        ((503, {}), (500, {}), "answered HTTP 503 .* try again later"),
        ("ConnectError", "ConnectError", "cannot be reached: connect to the network"),
        ("ConnectTimeout", "ConnectError", "cannot be reached: connect to the network"),
        ((200, {}), (404, {"X-Error-Code": "RevisionNotFound"}), "no such revision"),
        ((200, {}), GATED, "is gated"),
        ((200, {}), (404, {"X-Error-Code": "EntryNotFound"}), "is no diffusers pipeline"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence_with_the_cure(answer, auth, rest, message):
    answer(auth, rest)

    with pytest.raises(CheckpointError, match=message) as caught:
        loading.load("owner/name")

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in loading.KNOWN if "mini" not in name])
def test_the_embedded_model_that_is_offered_is_of_the_same_kind(answer, name):
    answer("ConnectError", "ConnectError")
    model = loading.KNOWN[name]
    offered = catalogue.EMBEDDED[model.kind]

    with pytest.raises(CheckpointError, match=f"or choose {offered}, which is embedded"):
        hub.check_access(model.source)
    assert loading.KNOWN[offered].kind == model.kind


@pytest.fixture
def index_on_the_hub(answer, monkeypatch, tmp_path):
    """Call it with a model_index.json: the Hub has it, and this machine nothing yet."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "_commits", {})

    def install(index, commit="a" * 40):
        headers = {"ETag": f'"{commit}"', "X-Repo-Commit": commit}
        answer((200, {}), (200, headers), index)

    return install


def test_a_repository_on_the_hub_says_its_kind_and_classes(index_on_the_hub):
    index_on_the_hub({"_class_name": "DiTPipeline", "id2label": {"0": "cat, tomcat", "1": "dog"}})

    model = loading.find("owner/name")

    assert (model.kind, model.local) == ("class", None)
    assert loading.labels(model) == {"cat": 0, "tomcat": 0, "dog": 1}


def test_a_process_keeps_to_the_commit_it_met_first(index_on_the_hub, monkeypatch):
    for commit, name in (("a" * 40, "cat"), ("b" * 40, "dog")):
        index_on_the_hub({"_class_name": "DiTPipeline", "id2label": {"0": name}}, commit)
        assert loading.labels(loading.find("owner/name")) == {"cat": 0}
        assert hub.commit("owner/name") == "a" * 40
        assert hub.commit("owner/name", "pinned") == "pinned"

    monkeypatch.setattr(hub, "_commits", {})  # another process
    assert loading.labels(loading.find("owner/name")) == {"dog": 0}
    assert hub.commit("owner/name") == "b" * 40


def test_a_repository_of_another_pipeline_is_refused(index_on_the_hub):
    index_on_the_hub({"_class_name": "StableDiffusionPipeline"})

    with pytest.raises(CheckpointError, match="owner/name is a StableDiffusionPipeline"):
        loading.find("owner/name")


def test_weights_that_are_not_safetensors_are_named_with_the_cure():
    error = OSError("Could not find the necessary `safetensors` weights in {'vae/x.bin'}")

    assert "not safetensors" in str(hub.explained("owner/name", error))


def test_a_full_disk_is_said():
    error = hub.explained("owner/name", OSError(28, "No space left on device"))

    assert "disk is full" in str(error)


@pytest.mark.parametrize("auth", [(503, {}), "ConnectError"])
def test_a_copy_on_this_machine_is_taken_when_the_hub_does_not_answer(answer, tmp_path, auth):
    answer(auth, auth)
    asked = []

    def download(repo, local_files_only, **arguments):
        asked.append(local_files_only)
        return str(tmp_path)

    assert hub._fetched("owner/name", download, None) == str(tmp_path)
    assert asked == [True]
