//! Redirects that a request goes through before it ends (RFC 9110, 15.4): where each leads, and what is sent there.
//! Pure: the worker sends.

use url::Url;

use super::Answer;
use crate::bench::record::sample::{Cause, Fault, Phase, Side};
use crate::bench::request::room::Room;
use crate::bench::target::Target;
use crate::bench::transport::Request;

/// How far redirects are followed.
#[derive(Debug, Clone)]
pub struct Following {
    /// The most that one request goes through.
    most: u32,
    /// Where the target is; a run has connections to nobody else.
    origin: Url,
}

/// What a request has become on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// How many redirects it went through.
    taken: u32,
    /// The path and query that it asks for now.
    path: String,
    /// Whether it is a GET without a body by now, whatever it was.
    is_get: bool,
}

/// What an answer leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lead {
    /// It is the last one.
    End,
    /// The request goes on.
    To(Hop),
    /// It leads where the request cannot go.
    Lost(Fault),
}

impl Following {
    /// Follows at most so many redirects of requests for `target`; `None` where none are followed.
    pub fn new(target: &Target, most: u32) -> Option<Self> {
        let origin = Url::parse(&target.origin()).ok()?;
        (most > 0).then_some(Self { most, origin })
    }

    /// What an answer leads to; `head` is that of the request as it was first sent, `hop` what it has become.
    pub fn lead(&self, status: u16, answer: Option<&Answer>, head: &[u8], hop: Option<&Hop>) -> Lead {
        if !matches!(status, 301 | 302 | 303 | 307 | 308) {
            return Lead::End;
        }
        let lost = |why: String| Lead::Lost(Fault::new(Phase::Head, Cause::Redirect, Side::Server, why));
        let taken = hop.map_or(0, |hop| hop.taken) + 1;
        if taken > self.most {
            let times = if self.most == 1 { "one redirect".to_owned() } else { format!("{} redirects", self.most) };
            return lost(format!("status {status} after {times}, which --redirects allows"));
        }
        let Some(location) = answer.and_then(|answer| answer.header("location")) else {
            let is_there = answer.is_some_and(|answer| answer.has_header("location"));
            let what = if is_there { "with a Location that is not UTF-8" } else { "without a Location" };
            return lost(format!("status {status} {what}"));
        };
        let (method, first) = method_and_path(head);
        let path = hop.map_or(first, |hop| hop.path.as_str());
        let next = match self.at(path).join(location) {
            Ok(next) if next.origin() == self.origin.origin() => next,
            Ok(next) => {
                let other = next.origin().ascii_serialization();
                return lost(format!("status {status} to {other}: a run has one target, load that one by itself"));
            }
            Err(error) => return lost(format!("status {status} to \"{location}\": {error}")),
        };
        let becomes_get = match status {
            303 => method != "HEAD",
            301 | 302 => method == "POST",
            _ => false,
        };
        let query = next.query().map(|query| format!("?{query}")).unwrap_or_default();
        let is_get = becomes_get || hop.is_some_and(|hop| hop.is_get);
        Lead::To(Hop { taken, path: format!("{}{query}", next.path()), is_get })
    }

    /// Where a request for `path` is.
    fn at(&self, path: &str) -> Url {
        // As a reference, a path that begins with two slashes would name another host.
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let mut url = self.origin.clone();
        url.set_path(path);
        url.set_query(query);
        url
    }
}

impl Hop {
    /// Writes what a request has become to `room`.
    pub fn write<'a>(&self, request: &Request<'_>, room: &'a mut Room) -> Request<'a> {
        let (head, body) = request.bytes.split_at(request.head);
        let (method, _) = method_and_path(head);
        let bytes = &mut room.bytes;
        bytes.clear();
        bytes.extend_from_slice(if self.is_get { b"GET" } else { method.as_bytes() });
        bytes.push(b' ');
        bytes.extend_from_slice(self.path.as_bytes());
        bytes.extend_from_slice(b" HTTP/1.1\r\n");
        for line in head.split_inclusive(|byte| *byte == b'\n').skip(1) {
            if !(self.is_get && is_about_a_body(line)) {
                bytes.extend_from_slice(line);
            }
        }
        room.head = bytes.len();
        if !self.is_get {
            bytes.extend_from_slice(body);
        }
        let is_head = request.is_head && !self.is_get;
        Request { bytes: &room.bytes, head: room.head, is_head, is_constant: false, ..*request }
    }
}

/// Whether a header line describes the body that a GET no longer has (RFC 9110, 15.4).
fn is_about_a_body(line: &[u8]) -> bool {
    let name = line.split(|byte| *byte == b':').next().unwrap_or_default().trim_ascii();
    let of_body = [&b"content-length"[..], b"transfer-encoding", b"expect", b"trailer", b"digest", b"last-modified"];
    of_body.iter().any(|known| name.eq_ignore_ascii_case(known))
        || name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"content-"))
}

