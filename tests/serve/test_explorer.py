"""The explorer's API: numbers are those of transformers, links open the right state, and nothing else does harm."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import BertTokenizerFast

from pubmedbert.explore.index_files import open_index
from pubmedbert.explore.neighbours import nearest, word_state
from pubmedbert.explore.summary import attended, entity_types, matched, tagged
from pubmedbert.explore.view import ExploredModel
from pubmedbert.explore.wire import LARGEST_ERROR, decode
from pubmedbert.infer.labels.predict import Predictor
from pubmedbert.serve.deadline import Deadline
from pubmedbert.serve.explored import Explored
from pubmedbert.serve.explorer import _served
from pubmedbert.serve.process import Loading
from pubmedbert.serve.weighing import NEIGHBOURS
from tests.explore.conftest import SENTENCE
from tests.model.reference import load_theirs
from tests.serve.conftest import Service, serving
from tests.serve.test_faults import stopped, until

PAIR = ("Is aspirin effective?", "It inhibited naïve platelets.")
CARD = (
    "model=microsoft/BiomedNLP-PubMedBERT-{}&modelKind=bidirectional&sentence=Gefitinib%20is%20an%20EGFR%20tyrosine"
    "%20kinase%20inhibitor,%20which%20is%20often%20used%20for%20breast%20cancer%20and%20NSCLC%20treatment.&layer={}"
    "&heads=..0,1,2,3,4,5,6,7,8,9,10,11&threshold=0.7&tokenInd=17&tokenSide=right&maskInds=..&hideClsSep=true"
)
CARD_MODEL = "BiomedNLP-PubMedBERT-base-uncased-abstract-fulltext"


class Theirs:
    """A model that fills masks in transformers, with its attentions."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = BertTokenizerFast.from_pretrained(folder)
        self.model = load_theirs(folder)
        self.model.set_attn_implementation("eager")

    def __call__(self, text: str, text_b: str | None = None, masks: Sequence[int] = ()) -> Any:
        given = self.tokenizer(text, text_b, return_tensors="pt")
        given["input_ids"][0, list(masks)] = self.tokenizer.mask_token_id
        with torch.inference_mode():
            return self.model(**given, output_attentions=True)

    def attentions(self, *given: Any) -> NDArray[np.float32]:
        found: NDArray[np.float32] = torch.cat(self(*given).attentions).numpy()
        return found


@pytest.fixture(scope="module")
def theirs(folders: dict[str, Path]) -> Theirs:
    return Theirs(folders["mask"])


def state(service: Service, query: str) -> Any:
    response = httpx.get(f"{service.url}/explore/state?{query}", timeout=60)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize(
    ("text", "text_b", "masks"), [(SENTENCE, None, []), (SENTENCE, None, [4, 17]), (*PAIR, [2, 8]), ("", None, [])]
)
def test_a_view_is_what_transformers_computes(
    service: Service, theirs: Theirs, text: str, text_b: str | None, masks: list[int]
) -> None:
    response = service.post("/explore/view", {"text": text, "text_b": text_b, "masks": masks})
    assert response.headers["content-type"] == "application/octet-stream"
    header, maps = decode(response.content)
    assert {key: header[key] for key in ("model", "layers", "heads", "kind")} == {
        "model": "mask",
        "layers": 2,
        "heads": 4,
        "kind": "mlm",
    }
    assert np.abs(maps - theirs.attentions(text, text_b, masks)).max() < LARGEST_ERROR + 1e-4
    shares, pieces = theirs(text, text_b, masks).logits[0].softmax(-1).topk(5)
    for place, guesses in enumerate(header["guesses"]):
        assert [guess[0] for guess in guesses] == pieces[place].tolist()
        assert np.allclose([guess[2] for guess in guesses], shares[place].numpy(), atol=1e-4)
    assert [place for place, token in enumerate(header["tokens"]) if token["masked"]] == masks
    bare, same = decode(service.post("/explore/view", {"text": text, "predictions": False}).content)
    assert bare["guesses"] is None
    assert same.shape[:2] == (2, 4)


def test_rollout_multiplies_what_transformers_computes(service: Service, theirs: Theirs) -> None:
    header, maps = decode(service.post("/explore/rollout", {"text": SENTENCE}).content)
    assert (header["layers"], header["heads"]) == (2, 4)
    assert header["guesses"] is not None
    expected = []
    before = np.eye(maps.shape[-1])
    for layer in theirs.attentions(SENTENCE):
        before = (0.5 * layer.mean(axis=0) + 0.5 * np.eye(len(before))) @ before
        expected.append(before)
    assert maps.shape == (2, 1, len(before), len(before))
    assert np.abs(maps[:, 0] - np.stack(expected)).max() < LARGEST_ERROR + 1e-4


