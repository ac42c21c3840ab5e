//! What has to hold of an answer, and what is taken from it; compiled before the run.

use std::borrow::Cow;
use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use super::Answer;
use crate::bench::request::workload::{AssertSpec, CaptureSpec, RequestSpec, StatusSet};

/// All that is looked for in the answers to one kind of request.
#[derive(Debug, Clone, Default)]
pub struct Check {
    statuses: Option<StatusSet>,
    assertions: Vec<Assertion>,
    captures: Vec<Capture>,
    reads_json: bool,
}

/// Why a check cannot be made.
type Why = String;

/// Which part of an answer is looked at.
#[derive(Debug, Clone)]
enum Subject {
    Body,
    Header(String),
    Pointer(String),
}

#[derive(Debug, Clone)]
enum Condition {
    Equals(Value),
    Contains(String),
    Matches(Regex),
}

#[derive(Debug, Clone)]
struct Assertion {
    subject: Subject,
    condition: Condition,
}

#[derive(Debug, Clone)]
struct Capture {
    name: String,
    /// Where it is kept among the values of the flow.
    place: usize,
    subject: Subject,
    regex: Option<Regex>,
}

impl Check {
    /// Compiles the checks of a request; `place_of` says where a captured value is kept.
    ///
    /// # Errors
    ///
    /// Assertions and captures that say nothing or too much, invalid regular expressions and pointers.
    pub fn compile(spec: &RequestSpec, mut place_of: impl FnMut(&str) -> usize) -> Result<Self, Why> {
        let assertions = spec.assert.iter().map(Assertion::compile).collect::<Result<Vec<_>, _>>()?;
        let captures = spec.capture.iter().map(|(name, capture)| Capture::compile(name, place_of(name), capture));
        let captures = captures.collect::<Result<Vec<_>, _>>()?;
        let subjects = assertions.iter().map(|a| &a.subject).chain(captures.iter().map(|c| &c.subject));
        let reads_json = subjects.into_iter().any(|subject| matches!(subject, Subject::Pointer(_)));
        Ok(Self { statuses: spec.expect_status.clone(), assertions, captures, reads_json })
    }

    /// Whether the answer has to be kept.
    pub fn needs_answer(&self) -> bool {
        !self.assertions.is_empty() || !self.captures.is_empty()
    }

    /// The statuses that count as ok, where they were said.
    pub fn statuses(&self) -> Option<&StatusSet> {
        self.statuses.as_ref()
    }

    /// Holds an answer against the assertions, and takes the captures from it.
    ///
    /// # Errors
    ///
    /// What does not hold or is not there, for a person.
    pub fn examine(&self, answer: &Answer, captured: &mut [String]) -> Result<(), Why> {
        let json: Option<Value> = if self.reads_json { serde_json::from_slice(answer.body()).ok() } else { None };
        for assertion in &self.assertions {
            assertion.examine(answer, json.as_ref())?;
        }
        for capture in &self.captures {
            let value = capture.take(answer, json.as_ref())?;
            if let Some(place) = captured.get_mut(capture.place) {
                *place = value;
            }
        }
        Ok(())
    }
}

impl Subject {
    fn of(header: Option<&String>, pointer: Option<&String>) -> Result<Self, Why> {
        match (header, pointer) {
            (Some(_), Some(_)) => Err("has both a header and a pointer: it is about one of them".to_owned()),
            (Some(name), None) => Ok(Self::Header(name.clone())),
            (None, Some(pointer)) if pointer.is_empty() || pointer.starts_with('/') => {
                Ok(Self::Pointer(pointer.clone()))
            }
            (None, Some(pointer)) => Err(format!("\"{pointer}\" is no JSON pointer: write one like /items/0/id")),
            (None, None) => Ok(Self::Body),
        }
    }

    fn text<'a>(&self, answer: &'a Answer, json: Option<&'a Value>) -> Result<Cow<'a, str>, Why> {
        match self {
            Self::Body => Ok(String::from_utf8_lossy(answer.body())),
            Self::Header(name) => {
                answer.header(name).map(Cow::from).ok_or_else(|| format!("there is no header {name}"))
            }
            Self::Pointer(pointer) => Ok(match value_at(pointer, answer, json)? {
                Value::String(text) => text.into(),
                other => other.to_string().into(),
            }),
        }
    }
}

