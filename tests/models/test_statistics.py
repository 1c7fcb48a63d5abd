"""Statistics against numbers computed elsewhere (specification section 10) and against published tables.

Not covered: pictures and reports (``test_evaluation``); the binary figures of N25 and the bootstrap of N27 stand in
``test_judging``.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, cohen_kappa_score, roc_auc_score

from models.evaluation import curves, metrics, statistics
from models.evaluation.bootstrap import resampled
from models.evaluation.centres import agreement, match
from models.evaluation.features import principal_axes
from models.evaluation.gold import gold_standard

A, C = [0.50, 0.52, 0.49, 0.55, 0.51, 0.47], [0.54, 0.56, 0.53, 0.58, 0.60, 0.57]  # N31


def test_smoothed_jaccard() -> None:
    """N20."""
    a, b = np.zeros((12, 12), bool), np.zeros((12, 12), bool)
    a[2:8, 2:8], b[4:10, 2:8] = True, True
    assert metrics.smoothed_jaccard(a, b) == pytest.approx(0.510204, abs=1e-6)


def test_kappa_of_three_classes() -> None:
    """N25."""
    truth, said = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2], [0, 0, 0, 1, 1, 1, 2, 2, 2, 0]
    assert statistics.kappa(truth, said) == pytest.approx(0.545455, abs=1e-6)
    assert math.isnan(statistics.kappa([1, 1], [1, 1]))


TABLE_4 = np.array([[894, 68, 2], [185, 715, 24], [3, 10, 127]])  # paper 004


def test_table_of_three_classes() -> None:
    """N25, T4: rows are the truth."""
    rows = curves.class_table(TABLE_4, ("normal", "cap", "cp"))
    assert TABLE_4.trace() / TABLE_4.sum() == pytest.approx(0.856016, abs=1e-6)
    assert [row.ppv for row in rows] == pytest.approx([0.826248, 0.901639, 0.830065], abs=1e-6)
    assert [row.sensitivity for row in rows] == pytest.approx([0.927386, 0.773810, 0.907143], abs=1e-6)
    assert [row.f1 for row in rows] == pytest.approx([0.873900, 0.832848, 0.866894], abs=1e-6)
    assert [row.support for row in rows] == [964, 924, 140]
    assert curves.averages(rows)["macro"]["f1"] == pytest.approx(0.857881, abs=1e-6)


def test_confusion_matrix_has_the_truth_in_rows() -> None:
    counts = curves.confusion_matrix([0, 0, 1], [0, 1, 1], 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    shares = curves.row_shares(counts)
    assert shares[0].tolist() == [0.5, 0.5, 0] and np.isnan(shares[2]).all()


@pytest.mark.parametrize("b, c, exact", [(3, 1, 0.625), (10, 2, 0.0385742), (1, 1, 1.0), (0, 0, 1.0), (0, 3, 0.25)])
def test_mcnemar_exact(b: int, c: int, exact: float) -> None:
    """N26: few discordant pairs take the binomial test."""
    found = statistics.mcnemar(b, c)
    assert found.method == "exact" and found.p == pytest.approx(exact, abs=1e-6)


def test_mcnemar_chi_squared() -> None:
    """N26, and the change of method at 25 discordant pairs."""
    assert statistics.mcnemar_chi2(3, 1) == statistics.Tested(0.25, pytest.approx(0.617075, abs=1e-6))
    assert statistics.mcnemar_chi2(10, 2).statistic == pytest.approx(4.083333, abs=1e-6)
    assert statistics.mcnemar_chi2(10, 2).p == pytest.approx(0.0433081, abs=1e-6)
    assert [statistics.mcnemar(b, 12).method for b in (12, 13)] == ["exact", "chi2cc"]


def test_pairs_count_who_was_right() -> None:
    found = statistics.paired([1, 1, 0, 2], [1, 1, 0, 0], [1, 0, 1, 2])
    assert (found.b, found.c) == (2, 1)


def test_roc_on_the_grid() -> None:
    """N28: 201 thresholds, the same area as the exact one where no two scores share a step."""
    y, s = [0, 0, 1, 1, 0, 1], [0.1, 0.4, 0.35, 0.8, 0.5, 0.9]
    assert len(curves.roc(y, s)) == len(curves.precision_recall(y, s)) == 201
    assert curves.roc_area(curves.roc(y, s)) == pytest.approx(0.777778, abs=1e-6)
    assert metrics.auroc(y, s) == pytest.approx(0.777778, abs=1e-6)
    assert metrics.average_precision(y, s) == pytest.approx(0.866667, abs=1e-6)


def test_auroc_counts_a_tie_one_half() -> None:
    assert metrics.auroc([0, 1], [0.5, 0.5]) == 0.5
    assert metrics.auroc([0, 0, 1, 1], [0.1, 0.5, 0.5, 0.9]) == pytest.approx(0.875)


def test_kappa_and_average_precision_are_those_of_scikit_learn() -> None:
    """With ties and a class that one side never names."""
    random = np.random.default_rng(5)
    for _ in range(20):
        truth, said = random.integers(0, 4, 30), random.integers(0, 3, 30)
        assert statistics.kappa(truth, said) == pytest.approx(cohen_kappa_score(truth, said))
        y, s = truth > 1, random.integers(0, 8, 30) / 8
        assert metrics.average_precision(y, s) == pytest.approx(average_precision_score(y, s))
        assert metrics.auroc(y, s) == pytest.approx(roc_auc_score(y, s))


def test_thresholds_are_divided_not_multiplied() -> None:
    """Trap 7: 70 * 0.005 is above 0.35, 70 / 200 is not."""
    assert 70 * 0.005 > 0.35
    assert curves.roc([1, 0], [0.35, 0.0])[70].tolist() == [0, 1]
    assert curves.precision_recall([1, 0], [0.35, 0.0])[70].tolist() == [1, 1]


def test_a_score_of_one_is_inside_the_area() -> None:
    """Every score 1: the curve is one point at (1, 1), and chance is 0.5, not 0."""
    assert curves.roc_area(curves.roc([0, 1, 0, 1], [1.0, 1.0, 1.0, 1.0])) == pytest.approx(0.5)


def test_reliability() -> None:
    rows, error = curves.reliability([0, 1, 1, 1], [0.1, 0.15, 1.0, 0.95])
    assert rows[1].tolist() == pytest.approx([0.125, 0.5, 2]) and rows[9].tolist() == pytest.approx([0.975, 1, 2])
    assert rows[5, 2] == 0
    assert error == pytest.approx((0.375 * 2 + 0.025 * 2) / 4)


def test_regression() -> None:
    """N29."""
    found = statistics.regression([0.1, 0.4, 0.35, 0.8], [0.12, 0.35, 0.4, 0.7])
    assert found.mse == pytest.approx(0.00385, abs=1e-8)
    assert found.rmse == pytest.approx(0.0620484, abs=1e-7)
    assert found.mae == pytest.approx(0.055, abs=1e-9)
    assert found.r == pytest.approx(0.985713, abs=1e-6)
    assert found.r2 == pytest.approx(0.938859, abs=1e-6)


def test_regression_without_spread_has_no_r() -> None:
    found = statistics.regression([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])
    assert math.isnan(found.r) and math.isnan(found.r2) and found.mae == pytest.approx(1)


def test_critical_r() -> None:
    """N29; and paper 000's r = .8274 of 20 cases is above it (A16)."""
    assert statistics.critical_r(18, 0.001) == pytest.approx(0.678781, abs=1e-6)
    assert statistics.critical_r(20, 0.001) == pytest.approx(0.652378, abs=1e-6)


