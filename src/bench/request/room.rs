//! The bytes of a request.

/// The bytes of a request, and room to make those of the next one without an allocation.
#[derive(Debug, Clone, Default)]
pub struct Room {
    pub(in crate::bench) bytes: Vec<u8>,
    pub(in crate::bench) body: Vec<u8>,
    /// How many of the bytes are the head.
    pub(in crate::bench) head: usize,
}

impl Room {
    /// Puts another path in the place of the `/` that begins at `start`.
    pub(super) fn set_path(&mut self, start: usize, path: &str) {
        self.bytes.splice(start..=start, path.bytes());
        self.head += path.len() - 1;
    }
}
