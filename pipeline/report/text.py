"""What a report says: what the two looks did, why each result stands where it does, and names that
may hold anything.
"""

from html import escape

from pipeline.base.names import printable
from pipeline.search.answer import Answer, Result

# local features: of 255 boxes of paintings that hold fewer, none found its painting
FEW = 50
# degrees from which a photo counts as turned: less, and people hold a camera so
TURNED = 20


def headline(answer: Answer) -> str:
    """Whether anything matches, in a few words."""
    if not answer.results:
        return "The gallery holds no photo"
    if answer.by_codes:
        return f"The nearest photos, within {answer.radius} of {answer.bits} bits"
    maybe = sum(result.verdict == "maybe" for result in answer.results)
    if not answer.accepted:
        return (
            f"Nothing in this gallery matches for sure, {maybe} maybe"
            if maybe
            else "Nothing in this gallery matches"
        )
    matches = "1 photo matches" if answer.accepted == 1 else f"{answer.accepted:,} photos match"
    return f"{matches}, {maybe} maybe" if maybe else matches


def expected(answer: Answer) -> str:
    """How many false alarms a query may have, as it was asked for, to end a sentence's part."""
    rate = answer.false_alarm
    if rate is None or answer.by_codes:
        return ""
    return f", {rate:g} false alarms per query expected at most"


def too_few(answer: Answer) -> str:
    """Of a box that finds nothing, that it holds too little, to end a sentence's part."""
    if answer.box is None or answer.accepted or answer.by_codes or answer.features >= FEW:
        return ""
    return f"; the box holds only {answer.features} local features, take a larger one"


def summary(answer: Answer) -> str:
    """What the two looks did, in words."""
    if not answer.results:
        return "The gallery holds no photo to rank."
    if answer.by_codes:
        return summary_of_codes(answer)
    if not answer.candidates:
        return "No photo was verified: this is the order of the first look."
    verified = "1 photo was" if answer.candidates == 1 else f"{answer.candidates:,} photos were"
    said = (
        f"{verified} verified and {answer.accepted or 'none'} accepted{expected(answer)}"
        f"{too_few(answer)}. "
    )
    if "turns" in answer.seconds:
        said += "The query was looked at again, turned or mirrored. "
    filled = [r.rank for r in answer.results if not r.accepted]
    if not filled:
        return said + "Every place shown is an accepted photo."
    places = (
        f"Places {filled[0]} to {filled[-1]} were" if len(filled) > 1 else f"Place {filled[0]} was"
    )
    return said + f"{places} filled from coarse order, the order of the first look."


def summary_of_codes(answer: Answer) -> str:
    """The same of a recipe that compares codes."""
    said = (
        f"A code of {answer.bits} bits stands for each photo; photos that are alike should differ"
        " in few of them. The first look orders all photos by how many differ from the query's."
    )
    if not answer.candidates:
        return f"{said} No photo was looked at twice."
    nearest = "one" if answer.candidates == 1 else f"{answer.candidates:,}"
    behind = " The others follow as the first look has them." if answer.fell_back else ""
    return (
        f"{said} The second look orders the nearest {nearest} again, by the distance of the numbers"
        f" whose signs are the bits.{behind} Neither says whether photos show the same thing."
    )


def bits(result: Result, answer: Answer) -> str:
    """In how many bits a photo's code differs."""
    return f"{result.hamming} of {answer.bits} bits differ{'s' * (result.hamming == 1)}"


def seconds(answer: Answer) -> str:
    stages, times = [*answer.seconds], [*answer.seconds.values()]
    total, *spelt = [
        f"{time:.2f} s" if time >= 0.9995 else f"{time * 1000:.3g} ms"
        for time in (sum(times), *times)
    ]
    return (
        f"{total} in all:"
        f" {', '.join(f'{name(stage)} {time}' for stage, time in zip(stages, spelt, strict=True))}."
    )


def why(result: Result, answer: Answer) -> str:
    """Why a result stands where it does, in one sentence."""
    agree = f"{result.inliers:,} of {result.matches:,} matches agree on one affine map"
    if result.code_distance is not None:
        return f"The numbers behind its bits are {result.code_distance:.3f} away from the query's."
    if result.hamming is not None:
        return "Ordered by its bits alone: beyond the candidates."
    if result.through is not None:
        return f"Through {printable(result.through)}, which was accepted: {agree}."
    if result.accepted and (turned := turn(result)):
        return f"The query {turned} shows the same: {agree}."
    if result.accepted:
        return f"{agree}." if result.matches else "Ranked by the second look."
    beyond = result.coarse_rank > answer.candidates
    if beyond if answer.shortlist == "global" else result.found_by is None:
        return "Not verified: beyond the candidates."
    if not result.matches:
        return "No local feature of the two photos matches."
    if result.affine is None:
        return f"No affine map found among {result.matches:,} match{'es' * (result.matches > 1)}."
    if result.false_alarms is None:
        return f"Only {agree}; below what is accepted."
    expected = few(result.false_alarms)
    return (
        f"Only {agree}: {expected} unrelated {'photo is' if expected == '1' else 'photos are'}"
        " expected to look as good."
    )


