//! One run through a flow: which step it is at, what it captured, its cookies.

use crate::bench::answer::Answer;

/// A run through a flow. Its rows of feeds, and all that it draws, depend on the number of its arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// Which flow of the mix.
    pub(in crate::bench) flow: usize,
    /// Which step is next, or under way.
    pub(in crate::bench) step: usize,
    /// What steps captured so far, by place.
    pub(in crate::bench) captured: Vec<String>,
    pub(in crate::bench) cookies: Cookies,
    /// When its first step was due: in a closed loop, as soon as there was a place for it.
    pub(in crate::bench) scheduled: u64,
}

impl Visit {
    /// One that is at its first step, due at `scheduled`, in a flow that captures so many values.
    pub fn new(flow: usize, values: usize, scheduled: u64) -> Self {
        Self { flow, step: 0, captured: vec![String::new(); values], cookies: Cookies::default(), scheduled }
    }
}

/// The cookies of one user. They go to every path: a run has one target.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cookies {
    cookies: Vec<(String, String)>,
}

impl Cookies {
    /// Takes what an answer sets, and forgets what it takes back (RFC 6265, 5.2).
    pub fn take(&mut self, answer: &Answer) {
        for header in answer.headers("set-cookie") {
            let (pair, attributes) = header.split_once(';').unwrap_or((header, ""));
            let Some((name, value)) = pair.split_once('=') else { continue };
            let (name, value) = (name.trim(), value.trim());
            self.cookies.retain(|(known, _)| known != name);
            if !name.is_empty() && !takes_back(attributes) {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.cookies.is_empty()
    }

    /// Appends them as the `Cookie` header has them.
    pub fn write(&self, out: &mut Vec<u8>) {
        for (number, (name, value)) in self.cookies.iter().enumerate() {
            if number > 0 {
                out.extend_from_slice(b"; ");
            }
            out.extend_from_slice(name.as_bytes());
            out.push(b'=');
            out.extend_from_slice(value.as_bytes());
        }
    }
}

/// Whether the attributes of a cookie say that it is over.
fn takes_back(attributes: &str) -> bool {
    attributes.split(';').filter_map(|attribute| attribute.split_once('=')).any(|(name, value)| {
        match name.trim().to_ascii_lowercase().as_str() {
            "max-age" => value.trim().parse::<i64>().is_ok_and(|seconds| seconds <= 0),
            // What servers send to delete a cookie is the epoch, or the year after; a date to come is kept.
            "expires" => ["1970", "1969", "1971"].iter().any(|year| value.contains(year)),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_set_replaced_and_taken_back() {
        let mut cookies = Cookies::default();
        let text = |cookies: &Cookies| {
            let mut out = Vec::new();
            cookies.write(&mut out);
            String::from_utf8(out).unwrap()
        };
        for (set, expected) in [
            ("Set-Cookie: a=1; Path=/; HttpOnly\r\nset-cookie: b=x=y", "a=1; b=x=y"),
            ("Set-Cookie: a=2; Max-Age=60", "b=x=y; a=2"),
            ("Set-Cookie: nonsense", "b=x=y; a=2"),
            ("Set-Cookie: b=; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "a=2"),
            ("Set-Cookie: a=; Max-Age=0", ""),
        ] {
            let mut answer = Answer::default();
            answer.take_head(format!("HTTP/1.1 200 OK\r\n{set}\r\n\r\n").as_bytes());
            cookies.take(&answer);
            assert_eq!(text(&cookies), expected);
        }
        assert!(cookies.is_empty());
    }
}