fn value_at<'a>(pointer: &str, answer: &Answer, json: Option<&'a Value>) -> Result<&'a Value, Why> {
    match json {
        None if answer.is_cut() => Err("the body is longer than 1 MiB, and is not read as JSON".to_owned()),
        None => Err("the body is not JSON".to_owned()),
        Some(json) => json.pointer(pointer).ok_or_else(|| format!("the body has nothing at \"{pointer}\"")),
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Body => f.write_str("the body"),
            Self::Header(name) => write!(f, "header {name}"),
            Self::Pointer(pointer) => write!(f, "the value at \"{pointer}\""),
        }
    }
}

fn regex(text: &str) -> Result<Regex, Why> {
    Regex::new(text).map_err(|error| format!("\"{text}\" is no regular expression: {error}"))
}

/// As much of a text as a message has room for.
fn cut(text: &str) -> Cow<'_, str> {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

impl Assertion {
    fn compile(spec: &AssertSpec) -> Result<Self, Why> {
        let wrong = |why: Why| format!("an assertion {why}");
        let subject = Subject::of(spec.header.as_ref(), spec.pointer.as_ref()).map_err(wrong)?;
        let condition = match (&spec.equals, &spec.contains, &spec.matches) {
            (Some(value), None, None) => Condition::Equals(value.clone()),
            (None, Some(text), None) => Condition::Contains(text.clone()),
            (None, None, Some(text)) => Condition::Matches(regex(text)?),
            _ => return Err(wrong("needs one of equals, contains and matches".to_owned())),
        };
        Ok(Self { subject, condition })
    }

    fn examine(&self, answer: &Answer, json: Option<&Value>) -> Result<(), Why> {
        let subject = &self.subject;
        if let (Subject::Pointer(pointer), Condition::Equals(expected)) = (subject, &self.condition) {
            let found = value_at(pointer, answer, json)?;
            let is_equal = found == expected;
            return is_equal.then_some(()).ok_or_else(|| {
                format!("{subject} is {}, not {}", cut(&found.to_string()), cut(&expected.to_string()))
            });
        }
        let text = subject.text(answer, json)?;
        let (holds, what) = match &self.condition {
            Condition::Equals(Value::String(expected)) => (text == expected.as_str(), format!("is not {expected:?}")),
            Condition::Equals(expected) => (text == expected.to_string(), format!("is not {expected}")),
            Condition::Contains(part) => (text.contains(part), format!("does not contain {part:?}")),
            Condition::Matches(regex) => (regex.is_match(&text), format!("does not match {regex}")),
        };
        if holds { Ok(()) } else { Err(format!("{subject} {what}: {:?}", cut(&text))) }
    }
}

impl Capture {
    fn compile(name: &str, place: usize, spec: &CaptureSpec) -> Result<Self, Why> {
        let subject = Subject::of(spec.header.as_ref(), spec.pointer.as_ref())
            .map_err(|why| format!("capture \"{name}\" {why}"))?;
        let regex = spec.regex.as_deref().map(regex).transpose()?;
        if regex.is_none() && matches!(subject, Subject::Body) {
            return Err(format!("capture \"{name}\" needs a pointer, a header or a regex"));
        }
        Ok(Self { name: name.to_owned(), place, subject, regex })
    }

    fn take(&self, answer: &Answer, json: Option<&Value>) -> Result<String, Why> {
        let missing = |why: Why| format!("nothing to capture as \"{}\": {why}", self.name);
        let text = self.subject.text(answer, json).map_err(missing)?;
        let Some(regex) = &self.regex else { return Ok(text.into_owned()) };
        let found = regex.captures(&text).and_then(|found| found.get(1).or(found.get(0)));
        found
            .map(|found| found.as_str().to_owned())
            .ok_or_else(|| missing(format!("{regex} finds nothing in {}", self.subject)))
    }
}

