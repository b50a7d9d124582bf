//! The manual page follows the command line.

#[path = "../examples/man.rs"]
#[allow(dead_code, reason = "the test calls what main() calls")]
mod man;

#[test]
fn the_page_is_what_the_example_prints() {
    let mut page = Vec::new();
    man::write_page(&mut page).unwrap();
    let kept = include_str!("../man/immutable-server.1");
    assert!(
        String::from_utf8(page).unwrap() == kept,
        "run: cargo run -p immutable-server --example man > crates/server/man/immutable-server.1"
    );
    for section in
        ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "SIGNALS", "EXIT STATUS", "FILES", "EXAMPLES", "SEE ALSO"]
    {
        let heading = kept.lines().filter_map(|line| line.strip_prefix(".SH "));
        assert!(heading.map(|name| name.trim_matches('"')).any(|name| name == section), "{section}");
    }
}