def turn(result: Result) -> str:
    """How the query is to be turned to lie as it does in the photo; nothing where it does so
    already, or nearly.
    """
    said = ["mirrored"] if result.mirrored else []
    if result.turned is not None and abs(result.turned) >= TURNED:
        way = "clockwise" if result.turned > 0 else "anticlockwise"
        said.append(f"turned by {abs(result.turned)} degrees {way}")
    return " and ".join(said)


def few(number: float) -> str:
    """An expected number of photos, shortly, however small it is."""
    return f"{number:,.0f}" if number >= 9.95 else f"{number:.2g}"


def name(path: str, breaks: bool = False) -> str:
    """A path as HTML. A file name may hold any byte: what cannot be printed, or would turn the text
    round, is spelled out.
    """
    text = escape(printable(path))
    if not breaks:
        return text
    folder, slash, last = text.replace("_", "_<wbr>").rpartition("/")
    return f'<span class="soft">{folder}{slash}</span>{last}'


def asked(answer: Answer) -> str:
    """The query, and which part of it, where it is not all."""
    if answer.box is None:
        return printable(answer.query)
    left, top, right, bottom = answer.box
    return f"{printable(answer.query)}, {right - left} x {bottom - top} px at {left},{top}"


def table(answer: Answer) -> str:
    """The answer as a person reads it."""
    if answer.by_codes and answer.results:
        said = headline(answer)
        twice = (
            f"{answer.candidates} candidates ranked twice, by bits that differ and by the distance"
            " of the real-valued codes"
            if answer.candidates
            else "no candidates ranked twice, all places by bits that differ"
        )
        lines = [f"{asked(answer)}: {said[0].lower()}{said[1:]}; {twice}"]
        lines += ["rank  coarse  bits  distance  image"]
        lines += [
            f"{r.rank:4d}  {r.coarse_rank:6d}  {r.hamming:4d}  {shortly(r.code_distance):>8s} "
            f" {printable(r.image)}{by(r, answer)}"
            for r in answer.results
        ]
        return "\n".join(lines)
    lines = [
        f"{asked(answer)}: {verdict(answer)}",
        f"rank  coarse  {parts('parts', answer)}distance  matches  inliers  false alarms  image",
    ]
    lines += [
        f"{r.rank:4d}  {r.coarse_rank:6d}  {parts(r.parts_rank or '', answer)}{r.distance:8.4f}"
        f"  {r.matches:7d}  {r.inliers:7d} "
        f" {alarms(r.false_alarms):>12s}  {mark(r)}{printable(r.image)}{aside(r)}{by(r, answer)}"
        for r in answer.results
    ]
    return "\n".join(lines)


def parts(place: int | str, answer: Answer) -> str:
    """The column of places by votes, where candidates are found by both lists."""
    return f"{place:>5}  " if answer.shortlist == "both" else ""


def mark(result: Result) -> str:
    return {"match": "* ", "maybe": "? ", "no match": "  "}[result.verdict]


def aside(result: Result) -> str:
    """Of an accepted photo, how the query is to be turned."""
    turned = turn(result)
    return f" (query {turned})" if result.accepted and turned else ""


def by(result: Result, answer: Answer) -> str:
    """Of several photos that asked together, which one found it."""
    if result.asked_by is None or answer.together is None:
        return ""
    return f" (by {printable(answer.together[result.asked_by - 1]['query'])})"


def verdict(answer: Answer) -> str:
    said = headline(answer)
    if not answer.candidates:
        return "no candidates verified; all places in coarse order"
    rest = "; all places in coarse order"
    if answer.accepted:
        rest = "; the other places in coarse order" if answer.fell_back else ""
    said = f"{said[0].lower()}{said[1:]}{expected(answer)}{too_few(answer)}"
    return f"{said}; {answer.candidates} candidates verified{rest}" + (
        f" (chance as measured on the model's photos: {answer.null_reason})"
        if answer.null == "model"
        else ""
    )


def shortly(distance: float | None) -> str:
    """Nothing for what was not verified."""
    return "" if distance is None else f"{distance:.4f}"


def alarms(number: float | None) -> str:
    """How many unrelated photos are expected to look as good, shortly."""
    return "" if number is None else f"{number:.2g}" if number >= 1e-99 else "0"
