#!/usr/bin/env python3
"""Makes an SVG that plays of an asciicast (version 2): recording.py CAST SVG

A terminal of the little that hop, ping and a shell send: text, colours, cursor up, erasing, and
lines that go out at the top. What no such terminal knows is an error, not something left out. The
picture holds no script, no font and no link; where nothing moves it shows the end.
"""
import json
import re
import sys
from xml.sax.saxutils import escape

# Pictures less than this apart are one; how long the end stays.
FRAME_S = 0.12
END_S = 6
CHAR, LINE, EDGE = 8.4, 18, 14
COLOURS = {30: "#484f58", 31: "#ff7b72", 32: "#3fb950", 33: "#d29922", 34: "#58a6ff", 35: "#bc8cff",
           36: "#39c5cf", 37: "#b1bac4", 90: "#6e7681", 2: "#8b949e"}
PLAIN = ("", False)
# Text, control character, CSI with its parameters and its final byte.
TOKEN = re.compile(r"([^\x00-\x1f\x7f]+)|([\r\n\b\x07])|\x1b\[([?0-9;]*)([A-Za-z])")


class Terminal:
    def __init__(self, width, height):
        self.width, self.height = width, height
        self.rows = [[] for _ in range(height)]
        self.x = self.y = 0
        self.style = PLAIN

    def feed(self, text):
        at = 0
        while at < len(text):
            found = TOKEN.match(text, at)
            if not found:
                sys.exit(f"recording.py: the terminal does not know {text[at:at + 12]!r}")
            at = found.end()
            plain, control, parameters, final = found.groups()
            if plain:
                for char in plain:
                    self.put(char)
            elif control:
                self.control(control)
            else:
                self.sequence(parameters, final)

    def put(self, char):
        if self.x == self.width:
            self.x = 0
            self.down()
        row = self.rows[self.y]
        row.extend([(" ", PLAIN)] * (self.x + 1 - len(row)))
        row[self.x] = (char, self.style)
        self.x += 1

    def down(self):
        self.y += 1
        if self.y == self.height:
            self.rows = self.rows[1:] + [[]]
            self.y -= 1

    def control(self, char):
        if char == "\r":
            self.x = 0
        elif char == "\n":
            self.down()
        elif char == "\b":
            self.x = max(0, self.x - 1)

    def sequence(self, parameters, final):
        first = int(parameters.split(";")[0] or 0) if parameters[:1] != "?" else None
        row = self.rows[self.y]
        if final == "m":
            for code in map(int, (parameters or "0").split(";")):
                colour, bold = self.style
                self.style = {0: PLAIN, 1: (colour, True), 22: (colour, False)}.get(
                    code, (COLOURS.get(code, ""), bold))
        elif final == "K" and first in (0, 2):
            del row[0 if first == 2 else self.x:]
        elif final == "J" and first == 0:
            del row[self.x:]
            self.rows[self.y + 1:] = [[] for _ in self.rows[self.y + 1:]]
        elif final == "A":
            self.y = max(0, self.y - (first or 1))
        elif final == "G":
            self.x = (first or 1) - 1
        elif final not in "hl":  # modes, of which the cursor's is one
            sys.exit(f"recording.py: the terminal does not know CSI {parameters}{final}")

    def picture(self):
        return tuple(tuple(row) for row in self.rows)


def frames(cast):
    """Time and picture, of every moment that something changed."""
    header, *events = [json.loads(line) for line in cast]
    terminal = Terminal(header["width"], header["height"])
    found = []
    for at, kind, text in events:
        if kind != "o":
            continue
        terminal.feed(text)
        if found and at - found[-1][0] < FRAME_S:
            at = found.pop()[0]
        found.append((at, terminal.picture()))
    return header, found


def line(row):
    """One row's text, with what has the same colour in one piece."""
    pieces = []
    for char, style in row:
        if pieces and pieces[-1][1] == style:
            pieces[-1][0] += char
        else:
            pieces.append([char, style])
    text = ""
    for piece, (colour, bold) in pieces:
        marks = (f' fill="{colour}"' if colour else "") + (' font-weight="bold"' if bold else "")
        text += f"<tspan{marks}>{escape(piece)}</tspan>" if marks else escape(piece)
    # Browsers set text in one line with single spaces, whatever it inherits.
    return text.replace("  ", "\u00a0\u00a0")


def svg(header, found):
    end = found[-1][0] + END_S
    shown = {}  # (row's number, text): [[from, to], …]
    for number, (at, picture) in enumerate(found):
        until = found[number + 1][0] if number + 1 < len(found) else end
        for y, row in enumerate(picture):
            text = line(row).rstrip()
            if not text:
                continue
            spans = shown.setdefault((y, text), [])
            if spans and spans[-1][1] == at:
                spans[-1][1] = until
            else:
                spans.append([at, until])
    width = header["width"] * CHAR + 2 * EDGE
    height = header["height"] * LINE + 2 * EDGE
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
             f'width="{width:g}" height="{height:g}">',
             f'<title>{escape(header.get("title", ""))}</title>',
             f'<rect width="{width:g}" height="{height:g}" rx="8" fill="#0d1117"/>',
             '<g font-family="ui-monospace,Menlo,Consolas,monospace" font-size="14" fill="#e6edf3">']
    for (y, text), spans in shown.items():
        last = spans[-1][1] == end
        lines.append(f'<text x="{EDGE}" y="{EDGE + LINE * y + 13}" opacity="{int(last)}">{text}'
                     f"{play(spans, end)}</text>")
    return "\n".join([*lines, "</g></svg>", ""])


def play(spans, end):
    """When it is to be seen."""
    times, values = [0.0], [0]
    for begin, until in spans:
        for at, value in ((begin, 1), (until, 0)):
            if at >= end:
                continue
            if times[-1] == at:
                values[-1] = value
            else:
                times.append(at)
                values.append(value)
    key = ";".join(f"{at / end:.4f}".rstrip("0").rstrip(".") for at in times)
    return (f'<animate attributeName="opacity" calcMode="discrete" dur="{end:.1f}s" '
            f'repeatCount="indefinite" keyTimes="{key}" values="{";".join(map(str, values))}"/>')


def main():
    source, target = sys.argv[1:]
    with open(source, encoding="utf-8") as f:
        header, found = frames(f)
    with open(target, "w", encoding="utf-8") as f:
        f.write(svg(header, found))


if __name__ == "__main__":
    main()
