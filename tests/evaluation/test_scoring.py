"""Scores against hand-computed cases: the VQA evaluation's own examples, and what models say to a choice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.dialogues import Turn
from compressor.errors import InvalidOptionError
from compressor.evaluation.scoring import chosen_letter, exact_match, normalise, scorer, soft_accuracy

OPTIONS = ("A. A dog.", "B. Two cats.", "C. The red car.", "D. Nothing.")


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        ("cat", "cat", True),
        (" Cat. ", "cat", True),
        ("cat .", "cat", True),
        ("Cat ,", "cat", True),
        ("cat", "cat !", True),
        ("black cat\n. ", "black  cat", True),
        ("cats", "cat", False),
        ("c.at", "cat", False),
        ("", "cat", False),
        (" . ", "cat", False),
    ],
)
def test_exact_match_forgives_case_space_and_closing_punctuation_only(prediction, truth, expected) -> None:
    assert exact_match(prediction, truth) is expected
    assert scorer("exact")(prediction, Turn("what is it?", truth)) == float(expected)


def test_facts_are_right_wrong_or_partly_right() -> None:
    turn = Turn("What is in the center?", "In the middle-center there is a cat and a dog.")
    assert scorer("facts")("In the middle-center there is a dog and a cat.", turn) == 1.0
    assert scorer("facts")("In the middle-center there is a dog.", turn) == pytest.approx(2 / 3)
    assert scorer("facts")("cat", turn) == 0.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes.", "yes"),
        ("1.5", "1.5"),  # a decimal point stays
        ("Two", "2"),
        ("none", "0"),
        ("eleven", "eleven"),
        ("a dog on the sofa", "dog on sofa"),
        ("dont", "don't"),
        ("don't", "don't"),
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("the girl's hat", "girl's hat"),  # apostrophe and colon are kept
        ("2:50 pm", "2:50 pm"),
        ("100,978", "100978"),
        ("black/white", "black white"),
        ("red, white and blue", "red white and blue"),
        ("t-shirt", "t shirt"),
        ("(left)", "left"),
        ("what?!", "what"),
        ("3,000 t-shirts", "3000 tshirts"),  # a grouped number drops every mark of the answer
        ("over\tthere\n", "over there"),
        ("U.S.A.", "usa"),
        ("an", ""),
    ],
)
def test_normalisation_of_the_vqa_evaluation(text, expected) -> None:
    assert normalise(text) == expected


@pytest.mark.parametrize(("given", "expected"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_soft_accuracy_leaves_one_annotator_out(given, expected) -> None:
    """With k of 10 annotators agreeing: (k min(1, (k - 1) / 3) + (10 - k) min(1, k / 3)) / 10."""
    annotated = ["yes"] * given + ["no"] * (10 - given)
    assert soft_accuracy("Yes.", annotated) == pytest.approx(expected)


def test_vqa_scores_normalise_both_sides() -> None:
    turn = Turn("how many?", "2", answers=("2", "two", "2 dogs", "2", "3", "3", "3", "3", "3", "3"))
    assert scorer("vqa")("Two", turn) == pytest.approx((3 * 2 / 3 + 7 * 1) / 10)
    assert scorer("vqa")("the 2 dogs", turn) == pytest.approx((1 * 0 + 9 * 1 / 3) / 10)
    assert scorer("vqa")("3", turn) == 1.0


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        (" b ", None),  # lower case is a word, not a choice
        ("B.", "B"),
        ("(B)", "B"),
        ("B) Two cats", "B"),
        ("B. Two cats.", "B"),
        ("two cats", "B"),
        ("A dog", "A"),
        ("A dog and a bird", None),
        ("The answer is A", "A"),
        ("The answer is A dog.", "A"),
        ("The answer is (C).", "C"),
        ("The correct answer is: D", "D"),
        ("Answer: C", "C"),
        ("the answer is C because of the colour", "C"),
        ("I would choose option D here", "D"),
        ("It is the red car (C)", "C"),
        ("Either (A) or (B)", None),
        ("E", None),
        ("", None),
        # Markdown, brackets, quotes, LaTeX and end tokens do not matter
        ("**B**", "B"),
        ("**B.** Two cats", "B"),
        ("**B**. Two cats", "B"),
        ("*B*", "B"),
        ("_B_", "B"),
        ("`B`", "B"),
        ("### B", "B"),
        ("> B", "B"),
        ("- B", "B"),
        ('"B"', "B"),
        ("“B”", "B"),
        ("'B'", "B"),
        ("[B]", "B"),
        ("(**B**)", "B"),
        ("\\boxed{B}", "B"),
        ("$\\boxed{\\text{B}}$", "B"),
        ("The answer is \\boxed{B}.", "B"),
        ("B</s>", "B"),
        ("B<|im_end|>", "B"),
        ("**A** dog and a bird", "A"),
        ("**A dog** and a bird", None),
        # alone, punctuated, or before its text
        ("B!", "B"),
        ("B?", "B"),
        ("B\nThere are two cats in the picture.", "B"),
        ("A\nThere is a dog in the picture.", "A"),
        ("\nA\n", "A"),
        ("B - Two cats", "B"),
        ("A - a dog", "A"),
        ("A: a dog", "A"),
        ("A, because it barks", "A"),
        ("A A dog.", "A"),
        ("A A dog. It barks.", "A"),
        ("A A dog and a bird", None),
        ("A dog. It barks.", None),
        ("A's dog", None),
        ("A-frame house", None),
        # letters that are no words count whatever follows
        ("B Two cats.", "B"),
        ("B because two cats", "B"),
        ("B two", "B"),
        ("Because", None),
        ("D'Artagnan", None),
        ("B-52", None),
        ("B-Two cats", "B"),
        # after "answer"
        ("The answer is **B**.", "B"),
        ("Answer: **B**", "B"),
        ("**Answer:** B", "B"),
        ("**Answer**: (B)", "B"),
        ("Final answer: B", "B"),
        ("ANSWER: B", "B"),
        ("Answer:\n\nB", "B"),
        ("My answer would be B.", "B"),
        ("My answer would be A.", "A"),
        ("My answer would be A bit different", None),
        ("The answer is option B", "B"),
        ("The answer is the letter B.", "B"),
        ("The answer is **two cats**", "B"),
        ("A dog is there, so the answer is B", "B"),
        ("The answer is not B", None),
        ("The answer is b", None),
        ("(b)", None),
        ("I don't know", None),
        # several letters
        ("A or B", None),
        ("(A) or (B)", None),
        ("**A** or **B**", None),
        ("B or C", None),
        ("B, C", None),
        ("B. C.", None),
        ("B/C", None),
        ("B and D are right", None),
        ("B, C and D", None),
        ("A. or B.", None),
        ("A and B, or neither", None),
        ("Option A or option B", None),
        ("The answer is A or B", None),
        ("The answer is B and C.", None),
        ("A or option B", None),
        ("B. Two cats. The answer is C", None),
        ("B. Two cats. So the answer is B", "B"),
        ("B, not a dog", "B"),
        ("B, A dog is not there", "B"),
        ("B. Two cats, not (C)", "B"),
    ],
)
def test_the_chosen_letter(answer, letter) -> None:
    assert chosen_letter(answer, OPTIONS) == letter
    assert scorer("choice")(answer, Turn("which?", "C", options=OPTIONS)) == float(letter == "C")


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("Vitamin C", "B"),
        ("B. Vitamin C", "B"),
        ("B Vitamin C", "B"),
        ("D major", "C"),
        ("C. D major, or so", "C"),
        ("I", "I"),
        ("I. Iron", "I"),
        ("I Iron", "I"),
        ("I think so", None),
        ("I would say B", None),
        ("C", "C"),
        ("The answer is I", "I"),
        ("A B", "A"),
        ("dog", "D"),
        ("A dog", None),
        ("H", "H"),
    ],
)
def test_options_whose_texts_hold_letters(answer, letter) -> None:
    options = ("B", "Vitamin C", "D major", "Dog", "Egg", "Fox", "Gnu", "C", "Iron")
    assert chosen_letter(answer, options) == letter


PIECES = (
    "A",
    "B",
    "b",
    "answer",
    "is",
    ":",
    "(",
    ")",
    "**",
    "\n",
    "or",
    ",",
    ".",
    "dog",
    "\\boxed{",
    "}",
    "'",
)


@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map(" ".join)))
def test_any_text_gives_a_letter_of_the_options_or_none(answer) -> None:
    letter = chosen_letter(answer, OPTIONS)
    assert letter is None or letter in "ABCD"
    assert chosen_letter(answer + "</s>", OPTIONS) == letter


def test_the_true_choice_may_be_given_as_a_text() -> None:
    assert scorer("choice")("C.", Turn("which?", "The red car.", options=OPTIONS)) == 1.0


def test_rules_that_do_not_fit_are_said_in_a_sentence() -> None:
    with pytest.raises(InvalidOptionError, match="--judge"):
        scorer("judge")
    with pytest.raises(InvalidOptionError, match="no rule 'guess'"):
        scorer("guess")
    with pytest.raises(InvalidOptionError, match="annotators"):
        scorer("vqa")("yes", Turn("is it?", "yes"))
    with pytest.raises(InvalidOptionError, match="options"):
        scorer("choice")("A", Turn("which?", "A"))
