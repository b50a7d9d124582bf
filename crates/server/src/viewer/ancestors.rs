//! Who may show the viewer in a frame.

/// Sources as `frame-ancestors` of a Content-Security-Policy takes them: `*`, `'self'`, `'none'`,
/// `https://app.example.com`, `https://*.example.com`.
///
/// # Errors
/// A sentence for the operator: what is no list of sources could end the directive and begin another.
pub(crate) fn parse(text: &str) -> Result<String, String> {
    let sources: Vec<&str> = text.split_ascii_whitespace().collect();
    if sources.is_empty() {
        return Err(String::from("it is empty; 'none' forbids all frames"));
    }
    let is_source = |source: &&str| source.bytes().all(|b| b.is_ascii_graphic() && b != b';' && b != b',');
    match sources.iter().find(|source| !is_source(source)) {
        Some(source) => Err(format!("{source:?} is no source of a Content-Security-Policy")),
        None => Ok(sources.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sources_stay_as_they_are() {
        assert_eq!(parse(" 'self'  https://*.example.com "), Ok(String::from("'self' https://*.example.com")));
    }

    #[test]
    fn nothing_begins_another_directive() {
        assert!(parse("*; script-src *").is_err());
        assert!(parse("https://a.example, https://b.example").is_err());
        assert!(parse("https://ä.example").is_err());
        assert!(parse(" ").is_err());
    }
}
