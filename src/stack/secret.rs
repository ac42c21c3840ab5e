//! What counts as a secret, so that it is masked wherever the stack is shown.

/// What stands in output where a secret would.
pub const MASK: &str = "********";

/// Words that make a variable's value a secret wherever they stand in its name.
const ANYWHERE: [&str; 9] =
    ["PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "SECRETS", "CREDENTIAL", "CREDENTIALS", "AUTHORIZATION", "COOKIE"];
/// Words that do so at its end: `API_KEY` and `GITHUB_TOKEN` are secrets, `TOKEN_TTL` and `KEY_PREFIX` are not.
const AT_THE_END: [&str; 5] = ["KEY", "KEYS", "TOKEN", "TOKENS", "APIKEY"];
/// Last words of names that speak about a secret without holding it.
const ABOUT: [&str; 10] = ["FILE", "PATH", "DIR", "NAME", "ID", "TTL", "SECONDS", "LENGTH", "ALGORITHM", "ISSUER"];

/// Whether a variable of this name holds a secret: `DB_PASSWORD`, `JWT_SECRET`, `API_KEY`.
pub fn is_secret_name(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let words = upper.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect::<Vec<_>>();
    match words.last() {
        None => false,
        Some(last) if ABOUT.contains(last) => false,
        Some(last) => AT_THE_END.contains(last) || words.iter().any(|word| ANYWHERE.contains(word)),
    }
}

/// Whether the text holds a URL with a password in it: `postgres://shop:s3cret@db/shop`.
pub fn has_password(text: &str) -> bool {
    text.match_indices("://").any(|(at, separator)| {
        let behind = &text[at + separator.len()..];
        let authority = &behind[..behind.find(['/', '?', '#', ' ', ',']).unwrap_or(behind.len())];
        authority
            .rsplit_once('@')
            .and_then(|(userinfo, _)| userinfo.split_once(':'))
            .is_some_and(|(_, password)| !password.is_empty())
    })
}

/// A message without what it says was found.
pub(super) fn mask_found(message: &str) -> String {
    let expected = message.split(", found ").next().unwrap_or_default();
    format!("{expected}, found {MASK}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_whether_its_value_is_a_secret() {
        for secret in ["DB_PASSWORD", "JWT_SECRET", "API_KEY", "GITHUB_TOKEN", "SECRET_KEY_BASE", "smtp_password"] {
            assert!(is_secret_name(secret), "{secret}");
        }
        for plain in ["LOG_LEVEL", "TOKEN_TTL", "KEYCLOAK_URL", "POSTGRES_PASSWORD_FILE", "AWS_ACCESS_KEY_ID", "", "_"]
        {
            assert!(!is_secret_name(plain), "{plain}");
        }
    }

    #[test]
    fn a_url_with_a_password_is_a_secret() {
        for secret in [
            "postgres://shop:s3cret@db:5432/shop",
            "redis://:s3cret@cache",
            "a=1,amqp://u:p@q/,b=2",
            "http://h/,postgres://u:p@ss@db/x",
        ] {
            assert!(has_password(secret), "{secret}");
        }
        for plain in ["postgres://db:5432/shop", "http://shop@host/", "http://u:@host/", "http://h/a:b@c", "a:b@c", ""]
        {
            assert!(!has_password(plain), "{plain}");
        }
    }
}
