"""The bounded count of frequent values keeps what it promises, on any sequence."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from examples.csv_summary.columns import TopValues

#: Values of which a few come often and many come once.
SEQUENCES = st.lists(st.one_of(st.sampled_from("ab"), st.integers(0, 60).map(str)), max_size=400)


@given(SEQUENCES, st.integers(1, 20))
def test_a_count_is_never_too_large_and_too_small_by_at_most_the_undercount(values: list[str], capacity: int) -> None:
    top = TopValues(capacity)
    for value in values:
        top.add(value)
    truth = Counter(values)
    counted = dict(top.most_frequent(1000))
    assert all(truth[value] - top.undercount <= count <= truth[value] for value, count in counted.items())
    assert all(value in counted for value, count in truth.items() if count > top.undercount + 1)
    assert top.undercount <= len(values) / capacity
    assert len(counted) <= 2 * capacity


@given(SEQUENCES)
def test_few_different_values_are_counted_exactly(values: list[str]) -> None:
    top = TopValues(100)
    for value in values:
        top.add(value)
    assert top.distinct == len(set(values))
    assert top.most_frequent(3) == sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))[:3]