def test_occlusion_hides_what_transformers_is_not_shown(service: Service, theirs: Theirs) -> None:
    text, place = "the tyrosine kinase inhibitor imatinib", 3
    found = service.post("/explore/occlusion", {"text": text, "place": place, "words": False}).json()
    length = len(theirs.tokenizer(text)["input_ids"])
    assert found["places"] == [[one] for one in range(1, length - 1)]
    plain = theirs(text, None, [place]).logits[0, place].log_softmax(-1)
    target = theirs.tokenizer.convert_tokens_to_ids(found["answer"])
    assert target == int(plain.argmax())
    assert found["before"] == pytest.approx(float(plain[target]), abs=1e-4)
    for (hidden,), change in zip(found["places"], found["changes"], strict=True):
        logs = theirs(text, None, [place, hidden]).logits[0, place].log_softmax(-1)
        assert change == pytest.approx(float(logs[target] - plain[target]), abs=1e-4)
    asked = {"text": text, "place": place, "answer": "drug", "masks": [1]}
    words = service.post("/explore/occlusion", asked).json()
    assert words["answer"] == "drug"
    assert [one for places in words["places"] for one in places] == list(range(1, length - 1))
    assert len(words["places"]) == len(text.split())
    assert words["changes"][0] == 0  # what is masked already tells nothing
    given = theirs(text, None, [1, place]).logits[0, place].log_softmax(-1)
    assert words["before"] == pytest.approx(float(given[theirs.tokenizer.convert_tokens_to_ids("drug")]), abs=1e-4)


def test_neighbours_are_those_of_the_index(service: Service, folders: dict[str, Path], index: Path) -> None:
    opened, model, tagger = open_index(index), ExploredModel(folders["mask"]), Predictor(folders["tags"])
    text, place = "Imatinib inhibits the tyrosine kinase of cells.", 3
    view = model.view(text, masks=[5])
    expected = nearest(opened, word_state(view.row, view.hidden[2], place), count=12)
    body = {"text": text, "masks": [5], "place": place, "count": 12, "layer": 0, "heads": [1, 3]}
    found = service.post("/explore/neighbours", body).json()
    assert found["layer"] == 1  # from 1, as that of the index
    for mine, one in zip(found["neighbours"], expected, strict=True):
        assert mine == {name: getattr(one, name) for name in mine} | {"score": pytest.approx(one.score, abs=1e-6)}
    spans = attended(model, expected, layer=0, heads=[1, 3])
    assert found["attended_words"] == [span and list(span[1:]) for span in spans]
    said = tagged(expected, tagger)
    assert found["summary"] == {"matched": entity_types(matched(expected), said), "attended": entity_types(spans, said)}
    usual = service.post("/explore/neighbours", {"text": text, "place": place}).json()
    assert (usual["layer"], len(usual["neighbours"])) == (2, 50)


def test_sentences_are_read_as_far_as_the_work_goes(folders: dict[str, Path], index: Path) -> None:
    tagger = str(folders["tags"])
    explored = Explored(
        folders["mask"], Loading(model=str(folders["mask"]), indexes=(str(index),), tagger=tagger), Deadline()
    )
    text = open_index(index).sentence(0)
    length = len(ExploredModel(folders["mask"]).tokenizer.encode(text))
    usual: Any = explored.about["found_pieces"]
    assert 2 * length <= usual <= 200  # for the model and for the tagger; the first is a short title
    parameters = {"masks": [], "place": 1, "count": 12, "layer": None, "heads": None, "name": "mask"}
    job = {"text": text, "pair": None, "parameters": parameters}

    def found(work: int) -> Any:
        return explored.tasks[NEIGHBOURS].answer([job | {"parameters": parameters | {"work": work}}])[0]

    full, some, none = found(65_536), found(length + 100), found(length + 1)
    assert full["neighbours"] == some["neighbours"] == none["neighbours"]
    read = sum(span is not None for span in some["attended_words"])
    assert 0 < read < 12
    assert some["attended_words"] == full["attended_words"][:read] + [None] * (12 - read)
    assert (full["summary"]["matched"].total(), some["summary"]["matched"].total()) == (12, read)
    assert none["attended_words"] == [None] * 12