@pytest.mark.parametrize("k, n, comparisons, low, high", [
    (61, 67, 1, 0.815203, 0.966423), (61, 67, 2, 0.800637, 0.971317), (61, 67, 4, 0.786933, 0.975311),
    (149, 150, 1, 0.963417, 0.999831), (59, 62, 1, 0.865038, 0.989908),
])  # fmt: skip
def test_clopper_pearson(k: int, n: int, comparisons: int, low: float, high: float) -> None:
    """N30."""
    assert statistics.clopper_pearson(k, n, comparisons) == pytest.approx((low, high), abs=1e-6)


def test_wilson() -> None:
    """N30."""
    assert statistics.wilson(61, 67) == pytest.approx((0.818072, 0.958309), abs=1e-6)
    assert all(math.isnan(limit) for limit in statistics.wilson(0, 0))


def test_predictive_values_share_one_error() -> None:
    """COVID-19 of paper 002, Fig. 5: 61 of 67 called so were so; both values at 95 % together."""
    found = curves.predictive_values(metrics.Confusion(tp=61, fn=0, fp=6, tn=96))
    assert found["ppv"] == pytest.approx((61 / 67, 0.800637, 0.971317), abs=1e-6)
    assert found["npv"][0] == 1 and found["npv"][2] == 1


