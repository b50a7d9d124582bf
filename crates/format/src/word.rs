//! Finds an id in a text: as a word, joined to something longer, or written in another way.

use std::borrow::Cow;

/// The kind of an id, by its characters. It decides which characters join the id to the text beside
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IdKind {
    /// Letters, digits, `_` and `-`.
    Plain,
    /// Only digits.
    Number,
    /// It has a character that does not belong to a word, as addresses, paths and names with a
    /// domain do.
    Compound,
}

/// How an end of an occurrence meets the text around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Edge {
    /// The text has another word there, or none.
    Free,
    /// Punctuation joins the id to a word, so it is part of another id.
    Joined,
    /// The word goes on: it is another word.
    Inside,
}

/// Characters that are looked at beside an id before it counts as joined.
const MOST_JOINERS: usize = 64;

/// Returns whether a text has the id in it as a word of its own.
///
/// Words are made of letters with their combining marks, digits, `_` and `-`. So `user_1` is
/// neither in `user_12` nor in `x-user_1`, but is in `/users/user_1?tab=2`. An id with other
/// characters is an address, a path or the like. The characters `.`, `@`, `+` and `%` join such an
/// id to a word beside it, and so do `/ \ : | = # ~ &` if the id has the character itself: neither
/// `x.sarah@example.com` nor `sarah@example.com.au` has `sarah@example.com` in it, but `Mail
/// sarah@example.com.` has. The characters `.` and `:` join a number to more digits. Invisible
/// characters join everything.
pub fn mentions(text: &str, id: &str) -> bool {
    edges(text, id).any(|edge| edge == Edge::Free)
}

/// As [`mentions`], but punctuation may also join the id to something longer. A number that is part
/// of a longer number does not count.
fn has_beside_others(text: &str, id: &str) -> bool {
    edges(text, id).any(|edge| edge != Edge::Inside)
}

/// How each occurrence of an id meets the text around it, at the worse of its ends.
fn edges<'a>(text: &'a str, id: &'a str) -> impl Iterator<Item = Edge> + 'a {
    let kind = IdKind::of(id);
    let step = id.chars().next().map_or(1, char::len_utf8);
    let mut from = 0;
    std::iter::from_fn(move || {
        let found = text.get(from..)?.find(id)?;
        let (start, end) = (from + found, from + found + id.len());
        // One character on, not one match: the next may begin inside this.
        from = start + step;
        let before = edge(kind, id, id.chars().next()?, text[..start].chars().rev(), false);
        let after = edge(kind, id, id.chars().next_back()?, text[end..].chars(), true);
        Some(before.max(after))
    })
}

impl IdKind {
    fn of(id: &str) -> IdKind {
        if id.chars().all(char::is_numeric) {
            IdKind::Number
        } else if id.chars().all(is_of_word) {
            IdKind::Plain
        } else {
            IdKind::Compound
        }
    }

    fn joins(self, id: &str, c: char) -> bool {
        match (self, c) {
            (_, '_' | '-') => true,
            _ if is_invisible(c) => true,
            (IdKind::Plain, _) => false,
            (IdKind::Number, _) => matches!(c, '.' | ':'),
            (IdKind::Compound, '.' | '@' | '+' | '%') => true,
            (IdKind::Compound, '/' | '\\' | ':' | '|' | '=' | '#' | '~' | '&') => id.contains(c),
            _ => false,
        }
    }
}

/// How the id's end `inner` meets what stands beside it, nearest first.
fn edge(kind: IdKind, id: &str, inner: char, mut beside: impl Iterator<Item = char>, is_after: bool) -> Edge {
    let Some(first) = beside.next() else { return Edge::Free };
    if is_after && is_mark(first) {
        return Edge::Inside;
    }
    if is_unspaced(inner) {
        return Edge::Free;
    }
    match first {
        '_' | '-' => return Edge::Joined,
        _ if is_of_word(first) => return Edge::Inside,
        _ if !kind.joins(id, first) => return Edge::Free,
        _ => {}
    }
    // `...` ends a sentence, `..au` does not.
    let mut points = first == '.';
    for c in beside.take(MOST_JOINERS) {
        if is_of_word(c) && !matches!(c, '_' | '-') {
            return match kind {
                IdKind::Number if !is_invisible(first) && !c.is_numeric() => Edge::Free,
                // 10.0.0.42 is no 42, and not worth a look.
                IdKind::Number if points => Edge::Inside,
                _ => Edge::Joined,
            };
        }
        if !kind.joins(id, c) {
            return Edge::Free;
        }
        points &= c == '.';
    }
    Edge::Free
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-') || is_mark(c)
}

