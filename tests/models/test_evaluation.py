"""The evaluation from the data folder to the report: figures, answers kept on disk, pictures, exit codes.

The data is a small drawn folder of the same form, and the systems are fakes whose answers are known; the last test
takes real films and a system that ships. The numbers of single statistics stand in ``test_statistics``; whether a
picture is beautiful is not judged.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from models.api import (
    Card,
    ClassScore,
    Code,
    CTSystem,
    FilmSystem,
    ImageInput,
    IndicatorSystem,
    Lesion,
    LungField,
    Measured,
    Prediction,
    Quantity,
    QuantityKind,
    RefusedInput,
    Segmenter,
    WeightsMismatch,
)
from models.evaluation import features, films, run
from models.registry import Registry
from models.training import cnnrf
from node import cli

CLASSES = ("normal", "pneumonia", "covid19")
ORIGINS = (
    ("nih-cxr14", "normal"), ("nih-cxr14", "pneumonia"), ("covid-cxnet", "covid19"), ("hannover", "covid19"),
    ("ieee8023", "covid19"),
)  # fmt: skip
EACH = 12
CODE = Code("1", "99TEST", "test")


def card(system: str, kind: str = "film", classes: tuple[str, ...] = CLASSES, digest: str = "f" * 64) -> Card:
    codes = (CODE,) * len(classes)
    return Card(system, system, "1", kind, "", Path("none"), digest, "", classes, codes, 0.5, {}, "")


def draw(path: Path, number: int, side: int = 72) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.random.default_rng(number).integers(0, 256, (9, 9), dtype=np.uint8)
    Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR).save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder in small: 12 test films of each origin, one of training, JSRT and covid_lungs with masks."""
    data = tmp_path_factory.mktemp("data")
    rows = []
    for place, (source, label) in enumerate(ORIGINS):
        for number in range(EACH + 1):
            name = f"images/{source}-{label}-{number}.png"
            draw(data / "cxr" / name, 100 * place + number)
            split = "train" if number == EACH else "test"
            rows.append((name, label, source, f"{source}{number // 2}", split, "mf"[number % 2], str(30 + number)))
    with (data / "cxr" / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "label", "source", "patient", "split", "sex", "age"), *rows])
    lungs = data / "cxr_seg"
    for number in range(EACH):
        draw(lungs / "jsrt" / "images" / f"JPCLN{number:03}.png", 900 + number)
        masks(lungs / "jsrt" / "masks" / f"JPCLN{number:03}.png")
    for number in range(24):
        draw(lungs / "covid_lungs" / "images" / f"{number}.png", 800 + number)
        masks(lungs / "covid_lungs" / "masks" / f"{number}.png")
    lines = [f"JPCLN{number:03},0,{'train' if number < 2 else 'val'}" for number in range(EACH)]
    (lungs / "jsrt" / "split.csv").write_text("\n".join(["id,nodule,split", *lines]))
    for number in range(40):
        draw(data / "ct_slices" / "images" / f"{number}.png", 700 + number, 20)
    lines = [f"images/{n}.png,{('covid19', 'non_covid')[n % 2]},{'test' if n < 30 else 'trainval'}" for n in range(40)]
    (data / "ct_slices" / "labels.csv").write_text("\n".join(["file,label,split", *lines]))
    (data / "clinical").mkdir()
    (data / "clinical" / "hannover.csv").write_text("image_id\n")
    return data


def masks(path: Path) -> None:
    """Lung in columns 10 to 29 (grey 1), heart beside it (grey 3)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.zeros((72, 72), np.uint8)
    levels[10:60, 10:30], levels[40:60, 30:50] = 1, 3
    Image.fromarray(levels).save(path)


class Lungs:
    """Says that the lung is in columns ``left`` to 29; refuses nothing."""

    def __init__(self, left: int = 10) -> None:
        self.card, self.left, self.asked = card("fake-lungs", "lungs"), left, 0

    def segment(self, image: ImageInput) -> LungField:
        self.asked += 1
        mask, heart = np.zeros(image.shape, bool), np.zeros(image.shape, bool)
        mask[10:60, self.left : 30], heart[40:60, 30:50] = True, True
        return LungField(mask, (), self.card.identity, heart=heart)


Opinion = Callable[[str], tuple[float, ...]]  # uid -> probabilities


class Classifier:
    """Answers by the film's name; its heat has three quarters of its mass in the lung field."""

    def __init__(self, opinion: Opinion, name: str = "fake", refuses: str = "no such film") -> None:
        self.card, self.opinion, self.refuses, self.asked = card(name), opinion, refuses, 0

    def predict(self, image: ImageInput, lungs: LungField | None) -> Prediction:
        self.asked += 1
        if image.uid.startswith(self.refuses):
            raise RefusedInput("The film is of a kind that this fake does not judge.")
        p = self.opinion(image.uid)
        decided = CLASSES[int(np.argmax(p))]
        scores = tuple(ClassScore(c, v, c == decided, 0.5, CODE) for c, v in zip(CLASSES, p, strict=True))
        heat = np.zeros(image.shape, np.float32)
        heat[30, 12:15], heat[30, 60] = 1, 1
        return Prediction(self.card.identity, scores, decided, "test", heat, decided, 0.75)


