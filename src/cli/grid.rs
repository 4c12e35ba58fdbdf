//! A table as text: cells below their heads. Where the terminal is too narrow the last columns go,
//! the least needed ones; what is no terminal has them all.

use super::page::{Colour, Line, Page};
use crate::text::wrap;

/// Between two columns.
const GAP: usize = 2;
/// Columns that always stay.
const LEAST: usize = 2;

pub struct Grid<const N: usize> {
    rows: Vec<[(Colour, String); N]>,
}

impl<const N: usize> Grid<N> {
    pub fn new(head: [&str; N]) -> Grid<N> {
        Grid { rows: vec![head.map(|head| (Colour::None, head.to_owned()))] }
    }

    pub fn row(&mut self, cells: [String; N]) {
        self.coloured(cells.map(|cell| (Colour::None, cell)));
    }

    pub fn coloured(&mut self, cells: [(Colour, String); N]) {
        self.rows.push(cells);
    }

    pub fn page(&self, room: Option<usize>) -> Page {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|(_, text)| wrap::columns(text)).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..N).map(width).collect();
        let mut kept = N;
        let wide = |kept: usize| widths.iter().take(kept).map(|width| width + GAP).sum::<usize>();
        while room.is_some_and(|room| wide(kept) > room + GAP) && kept > LEAST {
            kept -= 1;
        }
        let mut page = Page::default();
        for row in &self.rows {
            let mut line = Line::default();
            for (column, ((colour, text), width)) in row.iter().zip(&widths).take(kept).enumerate()
            {
                let pad = if column + 1 == kept { 0 } else { width + GAP - wrap::columns(text) };
                line = line.in_colour(*colour, text).and(" ".repeat(pad));
            }
            page.add(line.whole());
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_their_heads_and_the_last_go_first() {
        let mut grid = Grid::new(["HOST", "STATE", "SEEN"]);
        grid.row(["日本".to_owned(), "degraded".to_owned(), "now".to_owned()]);
        grid.row(["b".to_owned(), "up".to_owned(), "3 min ago".to_owned()]);
        let whole = "HOST  STATE     SEEN\n日本  degraded  now\nb     up        3 min ago\n";
        for room in [None, Some(80), Some(25)] {
            assert_eq!(grid.page(room).render(false, room), whole);
        }
        let narrow = "HOST  STATE\n日本  degraded\nb     up\n";
        for room in [24, 14, 5] {
            assert_eq!(grid.page(Some(room)).render(false, Some(room)), narrow, "{room}");
        }
    }
}
