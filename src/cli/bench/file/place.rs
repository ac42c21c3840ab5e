//! Which table of a bench file a key belongs to, for what the reader of TOML has to say of one that is misplaced.

/// Where a key belongs that is not known where it stands, or means another thing there.
pub fn place_of(message: &str, line: &str) -> Option<String> {
    if message.starts_with("invalid type: integer") && line.trim_start().starts_with("requests") {
        return Some("how many requests are sent is said above the first table: requests = 10000".to_owned());
    }
    let key = message.strip_prefix("unknown field `")?.split('`').next()?;
    let place = match key {
        "duration" | "warmup" | "arrivals" | "stages" | "feeds" | "flows" | "rate" => format!("[bench.default]: {key}"),
        "stage" => "[bench.default]: stages = [\"100rps:30s\"]".to_owned(),
        "method" | "path" | "body" | "json" | "form" | "user" | "bearer" | "expect_status" | "assert" => {
            format!("[[bench.default.requests]]: {key}")
        }
        "header" => return Some("it is called headers: headers = { accept = \"text/html\" }".to_owned()),
        "http2" => "the top: http = \"2\"".to_owned(),
        "rps" | "connections" | "threads" | "slo" | "target" => format!("the top, before the first table: {key}"),
        _ => return None,
    };
    Some(format!("it belongs to {place}"))
}