def test_ranks() -> None:
    """N31."""
    assert statistics.rank_sum(A, C).statistic == pytest.approx(-2.562050, abs=1e-6)
    assert statistics.rank_sum(A, C).p == pytest.approx(0.0104056, abs=1e-7)  # of that z; N31 prints .0104059
    assert statistics.mann_whitney(A, C).p == pytest.approx(0.00865801, abs=1e-8)
    assert statistics.signed_rank(A, C).p == pytest.approx(0.03125)


def test_the_approximation_is_not_the_exact_test() -> None:
    """Trap 8: for six against six the normal approximation gives another number of stars."""
    assert statistics.stars(statistics.rank_sum(A, C).p) == "*"
    assert statistics.stars(statistics.mann_whitney(A, C).p) == "**"


def test_normality() -> None:
    """N31."""
    assert statistics.normality(C).statistic == pytest.approx(0.150255, abs=1e-6)
    assert statistics.normality(C).p == pytest.approx(0.995861, abs=1e-6)


def test_stars() -> None:
    """N31: every limit belongs to the weaker side."""
    assert [statistics.stars(p) for p in (0.0005, 0.001, 0.005, 0.01, 0.049, 0.05)] == [
        "***",
        "**",
        "**",
        "*",
        "*",
        "-",
    ]


def test_logistic_regression() -> None:
    """N32."""
    intercept, x = statistics.logistic([0, 0, 0, 1, 0, 1, 0, 1, 1, 1], np.arange(1.0, 11.0)[:, None], ("x",))
    assert intercept.value == pytest.approx(-3.721882, abs=1e-6)
    assert (x.value, x.se, x.p) == pytest.approx((0.676706, 0.397905, 0.0890046), abs=1e-6)
    assert x.odds_ratio == pytest.approx(1.967386, abs=1e-6)


def test_a_separated_outcome_has_no_coefficients() -> None:
    with pytest.raises(ValueError, match="separate"):
        statistics.logistic([0, 0, 1, 1], np.array([[1.0], [2.0], [3.0], [4.0]]), ("x",))
    with pytest.raises(ValueError, match="depend"):
        statistics.logistic([0, 1, 0, 1], np.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0], [4.0, 8.0]]), ("x", "x twice"))


def test_resamples_without_value_are_skipped_and_counted() -> None:
    """The AUROC of three cases is undefined whenever a resample holds one class alone."""
    truth, score = np.array([0, 1, 1]), np.array([0.2, 0.9, 0.8])
    found = resampled(lambda n: metrics.auroc(truth[n], score[n]), 3, resamples=200)
    random = np.random.default_rng(0)
    assert found.skipped == sum(len(set(truth[random.integers(0, 3, 3)])) < 2 for _ in range(200))
    assert 0 < found.skipped < 200 and len(found.values) == 200 - found.skipped
    assert found.figure.value == found.figure.low == 1


