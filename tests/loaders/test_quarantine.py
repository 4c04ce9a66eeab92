from pathlib import Path

from loaders.quarantine import Quarantine


def test_the_file_has_a_header_and_each_row_once(tmp_path: Path) -> None:
    path = tmp_path / "beside" / "quarantine.tsv"
    for _ in range(2):
        quarantine = Quarantine()
        quarantine.row(Path("in/items.jsonl"), 3, "expected\ta\nreason")
        quarantine.part(Path("in/items.jsonl"), 5, "no image")
        quarantine.write(path)
    assert path.read_text(encoding="utf-8") == (
        "file\tline\treason\nitems.jsonl\t3\texpected a reason\nitems.jsonl\t5\tno image\n"
    )


def test_a_part_of_a_row_is_no_row_set_aside() -> None:
    quarantine = Quarantine()
    quarantine.row(Path("a"), 1, "gone")
    quarantine.part(Path("a"), 2, "without image")
    assert (quarantine.set_aside, quarantine.partial, len(quarantine.rows)) == (1, 1, 2)


def test_nothing_set_aside_writes_nothing(tmp_path: Path) -> None:
    Quarantine().write(tmp_path / "quarantine.tsv")
    assert not (tmp_path / "quarantine.tsv").exists()
