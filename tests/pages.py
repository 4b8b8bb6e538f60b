"""Read what a report holds."""

import json
import re


def own_markup(page: str) -> str:
    """The page without the plotting library."""
    return re.sub(r"<script>.*?</script>", "", page, flags=re.S)


def figures_of(page: str) -> list[list]:
    """What each figure of the page is drawn from: traces, layout, config; strict JSON only."""

    def refuse(word: str):
        raise AssertionError(f"{word} is not JSON")

    decoder, drawn = json.JSONDecoder(parse_constant=refuse), []
    for call in re.finditer(r'Plotly\.newPlot\(\s*"[0-9a-f-]{36}",', page):
        place, values = call.end(), []
        while len(values) < 3:
            place = re.compile(r"[\s,]*").match(page, place).end()
            value, place = decoder.raw_decode(page, place)
            values.append(value)
        drawn.append(values)
    return drawn
