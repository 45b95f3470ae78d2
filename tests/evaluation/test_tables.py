"""Every layout against a table written by hand."""

import pytest

from compressor.errors import ResultsError
from compressor.evaluation import tables
from compressor.evaluation.comparison import published


def row(method: str, rate: float, avg: float, **more) -> dict:
    """A result of the bundled model, as an evaluation writes it."""
    return {"model": "tiny", "data": "scenes", "method": method, "rate": rate, "avg": avg, **more}


def llava(method: str, rate: float, avg: float, **more) -> dict:
    """A result of a model and data that the paper has too."""
    return {**row(method, rate, avg, **more), "model": "llava-1.5-7b", "data": "gqa"}


def trained(entropy: bool, collapse: bool, clip: bool) -> dict:
    return {"terms": {"entropy": entropy, "collapse": collapse, "clip": clip}}


def lines(table) -> list[list[str]]:
    assert all(len(cells) == len(table.head) for cells in table.rows)
    return [list(table.head), *map(list, table.rows)]


BASE = row(
    "none", 0.0, 95.0, image_tokens=256, acc=[97.8, 92.6, 94.6], standard_error=0.68, interval=[93.6, 96.3]
)
OURS = row(
    "metacompress", 0.9, 94.24, image_tokens=26, acc=[97, 92.6, 93], standard_error=0.7, interval=[93, 95.5]
)


def test_accuracy() -> None:
    assert str(tables.accuracy_table([BASE, OURS])).splitlines() == [
        "| model | data | method | rate | tokens | Acc1 | Acc2 | Acc3 | Avg | s.e. | 95 % interval |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        "| tiny | scenes | none | 0% | 256 | 97.8 | 92.6 | 94.6 | 95.0 | 0.7 | 93.6–96.3 |",
        "| tiny | scenes | metacompress | 90% | 26 | 97.0 | 92.6 | 93.0 | 94.2 | 0.7 | 93.0–95.5 |",
    ]


def test_accuracy_of_files_without_model_interval_or_a_second_dialogue() -> None:
    old = [{"method": "sample", "rate": 0.5, "acc": [50.0], "avg": 50.0, "standard_error": float("nan")}]
    assert lines(tables.accuracy_table(old)) == [
        ["method", "rate", "Acc1", "Avg"],
        ["sample", "50%", "50.0", "50.0"],
    ]


def test_accuracy_tells_what_named_no_letter_and_what_had_no_picture() -> None:
    rows = [{**BASE, "no_letter": 0, "left_out": 5}, {**OURS, "no_letter": 12, "left_out": 5}]
    head, *values = lines(tables.accuracy_table(rows))
    assert head[-2:] == ["no letter", "left out"]
    assert [cells[-2:] for cells in values] == [["0", "5"], ["12", "5"]]


def test_accuracy_beside_the_published_numbers() -> None:
    measured = [
        llava("none", 0.0, 63.1, acc=[61.0, 63.5, 64.8]),
        llava("metacompress: mine", 0.9, 58.0, acc=[55.5, 58.5, 60.0]),
        llava("divprune", 0.9, 57.0, acc=[56.0, 57.0, 58.0]),
    ]
    paper = [each for name in tables.LAYOUTS["accuracy"].published for each in published(name)]
    table = tables.accuracy_table(measured, paper)
    values = ["Acc1", "Acc2", "Acc3", "Avg"]
    assert lines(table) == [
        [
            *("model", "data", "method", "rate"),
            *(f"{value}, measured" for value in values),
            *(f"{value}, published" for value in values),
            "published in",
        ],
        [
            *("llava-1.5-7b", "gqa", "none", "0%", "61.0", "63.5", "64.8", "63.1"),
            *("61.76", "64.07", "65.35", "63.73", "Table 4"),
        ],
        [
            *("llava-1.5-7b", "gqa", "metacompress: mine", "90%", "55.5", "58.5", "60.0", "58.0"),
            *("55.95", "58.71", "60.64", "58.43", "Table 5"),
        ],
        ["llava-1.5-7b", "gqa", "divprune", "90%", "56.0", "57.0", "58.0", "57.0", "", "", "", "", ""],
    ]
    assert table.notes == (
        "Table 5 does not print its rate; 90 % is inferred, because Avg of Ours is that of Table 1 at 90 %.",
    )