/// Whether it is of a script that puts no spaces between words: Thai, Lao, Burmese, Khmer, kana,
/// Han.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}'
        | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// Soft hyphens, zero-width joiners and the like: nobody sees them between two letters.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

/// Whether it is a combining mark that is not alphabetic by itself (Unicode's categories Mn, Mc and
/// Me).
fn is_mark(c: char) -> bool {
    let at = MARKS.partition_point(|(first, _)| *first <= c);
    c >= MARKS[0].0 && at > 0 && c <= MARKS[at - 1].1 && !c.is_alphanumeric()
}

/// First and last of each run of marks; letters in between are told apart by being alphabetic.
#[rustfmt::skip]
const MARKS: &[(char, char)] = &[
    ('\u{300}', '\u{362}'), ('\u{483}', '\u{489}'), ('\u{591}', '\u{5af}'), ('\u{658}', '\u{658}'),
    ('\u{6df}', '\u{6e0}'), ('\u{6ea}', '\u{6ec}'), ('\u{740}', '\u{7f3}'), ('\u{7fd}', '\u{7fd}'),
    ('\u{818}', '\u{82d}'), ('\u{859}', '\u{85b}'), ('\u{898}', '\u{8e1}'), ('\u{8ea}', '\u{954}'),
    ('\u{9bc}', '\u{9cd}'), ('\u{9fe}', '\u{a4d}'), ('\u{abc}', '\u{acd}'), ('\u{afd}', '\u{b55}'),
    ('\u{bcd}', '\u{bcd}'), ('\u{c3c}', '\u{c4d}'), ('\u{cbc}', '\u{d4d}'), ('\u{dca}', '\u{dca}'),
    ('\u{e47}', '\u{e4e}'), ('\u{eba}', '\u{ecc}'), ('\u{f18}', '\u{f19}'), ('\u{f35}', '\u{f35}'),
    ('\u{f37}', '\u{f37}'), ('\u{f39}', '\u{f39}'), ('\u{f3e}', '\u{f84}'), ('\u{f86}', '\u{f87}'),
    ('\u{fc6}', '\u{fc6}'), ('\u{1037}', '\u{103a}'), ('\u{135d}', '\u{135f}'), ('\u{1714}', '\u{1734}'),
    ('\u{17b4}', '\u{17d3}'), ('\u{17dd}', '\u{17dd}'), ('\u{180b}', '\u{180d}'), ('\u{180f}', '\u{193b}'),
    ('\u{1a60}', '\u{1a7f}'), ('\u{1ab0}', '\u{1b44}'), ('\u{1b6b}', '\u{1b73}'), ('\u{1baa}', '\u{1bf3}'),
    ('\u{1c37}', '\u{1c37}'), ('\u{1cd0}', '\u{1cd2}'), ('\u{1cd4}', '\u{1dff}'), ('\u{20d0}', '\u{20f0}'),
    ('\u{2cef}', '\u{2cf1}'), ('\u{2d7f}', '\u{2d7f}'), ('\u{302a}', '\u{302f}'), ('\u{3099}', '\u{309a}'),
    ('\u{a66f}', '\u{a672}'), ('\u{a67c}', '\u{a67d}'), ('\u{a6f0}', '\u{a6f1}'), ('\u{a806}', '\u{a806}'),
    ('\u{a82c}', '\u{a82c}'), ('\u{a8c4}', '\u{a8c4}'), ('\u{a8e0}', '\u{a8f1}'), ('\u{a92b}', '\u{a92d}'),
    ('\u{a953}', '\u{a953}'), ('\u{a9b3}', '\u{a9c0}'), ('\u{aabf}', '\u{aac1}'), ('\u{aaf6}', '\u{aaf6}'),
    ('\u{abec}', '\u{abed}'), ('\u{fe00}', '\u{fe0f}'), ('\u{fe20}', '\u{fe2f}'), ('\u{101fd}', '\u{102e0}'),
    ('\u{10a38}', '\u{10a3f}'), ('\u{10ae5}', '\u{10ae6}'), ('\u{10f46}', '\u{10f50}'), ('\u{10f82}', '\u{10f85}'),
    ('\u{11046}', '\u{11046}'), ('\u{11070}', '\u{110ba}'), ('\u{11133}', '\u{11134}'), ('\u{11173}', '\u{11173}'),
    ('\u{111c0}', '\u{111c0}'), ('\u{111c9}', '\u{111cc}'), ('\u{11235}', '\u{11236}'), ('\u{112e9}', '\u{11446}'),
    ('\u{1145e}', '\u{114c3}'), ('\u{115bf}', '\u{115c0}'), ('\u{1163f}', '\u{1163f}'), ('\u{116b6}', '\u{116b7}'),
    ('\u{1172b}', '\u{1172b}'), ('\u{11839}', '\u{1183a}'), ('\u{1193d}', '\u{11943}'), ('\u{119e0}', '\u{119e0}'),
    ('\u{11a33}', '\u{11a34}'), ('\u{11a47}', '\u{11a99}'), ('\u{11c3f}', '\u{11c3f}'), ('\u{11d42}', '\u{11d97}'),
    ('\u{16af0}', '\u{16af4}'), ('\u{16b30}', '\u{16b36}'), ('\u{16fe4}', '\u{16fe4}'), ('\u{1bc9d}', '\u{1bc9d}'),
    ('\u{1cf00}', '\u{1cf46}'), ('\u{1d165}', '\u{1d169}'), ('\u{1d16d}', '\u{1d172}'), ('\u{1d17b}', '\u{1d182}'),
    ('\u{1d185}', '\u{1d18b}'), ('\u{1d1aa}', '\u{1d1ad}'), ('\u{1d242}', '\u{1d244}'), ('\u{1da00}', '\u{1da36}'),
    ('\u{1da3b}', '\u{1da6c}'), ('\u{1da75}', '\u{1da75}'), ('\u{1da84}', '\u{1da84}'), ('\u{1da9b}', '\u{1e136}'),
    ('\u{1e2ae}', '\u{1e2ef}'), ('\u{1e8d0}', '\u{1e94a}'), ('\u{e0100}', '\u{e01ef}')
];

