//! The bytes of a connection that wait to be written, and whose they are.

use std::collections::VecDeque;

use super::frame;

/// Where the bytes of a stream end, counted from the beginning of the connection.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    end: u64,
    /// How many they are.
    pub bytes: usize,
    /// The place of the stream, and its number: the place may be another's by now.
    pub place: usize,
    /// See `place`.
    pub id: u32,
    /// Whether they are a whole head.
    pub is_head: bool,
}

/// What of a stream was taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TakenBack {
    /// Bytes, frames and all.
    pub bytes: usize,
    /// Bytes of its body, which take no part of a window then.
    pub body: i64,
    /// Whether its head is among them: the peer has never heard of it.
    pub is_unheard: bool,
}

/// The bytes that wait to be written.
#[derive(Debug, Default)]
pub struct Outbox {
    /// What is to be written from `gone` on.
    bytes: Vec<u8>,
    gone: usize,
    /// How many bytes were written.
    sent: u64,
    marks: VecDeque<Mark>,
}

impl Outbox {
    /// One that begins with these.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// Queues a frame.
    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        frame::write(&mut self.bytes, kind, flags, stream, payload);
    }

    /// How long the queue is, for [`Self::mark`].
    pub fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Takes note of whose bytes were queued since the queue was so long.
    pub fn mark(&mut self, place: usize, id: u32, before: usize, is_head: bool) {
        let end = self.sent + self.waiting().len() as u64;
        self.marks.push_back(Mark { end, bytes: self.bytes.len() - before, place, id, is_head });
    }

    /// What is still to be written.
    pub fn waiting(&self) -> &[u8] {
        &self.bytes[self.gone..]
    }

    /// Counts bytes that were written; tells what has gone out to its end by that.
    pub fn wrote(&mut self, bytes: usize, mut is_out: impl FnMut(Mark)) {
        self.gone += bytes;
        self.sent += bytes as u64;
        if self.gone == self.bytes.len() {
            self.bytes.clear();
            self.gone = 0;
        }
        while let Some(mark) = self.marks.front().copied().filter(|mark| mark.end <= self.sent) {
            self.marks.pop_front();
            is_out(mark);
        }
    }

    /// How many bytes have gone out of what is not out to its end yet, if that is a stream's.
    pub fn begun(&self, id: u32) -> u64 {
        let first = self.marks.front().filter(|mark| mark.id == id);
        first.map_or(0, |mark| self.sent.saturating_sub(mark.end - mark.bytes as u64))
    }

    /// Takes back of a stream what is not being written yet.
    pub fn take_back(&mut self, id: u32) -> TakenBack {
        let mut taken = TakenBack::default();
        let Self { bytes, gone, sent, marks } = self;
        marks.retain_mut(|mark| {
            mark.end -= taken.bytes as u64;
            let begin = mark.end - mark.bytes as u64;
            if mark.id != id || begin < *sent {
                return true;
            }
            let at = *gone + (begin - *sent) as usize;
            bytes.drain(at..at + mark.bytes);
            taken.bytes += mark.bytes;
            match mark.is_head {
                true => taken.is_unheard = true,
                false => taken.body += (mark.bytes - frame::HEAD) as i64,
            }
            false
        });
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Heads of two streams, and frames of their bodies with so many bytes, in turns.
    fn two(bodies: [usize; 3]) -> Outbox {
        let mut outbox = Outbox::default();
        for (number, body) in bodies.into_iter().enumerate() {
            for (place, id) in [(0, 1), (1, 3)] {
                let before = outbox.length();
                outbox.frame(frame::DATA, 0, id, &vec![b'x'; body]);
                outbox.mark(place, id, before, number == 0);
            }
        }
        outbox
    }

    #[test]
    fn what_is_taken_back_leaves_the_others_as_they_were() {
        let mut outbox = two([5, 10, 20]);
        let of_other = |outbox: &Outbox| outbox.marks.iter().filter(|mark| mark.id == 3).count();
        // The head of the first and three bytes of the second's have gone out.
        let mut out = Vec::new();
        outbox.wrote(frame::HEAD + 5 + 3, |mark| out.push((mark.id, mark.is_head)));
        assert_eq!((out, outbox.begun(3), outbox.begun(1)), (vec![(1, true)], 3, 0));
        let taken = outbox.take_back(1);
        assert_eq!(taken, TakenBack { bytes: 30 + 2 * frame::HEAD, body: 30, is_unheard: false });
        assert_eq!(of_other(&outbox), 3);
        // What is being written stays.
        let taken = outbox.take_back(3);
        assert_eq!(taken, TakenBack { bytes: 30 + 2 * frame::HEAD, body: 30, is_unheard: false });
        assert_eq!(outbox.waiting().len(), frame::HEAD + 5 - 3);
        let mut out = Vec::new();
        outbox.wrote(frame::HEAD + 2, |mark| out.push(mark.id));
        assert_eq!((out, outbox.waiting()), (vec![3], &[][..]));
    }

    #[test]
    fn who_takes_back_its_head_was_never_heard_of() {
        let mut outbox = two([5, 10, 20]);
        assert!(outbox.take_back(3).is_unheard);
        let mut out = Vec::new();
        outbox.wrote(outbox.waiting().len(), |mark| out.push(mark.id));
        assert_eq!(out, [1, 1, 1]);
    }
}
