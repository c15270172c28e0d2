"""Names that a table may come with, which mean something to a terminal, to a page, or to the library that draws."""

NASTY = [
    "price in $ and $", "$\\frac{1", "x_1^2", "a{b", "back\\slash", "<b>bold</b>", "&amp; %", "[bold]rich[/bold]",
    "[/x]", ":smile:", "_hidden", "line\nbreak", "tab\there", "bell\x07", "\x1b[31mred", "nul\x00",
    "lone \udc80 surrogate",
    "höhe µ", "身高 (cm)", "🙂", "עברית", "\u202eright to left", "\U00010ffff", "", " ", "a name " * 40, "W" * 500,
]  # fmt: skip
