"""What is said of workloads that stay stopped, and how to start them again."""

from __future__ import annotations

from standalone.stopped import listed, start_commands, words_on_stopped


def named(*names: str, project: str = "default") -> list[dict[str, str]]:
    return [{"name": name, "project": project} for name in names]


def test_one_command_per_project_starts_all() -> None:
    workloads = [*named("orders-db", "cache"), *named("front", project="shop")]
    assert start_commands(workloads) == [
        "lattice start cache orders-db",
        "lattice start --project shop front",
    ]


def test_of_many_only_the_first_are_named() -> None:
    assert (
        listed(named(*(f"w{number}" for number in range(10)))) == "w0, w1, w2, w3, w4, w5, w6, w7 and 2 more"
    )


def test_after_a_start_people_read_what_stayed_stopped() -> None:
    said = words_on_stopped(named("cache"))
    assert said == "stopped, with their data: cache; to start: lattice start cache"
