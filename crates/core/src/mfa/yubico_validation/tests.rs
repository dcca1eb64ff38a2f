use std::time::Duration;

use super::*;

/// A published signature: key, signing string, result.
const VECTOR_KEY: &str = "Eibja2kRFXXoW6hjZaiyBtWnCBA=";
const VECTOR: &str = "id=15618&nonce=0102030405060708090a0b0c0d0e0f&otp=ccccccbteuddjivcnlfefefrccdcjrfjfvgjnfkcklge";
const VECTOR_SIGNATURE: &str = "Jt19GpDOAraTYRFBHSofYZFEwjE=";

const OTP: &str = "dteffujehknhfjbrjnlnldnhcujvddbikngjrtgh";
const NONCE: &str = "0123456789abcdef";
/// 2027-01-15T08:00:00.250Z.
const AT: Timestamp = Timestamp::from_unix_millis(1_800_000_000_250);

fn fields(pairs: &[(&str, &str)]) -> Fields {
    Fields::collect(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).unwrap()
}

fn request(extra: &[(&str, &str)]) -> Fields {
    let mut all = fields(&[("id", "1"), ("otp", OTP), ("nonce", NONCE)]);
    all.0.extend(extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    all
}

#[test]
fn signs_as_the_published_vector_says() {
    let key = STANDARD.decode(VECTOR_KEY).unwrap();
    assert_eq!(signature_text(&hmac_sha1(&key, VECTOR)), VECTOR_SIGNATURE);
    let pairs = VECTOR.split('&').rev().map(|pair| pair.split_once('=').unwrap());
    let mut all = fields(&pairs.collect::<Vec<_>>());
    assert_eq!(all.signing_string(), VECTOR, "sorted by name");
    all.0.insert("h".into(), VECTOR_SIGNATURE.into());
    assert_eq!(all.signing_string(), VECTOR, "a signature does not cover itself");
    assert!(Request::read(Some(&all)).unwrap().has_signature(&hmac_sha1(&key, VECTOR)));
    assert!(is_signature(VECTOR_SIGNATURE, &hmac_sha1(&key, VECTOR)));
    assert!(!is_signature(&VECTOR_SIGNATURE.replace('J', "K"), &hmac_sha1(&key, VECTOR)));
    assert!(!is_signature("", &hmac_sha1(&key, VECTOR)));
}

#[test]
fn a_plus_that_became_a_space_is_one() {
    assert!(is_signature(" /8=", &[0xfb, 0xff]) && is_signature("+/8=", &[0xfb, 0xff]));
}

#[test]
fn every_status_has_its_word() {
    for status in Status::ALL {
        assert_eq!(Status::named(status.name()), Some(status));
    }
    assert_eq!(Status::named("ok"), None);
}

#[test]
fn client_numbers_are_one_to_ten_digits_and_not_zero() {
    assert_eq!(ClientNumber::parse("9999999999").map(ClientNumber::get), Some(9_999_999_999));
    for text in ["", "0", "00", "+1", "-1", "1 ", "10000000000", "١"] {
        assert_eq!(ClientNumber::parse(text), None, "{text}");
    }
}

#[test]
fn a_good_request_is_read() {
    let read = Request::read(Some(&request(&[("timestamp", "1"), ("sl", "secure"), ("timeout", "8")]))).unwrap();
    assert_eq!((read.client.get(), read.nonce(), read.wants_timestamp), (1, NONCE, true));
    assert_eq!(read.otp, YubicoOtp::parse(OTP).unwrap());
    assert!(!read.is_signed() && !read.has_signature(&hmac_sha1(b"", read.signing_string())));
    for level in ["0", "100", "fast", ""] {
        assert!(Request::read(Some(&request(&[("sl", level)]))).is_ok(), "{level}");
    }
}

#[test]
fn a_malformed_request_is_told_with_the_status_of_its_fault() {
    let long = "c".repeat(49);
    let cases: [(&[(&str, &str)], Status); 17] = [
        (&[("id", "")], Status::MissingParameter),
        (&[("id", "0")], Status::MissingParameter),
        (&[("id", "x1")], Status::MissingParameter),
        (&[("otp", "")], Status::MissingParameter),
        (&[("nonce", "")], Status::MissingParameter),
        (&[("nonce", "0123456789abcde")], Status::MissingParameter),
        (&[("nonce", "0123456789abcdef0123456789abcdef012345678")], Status::MissingParameter),
        (&[("nonce", "0123456789abcde-")], Status::MissingParameter),
        (&[("sl", "101")], Status::MissingParameter),
        (&[("sl", "slow")], Status::MissingParameter),
        (&[("sl", "+1")], Status::MissingParameter),
        (&[("timeout", "1s")], Status::MissingParameter),
        (&[("otp", "123456")], Status::BadOtp),
        (&[("otp", &OTP[..31])], Status::BadOtp),
        (&[("otp", &long)], Status::BadOtp),
        (&[("otp", "a\u{e9}cccccccccccccccccccccccccccccccccc")], Status::BadOtp),
        (&[("otp", "123456"), ("id", "")], Status::MissingParameter),
    ];
    for (extra, status) in cases {
        assert_eq!(Request::read(Some(&request(extra))).unwrap_err().status, status, "{extra:?}");
    }
    assert_eq!(Request::read(None).unwrap_err().status, Status::MissingParameter);
    assert_eq!(Request::read(Some(&fields(&[]))).unwrap_err().status, Status::MissingParameter);
}

#[test]
fn hazard_42_nothing_but_letters_and_digits_is_sent_back() {
    let refused = Request::read(Some(&request(&[("otp", "x&status=OK"), ("nonce", "a\nb")]))).unwrap_err();
    assert_eq!(refused.echo, Echo::default());
    let kept = Request::read(Some(&request(&[("otp", "123456")]))).unwrap_err().echo;
    assert_eq!((kept.otp.as_deref(), kept.nonce.as_deref()), (Some("123456"), Some(NONCE)));
}

#[test]
fn fields_given_twice_or_with_control_characters_are_refused() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert!(Fields::collect([pair("a", "1"), pair("a", "1")]).is_none());
    assert!(Fields::collect([pair("a", "1\r\nstatus=OK")]).is_none());
    assert!(Fields::collect((0..=MAX_FIELDS).map(|number| pair(&number.to_string(), ""))).is_none());
}