/// The values that steps capture, by their names, in the order in which they first appear.
pub fn captured_names<'s>(captures: impl IntoIterator<Item = &'s BTreeMap<String, CaptureSpec>>) -> Vec<String> {
    let mut names = Vec::new();
    for name in captures.into_iter().flat_map(BTreeMap::keys) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(spec: Value) -> Result<Check, Why> {
        let mut full = json!({"path": "/"});
        full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let mut next = 0..;
        Check::compile(&serde_json::from_value(full).unwrap(), |_| next.next().unwrap())
    }

    fn answer() -> Answer {
        let mut answer = Answer::default();
        answer.take_head(b"HTTP/1.1 201 Created\r\nLocation: /orders/17?x=1\r\n\r\n");
        answer.take_body(br#"{"id": 7, "user": {"name": "Ada"}, "tags": ["a"]}"#);
        answer
    }

    #[test]
    fn assertions_hold_or_say_what_they_found() {
        for (spec, said) in [
            (json!({"contains": "Ada"}), None),
            (json!({"matches": "\"id\": \\d+"}), None),
            (json!({"header": "location", "matches": "^/orders/"}), None),
            (json!({"header": "location", "equals": "/orders/17?x=1"}), None),
            (json!({"pointer": "/id", "equals": 7}), None),
            (json!({"pointer": "/user/name", "contains": "d"}), None),
            (json!({"pointer": "/tags", "equals": ["a"]}), None),
            (json!({"contains": "Bob"}), Some("the body does not contain \"Bob\": \"{")),
            (json!({"matches": "^x"}), Some("does not match ^x")),
            (json!({"header": "etag", "contains": "x"}), Some("there is no header etag")),
            (json!({"pointer": "/id", "equals": "7"}), Some("the value at \"/id\" is 7, not \"7\"")),
            (json!({"pointer": "/none", "equals": 7}), Some("nothing at \"/none\"")),
        ] {
            let found = check(json!({ "assert": [spec] })).unwrap().examine(&answer(), &mut []);
            match said {
                None => assert_eq!(found, Ok(()), "{spec}"),
                Some(said) => assert!(found.as_ref().unwrap_err().contains(said), "{spec}: {found:?}"),
            }
        }
    }

    #[test]
    fn values_are_captured_from_pointer_header_and_regex() {
        let spec = json!({"capture": {
            "a": {"pointer": "/user/name"}, "b": {"header": "Location", "regex": "orders/(\\d+)"},
            "c": {"regex": "\"id\": \\d"}, "d": {"pointer": "/tags"},
        }});
        let mut captured = vec![String::new(); 4];
        let check = check(spec).unwrap();
        assert!(check.needs_answer());
        check.examine(&answer(), &mut captured).unwrap();
        assert_eq!(captured, ["Ada", "17", "\"id\": 7", "[\"a\"]"]);
        let none = super::tests::check(json!({"capture": {"a": {"pointer": "/x"}}})).unwrap();
        let said = none.examine(&answer(), &mut captured).unwrap_err();
        assert!(said.contains("nothing to capture as \"a\": the body has nothing at"), "{said}");
        let mut plain = Answer::default();
        plain.take_body(b"hello");
        assert!(none.examine(&plain, &mut captured).unwrap_err().contains("not JSON"));
    }

    #[test]
    fn checks_that_cannot_be_made_are_refused() {
        for (spec, said) in [
            (json!({"assert": [{}]}), "needs one of equals, contains and matches"),
            (json!({"assert": [{"contains": "a", "equals": "b"}]}), "needs one of"),
            (json!({"assert": [{"header": "a", "pointer": "/b", "equals": "b"}]}), "both a header and a pointer"),
            (json!({"assert": [{"pointer": "a", "equals": "b"}]}), "no JSON pointer"),
            (json!({"assert": [{"matches": "("}]}), "no regular expression"),
            (json!({"capture": {"a": {}}}), "capture \"a\" needs a pointer"),
        ] {
            let error = check(spec.clone()).unwrap_err();
            assert!(error.contains(said), "{spec}: {error}");
        }
    }
}
