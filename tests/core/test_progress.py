"""Progress where there is no terminal."""

from specfreq.core import progress


def test_slow_steps_after_quick_ones_have_a_line_a_minute(tmp_path, monkeypatch):
    written = tmp_path / "progress"
    monkeypatch.setenv("SPECFREQ_PROGRESS", str(written))
    now = 0.0
    with progress.progress_bar("measures", 30, "network") as bar:
        monkeypatch.setattr(bar, "_time", lambda: now)
        bar.start_t = bar.last_print_t = now
        for step in range(1, 21):
            now += 1 if step <= 10 else 90  # ten were there already
            bar.update()
    counts = [int(line.split()[1]) for line in progress.lines(written.read_text())]
    assert counts == list(range(11, 21))
