//! No secret of the rendered service shows on a real Docker engine: not in what the engine says of the stack's parts, not
//! in logs, plans or any other output of ours.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/project.rs"]
mod project;
mod support;

use std::fs;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use project::{Project, all, docker, has_docker};

/// A secret's name, and the texts in which it may show.
type Secret = (String, Vec<String>);

/// Makes the secrets of a project such that they differ in a URL, and returns them.
fn hard_secrets(project: &Project) -> Vec<Secret> {
    let file = project.root().join(".env");
    let text = fs::read_to_string(&file).unwrap();
    let harder: String = text
        .lines()
        .map(|line| match line.split_once('=') {
            Some(_) if !line.starts_with('#') => format!("{line}/@:%~\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    fs::write(&file, &harder).unwrap();
    let set = harder.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    set.map(|(name, value)| (name.to_owned(), forms(value))).collect()
}

/// A secret as it is, without what needs no escape anywhere, and as it may stand in a URL, in Base64 or in JSON.
fn forms(secret: &str) -> Vec<String> {
    use base64::Engine as _;
    let encoded = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
    let plain: String = secret.chars().take_while(char::is_ascii_alphanumeric).collect();
    let base64 = base64::engine::general_purpose::STANDARD.encode(secret);
    vec![secret.to_owned(), encoded, plain, base64.trim_end_matches('=').to_owned()]
}

/// The secrets that show in a text, by their names.
fn shown<'s>(text: &str, secrets: &'s [Secret]) -> Vec<&'s str> {
    let shows = |(_, forms): &&Secret| forms.iter().any(|form| text.contains(form.as_str()));
    secrets.iter().filter(shows).map(|(name, _)| name.as_str()).collect()
}

/// What the engine says of everything of a project: containers, images, networks, volumes.
fn inspected(project: &Project) -> Vec<(String, String)> {
    let kinds: [(&str, &[&str]); 4] = [
        ("container", &["ps", "--all", "--quiet"]),
        ("image", &["images", "--quiet"]),
        ("network", &["network", "ls", "--quiet"]),
        ("volume", &["volume", "ls", "--quiet"]),
    ];
    let mut found = Vec::new();
    for (kind, list) in kinds {
        let ids = project.docker_list(list);
        assert!(!ids.is_empty(), "the project has no {kind}");
        for id in ids {
            found.push((format!("docker {kind} inspect"), docker(&[kind, "inspect", &id])));
            match kind {
                "image" => found.push(("docker history".to_owned(), docker(&["history", "--no-trunc", &id]))),
                "container" => found.push(("docker logs".to_owned(), logs(&id))),
                _ => {}
            }
        }
    }
    found
}

/// Both streams of a container's log.
fn logs(id: &str) -> String {
    all(&std::process::Command::new("docker").args(["logs", id]).output().unwrap())
}

#[test]
fn no_secret_shows_anywhere_but_in_the_files_of_those_who_need_it() {
    let test = "no_secret_shows_anywhere_but_in_the_files_of_those_who_need_it";
    if !has_docker() {
        return support::skip(test, "no Docker engine answers");
    }
    let mut project = Project::rendered("fastapi");
    project.engine = "docker";
    let secrets = hard_secrets(&project);
    assert!(secrets.len() >= 3, "{secrets:?}");
    let said = |args: &[&str]| {
        let out = project.run(args);
        assert!(out.status.success(), "scalectl {args:?}: {}", all(&out));
        (format!("scalectl {}", args.join(" ")), all(&out))
    };

    let mut texts = vec![said(&["up", "--dry-run"]), said(&["up", "-v"])];
    for number in 1..=5 {
        let user = format!(r#"{{"name": "Ada", "email": "ada{number}@example.com"}}"#);
        let (status, created) = project.http("POST", "/users", &user).unwrap();
        assert_eq!(status, 201, "{created}");
    }
    texts.extend(inspected(&project));
    for args in [
        &["logs"][..],
        &["logs", "--json"],
        &["up", "--dry-run"],
        &["up", "--dry-run", "--build"],
        &["restart", "api", "-v"],
        &["config"],
        &["config", "--json"],
        &["status"],
        &["status", "--json"],
        &["manifests", "--engine", "docker"],
        &["check"],
        &["down", "--dry-run", "--volumes"],
    ] {
        texts.push(said(args));
    }
    for (whose, text) in &texts {
        // A container may have nothing to log.
        assert!(whose == "docker logs" || !text.is_empty(), "{whose} says nothing");
        assert_eq!(shown(text, &secrets), [""; 0], "{whose} shows secrets:\n{text}");
    }

    // They are where they belong, in the same words that were looked for.
    let files = project.ok(&["exec", "api", "--", "sh", "-c", "cat /run/scalectl/*"]);
    let of_api = shown(&files, &secrets);
    assert_eq!(of_api.len(), secrets.len(), "the files of api have {of_api:?}");
    let redis = project.ok(&["exec", "redis", "--", "sh", "-c", "cat /run/scalectl/password"]);
    assert_eq!(shown(&redis, &secrets), ["REDIS_PASSWORD"]);
    project.ok(&["down", "--volumes"]);
}