def test_search_by_what_the_heads_give(folders: dict[str, Path], tmp_path: Path) -> None:
    from pubmedbert.explore.index import make_index
    from tests.explore.conftest import FakeCorpus

    made = make_index(FakeCorpus(10), folders["mask"], tmp_path / "heads", layer=1, of="heads")
    with serving("--model", folders["mask"], "--index", made.folder) as service:
        (about,) = httpx.get(f"{service.url}/explore/models").json()["models"]
        assert about["index"] == {"layer": 1, "of": "heads", "words": len(made.words), "documents": 10}
        found = service.post("/explore/neighbours", {"text": made.sentence(1), "place": 1, "count": 1}).json()
        assert found["neighbours"][0]["score"] == pytest.approx(1, abs=1e-3)
        assert found["neighbours"][0]["sentence"] == made.sentence(1)
        assert (found["layer"], found["summary"]) == (1, None)


def test_fine_tuned_models(service: Service, folders: dict[str, Path]) -> None:
    header, maps = decode(service.post("/explore/view", {"model": "tags", "text": SENTENCE}).content)
    assert (header["model"], header["kind"], maps.shape[:2]) == ("tags", "tuned", (2, 4))
    entities: Any = Predictor(folders["tags"]).predict_texts([SENTENCE])[0]["entities"]
    assert [(one["entity"], one["start"], one["end"]) for one in header["says"]["entities"]] == [
        (one["entity"], one["start"], one["end"]) for one in entities
    ]
    view = {"model": "single", "text": PAIR[0], "text_b": PAIR[1]}
    header, _ = decode(service.post("/explore/view", view).content)
    scores: Any = Predictor(folders["single"]).predict_texts([PAIR])[0]["scores"]
    assert header["says"]["scores"] == pytest.approx(scores, abs=1e-6)
    hidden = service.post("/explore/occlusion", view).json()
    assert hidden["before"] == pytest.approx(np.log(max(scores.values())), abs=1e-5)
    assert len(hidden["changes"]) == len(hidden["places"])


def test_what_is_served(service: Service, folders: dict[str, Path], index: Path) -> None:
    known = httpx.get(f"{service.url}/explore/models").json()
    assert (known["default"], known["tagger"]) == ("mask", "tags")
    models = {model["name"]: model for model in known["models"]}
    opened = open_index(index)
    assert models["mask"] == {
        "name": "mask",
        "asked": str(folders["mask"]),
        "kind": "mlm",
        "layers": 2,
        "heads": 4,
        "max_tokens": 64,
        "pairs": True,
        "labels": None,
        "level": None,
        "problem": None,
        "index": {"layer": 2, "of": "states", "words": len(opened.words), "documents": 30},
    }
    assert [models[name]["kind"] for name in ("tags", "single", "encoder")] == ["tuned", "tuned", "mlm"]
    assert (models["tags"]["level"], models["tags"]["pairs"], models["tags"]["index"]) == ("tokens", False, None)
    assert (models["single"]["level"], models["single"]["labels"]) == ("text", ["no", "maybe", "yes"])


def test_the_link_of_a_model_card(folders: dict[str, Path], tmp_path: Path) -> None:
    """With the host replaced, where the model is a folder that has its name, or is served by it."""
    folder = Path(shutil.copytree(folders["mask"], tmp_path / CARD_MODEL.replace("PubMed", "Biomed")))
    query = CARD.format("base-uncased-abstract-fulltext", 3)
    with serving("--model", "bundled", "--model", folder) as service:
        response = httpx.get(f"{service.url}/exbert/?{query}")
        assert response.status_code == 307
        assert response.headers["location"] == f"../explore?{query}"
        page = httpx.get(f"{service.url}/exbert/?{query}", follow_redirects=True)
        assert page.status_code == 200
        assert str(page.url) == f"{service.url}/explore?{query}"
        assert "<main" in page.text
        read = state(service, query)
    assert read == {
        "state": {
            "model": folder.name,
            "asked": f"microsoft/{CARD_MODEL}",
            "sentence": SENTENCE,
            "sentence_b": None,
            "layer": 1,
            "heads": [0, 1, 2, 3],
            "threshold": 0.7,
            "token": 17,
            "side": "right",
            "masks": [],
            "hide_special": True,
            "method": "raw",
        },
        "notices": [
            "the model has 2 layers; layer 4 is shown as its last, 2",
            "the model has 4 heads; heads 5, 6, 7, 8, 9, 10 and 2 more are none of them",
        ],
        "missing": None,
    }


