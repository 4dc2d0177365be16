from libecs.sim.agenda import UNIX_START_MS, Agenda


def test_actions_come_in_order_of_time_and_then_of_entry() -> None:
    agenda = Agenda()
    done: list[str] = []
    agenda.after(2.0, lambda: done.append("late"))
    agenda.after(1.0, lambda: done.append("first"))
    agenda.after(1.0, lambda: done.append("second"))

    agenda.run_until(3.0)

    assert done == ["first", "second", "late"]
    assert agenda.mono_s == 3.0


def test_an_action_in_the_past_comes_next_and_time_never_goes_back() -> None:
    agenda = Agenda()
    seen: list[float] = []
    agenda.run_until(5.0)

    agenda.at(1.0, lambda: seen.append(agenda.mono_s))
    assert agenda.step()

    assert seen == [5.0]
    assert not agenda.step()


def test_run_until_leaves_what_is_later() -> None:
    agenda = Agenda()
    done: list[int] = []
    agenda.after(4.0, lambda: done.append(1))

    agenda.run_until(3.9)

    assert done == []
    assert agenda.next_s == 4.0


def test_the_wall_clock_jumps_and_the_monotonic_one_does_not() -> None:
    agenda = Agenda()
    agenda.run_until(1.5)
    agenda.wall_offset_ms -= 3_600_000

    assert agenda.now.mono_s == 1.5
    assert agenda.now.unix_ms == UNIX_START_MS + 1500 - 3_600_000