def knows(uid: str) -> tuple[float, ...]:
    truth = [uid.split("-")[-2] if not uid.startswith("JPCLN") else "normal"]
    return tuple(0.9 if name in truth else 0.05 for name in CLASSES)


def guesses(uid: str) -> tuple[float, ...]:
    return tuple(float(v) for v in np.random.default_rng(zlib.crc32(uid.encode())).dirichlet((1.0, 1.0, 1.0)))


class Shelf:
    """A registry of fakes; those named in ``missing`` have no weights."""

    def __init__(self, *systems: Any, missing: str = "") -> None:
        self.systems: dict[str, Any] = {system.card.system: system for system in systems}
        self.missing = missing

    def cards(self) -> tuple[Card, ...]:
        return tuple(system.card for system in self.systems.values())

    def verify(self) -> Mapping[str, str]:
        return {}

    def _load(self, system: str) -> Any:
        if system == self.missing:
            raise WeightsMismatch(f"The weights of {system} are not here.")
        return self.systems[system]

    def load_segmenter(self, system: str, device: str = "cpu") -> Segmenter:
        found: Segmenter = self._load(system)
        return found

    def load_film_system(self, system: str, device: str = "cpu") -> FilmSystem:
        found: FilmSystem = self._load(system)
        return found

    def load_ct_system(self, system: str, device: str = "cpu") -> CTSystem:
        found: CTSystem = self._load(system)
        return found

    def load_indicator_system(self, system: str, device: str = "cpu") -> IndicatorSystem:
        found: IndicatorSystem = self._load(system)
        return found


def evaluate(folder: Path, out: Path, shelf: Shelf, system: str = "fake", **more: Any) -> dict[str, Any]:
    assert run.main(system, folder, out, segmenter="fake-lungs", registry=shelf, **more) == 0
    found: dict[str, Any] = json.loads((out / system / "report.json").read_text())
    return found


