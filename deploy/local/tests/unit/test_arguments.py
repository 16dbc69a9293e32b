"""Invalid arguments of `make run` give one plain sentence."""

import pytest

from local_stack.launcher import main


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("--port=abc", "PORT must be a number from 1 to 65535, not 'abc'."),
        ("--port=", "PORT must be a number from 1 to 65535, not ''."),
        ("--simulator-port=70000", "SIMULATOR_PORT must be a number from 1 to 65535, not '70000'."),
        ("--identity-port=0", "IDENTITY_PORT must be a number from 1 to 65535, not '0'."),
        ("--people=-3", "PEOPLE must be a whole number from 5 on, not '-3'."),
        ("--people=abc", "PEOPLE must be a whole number from 5 on, not 'abc'."),
    ],
)
def test_a_wrong_value_is_named(argument: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([argument]) == 2
    assert capsys.readouterr() == (sentence + "\n", "")