@pytest.mark.parametrize(
    "other",
    [
        llava("metacompress", 0.8, 58.0),
        {**llava("metacompress", 0.9, 58.0), "model": "llava-1.5-13b"},
        {**llava("metacompress", 0.9, 58.0), "data": "scenes"},
        llava("sample", 0.9, 58.0),
        llava("metacompress", 0.9, 58.0, **trained(True, False, False)),
        llava("metacompress", 0.9, 58.0, trained_on="scenes"),
    ],
    ids=["rate", "model", "data", "method", "terms", "training data"],
)
def test_numbers_of_another_setting_never_stand_beside_each_other(other) -> None:
    paper = [each for each in published("table5") if each["method"] == "metacompress"]
    same = llava("metacompress", 0.9, 58.0, trained_on="gqa", **trained(True, True, True))
    assert "58.43" in str(tables.accuracy_table([same], paper))
    assert "published" not in str(tables.accuracy_table([other], paper))
    assert "published" not in str(tables.average_table([other], paper))


def test_judged_scores_have_two_digits_and_a_note_on_the_published_unit() -> None:
    measured = [{**llava("metacompress", 0.9, 4.456, acc=[4.1, 4.2, 5.07]), "data": "convbench"}]
    table = tables.accuracy_table(measured, published("table1"))
    assert lines(table)[1][4:] == ["4.10", "4.20", "5.07", "4.46", "4.16", "Table 1"]
    assert "win rates" in table.notes[0]


def test_average_repeats_only_what_is_known_at_rate_0_alone() -> None:
    rows = [
        BASE,
        row("sample", 0.9, 92.4, standard_error=0.8),
        row("sample", 0.5, 94.9, standard_error=0.7),
        row("spatial", 0.0, 95.1),
        row("spatial", 0.5, 94.6),
    ]
    assert lines(tables.average_table(rows)) == [
        ["model", "data", "method", "0%", "50%", "90%"],
        ["tiny", "scenes", "none", "", "95.0 ± 0.7", "95.0 ± 0.7"],
        ["tiny", "scenes", "sample", "", "94.9 ± 0.7", "92.4 ± 0.8"],
        ["tiny", "scenes", "spatial", "95.1", "94.6", ""],
    ]


def test_average_beside_published_says_the_table_of_every_column() -> None:
    measured = [llava("none", 0.0, 63.1), llava("metacompress", 0.7, 61.0), llava("metacompress", 0.9, 58.0)]
    paper = [*published("table4"), *published("table1")]
    assert lines(tables.average_table(measured, paper)) == [
        [
            *("model", "data", "method"),
            *("70%, measured", "70%, published, Table 4"),
            *("90%, measured", "90%, published, Table 4", "90%, published, Table 1"),
        ],
        ["llava-1.5-7b", "gqa", "none", "63.1", "63.73", "63.1", "63.73", ""],
        ["llava-1.5-7b", "gqa", "metacompress", "61.0", "61.07", "58.0", "", "58.43"],
    ]


def test_average_of_the_uncompressed_model_alone() -> None:
    assert lines(tables.average_table([row("none", 0.0, 95.0)])) == [
        ["model", "data", "method", "0%"],
        ["tiny", "scenes", "none", "95.0"],
    ]


def test_two_results_for_one_cell_are_an_error_and_no_silent_choice() -> None:
    with pytest.raises(ResultsError, match="Two results claim the cell tiny, scenes, sample, 90%"):
        tables.average_table([row("sample", 0.9, 92.4), row("sample", 0.9, 91.0)])


def test_kinds() -> None:
    rows = [
        row("none", 0.0, 95.0, kinds={"color": 99.3, "count": 84.4}),
        row("sample", 0.9, 92, kinds={"color": 98}),
    ]
    assert lines(tables.kinds_table(rows)) == [
        ["kind", "none", "sample 90%"],
        ["color", "99", "98"],
        ["count", "84", ""],
    ]
    rows[1]["data"] = "scenes-b"
    assert tables.kinds_table(rows).head == ("kind", "scenes none", "scenes-b sample 90%")
    with pytest.raises(ResultsError, match="kind of question"):
        tables.kinds_table([OURS])


FIVE = [  # in another order than Table 6's
    row("metacompress: all", 0.9, 94.2, standard_error=0.7, **trained(True, True, True)),
    row("metacompress: pred", 0.9, 93.0, **trained(False, False, False)),
    row("metacompress: no entropy", 0.9, 93.9, **trained(False, True, True)),
    row("metacompress: entropy", 0.9, 93.5, **trained(True, False, False)),
    row("metacompress: no clipping", 0.9, 60.1, **trained(False, True, False)),
    BASE,
]


