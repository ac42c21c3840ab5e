//! Which version of HTTP the target is spoken to in.

use std::fmt;
use std::str::FromStr;

/// A version of HTTP, or the choice of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// HTTP/1.1: a request at a time on each connection.
    #[default]
    Http1,
    /// HTTP/2: over TLS if the target agrees (ALPN), else without asking (prior knowledge, "h2c").
    Http2,
    /// Over TLS what the target chooses, HTTP/2 offered first; without TLS HTTP/1.1.
    Auto,
}

impl Protocol {
    /// HTTP/1.1 as results name it.
    pub const HTTP_1_1: &str = "HTTP/1.1";
    /// HTTP/2 as results name it.
    pub const HTTP_2: &str = "HTTP/2";
}

impl FromStr for Protocol {
    type Err = String;

    /// `1.1`, `2` or `auto`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "1.1" => Ok(Self::Http1),
            "2" => Ok(Self::Http2),
            "auto" => Ok(Self::Auto),
            _ => Err("the version of HTTP is 1.1, 2 or auto".to_owned()),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1 => "1.1",
            Self::Http2 => "2",
            Self::Auto => "auto",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_printed() {
        for text in ["1.1", "2", "auto"] {
            assert_eq!(text.parse::<Protocol>().unwrap().to_string(), text);
        }
        for text in ["", "1.0", "3", "h2"] {
            assert!(text.parse::<Protocol>().unwrap_err().contains("1.1, 2 or auto"), "{text}");
        }
    }
}
