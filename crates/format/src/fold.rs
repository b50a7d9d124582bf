//! How a search compares texts: without regard to case, by Unicode's own mappings, so that the
//! result does not depend on a locale.

/// Appends `text` to `out` so that texts which differ only in case are written the same. Each
/// character is mapped to lower case, to upper case and to lower case again, which leads every form
/// of a letter to one (`Σ`, `σ` and `ς`; `ß`, `ẞ` and `ss`; the Kelvin sign and `k`) and takes the
/// four letters i of Turkish for one. A character that can be written in two ways, as one character
/// or with a combining mark, stays two texts: the caller normalises first.
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

/// Returns true if the text is certainly in Unicode's normal form C: each of its characters neither
/// combines with the one before it nor is written in another way there. False means that it is not
/// certain.
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
        for character in (0..=0x0010_FFFF).filter_map(char::from_u32) {
            let of = folded(&character.to_string());
            assert_eq!(folded(&of), of, "{character:?}");
            assert_eq!(folded(&character.to_lowercase().to_string()), of, "{character:?}");
            assert_eq!(folded(&character.to_uppercase().to_string()), of, "{character:?}");
        }
    }
}