def test_ablation_has_the_order_and_the_marks_of_table_6() -> None:
    assert lines(tables.ablation_table(FIVE)) == [
        ["ℒ_pred", "ℒ_entropy", "ℒ_collapse", "ℒ_collapse + Grad Clip", "tiny, scenes, 90%"],
        ["✓", "✗", "✗", "✗", "93.0"],
        ["✓", "✓", "✗", "✗", "93.5"],
        ["✓", "✗", "✓", "✗", "60.1"],
        ["✓", "✗", "✗", "✓", "93.9"],
        ["✓", "✓", "✗", "✓", "94.2 ± 0.7"],
    ]


def test_ablation_shows_clipping_without_collapse_apart() -> None:
    extra = row("metacompress: clipped", 0.9, 93.1, **trained(False, False, True))
    table = tables.ablation_table([*FIVE, extra])
    assert table.head[4] == "Grad Clip"
    assert list(table.rows[2]) == ["✓", "✗", "✗", "✗", "✓", "93.1"]
    assert [cells[4] for cells in table.rows] == ["✗", "✗", "✓", "✗", "✗", "✗"]


def test_ablation_beside_table_6() -> None:
    measured = [llava(f"metacompress: {i}", 0.9, 50.0 + i, terms=FIVE[i]["terms"]) for i in range(5)]
    table = tables.ablation_table(measured, published("table6"))
    assert table.head[4:] == (
        "llava-1.5-7b, gqa, 90%, measured",
        "llava-1.5-7b, gqa, 90%, published, Table 6",
    )
    assert [cells[4:] for cells in table.rows] == [
        ("51.0", "56.63"),
        ("53.0", "57.99"),
        ("54.0", "52.26"),
        ("52.0", "57.57"),
        ("50.0", "58.43"),
    ]


def test_ablation_without_terms_or_with_others_is_an_error() -> None:
    with pytest.raises(ResultsError, match="No result names the loss terms"):
        tables.ablation_table([BASE, OURS])
    with pytest.raises(ResultsError, match="entropy, collapse, clip"):
        tables.ablation_table([row("metacompress", 0.9, 90.0, terms={"entropy": True})])


def test_transfer() -> None:
    def moved(trained_on: str, data: str, avg: float, rate: float = 0.9) -> dict:
        return {**row("metacompress", rate, avg, trained_on=trained_on), "data": data}

    rows = [
        moved("scenes-b", "scenes-a", 80.0),
        moved("scenes-a", "scenes-a", 90.0),
        moved("scenes-b", "scenes-b", 91.0),
        moved("scenes-a", "scenes-b", 81.0),
        moved("scenes-a", "scenes-b", 85.0, rate=0.7),
        BASE,
    ]
    assert lines(tables.transfer_table(rows)) == [
        ["setting", "tiny, 90%", "tiny, 70%"],
        ["scenes-a", "90.0", ""],
        ["scenes-b → scenes-a", "80.0", ""],
        ["scenes-b", "91.0", ""],
        ["scenes-a → scenes-b", "81.0", "85.0"],
    ]
    with pytest.raises(ResultsError, match="No result names the data"):
        tables.transfer_table([BASE])


def test_transfer_beside_table_7() -> None:
    measured = [
        llava("metacompress", 0.9, 57.0, trained_on="vqa-v2"),
        llava("metacompress", 0.9, 58.0, trained_on="gqa"),
    ]
    assert lines(tables.transfer_table(measured, published("table7"))) == [
        ["setting", "llava-1.5-7b, 90%, measured", "llava-1.5-7b, 90%, published, Table 7"],
        ["gqa", "58.0", "58.43"],
        ["vqa-v2 → gqa", "57.0", "57.45"],
    ]


def timed(method: str, batch: int, ttft: float, **more) -> dict:
    rate = 0.0 if method == "none" else 0.9
    shared = {
        "model": "llava-1.5-7b",
        "device": "GPU",
        "dtype": "bfloat16",
        "random_weights": True,
        "new_tokens": 8,
    }
    return {
        **shared,
        "method": method,
        "rate": rate,
        "batch": batch,
        "ttft_ms": ttft,
        "total_ms": 2 * ttft,
        **more,
    }