def test_a_model_that_is_not_served(service: Service) -> None:
    read = state(service, CARD.format("large-uncased-abstract", 10))
    asked = "microsoft/BiomedNLP-PubMedBERT-large-uncased-abstract"
    assert (read["state"]["model"], read["state"]["asked"], read["notices"]) == (None, asked, [])
    assert (read["state"]["layer"], read["state"]["heads"]) == (10, list(range(12)))
    assert read["missing"]["command"] == f"pubmedbert serve --model {asked}"
    assert asked in read["missing"]["sentence"]
    assert "mask" in read["missing"]["sentence"]
    hostile = state(service, "model=a%20b';%20rm%20-rf%20$HOME")
    assert hostile["missing"]["command"] == """pubmedbert serve --model 'a b'"'"'; rm -rf $HOME'"""
    assert hostile["state"]["heads"] == [0, 1, 2, 3]
    option = state(service, "model=--api-key-file%20/etc/passwd")
    assert option["missing"]["command"] == "pubmedbert serve '--model=--api-key-file /etc/passwd'"
    assert state(service, "model=lab/mask")["state"]["model"] == "mask"  # a folder of that name is served


def test_names_of_models(tmp_path: Path) -> None:
    hub = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"
    (tmp_path / "BERT-base").mkdir()
    given = {"a": "bundled", "b": f"{hub}@main", "BERT-base": str(tmp_path / "BERT-base"), "lab": "other/BERT-large"}
    models: Any = [SimpleNamespace(name=name, asked=asked) for name, asked in given.items()]
    for asked, name in {
        "": "a",
        "bundled": "a",
        hub: "b",
        f"{hub}@main": "b",
        hub.replace("BiomedBERT", "PubMedBERT"): "b",
        "BERT-base": "BERT-base",
        "anyone/BERT-base": "BERT-base",
        "other/BERT-large": "lab",
        "owner/lab": None,  # of a hub model served by a name of ours, only the name itself counts
        "lab/BERT-large": None,
        "nobody": None,
    }.items():
        found = _served(asked, models)
        assert (found and found.name) == name, asked


@pytest.mark.parametrize(
    ("query", "shown", "notices"),
    [
        ("", {"model": "mask", "asked": "", "sentence": SENTENCE, "layer": 0, "heads": [0, 1, 2, 3]}, []),
        ("model=tags&layer=1&heads=..2", {"model": "tags", "layer": 1, "heads": [2]}, []),
        ("heads=..&threshold=0&tokenInd=0&hideClsSep=false", {"heads": [], "threshold": 0.0, "token": 0}, []),
        ("sentence=a%20b&sentenceB=c&maskInds=..1,4", {"sentence_b": "c", "masks": [1, 4]}, []),
        (
            "model=tags&sentenceB=c",
            {"sentence_b": None},
            ["this model reads one text at a time; the second sentence is left out"],
        ),
        (
            "sentence=a%20b&tokenInd=4&maskInds=..1,9",
            {"token": None, "masks": [1]},
            [
                "the sentence has 4 word pieces; the pinned place, 4, is none",
                "the sentence has 4 word pieces; place 9 cannot be masked",
            ],
        ),
        ("layer=nine&sentence=\xb5", {"layer": 0}, ["layer=nine cannot be used here and is left out"]),
        ("sentence=%ff%00%F0", {"layer": 0}, []),
    ],
)
def test_links(service: Service, query: str, shown: dict[str, object], notices: list[str]) -> None:
    read = state(service, query)
    assert {key: read["state"][key] for key in shown} == shown
    assert (read["notices"], read["missing"]) == (notices, None)


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/exbert", "explore"),
        ("/exbert/", "../explore"),
        ("/explore/?a=1", "../explore?a=1"),
        ("/exbert?sentence=%22%0d%0aX:%201&x=http://a", "explore?sentence=%22%0d%0aX:%201&x=http://a"),
    ],
)
def test_where_exbert_was(service: Service, path: str, location: str) -> None:
    response = httpx.get(service.url + path)
    assert (response.status_code, response.headers["location"]) == (307, location)


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        (
            "view",
            "{",
            400,
            'the body is not JSON (Expecting property name enclosed in double quotes); send {"text": "..."}',
        ),
        ("view", "[]", 400, 'the body must be a JSON object, such as {"text": "..."}'),
        ("view", {}, 400, "text is missing"),
        ("view", {"text": "\ud800"}, 400, "text must be a text of valid Unicode"),
        ("view", {"text": "a", "heads": [1]}, 400, "there is no field heads; "),
        ("view", {"text": "a", "masks": [10**400]}, 400, "masks.0"),
        ("view", {"text": "a", "masks": [True]}, 400, "masks.0"),
        ("view", {"text": "a", "masks": [1] * 100_000}, 400, "masks should have at most 1024 items"),
        ("view", {"text": "a" * 600_000}, 400, "a text has 600,000 characters; at most 4,096 are read"),
        ("rollout", {"text": "a", "text_b": "," * 4097}, 400, "a text has 4,097 characters; at most 4,096"),
        ("view", {"text": "a", "model": "nobody"}, 404, "no model of this name is served"),
        ("view", {"text": "a", "text_b": "b", "model": "tags"}, 400, "this model reads one text at a time"),
        ("rollout", {"text": "a", "place": 1}, 400, "there is no field place; "),
        ("occlusion", {"text": "a"}, 400, "at the place of a word; name the place"),
        ("occlusion", {"text": "a", "place": 0}, 400, "at the place of a word, which 0 is not"),
        ("occlusion", {"text": "a", "place": 1, "answer": "zzzzz"}, 400, "'zzzzz' is no word piece of this model"),
        ("occlusion", {"text": "a", "model": "single", "answer": "x"}, 400, "it has no, maybe, yes"),
        ("neighbours", {"text": "a"}, 400, "place is missing"),
        ("neighbours", {"text": "a", "place": 9}, 400, "no word stands at place 9"),
        ("neighbours", {"text": "a", "place": 1, "count": 0}, 400, "count should be greater than or equal to 1"),
        ("neighbours", {"text": "a", "place": 1, "count": 201}, 400, "this service finds at most 200"),
        ("neighbours", {"text": "a", "place": 1, "layer": 2}, 400, "the model has 2 layers"),
        ("neighbours", {"text": "a", "place": 1, "heads": [4]}, 400, "the model has 4 heads"),
        ("neighbours", {"text": "a", "place": 1, "heads": []}, 400, "heads should have at least 1 item"),
        ("neighbours", {"text": "a", "place": 1, "model": "tags"}, 404, "'pubmedbert explore index' and name it by"),
    ],
)
def test_bad_requests_are_one_sentence(service: Service, path: str, body: object, status: int, sentence: str) -> None:
    content = body if isinstance(body, str) else json.dumps(body)
    response = httpx.post(f"{service.url}/explore/{path}", content=content, timeout=30)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert sentence in error
    assert "\n" not in error


