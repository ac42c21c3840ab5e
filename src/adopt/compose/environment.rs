//! The variables of a service: which of them are addresses, which are secrets.

use std::collections::BTreeMap;

use super::convert::Converter;
use super::model::Service;
use super::roles::Role;
use super::servers::Address;
use super::variables::literal;
use crate::adopt::draft;
use crate::stack::{DOT_ENV, has_password, is_secret_name};

impl Converter<'_, '_> {
    /// The variables of a service: its files first, then its own, which win.
    pub(super) fn environment(
        &mut self,
        own: &str,
        service: &Service,
        section: &mut draft::Service,
        notes: &mut Vec<String>,
    ) {
        let mut all: BTreeMap<String, (String, bool)> = BTreeMap::new();
        for (file, required) in &service.env_files {
            let path = self.input.folder.join(file);
            let is_own = path.canonicalize().ok() == self.input.root.join(DOT_ENV).canonicalize().ok();
            match dotenvy::from_path_iter(&path).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
                Ok(pairs) => all.extend(pairs.into_iter().map(|(name, value)| (name, (literal(&value), is_own)))),
                Err(_) if *required => notes.push(format!("not adopted: {file}, which cannot be read")),
                Err(_) => {}
            }
        }
        for (name, text) in &service.environment {
            all.insert(name.clone(), (passed(name, text), false));
        }
        let mut elsewhere = Vec::new();
        for (name, (text, is_own)) in all {
            if self.is_set_by_scalectl(&name, &text, section) {
                continue;
            }
            match self.address(own, &name, &text, section) {
                Some(Address::Given) => {}
                Some(Address::Rewritten(text)) => {
                    elsewhere.push(name.clone());
                    section.env.insert(name.clone(), self.secret(own, &name, text));
                }
                None if is_own => drop(section.env.insert(name.clone(), format!("${{{name}}}"))),
                None => drop(section.env.insert(name.clone(), self.secret(own, &name, text))),
            }
        }
        if !elsewhere.is_empty() {
            let names = elsewhere.join(", ");
            notes.push(format!(
                "{names}: names of containers; the local engine knows only the addresses that `uses` gives"
            ));
        }
        if section.uses.iter().any(|used| used.as_str() == "redis") && needs_password(&section.env) {
            section.env.insert("REDIS_PASSWORD".to_owned(), "${REDIS_PASSWORD}".to_owned());
            notes.push("Redis asks for REDIS_PASSWORD: its program has to send it".to_owned());
        }
        self.depends_on(service, section);
    }

    /// PORT is what `port` says.
    fn is_set_by_scalectl(&self, name: &str, text: &str, section: &mut draft::Service) -> bool {
        if name != "PORT" || text.parse::<u16>().is_err() {
            return false;
        }
        section.port.get_or_insert_with(|| text.to_owned());
        section.port.as_deref() == Some(text)
    }

    fn address(&mut self, own: &str, name: &str, text: &str, section: &mut draft::Service) -> Option<Address> {
        for server in &self.servers {
            if let Some(address) = server.address(name, text, own, self.secrets) {
                if server.variable.is_some() {
                    section.uses.insert(server.name.clone());
                }
                return Some(address);
            }
        }
        // Another service of the stack, under a name that had to change.
        let changed =
            self.names.iter().find(|(other, name)| **other != name.as_str() && text.contains(&format!("//{other}")));
        changed.map(|(other, name)| Address::Rewritten(text.replace(&format!("//{other}"), &format!("//{name}"))))
    }

    fn depends_on(&self, service: &Service, section: &mut draft::Service) {
        for other in service.depends_on.keys() {
            let server = self.servers.iter().find(|server| server.hosts[0] == *other && server.variable.is_some());
            section.uses.extend(server.map(|server| server.name.clone()));
            if self.roles.get(other.as_str()) == Some(&Role::Service) {
                section.uses.extend(self.names.get(other.as_str()).cloned());
            }
        }
    }

    /// A text without the secret that it holds or that its name says it is.
    pub(super) fn secret(&mut self, own: &str, name: &str, text: String) -> String {
        let default =
            text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).and_then(|rest| rest.split_once(":-"));
        let (variable, value) = match default {
            Some((variable, default)) if !default.contains('$') && is_secret_name(variable) => (variable, default),
            _ => (name, text.as_str()),
        };
        let is_secret = is_secret_name(variable) || has_password(value);
        if !is_secret || value.is_empty() || value.contains("${") {
            return text;
        }
        let value = value.replace("$$", "$");
        // A variable of this name in `.env` would stand for a server that runs elsewhere.
        let is_address = self.servers.iter().any(|server| server.variable.as_deref() == Some(variable));
        let wanted = if is_address { format!("{}_{variable}", own.to_ascii_uppercase()) } else { variable.to_owned() };
        let wanted = wanted.replace(|c: char| !(c.is_ascii_alphanumeric() || c == '_'), "_");
        format!("${{{}}}", self.secrets.keep(own, &wanted, &value))
    }
}

/// A service that knows Redis by its host alone has nowhere to read the password from.
fn needs_password(env: &BTreeMap<String, String>) -> bool {
    let by_host = env.values().any(|text| text == "redis" || text.starts_with("redis:") && !text.contains("//"));
    by_host && !env.contains_key("REDIS_PASSWORD")
}

/// A variable without a value comes from the environment, as compose says.
pub(super) fn passed(name: &str, text: &Option<String>) -> String {
    text.clone().unwrap_or_else(|| format!("${{{name}:-}}"))
}
