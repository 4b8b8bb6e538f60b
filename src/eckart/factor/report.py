"""The HTML reports of a factorisation and of a comparison."""

from html import escape
from itertools import cycle

from eckart.reporting import Document, compare_table, compare_verdict, factor_table, figures
from eckart.reporting.html import draw, frame, grid, origin, table


def factor_page(document: Document) -> str:
    """The HTML report of a factorisation."""
    parts = document["parts"]
    ranks = dict.fromkeys(str(part["rank"]) for part in parts)
    messages = "".join(
        f'<p class="message">{_name_html(part["name"])}{escape(part["message"])}</p>'
        for part in parts
    )
    sections = "".join(
        _section(part, photograph="images" in document, alone=len(parts) == 1, first=place == 0)
        for place, part in enumerate(parts)
    )
    return frame(
        title=document["source"],
        body=f"""
<h1>{escape(document["source"])}</h1>
<p class="equation">W ≈ B·A, rank {escape(", ".join(ranks))}</p>
{messages}
<h2>Figures</h2>
<div class="card">{table(factor_table(document))}</div>
{_images(document)}
{sections}
{origin(document["command"], parts)}
""",
    )


def compare_page(document: Document) -> str:
    """The HTML report of a comparison."""
    runs = document["runs"]
    marks = [
        f'<span class="swatch" style="--light: {light}; --dark: {dark}"></span>'
        # not strict: the colours go round and never end
        for (light, dark), _ in zip(cycle(figures.CURVES.items()), runs, strict=False)
    ]
    rows, columns = document["shape"]
    title = f"{document['source']} {document['part']}".rstrip()
    curves, values = figures.loss_curves(document), figures.singular_values(document)
    endings = "".join(
        f"<tr><th>{mark}{escape(run['name'])}</th><td>{escape(run['message'])}</td></tr>"
        for mark, run in zip(marks, runs, strict=True)
    )
    return frame(
        title=title,
        body=f"""
<h1>{escape(title)}</h1>
<p class="equation">W ≈ B·A, {rows} × {columns}, rank {document["rank"]}</p>
<p class="message">{escape(compare_verdict(document))}</p>
<h2>The solvers beside one another</h2>
<div class="card wide">{grid(*compare_table(document), marks)}</div>
<h2>The losses over one another</h2>
<div class="card wide">{draw(curves) if curves else "There is no loss above 0 to draw."}</div>
<h2>How each run ended</h2>
<div class="card"><table>{endings}</table></div>
{f'<h2>The matrix</h2><div class="card">{draw(values)}</div>' if values else ""}
{origin(document["command"], runs)}
""",
    )


def _section(part: Document, *, photograph: bool, alone: bool, first: bool) -> str:
    curves = [figures.loss_curve(part), figures.singular_values(part)]
    drawn = "".join(f'<div class="card">{draw(curve)}</div>' for curve in curves if curve)
    content = f'<div class="pair">{drawn}</div>' if drawn else ""
    if "pictures" in part:
        content += f"""
<h3>The matrix, its approximation and what is left</h3>
<div class="card wide">{draw(figures.matrices(part, photograph=photograph))}</div>
<h3>The two factors</h3>
<div class="card wide">{draw(figures.factors(part))}</div>"""
    if alone:
        return f"<h2>The run</h2>{content}"
    title = f"Part {escape(part['name'])}, rank {part['rank']}"
    if first:
        return f"<h2>{title}</h2>{content}"
    # only the first of several parts is unfolded
    return f"<details><summary>{title}</summary>{content}</details>"


def _images(document: Document) -> str:
    images = document.get("images")
    if not images:
        return ""
    shown = "".join(
        f'<figure class="card"><img src="{escape(images[key])}" alt="{caption}">'
        f"<figcaption>{caption}</figcaption></figure>"
        for key, caption in (
            ("original", "W, the original"),
            ("approximation", "B·A, the approximation"),
        )
    )
    return f'<h2>The picture</h2><div class="pair">{shown}</div>'


def _name_html(name: str) -> str:
    return f"<strong>{escape(name)}</strong> " if name else ""
