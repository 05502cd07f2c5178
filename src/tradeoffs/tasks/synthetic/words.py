"""Word lists for the training tasks: small worlds with their own variables, columns and labels.

Every task is set in one world, so that wording, names and data belong together and no two seeds read alike.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class World:
    """One setting.

    Args:
        place: where the numbers come from, with its article.
        series: variable names for arrays.
        columns: names of numeric columns.
        key: name of a text column.
        labels: values of that column.
    """

    place: str
    series: tuple[str, ...]
    columns: tuple[str, ...]
    key: str
    labels: tuple[str, ...]


def _world(place: str, series: str, columns: str, key: str, labels: str) -> World:
    return World(place, tuple(series.split()), tuple(columns.split()), key, tuple(labels.split()))


WORLDS: tuple[World, ...] = (
    _world(
        "a bakery", "loaves flour ovens dough crusts", "rolls butter waste baked sold", "bread", "rye oat spelt corn"
    ),
    _world(
        "an apiary", "hives honey swarms combs nectar", "jars frames brood wax", "meadow", "clover heather linden thyme"
    ),
    _world(
        "a tram depot", "trams rides delays stops fares", "seats late_min trips fuel", "line", "red blue green amber"
    ),
    _world(
        "an observatory",
        "stars glow orbits flux nights",
        "magnitude parallax shots seeing",
        "dome",
        "north south east west",
    ),
    _world(
        "a vineyard",
        "grapes barrels acidity vines must",
        "litres sugar crates yield_kg",
        "grape",
        "merlot pinot syrah malbec",
    ),
    _world(
        "a fishing harbour", "catch nets tides boats crew", "cod crab hours depth", "pier", "alba brava costa delta"
    ),
    _world(
        "a greenhouse", "shoots humidity pots light leaves", "height water buds lux", "plant", "basil mint fern cress"
    ),
    _world(
        "a bicycle workshop",
        "wheels spokes chains repairs gears",
        "parts minutes bill tyres",
        "model",
        "tandem gravel cargo racer",
    ),
    _world(
        "a choir",
        "voices pitches breaths verses tempo",
        "songs rehearsals fee encores",
        "voice",
        "alto bass tenor soprano",
    ),
    _world(
        "a ski resort",
        "slopes snowfall lifts skiers queues",
        "snow_cm passes falls wind",
        "piste",
        "eagle wolf bear lynx",
    ),
    _world(
        "a coffee roastery",
        "beans roasts cups aroma grinds",
        "bags roast_min score price",
        "origin",
        "kenya peru java yemen",
    ),
    _world(
        "a chess club",
        "moves elo boards games clocks",
        "wins draws losses rating",
        "opening",
        "sicilian french dutch english",
    ),
    _world(
        "a museum",
        "visitors tickets rooms statues tours",
        "guests guides revenue loans",
        "wing",
        "roman celtic modern asian",
    ),
    _world(
        "a marathon",
        "laps splits strides pulse runners",
        "pace km bib finish_min",
        "club",
        "falcons otters hares storks",
    ),
    _world(
        "an orchard",
        "apples crates_in trees ladders blossoms",
        "kilos boxes bruised picked",
        "sort",
        "gala fuji braeburn russet",
    ),
    _world(
        "a radio station",
        "signals volume listeners jingles watts",
        "calls ads airtime songs",
        "host",
        "ada ben cleo dirk",
    ),
    _world(
        "a lighthouse", "flashes beams ships fog waves", "lamps oil storms passed", "coast", "skerry cape bay fjord"
    ),
    _world(
        "a pottery", "bowls kilns glaze clay shards", "fired cracked painted weight", "shape_of", "vase mug plate jug"
    ),
    _world(
        "a puppet theatre",
        "puppets strings_cm curtains laughs acts",
        "seats_sold props scenes snacks",
        "hero",
        "fox king witch clown",
    ),
    _world(
        "a rope factory",
        "ropes strands loads fibres knots",
        "metres tension batches rejects",
        "fibre",
        "hemp jute sisal nylon",
    ),
)

# A second text column, the same in every world.
SECOND_KEYS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("shift", ("dawn", "noon", "dusk")),
    ("season", ("spring", "summer", "autumn")),
    ("team", ("copper", "silver", "zinc")),
    ("status", ("open", "paused", "done")),
)

TABLES: tuple[str, ...] = ("df", "log", "ledger", "sheet", "records", "journal", "diary", "report", "register")
FUNCTIONS: tuple[str, ...] = ("digest", "work_out", "crunch", "boil_down", "evaluate_it", "finish", "derive", "my_step")

PAGES: tuple[str, ...] = ("page", "sheet", "note", "folder", "batch", "box")

OPENERS: tuple[str, ...] = (
    "Some numbers from {place}.",
    "I help out at {place}.",
    "Today's puzzle comes from {place}.",
    "We run {place} and write everything down.",
    "My aunt owns {place}.",
    "The owner of {place} wrote to me.",
    "Picture {place} for a moment.",
    "Data of {place} are below.",
    "For a talk about {place} I need one more step.",
    "Our intern counted things at {place}.",
)
CLOSERS: tuple[str, ...] = (
    "No loops, please.",
    "What do I write?",
    "Cheers from the back office!",
    "Short code preferred.",
    "A loop feels clumsy here.",
    "It should work for other data too.",
    "I am stuck.",
    "Any hint welcome.",
)