def test_principal_axes() -> None:
    """N37, with the sign fixed."""
    row, column = np.mgrid[0:4, 0:4].astype(float)
    pictures = np.stack([a * row + b * column for a, b in ((1, 0), (2, 1), (3, 0), (4, 1), (5, 0), (6, 1))])
    found = principal_axes(pictures)
    assert found.shares[:3] == pytest.approx([0.966745, 0.033255, 0], abs=1e-6)
    assert found.singular[:2] == pytest.approx([33.66043, 6.24302], abs=1e-5)
    assert found.mean[0].tolist() == pytest.approx([0, 0.5, 1, 1.5])
    assert found.vectors.shape == (5, 4, 4)
    flat = found.vectors.reshape(5, -1)
    assert (flat[np.arange(5), np.abs(flat).argmax(1)] > 0).all()
    turned = principal_axes(-pictures)
    assert np.allclose(turned.vectors[:2], found.vectors[:2])


def test_expert_centres() -> None:
    """N21: one to one by the smallest sum, then figures over the coordinates."""
    found, known = [(0.1, 0.2), (0.8, 0.7)], [(0.82, 0.65), (0.12, 0.22)]
    regression, matching = agreement(found, known)
    assert matching.pairs.tolist() == [[0, 1], [1, 0]]
    assert regression.mse == pytest.approx(0.000925, abs=1e-9)
    assert regression.mae == pytest.approx(0.0275, abs=1e-9)
    assert regression.rmse == pytest.approx(0.030414, abs=1e-6)


def test_centres_left_alone_are_counted() -> None:
    matching = match([(0.1, 0.1), (0.5, 0.5), (0.9, 0.9)], [(0.52, 0.5)])
    assert matching.pairs.tolist() == [[1, 0]]
    assert (matching.found_alone, matching.known_alone) == (2, 0)
    with pytest.raises(ValueError, match="no centre"):
        agreement([], [(0.5, 0.5)])


@pytest.mark.parametrize("readings, discharge, truth", [
    ((True, False, True), True, (True, True, True)),  # flanked by two positive films
    ((False, True, False), True, (False, True, False)),  # another film was positive, not flanked
    ((False, False), True, (True, True)),  # no positive film: the code decides
    ((True, False), False, (False, False)),
])  # fmt: skip
def test_gold_standard(readings: tuple[bool, ...], discharge: bool, truth: tuple[bool, ...]) -> None:
    """Paper 002, specification 5.7."""
    assert gold_standard(readings, discharge) == truth


@pytest.mark.parametrize("right, cases, printed", [
    (88, 99, 0.8889), (70, 99, 0.7071), (193, 210, 0.9190), (194, 210, 0.9238), (149, 163, 0.9141),
])  # fmt: skip
def test_published_accuracies_are_of_whole_cases(right: int, cases: int, printed: float) -> None:
    """N39: papers 003 and 002."""
    truth = np.zeros(cases, dtype=int)
    said = (np.arange(cases) >= right).astype(int)
    counts = curves.confusion_matrix(truth, said, 2)
    assert round(counts.trace() / counts.sum(), 4) == printed


def test_published_sensitivities_average_to_the_accuracy() -> None:
    """N39: paper 001, BiT-M, weighted by the images of the test split; prints 99.2."""
    supports, shares = (12245, 7395, 6018), (0.993, 0.996, 0.987)
    rows = [
        curves.ClassRow(name, n, share, 1, 1, 1, 1)
        for name, n, share in zip(("Normal", "CP", "NCP"), supports, shares, strict=True)
    ]
    assert curves.averages(rows)["weighted"]["sensitivity"] == pytest.approx(0.99246, abs=1e-5)