/// The first two words of a request's head.
fn method_and_path(head: &[u8]) -> (&str, &str) {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = str::from_utf8(line).unwrap_or_default().split(' ');
    (words.next().unwrap_or_default(), words.next().unwrap_or("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POST: &[u8] = b"POST /a/b?c=d HTTP/1.1\r\nhost: x\r\nContent-Type: t\r\ncontent-length: 2\r\nx: y\r\n\r\nhi";

    fn answer(location: &str) -> Answer {
        let mut answer = Answer::default();
        answer.take_head(format!("HTTP/1.1 302 X\r\nLocation: {location}\r\n\r\n").as_bytes());
        answer
    }

    fn follow(most: u32) -> Following {
        Following::new(&"http://x.test:81/start".parse().unwrap(), most).unwrap()
    }

    fn sent(hop: &Hop, bytes: &[u8]) -> String {
        let head = bytes.len() - 2;
        let request = Request { bytes, head, keeps_answer: true, ..Request::default() };
        let mut room = Room::default();
        let written = hop.write(&request, &mut room);
        assert_eq!(written.bytes.len() - written.head, if hop.is_get { 0 } else { 2 });
        String::from_utf8(written.bytes.to_vec()).unwrap()
    }

    #[test]
    fn methods_and_bodies_are_those_of_the_standard() {
        let kept = "POST /n HTTP/1.1\r\nhost: x\r\nContent-Type: t\r\ncontent-length: 2\r\nx: y\r\n\r\nhi";
        let get = "GET /n HTTP/1.1\r\nhost: x\r\nx: y\r\n\r\n";
        for (status, first, expected) in [
            (301, "POST", get),
            (302, "POST", get),
            (303, "POST", get),
            (307, "POST", kept),
            (308, "POST", kept),
            (301, "PUT", "PUT /n"),
            (302, "DELETE", "DELETE /n"),
            (303, "PUT", "GET /n"),
            (303, "HEAD", "HEAD /n"),
        ] {
            let request = String::from_utf8(POST.to_vec()).unwrap().replacen("POST", first, 1);
            let lead = follow(1).lead(status, Some(&answer("/n")), request.as_bytes(), None);
            let Lead::To(hop) = lead else { panic!("{status}: {lead:?}") };
            assert!(sent(&hop, request.as_bytes()).starts_with(expected), "{status} {first}");
        }
        for status in [200, 300, 304, 305, 400] {
            assert_eq!(follow(1).lead(status, Some(&answer("/n")), POST, None), Lead::End, "{status}");
        }
        assert!(Following::new(&"http://x".parse().unwrap(), 0).is_none());
    }

    #[test]
    fn locations_are_resolved_from_where_the_request_is() {
        let mut hop = None;
        for (location, path) in [
            ("/x", "/x"),
            ("y/z?q=1#part", "/y/z?q=1"),
            ("../w", "/w"),
            ("?only=query", "/w?only=query"),
            ("http://X.test:81", "/"),
            ("//x.test:81/same", "/same"),
        ] {
            let Lead::To(next) = follow(9).lead(307, Some(&answer(location)), POST, hop.as_ref()) else { panic!() };
            assert_eq!(next.path, path, "{location}");
            hop = Some(next);
        }
        assert_eq!(hop.map(|hop| hop.taken), Some(6));
        let Lead::To(first) = follow(9).lead(302, Some(&answer("e")), POST, None) else { panic!() };
        assert_eq!(first.path, "/a/e");
        // Once a GET, it stays one.
        let Lead::To(second) = follow(9).lead(307, Some(&answer("f")), POST, Some(&first)) else { panic!() };
        assert!(second.is_get);
    }

    #[test]
    fn a_path_that_begins_with_two_slashes_is_of_the_same_host() {
        let Lead::To(first) = follow(9).lead(307, Some(&answer("http://x.test:81//y.test/a?b=//c")), POST, None) else {
            panic!()
        };
        assert_eq!(first.path, "//y.test/a?b=//c");
        let Lead::To(second) = follow(9).lead(307, Some(&answer("d")), POST, Some(&first)) else { panic!() };
        assert_eq!(second.path, "//y.test/d");
        let head = b"GET //y.test/a HTTP/1.1\r\nhost: x\r\n\r\n";
        let Lead::To(third) = follow(9).lead(302, Some(&answer("/n")), head, None) else { panic!() };
        assert_eq!(third.path, "/n");
    }

    #[test]
    fn what_leads_nowhere_says_why() {
        let taken = Hop { taken: 2, path: "/".to_owned(), is_get: false };
        let mut unreadable = Answer::default();
        unreadable.take_head(b"HTTP/1.1 302 Found\r\nLocation: /\xff\r\n\r\n");
        for (following, answer, hop, said) in [
            (follow(2), answer("/n"), Some(&taken), "status 302 after 2 redirects, which --redirects allows"),
            (follow(1), Answer::default(), None, "status 302 without a Location"),
            (follow(1), unreadable, None, "status 302 with a Location that is not UTF-8"),
            (follow(1), answer("https://x.test:81/"), None, "to https://x.test:81: a run has one target"),
            (follow(1), answer("http://y.test/"), None, "to http://y.test: a run has one target"),
            (follow(1), answer("http://[:"), None, "status 302 to \"http://[:\": "),
            (follow(1), answer("mailto:a@b"), None, "to null: a run has one target"),
        ] {
            let Lead::Lost(fault) = following.lead(302, Some(&answer), POST, hop) else { panic!("{said}") };
            assert!(fault.detail.contains(said), "{}", fault.detail);
            assert_eq!(fault.kind.cause, Cause::Redirect);
        }
    }
}
