//! A chart as the page has it: places within a box, and words. The box is stretched to the page's width; words are not.

use serde::Serialize;

use super::scale::Scale;

/// Width and height of the box that lines and bars are drawn in.
pub const BOX: (f64, f64) = (1000.0, 300.0);

/// A chart.
#[derive(Debug, Default, Serialize)]
pub struct Plot {
    /// Its name within the page.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// What it shows, in a sentence.
    pub description: String,
    /// What its lines and bars are, beside their colours.
    pub legend: Vec<Key>,
    /// The lines.
    pub lines: Vec<Line>,
    /// The bars, behind the lines.
    pub bars: Vec<Bar>,
    /// What is named at the left.
    pub y_ticks: Vec<Tick>,
    /// What is named below.
    pub x_ticks: Vec<Tick>,
    /// What the lower axis is.
    pub x_label: &'static str,
    /// What is said where the pointer is.
    pub spots: Vec<Spot>,
    /// The same in figures.
    pub table: Table,
    /// What is to be known beside it.
    pub notes: Vec<String>,
}

/// An entry of a legend.
#[derive(Debug, Serialize)]
pub struct Key {
    /// The style of what it stands for.
    pub class: &'static str,
    /// Its name.
    pub name: String,
}

/// A line.
#[derive(Debug, Serialize)]
pub struct Line {
    /// Its style.
    pub class: &'static str,
    /// Where it goes, as the path of an SVG.
    pub path: String,
}

/// A bar.
#[derive(Debug, Serialize)]
pub struct Bar {
    /// Its style.
    pub class: &'static str,
    /// Its left.
    pub x: String,
    /// Its top.
    pub y: String,
    /// Its width.
    pub width: String,
    /// Its height.
    pub height: String,
}

/// A named value of an axis.
#[derive(Debug, Serialize)]
pub struct Tick {
    /// Its place, in percent from the left or from the top.
    pub at: String,
    /// The same within the box.
    pub line: String,
    /// Its name.
    pub label: String,
}

/// A part of the box and what is said where the pointer is over it.
#[derive(Debug, Serialize)]
pub struct Spot {
    /// Its left.
    pub x: String,
    /// Its width.
    pub width: String,
    /// What is said.
    pub text: String,
}

/// A table.
#[derive(Debug, Default, Serialize)]
pub struct Table {
    /// The names of its columns.
    pub head: Vec<String>,
    /// Its rows; the first cell names the row.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table of these columns.
    pub fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { head: head.map(str::to_owned).to_vec(), rows: Vec::new() }
    }
}

/// Both axes of a chart.
#[derive(Debug, Clone, Copy)]
pub struct Axes {
    /// From left to right.
    pub x: Scale,
    /// From below to above.
    pub y: Scale,
}

impl Axes {
    /// The line through these points in order; it has a gap where there is no value.
    pub fn line(self, class: &'static str, points: impl IntoIterator<Item = (f64, Option<f64>)>) -> Line {
        let mut path = String::new();
        let mut is_drawing = false;
        for (x, y) in points {
            if let Some(y) = y {
                let (x, y) = (number(self.x.place(x) * BOX.0), number((1.0 - self.y.place(y)) * BOX.1));
                match is_drawing {
                    true => path.push_str(&format!("L{x} {y}")),
                    // A point of its own is seen too, as the round end of a line without a length.
                    false => path.push_str(&format!("M{x} {y}h0")),
                }
            }
            is_drawing = y.is_some();
        }
        Line { class, path }
    }

    /// The bar between two values of the lower axis, from `bottom` up to `top`.
    pub fn bar(self, class: &'static str, (from, to): (f64, f64), (bottom, top): (f64, f64)) -> Bar {
        let (left, right) = (self.x.place(from) * BOX.0, self.x.place(to) * BOX.0);
        let (low, high) = (self.y.place(bottom) * BOX.1, self.y.place(top) * BOX.1);
        // What is there at all is seen.
        let height = if top > bottom { (high - low).max(2.0) } else { 0.0 };
        let y = (BOX.1 - low - height).max(0.0);
        Bar { class, x: number(left), y: number(y), width: number(right - left), height: number(height) }
    }

    /// The part of the box between two values of the lower axis.
    pub fn spot(self, (from, to): (f64, f64), text: String) -> Spot {
        let (left, right) = (self.x.place(from) * BOX.0, self.x.place(to) * BOX.0);
        Spot { x: number(left), width: number(right - left), text }
    }

    /// The named values of the left axis.
    pub fn y_ticks(self, label: impl Fn(f64) -> String) -> Vec<Tick> {
        let of = |v| tick(1.0 - self.y.place(v), BOX.1, label(v));
        self.y.ticks().into_iter().map(of).collect()
    }

    /// The named values of the lower axis.
    pub fn x_ticks(self, label: impl Fn(f64) -> String) -> Vec<Tick> {
        self.x.ticks().into_iter().map(|v| tick(self.x.place(v), BOX.0, label(v))).collect()
    }
}

/// A tick at `place` (0 to 1) of an axis that is `length` long in the box.
pub fn tick(place: f64, length: f64, label: String) -> Tick {
    Tick { at: number(place * 100.0), line: number(place * length), label }
}

/// A number with at most two decimals.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_bars_stay_within_the_box() {
        let axes = Axes { x: Scale::Linear { low: 0.0, high: 10.0 }, y: Scale::Linear { low: 0.0, high: 100.0 } };
        let points = [(0.0, Some(0.0)), (5.0, Some(50.0)), (6.0, None), (10.0, Some(400.0))];
        assert_eq!(axes.line("a", points).path, "M0 300h0L500 150M1000 0h0");
        let bar = axes.bar("a", (2.0, 4.0), (25.0, 75.0));
        assert_eq!((&*bar.x, &*bar.y, &*bar.width, &*bar.height), ("200", "75", "200", "150"));
        let small = axes.bar("a", (0.0, 1.0), (0.0, 0.001));
        assert_eq!((&*small.y, &*small.height), ("298", "2"), "what is there is seen");
        assert_eq!(axes.bar("a", (0.0, 1.0), (0.0, 0.0)).height, "0");
    }
}
