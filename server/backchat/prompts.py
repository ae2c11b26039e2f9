"""Personalities: named prompts, one for each Markdown file of a directory."""

from pathlib import Path

from backchat.choices import MOST_SYSTEM, NONE
from backchat.commands import WHITE_SPACE, check_text
from backchat.errors import InvalidParams, SettingError


def personalities(directory: Path) -> dict[str, str]:
    """The prompts in a directory by name, which is that of the file without `.md`. Raises SettingError for a directory
    or a file that cannot be used."""
    try:
        files = sorted(path for path in directory.iterdir() if _is_prompt(path))
        return {file.stem: text for file in files if (text := _text(file))}
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SettingError(f"Cannot read the prompts in {directory}: {reason}.") from error


def _is_prompt(path: Path) -> bool:
    # Hidden files are not the operator's: editors and archives leave them behind.
    return path.suffix.lower() == ".md" and not path.name.startswith(".") and path.is_file()


def _text(file: Path) -> str:
    name = file.stem
    try:
        check_text(name)
        if name != " ".join(name.split()) or name.lower() == NONE:
            raise InvalidParams("no personality can have this name.")
        text = file.read_text(encoding="utf-8-sig").strip(WHITE_SPACE)
        check_text(text)
    except (InvalidParams, UnicodeDecodeError) as error:
        raise SettingError(f"Cannot use the prompt {file}: {error}") from error
    if len(text) > MOST_SYSTEM:
        raise SettingError(f"Cannot use the prompt {file}: it is longer than {MOST_SYSTEM:,} characters.")
    return text