#[test]
fn an_answer_is_written_line_by_line_and_signed_whole() {
    let asked = Request::read(Some(&request(&[("timestamp", "1")]))).unwrap();
    let block = 0x8792_ebfe_26cc_1300_30c2_0011_c89f_23c8_u128.to_be_bytes();
    let reading = Reading::decode(&block, &[0x87, 0x92, 0xeb, 0xfe, 0x26, 0xcc]).unwrap();
    let answer = Answer::success(&asked, &reading, AT);
    assert_eq!(
        answer.signing_string(),
        format!(
            "nonce={NONCE}&otp={OTP}&sessioncounter=19&sessionuse=17&sl=100&status=OK&t=2027-01-15T08:00:00Z0250&timestamp=49712"
        )
    );
    assert_eq!(
        answer.body(&[0; 20]),
        format!(
            "h=AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\nt=2027-01-15T08:00:00Z0250\r\notp={OTP}\r\nnonce={NONCE}\r\nsl=100\r\n\
             timestamp=49712\r\nsessioncounter=19\r\nsessionuse=17\r\nstatus=OK\r\n\r\n"
        )
    );
    let refusal = answer.failed();
    assert_eq!(
        refusal.signing_string(),
        format!("nonce={NONCE}&otp={OTP}&status=BACKEND_ERROR&t=2027-01-15T08:00:00Z0250")
    );
}

#[test]
fn fields_are_bounded() {
    let of = |many: usize, long: usize| (0..many).map(move |number| (number.to_string(), "v".repeat(long)));
    assert!(Fields::collect(of(32, 100)).is_some());
    assert!(Fields::collect(of(33, 1)).is_none() && Fields::collect(of(2, 2048)).is_none());
}

#[test]
fn moments_are_read_as_they_are_written() {
    assert_eq!(parse_moment(&moment(AT)), Some(AT));
    for text in ["2027-01-15T08:00:00.250Z", "2027-01-15T09:00:00.250+01:00", "2027-01-15 08:00:00.250"] {
        assert_eq!(parse_moment(text), Some(AT), "{text}");
    }
    for text in ["", "Z0250", "2027-13-15T08:00:00Z0250", "2027-13-15T08:00:00Z", "soon"] {
        assert_eq!(parse_moment(text), None, "{text}");
    }
}

const KEY: &[u8] = b"an API key";

fn query() -> Query {
    Query::new(ClientNumber::new(7).unwrap(), OTP, [0xab; 20], Duration::from_secs(5))
}

/// A server's answer to [`query`] with these lines changed, signed by `key`.
fn answered(changed: &[(&str, Option<&str>)], key: &[u8]) -> String {
    let asked = query();
    let mut all = fields(&[
        ("otp", OTP),
        ("nonce", asked.nonce()),
        ("t", &moment(AT)),
        ("sl", "50"),
        ("timestamp", "49712"),
        ("sessioncounter", "19"),
        ("sessionuse", "17"),
        ("status", "OK"),
    ]);
    for (name, value) in changed {
        match value {
            Some(value) => all.0.insert((*name).to_owned(), (*value).to_owned()),
            None => all.0.remove(*name),
        };
    }
    let signature = signature_text(&hmac_sha1(key, &all.signing_string()));
    let lines = all.0.iter().map(|(name, value)| format!("{name}={value}\r\n"));
    format!("h={signature}\r\n{}\r\n", lines.collect::<String>())
}

