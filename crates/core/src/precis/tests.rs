//! The examples of RFC 8265, and the kinds of character that it names.

use proptest::prelude::*;

use super::*;

#[test]
fn hazard_116_a_user_name_is_by_username_case_mapped() {
    // RFC 8265 §3.6, tables 1 and 2, and names as people have them.
    for name in ["juliet@example.com", "fussball", "fußball", "\u{3c0}", "\u{3a3}", "\u{3c3}", "\u{3c2}"] {
        assert_eq!(check_user_name(name), Ok(()), "{name}");
    }
    for name in ["José", "jose\u{301}", "o'brien", "ann+test", "DOMAIN\\ann", "李小龍", "محمد", "שלום", "l·l", "ａｎｎ"]
    {
        assert_eq!(check_user_name(name), Ok(()), "{name}");
    }
    let refused = [
        "henry\u{2163}",
        "\u{265a}",
        "ann\u{200b}",
        "ann\u{ad}",
        "\u{feff}ann",
        "a\u{202e}b",
        "a\u{0}b",
        "a\nb",
        "\u{fb01}n",
        "a·b",
        "a\u{200d}b",
        "\u{1f600}",
        "a\u{a0}b",
        "אa",
        "\u{e000}",
        "\u{fdd0}",
        "\u{378}",
        "x\u{2028}",
    ];
    for name in refused {
        assert!(check_user_name(name).is_err(), "{name:?}");
    }
}

#[test]
fn hazard_115_a_password_is_one_however_its_accents_and_blanks_are_written() {
    let alike = [
        ["Pässwörd-größe", "Pa\u{308}sswo\u{308}rd-gro\u{308}ße"],
        ["correct horse", "correct\u{a0}horse"],
        ["correct horse", "correct\u{3000}horse"],
        ["\u{1e9b}\u{323}", "\u{17f}\u{323}\u{307}"],
        ["\u{212b}", "\u{c5}"],
    ];
    for [one, other] in alike {
        assert_eq!(*opaque_string(one), *opaque_string(other), "{one} and {other}");
    }
    // Case, width and compatibility forms are the password's own.
    for [one, other] in [["Secret", "secret"], ["ａbc", "abc"], ["\u{fb01}", "fi"], ["a b", "ab"], ["a  b", "a b"]] {
        assert_ne!(*opaque_string(one), *opaque_string(other), "{one} and {other}");
    }
    // RFC 8265 §4.3, tables 3 and 4.
    for text in
        ["correct horse battery staple", "Correct Horse", "\u{3c0}\u{df}\u{e5}", "Jack of \u{2666}s", "foo\u{1680}bar"]
    {
        assert_eq!(check_opaque_string(text), Ok(()), "{text}");
    }
    assert_eq!(*opaque_string("foo\u{1680}bar"), "foo bar");
    for text in ["my cat is a \u{9}by", "a\nb", "a\u{0}b", "a\u{7f}b", "a\u{200b}b", "a\u{85}b"] {
        assert!(check_opaque_string(text).is_err(), "{text:?}");
    }
}

proptest! {
    #[test]
    fn what_was_mapped_is_mapped_to_itself(text in any::<String>()) {
        let once = opaque_string(&text);
        prop_assert_eq!(&*opaque_string(&once), &*once);
        prop_assert_eq!(width_mapped(&width_mapped(&text)), width_mapped(&text));
        let _ = (check_user_name(&text), check_opaque_string(&text));
    }
}
