//! How a search compares texts: without regard to case, by Unicode's own mappings, so that no locale has a say in it.

/// Writes `text` so that texts which differ in case alone are written the same: each character in lower case, in upper
/// case and in lower case again. That leads every form of a letter to one (`Σ`, `σ` and `ς`; `ß`, `ẞ` and `ss`; the Kelvin
/// sign and `k`), and takes the four letters i of Turkish for one. Characters that are written in two ways, as one
/// character or with a combining mark, are two here: whoever folds normalises first.
pub fn fold(text: &str, out: &mut String) {
    out.reserve(text.len());
    for character in text.chars() {
        if character.is_ascii() {
            out.push(character.to_ascii_lowercase());
            continue;
        }
        for lower in character.to_lowercase() {
            for upper in lower.to_uppercase() {
                for folded in upper.to_lowercase() {
                    // The dot that İ has kept above its i.
                    if folded != '\u{307}' || !out.ends_with('i') {
                        out.push(folded);
                    }
                }
            }
        }
    }
}

/// Whether a text is in Unicode's normal form C by its characters alone: none of them combines with the one before it, or
/// is written in another way there. False is not sure.
pub fn is_normal(text: &str) -> bool {
    text.is_ascii()
        || text
            .chars()
            .all(|character| matches!(u32::from(character), 0..0x300 | 0x400..0x483 | 0x4E00..0xA000 | 0xAC00..0xD7A4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(text: &str) -> String {
        let mut out = String::new();
        fold(text, &mut out);
        out
    }

    #[test]
    fn one_form_of_each_letter() {
        for forms in [
            &["Straße", "STRASSE", "STRAẞE", "strasse"][..],
            &["İstanbul", "ISTANBUL", "istanbul", "ıstanbul", "i\u{307}stanbul"],
            &["ΟΔΥΣΣΕΥΣ", "Οδυσσευς", "οδυσσευσ"],
            &["É", "é"],
            &["\u{212A}", "K", "k"],
            &["ſ", "S", "s"],
            &["ﬁn", "FIN"],
            &["Ǆ", "ǅ", "ǆ"],
            &["ЖУК", "жук"],
        ] {
            for form in forms {
                assert_eq!(folded(form), folded(forms[0]), "{form}");
            }
        }
        assert_ne!(folded("é"), folded("e"));
        assert_eq!(folded("a%_\\\"\n{é}"), "a%_\\\"\n{é}");
    }

    #[test]
    fn what_normalising_may_change_is_not_sure_to_be_normal() {
        for sure in ["plain", "é ÿ Ā ɏ", "Жук", "山田", "한글"] {
            assert!(is_normal(sure), "{sure}");
        }
        for unsure in ["e\u{301}", "\u{212B}", "\u{340}", "\u{1112}\u{1161}", "か\u{3099}"] {
            assert!(!is_normal(unsure), "{unsure}");
        }
    }

    #[test]
    fn every_character_folds_as_its_other_cases_do_and_once() {
        for character in (0..=0x10FFFF).filter_map(char::from_u32) {
            let of = folded(&character.to_string());
            assert_eq!(folded(&of), of, "{character:?}");
            assert_eq!(folded(&character.to_lowercase().to_string()), of, "{character:?}");
            assert_eq!(folded(&character.to_uppercase().to_string()), of, "{character:?}");
        }
    }
}