#[test]
fn a_query_is_one_that_a_server_takes() {
    let pairs = query().pairs(KEY);
    let read = Request::read(Fields::collect(pairs).as_ref()).unwrap();
    assert_eq!((read.client.get(), read.nonce().len(), read.wants_timestamp), (7, 40, true));
    assert!(read.has_signature(&hmac_sha1(KEY, read.signing_string())));
}

#[test]
fn a_good_answer_gives_the_counter_to_spend() {
    let judged = query().judge(&answered(&[], KEY), KEY, AT);
    assert_eq!(judged.unwrap().unwrap().by().counter(), Some(19 << 8 | 17));
    let lines = answered(&[], KEY).replace("\r\n", "\n");
    assert!(query().judge(&lines, KEY, AT).unwrap().is_ok());
    let refused = query().judge(&answered(&[("status", Some("REPLAYED_OTP"))], KEY), KEY, AT);
    assert_eq!(refused, Ok(Err(Status::ReplayedOtp)));
    let short = [("status", Some("NO_SUCH_CLIENT")), ("otp", None), ("nonce", None)];
    assert_eq!(query().judge(&answered(&short, KEY), KEY, AT), Ok(Err(Status::NoSuchClient)));
}

#[test]
fn the_time_of_another_server_may_be_written_as_it_likes() {
    let now = AT.to_string();
    let seconds = now.split(['.', 'Z']).next().unwrap();
    for written in [
        now.clone(),
        format!("{seconds}Z"),
        format!("{seconds}.123Z"),
        format!("{seconds}+00:00"),
        seconds.to_owned(),
        seconds.replace('T', " "),
        seconds.replace(['-', ':'], "") + "Z",
        format!("{seconds}Z0250"),
        // What says nothing that can be read says nothing against the answer, which is signed.
        "1796035200".to_owned(),
        "Sun, 29 Nov 2026 14:16:06 GMT".to_owned(),
    ] {
        let judged = query().judge(&answered(&[("t", Some(&written))], KEY), KEY, AT);
        assert!(matches!(judged, Ok(Ok(_))), "{written}: {judged:?}");
    }
}

#[test]
fn an_answer_that_is_not_wholly_right_is_worth_nothing() {
    let far = moment(AT.plus(Duration::from_secs(601)));
    let cases: [(&str, String, AnswerFault); 15] = [
        ("another key", answered(&[], b"another"), AnswerFault::WrongSignature),
        (
            "no signature",
            answered(&[], KEY).lines().skip(1).map(|line| format!("{line}\n")).collect(),
            AnswerFault::WrongSignature,
        ),
        (
            "a status changed on its way",
            answered(&[("status", Some("BAD_OTP"))], KEY).replace("BAD_OTP", "OK"),
            AnswerFault::WrongSignature,
        ),
        (
            "a field twice",
            format!("{}status=OK\r\n", answered(&[], KEY)),
            AnswerFault::Malformed("it has the field `status` twice"),
        ),
        (
            "a line without a name",
            format!("{}hello\r\n", answered(&[], KEY)),
            AnswerFault::Malformed("a line of it is no `name=value`"),
        ),
        (
            "an unknown status",
            answered(&[("status", Some("FINE"))], KEY),
            AnswerFault::Malformed("its field `status` is none of the protocol's"),
        ),
        ("no status", answered(&[("status", None)], KEY), AnswerFault::Malformed("its field `status` is missing")),
        ("no time", answered(&[("t", None)], KEY), AnswerFault::Malformed("its field `t` is missing")),
        (
            "another time in ISO 8601",
            answered(&[("t", Some("2026-11-29T14:16:06Z"))], KEY),
            AnswerFault::ImplausibleTime,
        ),
        ("another OTP", answered(&[("otp", Some(&OTP.replace('d', "c")))], KEY), AnswerFault::OtherRequest),
        ("another nonce", answered(&[("nonce", Some(NONCE))], KEY), AnswerFault::OtherRequest),
        (
            "an old refusal",
            answered(&[("nonce", Some(NONCE)), ("status", Some("BAD_OTP"))], KEY),
            AnswerFault::OtherRequest,
        ),
        ("no nonce", answered(&[("nonce", None)], KEY), AnswerFault::OtherRequest),
        ("another time", answered(&[("t", Some(&far))], KEY), AnswerFault::ImplausibleTime),
        ("no counters", answered(&[("sessionuse", None)], KEY), AnswerFault::NoCounters),
    ];
    for (what, body, fault) in cases {
        assert_eq!(query().judge(&body, KEY, AT), Err(fault), "{what}");
    }
    let page = query().judge("<html>", KEY, AT);
    assert_eq!(page, Err(AnswerFault::Malformed("a line of it is no `name=value`")));
}

proptest::proptest! {
    #[test]
    fn no_text_panics(body: String) {
        proptest::prop_assert!(query().judge(&body, KEY, AT).is_err());
    }

    #[test]
    fn no_request_panics(pairs: Vec<(String, String)>) {
        let _ = Request::read(Fields::collect(pairs).as_ref());
    }
}