def test_efficiency_compares_with_the_base_of_the_same_batch() -> None:
    rows = [
        timed("none", 1, 100.0, peak_memory_gb=14.12, cache_mb=300.0),
        timed("none", 16, 1234.5, peak_memory_gb=None, cache_mb=4800.0),
        timed("metacompress", 16, 493.8, cache_mb=960.0),
        timed("metacompress", 1, 80.0, peak_memory_gb=0.01234, cache_mb=60.0),
        timed("metacompress", 4, 9.0),
    ]
    table = tables.efficiency_table(rows)
    head = [
        "model",
        "device",
        "dtype",
        "batch",
        "method",
        "rate",
        "TTFT ms",
        "end-to-end ms",
        "memory GB",
        "cache MB",
    ]
    assert lines(table)[0] == head
    assert [cells[3:] for cells in lines(table)[1:]] == [
        ["1", "none", "0%", "100", "200", "14.1", "300"],
        ["16", "none", "0%", "1234", "2469", "", "4800"],
        ["16", "metacompress", "90%", "494 (2.50)", "988 (2.50)", "", "960 (5.00)"],
        ["1", "metacompress", "90%", "80.0 (1.25)", "160 (1.25)", "0.0123 (1144.25)", "60.0 (5.00)"],
        ["4", "metacompress", "90%", "9.00", "18.0", "", ""],  # without a base of its batch
    ]
    assert table.notes == (
        "In parentheses: base / method.",
        "Measured with random weights, on which time and memory do not depend.",
    )


def test_efficiency_beside_table_2_has_the_papers_ratios() -> None:
    rows = [timed("none", 16, 200.0), timed("metacompress", 16, 80.0)]
    table = tables.efficiency_table(rows, published("table2"))
    times = ("TTFT ms", "end-to-end ms")
    assert lines(table)[0][6:] == [
        *(f"{value}, measured" for value in times),
        *(f"{value}, published" for value in (*times, "memory GB", "TFLOPs")),
        "published in",
    ]
    assert lines(table)[1][6:] == ["200", "400", "232", "676", "26.9", "71.4", "Table 2"]
    assert lines(table)[2][6:] == [
        *("80.0 (2.50)", "160 (2.50)"),
        *("97.8 (2.37)", "480 (1.41)", "26.1 (1.03)", "13.3 (5.37)", "Table 2"),
    ]
    assert "Neither the batch size" in table.notes[-1]


def test_curve_keeps_the_points_of_a_method_together_in_the_order_of_rates() -> None:
    rows = [
        row("sample", 0.9, 92.4, interval=[90.75, 93.9]),
        OURS,
        row("sample", 0.5, 94.93),
    ]
    assert lines(tables.curve_table(rows)) == [
        ["model", "data", "method", "rate", "tokens", "Avg", "low", "high"],
        ["tiny", "scenes", "sample", "50%", "", "94.93", "", ""],
        ["tiny", "scenes", "sample", "90%", "", "92.40", "90.75", "93.90"],
        ["tiny", "scenes", "metacompress", "90%", "26", "94.24", "93.00", "95.50"],
    ]


@pytest.mark.parametrize("name", [name for name, layout in tables.LAYOUTS.items() if layout.published])
def test_every_layout_shows_the_published_numbers_alone_and_says_so(name: str) -> None:
    layout = tables.LAYOUTS[name]
    paper = [each for table in layout.published for each in published(table)]
    table = layout.build([], paper)
    for source in {each["source"]["table"] for each in paper}:
        assert f"published, {source}" in str(table)
    assert "measured" not in "".join(table.head)
    with pytest.raises(ResultsError):
        layout.build([], [])


def test_published_numbers_keep_the_digits_of_the_print() -> None:
    table = tables.accuracy_table([], published("table8"))
    assert lines(table)[1] == [
        *("xcomposer-2.5-7b", "video-mme", "none", "0%", "44.3", "46.7", "48.2", "46.4"),
        "published, Table 8",
    ]
    shown = tables.accuracy_table([], published("table4"))
    assert ("20.00", "5.00", "3.33", "9.44") in [cells[4:8] for cells in shown.rows]
    assert [cells[4:8] for cells in shown.rows if cells[0] == "llava-next-13b"][2] == (
        "12.48",
        "13.17",
        "7.97",
        "",
    )
    assert any("Avg is printed as 5.55" in note for note in shown.notes)
