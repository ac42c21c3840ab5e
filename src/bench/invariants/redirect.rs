//! Redirects: whatever a target says of where to go, what is sent there is one request, to the same target.

use super::workload::Sent;
use crate::bench::answer::Answer;
use crate::bench::answer::redirect::{Following, Hop, Lead};
use crate::bench::record::sample::Cause;
use crate::bench::request::room::Room;
use crate::bench::transport::Request;

/// The statuses that the answers have, one after the other.
const STATUSES: [u16; 5] = [302, 307, 301, 308, 303];
/// The most redirects that are followed.
const MOST: u32 = 8;
/// What is sent at first, and with which bodies.
const FIRST: [(&str, &str); 4] = [
    ("GET /a/b?c=d HTTP/1.1\r\nhost: x.test:81\r\n\r\n", ""),
    (
        "POST //x/ HTTP/1.1\r\nhost: x.test:81\r\nContent-Type: t\r\nx: content-length: 2\r\ncontent-length: 2\r\n\r\n",
        "hi",
    ),
    ("HEAD /?http://y HTTP/1.1\r\nhost: x.test:81\r\n\r\n", ""),
    ("PUT /%2e/x HTTP/1.1\r\nhost: x.test:81\r\ncontent-length: 2\r\ncookie: a=b\r\n\r\n", "\r\n"),
];

/// Follows answers whose `Location` is a line each.
///
/// # Panics
///
/// What is sent is no request, is another one, or goes to somebody else.
pub fn redirect(locations: &[u8]) {
    let Ok(target) = "http://x.test:81/".parse() else { return };
    let Some(following) = Following::new(&target, MOST) else { return };
    for (head, body) in FIRST {
        let bytes = [head, body].concat().into_bytes();
        let is_head = head.starts_with("HEAD");
        let first = Request { bytes: &bytes, head: head.len(), keeps_answer: true, is_head, ..Request::default() };
        let expected = Sent::read(&first);
        let mut hop: Option<Hop> = None;
        let mut is_get = false;
        for (taken, location) in locations.split(|byte| *byte == b'\n').enumerate() {
            let status = STATUSES[taken % STATUSES.len()];
            match following.lead(status, Some(&answer(location)), head.as_bytes(), hop.as_ref()) {
                Lead::To(next) => {
                    assert!(taken < MOST as usize, "{taken} redirects");
                    is_get |= status == 303 && !is_head || status < 303 && expected.method == "POST";
                    is_of(&next, &first, &expected, is_get);
                    stays(&following, head, &next, taken);
                    hop = Some(next);
                }
                Lead::Lost(fault) => {
                    assert!(!fault.detail.is_empty() && fault.kind.cause == Cause::Redirect, "{fault:?}");
                    break;
                }
                Lead::End => panic!("{status} leads on"),
            }
        }
    }
}

fn answer(location: &[u8]) -> Answer {
    let mut answer = Answer::default();
    answer.take_head(&[b"HTTP/1.1 302 Found\r\nLocation: ", location, b"\r\n\r\n"].concat());
    answer
}

/// What is sent is the first request but for its path, or a GET with what that has beside its body.
fn is_of(hop: &Hop, first: &Request<'_>, expected: &Sent, is_get: bool) {
    let mut room = Room::default();
    let request = hop.write(first, &mut room);
    let sent = Sent::read(&request);
    sent.is_packed(&request.bytes[..request.head]);
    assert!(sent.path.starts_with('/') && sent.path.bytes().all(|byte| byte.is_ascii_graphic()), "{sent:?}");
    let (method, body) = if is_get { ("GET", &[][..]) } else { (expected.method.as_str(), expected.body.as_slice()) };
    assert_eq!((sent.method.as_str(), sent.body.as_slice()), (method, body), "{sent:?}");
    assert_eq!(request.is_head, method == "HEAD");
    let kept = |(name, _): &&(String, Vec<u8>)| !(is_get && name.to_ascii_lowercase().starts_with("content-"));
    assert!(sent.headers.iter().eq(expected.headers.iter().filter(kept)), "{sent:?}");
}

/// From where a redirect led, its own path leads to the same place, and so does its whole URL, and nothing at all.
fn stays(following: &Following, head: &str, hop: &Hop, taken: usize) {
    if taken + 1 >= MOST as usize {
        return;
    }
    let path = |hop: &Hop| {
        let mut room = Room::default();
        let bytes = head.as_bytes();
        Sent::read(&hop.write(&Request { bytes, head: bytes.len(), ..Request::default() }, &mut room)).path
    };
    let here = path(hop);
    // Two slashes begin another host.
    let itself = if here.starts_with("//") { String::new() } else { here.clone() };
    for location in [itself, format!("http://x.test:81{here}"), String::new(), "#part".to_owned()] {
        let lead = following.lead(307, Some(&answer(location.as_bytes())), head.as_bytes(), Some(hop));
        let Lead::To(next) = lead else { panic!("{location:?} from {here:?}: {lead:?}") };
        assert_eq!(path(&next), here, "{location:?}");
    }
}