def test_long_texts_are_cut_and_it_is_said(service: Service) -> None:
    header, maps = decode(service.post("/explore/view", {"text": "kinase " * 500}).content)
    assert maps.shape == (2, 4, 64, 64)
    assert header["notices"] == ["only the first 62 of 500 word pieces are shown"]
    read = state(service, f"sentence={',' * 20_000}")
    assert len(read["state"]["sentence"]) == 4096
    assert read["notices"] == ["the explorer reads at most 4,096 characters; what follows is left out"]
    assert service.post("/explore/view", {"text": read["state"]["sentence"]}).status_code == 200


def test_metrics_and_logs_without_texts(service: Service) -> None:
    name = 'pubmedbert_requests_total{status="200",task="explore/view"}'
    before = service.metric(name)
    service.post("/explore/view", {"text": "pheochromocytoma"}, headers={"X-Request-ID": "view-1"})
    state(service, "sentence=pheochromocytoma")
    assert service.metric(name) == before + 1
    until(lambda: any(line.get("request_id") == "view-1" for line in service.log))
    line = next(line for line in service.log if line.get("request_id") == "view-1")
    assert (line["task"], line["model"], line["texts"]) == ("explore/view", "mask", 1)
    assert "pheochromocytoma" not in json.dumps(service.log)


def test_a_process_that_is_killed_while_it_looks(folders: dict[str, Path], index: Path) -> None:
    body = {"text": SENTENCE, "place": 3, "count": 5}
    batches = 'pubmedbert_batch_tokens_count{model="mask"}'
    with serving("--model", folders["mask"], "--index", index) as service, ThreadPoolExecutor(1) as pool:
        expected = service.post("/explore/neighbours", body).json()
        with stopped(service) as worker:
            before = service.metric(batches)
            answer = pool.submit(service.post, "/explore/neighbours", body)
            until(lambda: service.metric(batches) == before + 1)
            worker.kill()
            assert answer.result().json() == expected
        assert service.metric('pubmedbert_process_restarts_total{model="mask"}') == 1


def test_who_leaves_does_not_wait_for_a_view(folders: dict[str, Path]) -> None:
    with serving("--model", folders["mask"]) as service, stopped(service):
        for _ in range(2):
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{service.url}/explore/view", json={"text": "a"}, timeout=0.3)
        until(lambda: service.metric('pubmedbert_queue_texts{model="mask"}') == 0)
        until(lambda: sum(line.get("status") == 499 for line in service.log) == 2)
