from sweeper.core.one_line import one_line


def test_the_first_line_that_says_something_is_told_in_what_a_file_takes():
    assert "end" == one_line("\n" * 1000 + "end\nmore")
    assert "" == one_line(" \n ")
    assert r"\x1b[31mred \udcff" == one_line("\x1b[31mred\t\udcff")


def test_a_long_line_is_cut():
    assert "x" * 10 + "..." == one_line("x" * 2**20, longest=10)
