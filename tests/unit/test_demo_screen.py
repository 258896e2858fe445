"""What the demo prints where its output is not a terminal."""

import pytest

from demo.screen import WIDTH, Screen


def test_a_line_to_copy_stays_one_line_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    line = f"export PATH=/somewhere/{'long/' * WIDTH}bin:$PATH"
    with Screen() as screen:
        screen.lines_to_copy([line, "", "kubectl get cjob"])
    assert capsys.readouterr().out == f"  {line}\n\n  kubectl get cjob\n"