/// The spellings of ids, to find a text that has one of them in it.
#[derive(Debug, Clone)]
pub struct Variants<'a> {
    /// As given, and folded.
    ids: Vec<(&'a str, String)>,
    /// Unicode's compatibility decomposition (NFKD).
    decompose: fn(&str) -> String,
}

impl<'a> Variants<'a> {
    /// Returns the spellings of `ids`, none of which may be empty. `decompose` returns the
    /// compatibility decomposition of Unicode (NFKD) of a text.
    pub fn new(ids: &[&'a str], decompose: fn(&str) -> String) -> Self {
        let folded = ids.iter().map(|id| (*id, fold(id, decompose)));
        // An id of only blanks and marks is like no other text.
        Variants { ids: folded.filter(|(_, folded)| !folded.is_empty()).collect(), decompose }
    }

    /// Returns whether a text looks as if one of the ids were in it: joined to something longer by
    /// punctuation, in other case, with or without accents, in another normal form, with other
    /// blanks, percent-encoded (RFC 3986 §2.1), or with the escapes of HTML or JSON. Texts that
    /// only begin or end alike, as `user_12` and `user_1` do, are not meant.
    pub fn are_in(&self, text: &str) -> bool {
        if is_simple(text) {
            return self.ids.iter().any(|(id, folded)| {
                let has = has_beside_others(text, id);
                has || contains_in_any_case(text, folded) && has_beside_others(&text.to_ascii_lowercase(), folded)
            });
        }
        let folded = fold(text, self.decompose);
        self.ids.iter().any(|(id, folded_id)| has_beside_others(text, id) || has_beside_others(&folded, folded_id))
    }

    /// Returns whether a text is one of the ids, whatever the spelling.
    pub fn are(&self, text: &str) -> bool {
        let folded = fold(text, self.decompose);
        self.ids.iter().any(|(_, folded_id)| *folded_id == folded)
    }

    /// Returns whether a number is written as one of the ids is.
    pub fn are_number(&self, number: &str) -> bool {
        self.ids.iter().any(|(id, _)| *id == number)
    }
}

/// Whether folding a text would change nothing but the case.
fn is_simple(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_changed = |byte: &u8| !matches!(byte, b' '..=b'~') || matches!(byte, b'%' | b'&' | b'\\');
    !bytes.iter().any(is_changed) && memchr::memmem::find(bytes, b"  ").is_none()
}

/// Whether `text` has `folded` in it, however the letters of ASCII are written.
fn contains_in_any_case(text: &str, folded: &str) -> bool {
    let (text, folded) = (text.as_bytes(), folded.as_bytes());
    let Some(first) = folded.first() else { return true };
    let candidates = memchr::memchr2_iter(*first, first.to_ascii_uppercase(), text);
    candidates
        .into_iter()
        .any(|at| text[at..].get(..folded.len()).is_some_and(|part| part.eq_ignore_ascii_case(folded)))
}

/// How many times a text may be encoded, as an address in a URL in a URL is.
const MOST_ENCODED: usize = 3;

/// Returns the same text for texts that look alike.
fn fold(text: &str, decompose: fn(&str) -> String) -> String {
    let mut text = Cow::Borrowed(text);
    for _ in 0..MOST_ENCODED {
        match decoded(&text) {
            Some(plain) => text = Cow::Owned(plain),
            None => break,
        }
    }
    if !text.is_ascii() {
        text = Cow::Owned(decompose(&text));
    }
    let mut folded = String::with_capacity(text.len());
    let mut blank = false;
    for c in text.chars() {
        if is_mark(c) || is_invisible(c) {
            continue;
        }
        if c.is_whitespace() {
            blank = !folded.is_empty();
            continue;
        }
        if std::mem::take(&mut blank) {
            folded.push(' ');
        }
        // By way of upper case, for letters that only lower case tells apart: ß and ss, σ and ς.
        folded.extend(c.to_uppercase().flat_map(char::to_lowercase));
    }
    folded
}

/// The text without one layer of percent-encoding and of HTML's and JSON's escapes, if it has any.
fn decoded(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr3(b'%', b'&', b'\\', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let found = match rest.as_bytes()[0] {
            b'%' => percent(rest),
            b'&' => entity(rest),
            _ => escape(rest),
        };
        let (plain, length) = found.unwrap_or_else(|| (rest[..1].to_string(), 1));
        out.push_str(&plain);
        rest = &rest[length..];
    }
    out.push_str(rest);
    (out != text).then_some(out)
}

/// The text that a run of `%41` at the beginning stands for, and the length of the run, if the text
/// is UTF-8.
fn percent(text: &str) -> Option<(String, usize)> {
    let byte = |encoded: &[u8]| match encoded {
        [b'%', digits @ ..] => u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok(),
        _ => None,
    };
    let is_digits = |encoded: &&[u8]| encoded.len() == 3 && encoded[1..].iter().all(u8::is_ascii_hexdigit);
    let bytes: Vec<u8> = text.as_bytes().chunks(3).take_while(is_digits).map_while(byte).collect();
    let length = 3 * bytes.len();
    String::from_utf8(bytes).ok().filter(|plain| !plain.is_empty()).map(|plain| (plain, length))
}

/// The character that a reference of HTML at the beginning stands for, and the length of the
/// reference.
fn entity(text: &str) -> Option<(String, usize)> {
    let end = text.as_bytes().iter().take(12).position(|byte| *byte == b';')?;
    let name = &text[1..end];
    let c = match name.strip_prefix('#') {
        Some(digits) => match digits.strip_prefix(['x', 'X']) {
            Some(digits) => char::from_u32(u32::from_str_radix(digits, 16).ok()?)?,
            None => char::from_u32(digits.parse().ok()?)?,
        },
        None => {
            let known = [
                ("amp", '&'),
                ("lt", '<'),
                ("gt", '>'),
                ("quot", '"'),
                ("apos", '\''),
                ("nbsp", ' '),
                ("commat", '@'),
                ("period", '.'),
                ("plus", '+'),
                ("lowbar", '_'),
            ];
            known.iter().find(|(known, _)| *known == name)?.1
        }
    };
    Some((c.to_string(), end + 1))
}

/// The character that an escape of JSON at the beginning stands for, and the length of the escape.
/// Escapes of control characters stay, because `\n` can also be part of a name in a domain, as in
/// `CORP\nina`.
fn escape(text: &str) -> Option<(String, usize)> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
    };
    match text.as_bytes().get(1)? {
        b'"' | b'\\' | b'/' => Some((text[1..2].to_string(), 2)),
        b'u' => {
            let first = unit(0)?;
            if let Some(Ok(c)) = char::decode_utf16([first]).next() {
                return Some((c.to_string(), 6));
            }
            let c = char::decode_utf16([first, unit(6)?]).next()?.ok()?;
            Some((c.to_string(), 12))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{fold, is_mark, is_of_word, mentions, Variants};
    use proptest::prelude::*;

    /// Enough of NFKD for these tests.
    fn decompose(text: &str) -> String {
        text.replace('é', "e\u{301}")
            .replace('É', "E\u{301}")
            .replace('＠', "@")
            .replace('\u{a0}', " ")
            .replace('İ', "I\u{307}")
    }

    fn looks_like(text: &str, id: &str) -> bool {
        Variants::new(&[id], decompose).are_in(text)
    }

    #[test]
    fn where_words_have_no_spaces_between_them_an_id_has_none_around_it() {
        assert!(mentions("用户张三登录", "张三"));
        assert!(mentions("สมชายเข้า", "สมชาย"));
        assert!(!mentions("用户user_12", "user_1"));
        // but a mark is of the letter before it
        assert!(!mentions("か\u{3099}", "か"));
    }

    #[test]
    fn a_plain_id_is_found_as_a_whole_word_alone() {
        for text in [
            "user_1",
            "by user_1",
            "user_1.",
            "(user_1)",
            "user_1@example.com",
            "xuser_1 user_1",
            "é user_1 é",
            "https://x/u/user_1?x=2",
            "/users/user_1/edit",
            "user_0,user_1,user_2",
            "\"user_1\"",
            "'user_1'",
            "<user_1>",
            "ACME\\user_1",
            "user:user_1",
            "id=user_1&x=1",
            "user_1.txt",
            "user_1's",
            "{user_1}",
            "user_1\u{200b} ",
        ] {
            assert!(mentions(text, "user_1"), "{text}");
        }
        for text in [
            "",
            "user_",
            "user_12",
            "xuser_1",
            "user_1_",
            "user_1-a",
            "a-user_1",
            "éuser_1",
            "user_1é",
            "User_1",
            "user_1\u{301}",
            "user_1\u{200d}x",
            "x\u{ad}user_1",
        ] {
            assert!(!mentions(text, "user_1"), "{text}");
        }
        assert!(!mentions("Jose\u{301}", "Jose") && !mentions("Jose\u{301} Garcia", "Jose"));
        assert!(mentions("Jose\u{301} Garcia", "Jose\u{301}") && mentions("Jose Garcia", "Jose"));
        // an occurrence that begins inside one that does not count
        assert!(mentions("xa a a", "a a"));
        assert!(mentions("xéé é", "é"));
        assert!(!mentions("aaaa", "aa"));
    }

    #[test]
    fn an_address_ends_where_it_ends() {
        let id = "sarah@example.com";
        for text in [
            "sarah@example.com",
            "Mail sarah@example.com.",
            "sarah@example.com...",
            "sarah@example.com.\nNext",
            "mailto:sarah@example.com",
            "mailto:sarah@example.com?subject=x",
            "<sarah@example.com>",
            "\"sarah@example.com\"",
            "sarah@example.com: yes",
            "sarah@example.com:",
            "(sarah@example.com)",
            "[sarah@example.com]",
            "bob@example.com,sarah@example.com;eve@example.com",
            "?email=sarah@example.com&x=1",
            "/u/sarah@example.com/edit",
            "https://sarah@example.com/",
            "ACME\\sarah@example.com",
            "sarah@example.com, and",
            "sarah@example.com!",
            "{\"to\":\"sarah@example.com\"}",
            "x.sarah@example.com sarah@example.com",
            "sarah@example.com's",
            ".sarah@example.com",
            "sarah@example.com|x",
            "to=sarah@example.com",
            "sarah@example.com%",
            "sarah@example.com。",
        ] {
            assert!(mentions(text, id), "{text}");
        }
        for text in [
            "sarah@example.com.au",
            "x.sarah@example.com",
            "sarah@example.com+news",
            "news+sarah@example.com",
            "sarah@example.com@evil.example",
            "x%sarah@example.com",
            "x@sarah@example.com",
            "sarah@example.com..au",
            "sarah@example.com.@au",
            "sarah@example.com%20",
            "sarah@example.comx",
            "xsarah@example.com",
            "o-sarah@example.com",
            "sarah@example.com-x",
            "_sarah@example.com",
            "sarah@example.com\u{301}",
            "sarah@example.com\u{200d}.au",
            "Sarah@example.com",
            "sarah%40example.com",
            "sarah@example.com.é",
            "1.sarah@example.com",
        ] {
            assert!(!mentions(text, id), "{text}");
        }
    }

    #[test]
    fn an_id_is_joined_by_what_it_is_made_of_itself() {
        for (id, yes, no) in [
            ("ACME\\sarah", "by ACME\\sarah, once", "X\\ACME\\sarah"),
            ("ACME\\sarah", "ACME\\sarah@home ACME\\sarah", "ACME\\sarah.j"),
            ("/home/sarah", "ls /home/sarah;", "/home/sarah/x"),
            ("/home/sarah", "'/home/sarah'", "/mnt/home/sarah"),
            ("https://x.example/u/7", "https://x.example/u/7?x=1", "https://x.example/u/7/keys"),
            ("acct:7", "owner acct:7: x", "acct:7:1"),
            ("auth0|7", "auth0|7 logged in", "x|auth0|7"),
            ("10.0.0.4", "10.0.0.4:80, 10.0.0.4/24", "10.0.0.4.5"),
            ("Sarah Connor", "by Sarah Connor.", "Sarah Connors"),
            ("O'Brien", "by O'Brien's", "x.O'Brien"),
            ("CN=Sarah,OU=x", "(CN=Sarah,OU=x)", "CN=Sarah,OU=x=y"),
        ] {
            assert!(mentions(yes, id), "{id} in {yes}");
            assert!(!mentions(no, id), "{id} in {no}");
        }
    }

    #[test]
    fn a_number_is_not_part_of_a_longer_one() {
        for text in
            ["42", "user 42", "user:42", "/u/42/x", "41,42", "No.42", "42.", "42.pdf", "(42)", "#42", "v: 42", "42: x"]
        {
            assert!(mentions(text, "42"), "{text}");
        }
        for text in ["10.0.0.42", "1.42.0", "42.5", "8:42", "fe80::42", "421", "a42", "2026-11-42", "42-a", "1..42"] {
            assert!(!mentions(text, "42"), "{text}");
        }
        assert!(looks_like("8:42", "42") && looks_like("org-42", "42") && !looks_like("10.0.0.42", "42"));
    }

    #[test]
    fn what_is_written_otherwise_looks_like_it() {
        let id = "sarah@example.com";
        for text in [
            "Sarah@Example.com",
            "SARAH@EXAMPLE.COM",
            "sarah%40example.com",
            "sarah%2540example.com",
            "sarah&#64;example.com",
            "sarah&#x40;example.com",
            "sarah&commat;example.com",
            r"{\u0022to\u0022:\u0022sarah\u0040example.com\u0022}",
            " sarah@example.com ",
            "x.sarah@example.com",
            "sarah@example.com.au",
            "sarah@example.com+news",
            "big-sarah@example.com",
            "sarah＠example.com",
            "sa\u{ad}rah@example.com",
            "sárah@example.com".replace('á', "a\u{301}").as_str(),
            "to%20sarah@example.com%20x",
            "mailto%3ASarah%40example.com",
        ] {
            assert!(looks_like(text, id), "{text}");
        }
        for text in
            ["", "sarah@example.comx", "xsarah@example.com", "sarah@example.org", "sarah example.com", "%40", "sarah%4"]
        {
            assert!(!looks_like(text, id), "{text}");
        }
        assert!(looks_like("Jose\u{301}", "José") && looks_like("José", "Jose\u{301}") && looks_like("José", "Jose"));
        assert!(
            looks_like("STRASSE 1", "Straße 1") && looks_like("ΟΔΟΣ", "οδος") && looks_like("İstanbul", "istanbul")
        );
        assert!(looks_like("Sarah\u{a0}\n Connor", "sarah connor") && looks_like(r"ACME\\sarah", r"ACME\sarah"));
        assert!(
            looks_like(r"ACME\NICK", r"ACME\nick")
                && !looks_like("user_12", "user_1")
                && looks_like("org5-user_7", "user_7")
        );
        assert!(!looks_like("anything", "\u{301}"));
        assert_eq!(fold("&#xd800; %ff \\ud83d\\ude00 \\ud800 &x; %", decompose), "&#xd800; %ff 😀 \\ud800 &x; %");
    }

    #[test]
    fn marks() {
        for c in ['\u{301}', '\u{483}', '\u{94d}', '\u{3099}', '\u{fe0f}', '\u{e01ef}'] {
            assert!(is_mark(c));
        }
        for c in ['a', ' ', '.', '\u{0}', '\u{2ff}', 'é', '\u{10ffff}', '한'] {
            assert!(!is_mark(c));
        }
    }

    /// Every place is tried, and the text around it is looked at from scratch.
    fn slowly(text: &str, id: &str) -> bool {
        let (text, id): (Vec<char>, Vec<char>) = (text.chars().collect(), id.chars().collect());
        let compound = !id.iter().all(|c| is_of_word(*c));
        let number = id.iter().all(|c| c.is_numeric());
        let joins = |c: &char| match c {
            '_' | '-' | '\u{200d}' => true,
            '.' => compound || number,
            ':' if number => true,
            '@' | '+' | '%' => compound,
            '/' | '\\' | ':' => compound && id.contains(c),
            _ => false,
        };
        let separates = |beside: &[char]| match beside.first() {
            None => true,
            Some(c) if is_of_word(*c) => false,
            Some(first) => {
                let word = beside.iter().find(|c| !joins(c) || (is_of_word(**c) && !matches!(c, '_' | '-')));
                match word {
                    Some(c) if !joins(c) && is_of_word(*c) => number && *first != '\u{200d}' && !c.is_numeric(),
                    _ => true,
                }
            }
        };
        (0..=text.len().saturating_sub(id.len())).any(|at| {
            let reversed: Vec<char> = text[..at].iter().rev().copied().collect();
            text[at..].starts_with(&id) && separates(&reversed) && separates(&text[at + id.len()..])
        })
    }

    proptest! {
        #[test]
        fn the_rule_is_that_of_the_slow_one(text in "[a1_.@:/ \u{301}\u{200d}-]{0,12}", id in "[a1]|[a1_.@:/-]{1,4}|1{1,2}") {
            prop_assert_eq!(mentions(&text, &id), slowly(&text, &id));
        }

        #[test]
        fn what_is_mentioned_looks_like_it(text in "[aA1_.@%4:0é ]{0,12}", id in "[aA1_.@%40é]{1,4}") {
            prop_assert!(!mentions(&text, &id) || looks_like(&text, &id));
        }

        #[test]
        fn no_text_makes_it_panic(text in "([%&#x;\\\\u0-9a-fA-F]|.){0,24}", id in ".{1,3}") {
            looks_like(&text, &id);
            prop_assert!(!id.is_empty());
        }
    }
}
