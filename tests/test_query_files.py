"""Query files as spreadsheets and other programs write them, and damaged or hostile ones."""

import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dinotrack import points
from dinotrack.errors import InputError
from dinotrack.formats import read_queries
from dinotrack.formats.queries import KIND
from dinotrack.points import MOST_POINTS, check_queries

ROWS = [[0.0, 50.5, 60.25], [3.0, -0.5, 7.0]]
GERMAN = "t;x;y\n0;50,5;60,25\n3;-0,5;7\n"

TEXTS = {
    "commas": b"t,x,y\n0,50.5,60.25\n3,-0.5,7\n",
    "windows": b"t,x,y\r\n0,50.5,60.25\r\n3,-0.5,7\r\n",
    "old_mac": b"t,x,y\r0,50.5,60.25\r3,-0.5,7\r",
    "no_last_line_end": b"t,x,y\n0,50.5,60.25\n3,-0.5,7",
    "byte_order_mark": b"\xef\xbb\xbft,x,y\n0,50.5,60.25\n3,-0.5,7\n",
    "semicolons": b"t;x;y\n0;50.5;60.25\n3;-0.5;7\n",
    "decimal_commas": GERMAN.encode(),
    "three_decimals": b"t;x;y\n0;50,500;60,250\n3;-0,500;7,000\n",
    "tabs": GERMAN.replace(";", "\t").encode(),
    "bars": GERMAN.replace(";", "|").encode(),
    "spaces": b"t x y\n0 50.5  60.25 \n 3 -0.5 7\n",
    "excel_unicode_text": ("\ufeff" + GERMAN.replace(";", "\t")).encode("utf-16-le"),
    "utf_16_big": ("\ufeff" + GERMAN).encode("utf-16-be"),
    "utf_16_without_mark": GERMAN.encode("utf-16-le"),
    "utf_16_big_without_mark": GERMAN.encode("utf-16-be"),
    "utf_32": GERMAN.encode("utf-32"),
    "excels_first_line": ("sep=;\n" + GERMAN).encode(),
    "excels_first_line_quoted": b'"sep=,"\r\nt,x,y\r\n0,50.5,60.25\r\n3,-0.5,7\r\n',
    "rows_of_nothing": b"t,x,y\n0,50.5,60.25\n,,\n\n3,-0.5,7\n,,\n , ,\n",
    "columns_of_nothing": b"t,x,y,,\n0,50.5,60.25,,\n3,-0.5,7,,\n",
    "empty_lines_first": b"\n\nt,x,y\n0,50.5,60.25\n3,-0.5,7\n",
    "quotes": b'"t","x","y"\n"0","50.5","60.25"\n"3","-0.5","7"\n',
    "quoted_decimal_commas": b't,x,y\n0,"50,5","60,25"\n3,"-0,5",7\n',
    "space_around": b" t , x , y \n 0 ,\t50.5 , 60.25 \n3, -0.5,7\n",
    "capitals": b"T,X,Y\n0,50.5,60.25\n3,-0.5,7\n",
    "more_columns": b'name,y,t,x\nnose,60.25,0,50.5\n"a, b\n;c",7,3,-0.5\n',
    "pandas": b",t,x,y\n0,0,50.5,60.25\n1,3,-0.5,7\n",
    "numpys_savetxt": b"# t x y\n0.0e+00 5.05e+01 6.025e+01\n3.0e+00 -5.0e-01 7.0e+00\n",
    "numpys_savetxt_commas": b"# t,x,y\n0,50.5,60.25\n3,-0.5,7\n",
    "latin_1": "t,x,y,Körper\n0,50.5,60.25,Fuß\n3,-0.5,7,Ohr\n".encode("latin-1"),
    "metres_too": b"frame,t,x,y,X,Y,Z\n9,0,50.5,60.25,1,2,3\n9,3,-0.5,7,1,2,3\n",
    "metres_first": b"X,Y,x,y,t\n1,2,50.5,60.25,0\n1,2,-0.5,7,3\n",
    "temperature": b"t,x,y,T\n0,50.5,60.25,21.5\n3,-0.5,7,21.5\n",
}
"""The same two points, as programs write them."""


