"""Write the pages on the module `helpers`: one for each of its rooms, filled by Sphinx from the docstrings."""

from pathlib import Path


def write(root: Path, folder: Path) -> None:
    """Write one page for each room of `helpers`, and one for the ground they stand on, filled by autodoc."""
    package = root / "helpers"
    rooms = {"ground": [f"helpers.{f.stem}" for f in sorted(package.glob("*.py")) if not f.stem.startswith("__")]}
    for face in sorted(package.glob("*/__init__.py")):
        name = face.parent.name
        modules = [f.stem for f in sorted(face.parent.glob("*.py")) if f != face]
        rooms[name] = [f"helpers.{name}.{module}" for module in modules]
    folder.mkdir(exist_ok=True)
    # matplotlib writes a method `set` into every subclass of its figures, with markup that only its own pages know.
    options = "   :members:\n   :exclude-members: set\n"
    for room, modules in rooms.items():
        title = "The ground" if room == "ground" else f"`helpers.{room}`"
        about = "" if room == "ground" else f"```{{eval-rst}}\n.. automodule:: helpers.{room}\n```\n\n"
        sections = [f"## `{m}`\n\n```{{eval-rst}}\n.. automodule:: {m}\n{options}```\n" for m in modules]
        (folder / f"{room}.md").write_text(f"# {title}\n\n{about}" + "\n".join(sections))
