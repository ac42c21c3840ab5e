//! Single fields of a service, from compose's words into those of a stack.

use super::model::Service;
use crate::adopt::command_of;
use crate::adopt::dockerfile::Image;
use crate::adopt::draft;
use crate::units::{Bytes, Cpu};

/// Moves a service to another port than the one it shares; its arguments move with it.
pub fn move_port(section: &mut draft::Service, from: &str, to: &str) {
    section.port = Some(to.to_owned());
    let mut moved = false;
    for word in section.command.iter_mut().flatten() {
        let is_port = |text: &str| text == from;
        if is_port(word) || word.ends_with(&format!(":{from}")) || word.ends_with(&format!("={from}")) {
            *word = format!("{}{to}", &word[..word.len() - from.len()]);
            moved = true;
        }
    }
    let how = if moved { "its command says so" } else { "its program has to listen on $PORT" };
    section.notes.push(format!("port {from} is another service's, so this one has {to}: {how}"));
}

/// The port that its program listens on: what it publishes or exposes, or what its check asks.
pub fn port(service: &Service, image: &Image, checked: Option<u16>) -> Option<String> {
    let published = service.ports.first().map(|port| port.target.clone());
    let known = |port: &u16| image.ports.is_empty() || image.ports.contains(port);
    published.or_else(|| checked.filter(known).map(|port| port.to_string()))
}

/// The command that overrides the image's, or the image's own where the local engine can run it.
pub fn command(service: &Service, image: &Image, local: bool, notes: &mut Vec<String>) -> Option<Vec<String>> {
    match (&service.entrypoint, &service.command) {
        (Some(entrypoint), command) => {
            if image.entrypoint.is_some() || service.build.is_none() {
                notes.push(
                    "its entrypoint became part of its command; the image's own is still run before it".to_owned(),
                );
            }
            Some(entrypoint.iter().chain(command.iter().flatten()).cloned().collect())
        }
        (None, Some(command)) => Some(command.clone()),
        (None, None) => command_of(image).filter(|_| local),
    }
}

/// Its replicas; a stack has no service without one.
pub fn replicas(service: &Service, notes: &mut Vec<String>) -> Option<String> {
    match service.replicas.as_deref() {
        Some("0") => {
            notes.push("had no replicas; now it has one".to_owned());
            None
        }
        replicas => replicas.filter(|replicas| *replicas != "1").map(str::to_owned),
    }
}

/// Its processor limit.
pub fn cpu(service: &Service, notes: &mut Vec<String>) -> Option<String> {
    let text = service.cpus.clone().filter(|text| text != "0")?;
    if text.contains("${") || text.parse::<Cpu>().is_ok() {
        return Some(text);
    }
    notes.push("not adopted: its processor limit, which is no number".to_owned());
    None
}

/// Compose's units are binary: `512m` and `512MB` are 512 MiB.
pub fn memory(service: &Service, notes: &mut Vec<String>) -> Option<String> {
    let text = service.memory.clone()?;
    let lower = text.to_ascii_lowercase();
    let number = lower.trim_end_matches("ib").trim_end_matches('b');
    let unit =
        number.chars().last().filter(char::is_ascii_alphabetic).map(|unit| format!("{}i", unit.to_ascii_uppercase()));
    let digits = number.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    match format!("{digits}{}", unit.unwrap_or_default()).parse::<Bytes>() {
        Ok(Bytes(0)) => None,
        Ok(bytes) => Some(bytes.to_string()),
        Err(_) => {
            notes.push("not adopted: its memory limit, which is no size".to_owned());
            None
        }
    }
}

/// A text in which an address has moved to another port.
pub fn moved(text: &str, from: &str, to: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(from) {
        let (before, behind) = (&rest[..at], &rest[at + from.len()..]);
        let begins = (out.is_empty() && before.is_empty()) || before.ends_with("//") || before.ends_with('@');
        let ends = !behind.starts_with(|c: char| c.is_ascii_digit());
        out.push_str(before);
        out.push_str(if begins && ends { to } else { from });
        rest = behind;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_moves_and_what_only_looks_like_it_stays() {
        for (text, expected) in [
            ("api:80", "api:81"),
            ("http://api:80/x", "http://api:81/x"),
            ("tcp://u@api:80", "tcp://u@api:81"),
            ("http://api:8000", "http://api:8000"),
            ("http://my-api:80", "http://my-api:80"),
        ] {
            assert_eq!(moved(text, "api:80", "api:81"), expected);
        }
    }

    #[test]
    fn memory_is_counted_in_powers_of_two() {
        for (text, expected) in [
            ("512m", Some("512Mi")),
            ("1.5GB", Some("1536Mi")),
            ("1024", Some("1Ki")),
            ("2gib", Some("2Gi")),
            ("x", None),
        ] {
            let service = Service { memory: Some(text.to_owned()), ..Service::default() };
            let mut notes = Vec::new();
            assert_eq!(memory(&service, &mut notes).as_deref(), expected, "{text}");
            assert_eq!(notes.is_empty(), expected.is_some());
        }
    }
}
