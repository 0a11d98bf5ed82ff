"""What a period's folder and files are called, where the user wants other names."""

import re

from clearyear.errors import InputError
from clearyear.periods import Period

PLAIN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""One file name's worth of plain characters."""
NAME = f"^{PLAIN}$"
"""The same as a pydantic pattern: what products, tiles and tables may be called."""

_FIELD = re.compile(r"\{([^{}:]*)(?::([^{}]*))?\}")
_FORMS = "text with {product}, {period}, {start:%Y-%m} or {end:%Y-%m-%d} in it, such as monthly-mosaic-{start:%Y-%m}"


def period_name(template: str, *, product: str, period: Period) -> str:
    """What a period's folder and files are called by the user's own template.

    Args:
        template: plain characters and ``{product}``, ``{period}``, ``{start:%Y-%m}``, ``{end:%Y-%m}``; after the colon
            stands what strftime knows. The end is the first moment after the period.
        product: the product's name.
        period: the period.

    Raises:
        InputError: the template has other fields, or the name would not be one of plain characters.
    """

    def fill(match: re.Match[str]) -> str:
        field, form = match.groups()
        if field in ("start", "end"):
            moment = period.start if field == "start" else period.end
            return moment.strftime(form or "%Y-%m-%d")
        values = {"product": product, "period": period.label}
        if field not in values or form:
            raise InputError(f"The naming {template!r} has a field {match.group()}", _FORMS, "correct it")
        return values[field]

    name = _FIELD.sub(fill, template)
    if not re.fullmatch(PLAIN, name):
        raise InputError(
            f"The naming {template!r} makes {name!r}",
            f"letters, digits, dots, dashes and underscores, at most 64: {_FORMS}",
            "correct it",
        )
    return name