@pytest.fixture(scope="module")
def perfect(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The report on a system that knows every film, and the folder it lies in."""
    out = tmp_path_factory.mktemp("perfect")
    return out, evaluate(folder, out, Shelf(Classifier(knows), Lungs()))


def test_a_system_that_knows_every_film(perfect: tuple[Path, dict[str, Any]]) -> None:
    _, found = perfect
    assert {name: one["value"] for name, one in found["figures"].items()} == dict.fromkeys(found["figures"], 1.0)
    assert len(found["pairs"]) == 9 and {pair["value"] for pair in found["pairs"]} == {1.0}
    assert [(one["source"], one["value"], one["cases"]) for one in found["same_source"]] == [("nih-cxr14", 1.0, 24)]
    assert found["calibration"]["expected_error"] == pytest.approx(0.05 * 34 / 70 + 0.1 * 36 / 70)
    assert found["confusion"]["counts"] == [[22, 0, 0], [0, 12, 0], [0, 0, 36]]
    assert found["auroc_grid"] == 1 and found["refusals"] == []


def test_only_held_out_films_are_judged(perfect: tuple[Path, dict[str, Any]]) -> None:
    """Not the film of training of each origin, and of JSRT the ten that nothing was trained on."""
    _, found = perfect
    assert found["films"] == {f"{source} {label}": EACH for source, label in ORIGINS} | {"jsrt normal": 10}


def test_the_warning_comes_first(perfect: tuple[Path, dict[str, Any]]) -> None:
    out, found = perfect
    title, blank, first, *_ = (out / "fake" / "report.md").read_text().splitlines()
    assert title.startswith("# ") and not blank and first == found["warning"]
    assert (
        "Every normal film is of jsrt, nih-cxr14, every covid19 film of others (covid-cxnet, hannover, ieee8" in first
    )
    assert "in these films that is pneumonia against normal in nih-cxr14." in first


def test_the_report_is_complete(perfect: tuple[Path, dict[str, Any]]) -> None:
    out, found = perfect
    assert set(found) == {
        "format", "research_use_only", "system", "limit", "warning", "segmenter", "positive_class", "films", "refusals",
        "against", "figures", "auroc_grid", "confusion", "classes", "averages", "predictive_values", "prevalence",
        "calibration", "pairs", "same_source", "origins", "heat_in_lung", "explained", "probe",
    }  # fmt: skip
    assert set(found["figures"]["kappa"]) == {"value", "low", "high", "cases", "skipped"}
    assert "NaN" not in (out / "fake" / "report.json").read_text()
    drawn = {path.stem for path in (out / "fake" / "figures").glob("*.png")}
    assert drawn == {
        "calibration", "confusion", "eigenvectors", "examples", "features", "figures", "precision_recall", "roc",
    }  # fmt: skip
    text = (out / "fake" / "report.md").read_text()
    for name in drawn:
        assert f"(figures/{name}.png)" in text
        with Image.open(out / "fake" / "figures" / f"{name}.png") as picture:
            assert picture.width > 500 and picture.height > 300 and len(np.unique(np.asarray(picture))) > 20


def test_heat_in_the_lung_field_by_origin(perfect: tuple[Path, dict[str, Any]]) -> None:
    _, found = perfect
    assert set(found["heat_in_lung"]) == {"all films", *found["films"]}
    everywhere = found["heat_in_lung"]["all films"]
    assert everywhere["mean"]["value"] == 0.75 and everywhere["below_half"]["value"] == 0
    assert everywhere["mean"]["cases"] == 70


def test_a_system_that_guesses(folder: Path, tmp_path: Path) -> None:
    found = evaluate(folder, tmp_path, Shelf(Classifier(guesses), Lungs()))
    area = found["figures"]["AUROC covid19"]
    assert area["low"] < 0.5 < area["high"] and 0.3 < area["value"] < 0.7
    assert found["figures"]["kappa"]["low"] < 0 < found["figures"]["kappa"]["high"]
    assert sum(one["decided"]["covid19"] for one in found["origins"].values()) == sum(
        row[2] for row in found["confusion"]["counts"]
    )


def test_the_same_films_give_the_same_report(
    folder: Path, tmp_path: Path, perfect: tuple[Path, dict[str, Any]]
) -> None:
    evaluate(folder, tmp_path, Shelf(Classifier(knows), Lungs()))
    for name in ("report.json", "report.md", "figures/features.png", "figures/roc.png"):
        assert (tmp_path / "fake" / name).read_bytes() == (perfect[0] / "fake" / name).read_bytes(), name


def first_films(folder: Path, count: int) -> list[films.Film]:
    return films.judged_films(folder, count)


def test_answers_are_kept(folder: Path, tmp_path: Path) -> None:
    """No film is shown twice, until the weights or the code are others; masks outlive a change of the classifier."""
    some, lungs = first_films(folder, 6), Lungs()
    systems = [Classifier(knows), Classifier(guesses), Classifier(knows), Classifier(knows)]
    systems[2].card = card("fake", digest="e" * 64)
    for system, code in zip(systems, ("1", "1", "1", "2"), strict=True):
        cache = films.Cache(tmp_path, code)
        answers = [films.ask(system, lungs, film, cache) for film in some]
        assert [answer.p for answer in answers] == [knows(film.uid) for film in some]
    assert [system.asked for system in systems] == [6, 0, 6, 6]
    assert lungs.asked == 12


def test_a_kept_mask_is_the_mask(folder: Path, tmp_path: Path) -> None:
    cache, lungs = films.Cache(tmp_path, ""), Lungs(left=17)
    (film,) = first_films(folder, 1)
    one, two = films.segment(lungs, film, cache), films.segment(lungs, film, cache)
    assert one is not None and two is not None and lungs.asked == 1
    assert np.array_equal(one.mask, lungs.segment(film.image()).mask) and np.array_equal(one.mask, two.mask)


def test_a_limit_takes_the_origins_in_turn(folder: Path) -> None:
    origins = [film.origin for film in first_films(folder, 14)]
    assert sorted({origins.count(name) for name in set(origins)}) == [2, 3] and len(set(origins)) == 6
    assert len(first_films(folder, 10_000)) == 70


def test_refusals_are_counted_and_a_second_system_compared(folder: Path, tmp_path: Path) -> None:
    """McNemar over the films that both answered: the first knows all, the second is wrong on the pneumonia."""

    def blind(uid: str) -> tuple[float, ...]:
        return (0.8, 0.1, 0.1) if "pneumonia" in uid else knows(uid)

    shelf = Shelf(Classifier(knows, refuses="hannover"), Classifier(blind, "other"), Lungs())
    found = evaluate(folder, tmp_path, shelf, against="other")
    sentence = "The film is of a kind that this fake does not judge."
    assert found["refusals"] == [{"sentence": sentence, "films": 12, "origins": {"hannover covid19": 12}}]
    assert "hannover covid19" not in found["films"]
    against = found["against"]
    assert (against["films"], against["b"], against["c"], against["method"]) == (58, 12, 0, "exact")
    assert against["p"] == pytest.approx(2 * 0.5**12)
    text = (tmp_path / "fake" / "report.md").read_text()
    assert sentence in text and "McNemar (exact binomial) p = 4.9e-04" in text


def test_sources_are_found_in_features_that_hold_them() -> None:
    """And not in features that hold only the patient: no patient is on both sides of a fold."""
    random = np.random.default_rng(3)
    source = np.repeat(["a", "b", "c"], 40)
    patient = np.array([f"{name}{number // 4}" for number, name in enumerate(source)])
    x = (source[:, None] == np.array(["a", "b", "c"])) + random.normal(0, 0.2, (120, 3))
    found = features.probe(x, source, patient)
    assert found is not None and found.balanced_accuracy.value > 0.95 and found.auroc.value > 0.99
    identity = (patient[:, None] == np.unique(patient)).astype(float)
    coin = {name: "xy"[number % 2] for number, name in enumerate(np.unique(patient))}
    blind = features.probe(identity, [coin[name] for name in patient], patient)
    assert blind is not None and blind.auroc.value < 0.6
    assert features.probe(x[:45], source[:45], patient[:45]) is None  # five films of b are too few


class Network:
    """A system with a network: 1 x 1 convolution, pool, wide layer, head."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self._net = nn.Sequential(nn.Flatten(), nn.Linear(6000, 40), nn.ReLU(), nn.Linear(40, 3))
        self._same = self._net

    def run(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self._net(x)
        return out


def test_what_a_layer_received() -> None:
    """Only layers of a usable width, the first pass alone, and no hook is left behind."""
    system = Network()
    x = torch.rand(2, 6000, generator=torch.Generator().manual_seed(1))
    with features.listening(system) as heard:
        system.run(x)
        system.run(torch.zeros(1, 6000))
    assert list(heard) == ["network 1 of net, layer 3"]
    expected = system._net[:3](x).mean(0).detach().numpy()
    assert np.allclose(heard["network 1 of net, layer 3"], expected)
    assert not any(layer._forward_pre_hooks for layer in system._net)


def test_the_last_layer_that_every_film_reached() -> None:
    one, two = np.ones(4, np.float32), np.zeros(4, np.float32)
    chosen = features.choose([{"first": one, "second": two, "third": one}, {"first": two, "second": one}])
    assert chosen is not None and chosen[0] == "second" and np.array_equal(chosen[1], [[0] * 4, [1] * 4])
    assert features.choose([{}, {"first": one}]) is None


def test_a_segmenter(folder: Path, tmp_path: Path) -> None:
    """Ten of twenty columns too few: Jaccard one half; the heart is exact, and JSRT alone knows it."""
    shelf = Shelf(Lungs(left=20))
    found = evaluate(folder, tmp_path, shelf, "fake-lungs")["segmentation"]
    assert found["refused"] == 0 and set(found["origins"]) == {"covid_lungs", "jsrt"}
    assert {name: set(one) for name, one in found["origins"].items()} == {
        "covid_lungs": {"lung"}, "jsrt": {"lung", "heart"},
    }  # fmt: skip
    lung = found["origins"]["jsrt"]["lung"]
    assert lung["value"] == lung["low"] == 0.5 and lung["cases"] == 10 and len(lung["worst"]) == 5
    assert found["origins"]["jsrt"]["heart"]["value"] == 1
    assert found["origins"]["covid_lungs"]["lung"]["cases"] == 20
    assert (tmp_path / "fake-lungs" / "figures" / "jaccard.png").is_file()


class Slices:
    def __init__(self) -> None:
        self.card = card("fake-ct", "ct", ("non_covid", "covid19"))


class SlicesByMean(Slices):
    def predict_slices(self, pictures: np.ndarray) -> np.ndarray:
        """Slices come in the order of the file, whose even ones are of COVID-19: the tenth film is called wrongly."""
        assert pictures.dtype == np.uint8 and pictures.shape == (30, 20, 20)
        p = np.array([0.9 if number % 2 == 0 and number != 10 else 0.1 for number in range(30)])
        return np.stack((1 - p, p), axis=1)


def test_single_slices(folder: Path, tmp_path: Path) -> None:
    found = evaluate(folder, tmp_path, Shelf(SlicesByMean()), "fake-ct")["slices"]
    assert found["slices"] == 30
    assert found["figures"]["sensitivity"]["value"] == pytest.approx(14 / 15)
    assert found["figures"]["specificity"]["value"] == 1
    assert found["figures"]["AUROC covid19"]["value"] == pytest.approx((14 + 0.5) / 15)
    assert "slices of one patient" in (tmp_path / "fake-ct" / "report.md").read_text()


def test_a_system_of_whole_series_says_that_it_cannot_be_judged(folder: Path, tmp_path: Path) -> None:
    found = evaluate(folder, tmp_path, Shelf(Slices()), "fake-ct")
    assert found["slices"] == {"cannot": "fake-ct judges whole series, and the data holds single slices alone."}
    assert found["slices"]["cannot"] in (tmp_path / "fake-ct" / "report.md").read_text()


KIND = QuantityKind("crp", "mg/L", CODE)


class Indicators:
    def __init__(self) -> None:
        self.card = card("cnnrf", "indicators", ())

    def measure(self, image: ImageInput, lesions: tuple[Lesion, ...]) -> Measured:
        return Measured(self.card.identity, (Quantity(KIND, float(image.pixels[0, 0]) + 1),))


def test_indicators(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(Indicators())
    monkeypatch.delattr(cnnrf, "held_out", raising=False)
    found = evaluate(folder, tmp_path, shelf, "cnnrf")["indicators"]
    assert "cxr/labels.csv and clinical/hannover.csv" in found["cannot"]
    cases = [(ImageInput(np.full((4, 4), n, np.float32), str(n)), (), {"crp": float(n)}) for n in range(8)]
    monkeypatch.setattr(cnnrf, "held_out", lambda folder: cases, raising=False)
    crp = evaluate(folder, tmp_path, shelf, "cnnrf")["indicators"]["quantities"]["crp"]
    assert (crp["n"], crp["mae"], crp["r"]) == (8, 1, pytest.approx(1))
    assert (tmp_path / "cnnrf" / "figures" / "crp.png").is_file()


def test_what_cannot_be_asked(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """2 for a question that makes no sense, 1 for weights that are not there, and nothing is written."""
    shelf = Shelf(Classifier(knows), Slices(), Lungs(), missing="fake")
    out = tmp_path / "out"
    assert run.main("nosuch", folder, out, registry=shelf) == 2
    assert run.main("fake", tmp_path, out, registry=shelf) == 2
    assert run.main("fake", folder, out, against="fake-ct", registry=shelf) == 2
    assert run.main("fake", folder, out, segmenter="fake-lungs", registry=shelf) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "no model nosuch is installed; there are fake, fake-ct, fake-lungs"
    assert said[1].endswith("cxr/labels.csv and cxr_seg/jsrt/split.csv expected there")
    assert said[2:] == ["only two film classifiers can be compared", "The weights of fake are not here."]
    assert not out.exists()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", "nosuch", "--data", str(tmp_path)]) == 2
    assert "no model nosuch is installed" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        cli.main(["evaluate", "cxnet", "--data", str(tmp_path), "--limit", "none"])
    assert ended.value.code == 2


def test_real_films_and_a_system_that_ships(data_folder: Path, tmp_path: Path) -> None:
    """18 films by the command; pictures and figures are all there, and the features are those of the network."""
    shipped = Registry(run.WEIGHTS)
    problems = shipped.verify()
    system = next(one.system for one in shipped.cards() if one.kind == "film" and not problems[one.system])
    command = ["evaluate", system, "--data", str(data_folder), "--out", str(tmp_path), "--limit", "18"]
    assert cli.main([*command, "--device", "cpu"]) == 0
    found = json.loads((tmp_path / system / "report.json").read_text())
    assert found["limit"] == 18 and sum(found["films"].values()) + sum(r["films"] for r in found["refusals"]) == 18
    assert found["probe"]["features"].startswith("network 1 of net")
    assert found["system"]["weights_sha256"] in (tmp_path / system / "report.md").read_text()
    assert dataclasses.asdict(shipped.cards()[0].identity).keys() <= found["system"].keys()
