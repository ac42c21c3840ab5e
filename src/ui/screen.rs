//! Text that is drawn again at the same place of a terminal.

use std::fmt::Write as _;
use std::io::{self, Write as _};

/// A place on the terminal: everything from where it was drawn first.
#[derive(Debug, Default)]
pub struct Screen {
    /// Lines of the last drawing.
    drawn: usize,
}

impl Screen {
    /// Draws a text over the last one, in one piece, so that it does not flicker; lines that there is no room for are
    /// left out.
    ///
    /// # Errors
    ///
    /// When stdout cannot be written to.
    pub fn draw(&mut self, text: &str) -> io::Result<()> {
        let height = terminal_size::terminal_size().map_or(usize::MAX, |(_, height)| usize::from(height.0));
        let (frame, drawn) = frame(text, self.drawn, height);
        self.drawn = drawn;
        let mut stdout = io::stdout().lock();
        stdout.write_all(frame.as_bytes())?;
        stdout.flush()
    }
}

/// What draws a text over one of `before` lines, and the number of its lines.
fn frame(text: &str, before: usize, height: usize) -> (String, usize) {
    let mut frame = String::new();
    if before > 0 {
        // Up to the first line of the last drawing.
        let _ = write!(frame, "\x1b[{before}A\r");
    }
    let mut drawn = 0;
    // The cursor's own line is below the last one.
    for line in text.lines().take(height.saturating_sub(1)) {
        // Each line is cleared only from where its new text ends.
        let _ = write!(frame, "{line}\x1b[K\r\n");
        drawn += 1;
    }
    frame.push_str("\x1b[J");
    (frame, drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_text_takes_the_place_of_the_first() {
        assert_eq!(frame("a\nb", 0, 9), ("a\x1b[K\r\nb\x1b[K\r\n\x1b[J".to_owned(), 2));
        assert_eq!(frame("c", 2, 9), ("\x1b[2A\rc\x1b[K\r\n\x1b[J".to_owned(), 1));
        assert_eq!(frame("a\nb\nc", 0, 3).1, 2, "the terminal does not scroll");
    }
}