@pytest.mark.parametrize("name", TEXTS)
def test_tables_as_programs_write_them(name: str, tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_bytes(TEXTS[name])
    assert read_queries(tmp_path / "q.csv").rows.tolist() == ROWS


@pytest.mark.parametrize("code", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_json_in_any_code(code: str, tmp_path: Path) -> None:
    (tmp_path / "q.json").write_bytes(json.dumps(ROWS, indent=1).encode(code))
    assert read_queries(tmp_path / "q.json").rows.tolist() == ROWS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("t,x,y,x,y\n0,1,2,3,4\n", "line 1: 2 columns are called x; keep the one"),
        ("t,T,T,x,y\n0,1,2,3,4\n", None),
        ("T,T,x,y\n0,1,2,3\n", "line 1: 2 columns are called T"),
        ("\nsep=,\n\nt,t,x,y\n0,1,2,3\n", "line 4: 2 columns are called t"),
        ("frame,x,y,T\n0,1,2,21.5\n", "line 1: the column t may be T or frame; call it t"),
        ("x,y\n1,2\n", r"line 1: is no header with t,x,y \(it is 'x,y'\)"),
        ("\n\n1,2,3\n", r"line 3: is no header with t,x,y \(it is '1,2,3'\)"),
        ("t,x,y\n0,50,5,60,25\n", "line 2: has 5 fields, the header 3; .* part the fields by ;"),
        ("t,x,y\n\n0,1,2\n3,4\n", "line 4: has 2 fields, the header 3"),
        ('t,x,y,n\n0,1,2,"a\nb"\n3,4\n', "line 4: has 2 fields, the header 4"),
        ('t,x,y\n0,1,"2\n3,4,5\n', "line 2: y = '2.*' is no number"),
        ("t,x,y\n0,1,2\n0,,2\n", "line 3: x is empty"),
        ("t,x,y\n0,1_0,2\n", "line 2: x = '1_0' is no number"),
        ("t,x,y\n0,nan,2\n", "line 2: x = 'nan' is no number"),
        ("t,x,y\n0,\u0661,2\n", "line 2: x = '\u0661' is no number"),
        ("t,x,y\n0,\x1b[31m1,2\n", r"line 2: x = '\\x1b\[31m1' is no number"),
        ('t,x,y\n0,"1,234",2\n', "line 2: x = '1,234': the comma may part thousands"),
        ("t;x;y\n0;1,5;2\n0;1.5;2\n", "line 3: x = '1.5': the comma may part thousands"),
    ],
)
def test_lines_are_named_as_editors_count_them(
    text: str, message: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "q.csv"
    path.write_text(text, encoding="utf-8")
    if message is None:  # the exact name is there
        assert read_queries(path).rows.tolist() == [[0, 3, 4]]
        return
    with pytest.raises(InputError, match=f"q.csv, {message}"):
        read_queries(path)


def test_a_query_outside_the_video_is_told_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text('t,x,y,n\n0,1,2,\n,,,\n1,1,2,"a\nb"\n1,900,2,c\n')
    with pytest.raises(InputError, match=r"q\.csv, line 6: x = 900, but it must be"):
        check_queries(read_queries(tmp_path / "q.csv"), 10, (48, 64))
    (tmp_path / "q.json").write_text("[[0, 1, 2], [0.5, 3, 4]]")
    with pytest.raises(InputError, match=r"q\.json, row 1 \(counted from 0\): t = 0.5"):
        check_queries(read_queries(tmp_path / "q.json"), 10, (48, 64))
    np.save(tmp_path / "q.npy", [[0, 1, 2], [0, np.nan, 4]])
    with pytest.raises(InputError, match=r"q\.npy, row 1 \(counted from 0\): x = nan"):
        check_queries(read_queries(tmp_path / "q.npy"), 10, (48, 64))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 200_000, "is no list of queries"),
        (f"[[0, 1{'0' * 400}, 1]]", "x = inf"),
        (f"[[0, -1{'0' * 400}, 1]]", "x = inf"),
        (f"[[0, 1{'0' * 9999}, 1]]", "is no list of queries"),
        ("[[0, NaN, 1]]", "x = nan"),
        ("[[0, 1, 2],\n [0, 1 2]]", "line 2: is no JSON"),
        ('[["0", "1", "2"]]', "is not three numbers"),
    ],
)
def test_odd_json(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "q.json").write_text(text)
    with pytest.raises(InputError, match=message):
        check_queries(read_queries(tmp_path / "q.json"), 10, (48, 64))


def saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def saved_npz(**arrays: np.ndarray) -> bytes:
    """The bytes of an .npz file."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def lying(shape: tuple[int, ...], dtype: str = "<f4") -> bytes:
    """The header of an array that isn't there."""
    file = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + bytes(48)


def zipped(content: bytes, kind: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        archive.writestr("queries.npy", content)
    return file.getvalue()


def flagged(content: bytes, offset: int, value: int) -> bytes:
    """A zip whose entry, in both places, has another value in a field of its header."""
    changed = bytearray(content)
    start, listed = 0, changed.index(b"PK\x01\x02")
    changed[start + offset] = value
    changed[listed + offset + 2] = value
    return bytes(changed)


def slow_header() -> bytes:
    """A damaged header for which numpy's own reader takes a quarter of a minute."""
    header = (
        b"{'descr': '<f8', 'fortran_o\x7f\xff\xff\xff': False, 'shape': (3, 3), }" + b" " * 4020
    )
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


SOUND = saved(np.array(ROWS))
DAMAGED: dict[str, tuple[str, bytes, str]] = {
    "cut header": (".npy", SOUND[:30], "it is damaged"),
    "cut numbers": (".npy", SOUND[:-8], "it holds fewer numbers than it says"),
    "open bracket": (".npy", SOUND.replace(b"(2, 3)", b"(2, (("), "it is damaged"),
    "open text": (".npy", SOUND.replace(b"'descr'", b"'''escr"), "it is damaged"),
    "zeros": (".npy", SOUND[:10] + bytes(118), "it is damaged"),
    "numpy's slow header": (".npy", slow_header(), "it is damaged"),
    "a million million rows": (".npy", lying((10**12, 3)), "it holds fewer numbers"),
    "rows below zero": (".npy", lying((-1, 3)), "it is damaged"),
    "rows that are true": (".npy", lying((True, 3)), "it is damaged"),
    "an archive": (".npy", zipped(SOUND), "it is damaged, or something else than its name says"),
    "a pickle": (".npy", b"\x80\x04\x95\x05\x00\x00\x00\x00", "it is damaged"),
    "an array": (".npz", SOUND, "it is damaged, or something else than its name says"),
    "encrypted": (".npz", flagged(zipped(SOUND), 6, 1), "it is encrypted"),
    "patched": (".npz", flagged(zipped(SOUND), 6, 32), "it is damaged"),
    "unknown compression": (".npz", flagged(zipped(SOUND), 8, 99), "it is damaged"),
    "bad compression": (".npz", flagged(zipped(SOUND), 8, 8), "it is damaged"),
    "a flipped bit": (".npz", zipped(SOUND).replace(SOUND[-8:], b"\1" * 8), "it is damaged"),
    "a bomb's header": (".npz", zipped(lying((10**12, 3)), zipfile.ZIP_DEFLATED), "fewer numbers"),
    "a truncated archive": (".npz", zipped(SOUND)[:200], "it is damaged"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_and_hostile_arrays(name: str, tmp_path: Path) -> None:
    suffix, content, message = DAMAGED[name]
    (tmp_path / f"q{suffix}").write_bytes(content)
    with pytest.raises(InputError, match=f"can't be read as {KIND}: .*{message}") as caught:
        read_queries(tmp_path / f"q{suffix}")
    assert "pickle" not in str(caught.value).lower()


def test_too_many_points_are_known_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "many.npy").open("wb") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": (10**7, 3)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 24 * 10**7)  # of holes, which take no room
    with pytest.raises(InputError, match="more than 1,000,000 points are too many"):
        read_queries(tmp_path / "many.npy")
    with (tmp_path / "large.csv").open("wb") as file:
        file.write(b"t,x,y\n")
        file.truncate(1 << 30)
    with pytest.raises(InputError, match="it is larger than 128 MB"):
        read_queries(tmp_path / "large.csv")
    with pytest.raises(InputError, match="more than 1,000,000 points"):
        check_queries(np.broadcast_to(np.zeros(3), (MOST_POINTS + 1, 3)), 10, (48, 64))
    with pytest.raises(InputError, match="too many points; give 1000 or fewer"):
        points.grid_queries(1001, (48, 64), 0)
    for room in ("points", "formats.queries"):
        monkeypatch.setattr(f"dinotrack.{room}.MOST_POINTS", 4)
    for name, text in (
        ("q.csv", "t,x,y\n" + "0,1,2\n" * 5),
        ("q.json", json.dumps([[0, 1, 2]] * 5)),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=f"{name}: more than 4 points"):
            read_queries(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("suffix", [".csv", ".json", ".npy", ".npz"])
def test_only_files_are_read(suffix: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f"pipe{suffix}")
    with pytest.raises(InputError, match="is a named pipe"):
        read_queries(tmp_path / f"pipe{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        read_queries(tmp_path / f"folder{suffix}")
    with pytest.raises(InputError, match="no such file"):
        read_queries(tmp_path / f"absent{suffix}")
    with pytest.raises(InputError):
        read_queries(tmp_path / ("x" * 300 + suffix))


def test_arrays_of_other_writers(tmp_path: Path) -> None:
    """Any order of the facts, either kind of quotes, Python 2's long numbers, columns first."""
    numbers = np.array(ROWS, "<f8")
    for number, header in enumerate(
        (
            "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }",
            "{'shape': (2L, 3L), 'fortran_order': False, 'descr': '<f8'}\n",
            '{"descr": "<f8", "fortran_order": False, "shape": (2,3)}',
        )
    ):
        for version, bytes_of_length in ((1, 2), (2, 4), (3, 4)):
            length = len(header).to_bytes(bytes_of_length, "little")
            content = b"\x93NUMPY" + bytes((version, 0)) + length + header.encode()
            path = tmp_path / f"{number}{version}.npy"
            path.write_bytes(content + numbers.tobytes())
            assert read_queries(path).rows.tolist() == ROWS
    np.save(tmp_path / "f.npy", np.asfortranarray(numbers.astype(">f4")))
    assert read_queries(tmp_path / "f.npy").rows.tolist() == ROWS


NAMED: dict[str, bytes] = {
    "comma.csv": 't,x,y,name\n0,1,2,"tip, bent"\n3,4,5,Üb\n'.encode(),
    "excel.csv": "sep=;\nName;t;x;y\ntip, bent;0;1,0;2\nÜb;3;4;5\n".encode("utf-16"),
    "tabs.tsv": "t\tx\ty\tNAME\n0\t1\t2\ttip, bent\n3\t4\t5\tÜb\n".encode(),
    "list.json": '[[0, 1, 2, "tip, bent"], [3, 4, 5, "Üb"]]'.encode(),
    "arrays.npz": saved_npz(
        queries=np.array([[0, 1, 2], [3, 4, 5]]), names=np.array(["tip, bent", "Üb"])
    ),
}


@pytest.mark.parametrize("name", NAMED)
def test_points_have_names(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(NAMED[name])
    queries = read_queries(tmp_path / name)
    assert queries.names == ("tip, bent", "Üb")
    assert queries.rows.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", b'[[0, 1, 2, "a"], [3, 4, 5]]', "some points have names and some have none"),
        ("a.json", b"[[0, 1, 2, 3]]", "not three numbers t, x, y, and a name"),
        ("a.json", b'[[0, 1, 2, "a", "b"]]', "not three numbers t, x, y, and a name"),
        ("a.npz", saved_npz(queries=np.ones((2, 3)), names=np.array(["a"])), "not 2 texts"),
        ("a.npz", saved_npz(queries=np.ones((2, 3)), names=np.arange(2)), "not 2 texts"),
    ],
)
def test_names_that_are_none(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_queries(tmp_path / name)


def test_a_table_of_queries_is_no_file_of_another_program(tmp_path: Path) -> None:
    """A name alone makes it none, and tracks.csv of a run is one."""
    (tmp_path / "q.csv").write_text("point,t,x,y,visible,confidence,time\n0,0,1,2,0,0.5,0\n")
    with pytest.raises(InputError, match="shows no point"):
        read_queries(tmp_path / "q.csv")
    (tmp_path / "q.csv").write_text("point,t,x,y\n7,0,1,2\n7,1,1,2\n")
    assert len(read_queries(tmp_path / "q.csv").rows) == 2
