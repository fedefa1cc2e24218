"""Files that are not the weights they should be."""

from pathlib import Path

import torch


class Code:
    """Opens a file for writing when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return (open, (str(self.trace), "w"))


def torch_files(good: Path, folder: Path) -> list[Path]:
    """A missing file, a web page, half a file, another model's, and one with code that would leave `folder`/trace."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{name}.pth" for name in ("absent", "page", "half", "other", "list", "code")]
    paths[1].write_text("<!DOCTYPE html><html>Not found</html>", encoding="utf-8")
    with good.open("rb") as whole:
        paths[2].write_bytes(whole.read(min(1 << 20, good.stat().st_size // 2)))
    torch.save(torch.nn.Linear(2, 2).state_dict(), paths[3])
    torch.save([torch.ones(2)], paths[4])
    torch.save({"model": Code(folder / "trace")}, paths[5])
    return paths
