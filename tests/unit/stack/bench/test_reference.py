from stack.bench.reference import PAGE, renewed


def test_the_performance_page_lists_the_fields_as_they_are() -> None:
    page = PAGE.read_text()
    assert renewed(page) == page, "run `python -m stack.bench.reference`"
