//! Symbols: texts that stand for a variable where its value must not be known, in files that other programs fill.
//!
//! A symbol is made of letters and digits alone, so that it goes through URLs and quoted texts as it is.

const BEGIN: &str = "xSCALECTLx";
const END: &str = "xENDx";

/// The text that stands for a variable.
pub fn symbol(variable: &str) -> String {
    format!("{BEGIN}{variable}{END}")
}

/// Whether a text has a symbol in it.
pub fn has_symbol(text: &str) -> bool {
    text.contains(BEGIN)
}

/// The variable that a text consists of, if it is a symbol and nothing else.
pub fn as_symbol(text: &str) -> Option<&str> {
    let name = text.strip_prefix(BEGIN)?.strip_suffix(END)?;
    (!name.contains(END)).then_some(name)
}

/// A text with every symbol replaced by what `named` makes of its variable, and all between by what `plain` makes of it.
pub fn replace_symbols(text: &str, named: impl Fn(&str) -> String, plain: impl Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once(BEGIN) {
        let Some((name, after)) = behind.split_once(END) else { break };
        out.push_str(&plain(before));
        out.push_str(&named(name));
        rest = after;
    }
    out.push_str(&plain(rest));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_found_and_replaced() {
        let url = format!("redis://:{}@redis/${}", symbol("A_B"), symbol("C"));
        assert!(has_symbol(&url));
        assert_eq!(as_symbol(&url), None);
        assert_eq!(as_symbol(&symbol("A_B")), Some("A_B"));
        assert_eq!(as_symbol(&(symbol("A") + &symbol("B"))), None);
        let replaced = replace_symbols(&url, |name| format!("<{name}>"), |text| text.replace('$', "$$"));
        assert_eq!(replaced, "redis://:<A_B>@redis/$$<C>");
    }
}
