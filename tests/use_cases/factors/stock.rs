//! Tokens that belong to nobody yet.

use std::time::Duration;

use signet_core::audit::RequestContext;
use signet_core::keys::OtpHash;
use signet_core::mfa::Validity;
use signet_core::secret::SecretBytes;
use signet_core::token_files::{FileFault, Format, ImportOptions, ReadToken, good_tokens, judge, tokens};
use signet_service::ChangeError;
use signet_service::factors::own::SelfServiceError;
use signet_service::factors::stock_import::MAX_TOKENS_AT_ONCE;

use crate::support::codes::SixDigits;
use crate::support::people::{PASSWORD, secret, shown};
use crate::support::{InProcess, context};

/// Two tokens that count, a seed each.
const FILE: &str = "4711,0101010101010101010101010101010101010101,hotp,6,0\n\
                    4712,0202020202020202020202020202020202020202,hotp,6,0\n";

fn token(seed: u8) -> SixDigits {
    SixDigits { hash: OtpHash::Sha1, secret: vec![seed; 20], is_clock: false }
}

async fn import(app: &InProcess, file: &str, without_faulty: bool) -> Result<[usize; 3], ChangeError> {
    let options = ImportOptions { format: Some(Format::OathCsv), ..ImportOptions::default() };
    let unreadable = |fault: FileFault| ChangeError::Input(fault.0);
    let judged = judge(file.as_bytes(), &options, &mut |_| {}).map_err(unreadable)?;
    if !judged.faults.is_empty() && !without_faulty {
        return Ok([0, 0, judged.faults.len()]);
    }
    let good: Vec<_> = good_tokens(file.as_bytes(), &options, &judged).map_err(unreadable)?.collect();
    let of = good.len();
    let imported = app.issuer.factors.stock_import.import_tokens(good, &context()).await?.len();
    Ok([imported, of - imported, judged.faults.len()])
}

#[tokio::test]
async fn a_batch_with_a_token_that_can_not_be_used_is_refused_whole() {
    let app = InProcess::new().await;
    let options = ImportOptions { format: Some(Format::OathCsv), ..ImportOptions::default() };
    let read = || {
        let tokens: Vec<_> = tokens(FILE.as_bytes(), &options).unwrap().map(Result::unwrap).collect();
        let [one, two] = <[_; 2]>::try_from(tokens).unwrap();
        (one, two)
    };
    let refused = async |batch| match app.issuer.factors.stock_import.import_tokens(batch, &context()).await {
        Err(ChangeError::Input(text)) => text,
        other => panic!("{other:?}"),
    };
    let (one, two) = read();
    let short = ReadToken { secret: SecretBytes::new(vec![1; 3]), line: 2, ..two };
    assert!(refused(vec![one, short]).await.contains("in place 2"));
    let (one, two) = read();
    assert!(refused(vec![ReadToken { serial: two.serial.clone(), ..one }, two]).await.contains("same serial number"));
    let many = (0..=MAX_TOKENS_AT_ONCE).map(|number| ReadToken { serial: number.to_string(), ..read().0 });
    assert!(refused(many.collect()).await.contains("at most 500"));
    assert!(serials(&app).await.is_empty());
}

async fn serials(app: &InProcess) -> Vec<String> {
    app.issuer.factors.stock.stock_after(None, 1000).await.unwrap().into_iter().map(|token| token.serial).collect()
}

#[tokio::test]
async fn a_file_is_judged_whole_and_imported_once() {
    let app = InProcess::new().await;
    let faulty = format!("{FILE}4713,01,hotp,6,0\n");
    assert_eq!(import(&app, &faulty, false).await.unwrap(), [0, 0, 1]);
    assert!(serials(&app).await.is_empty(), "nothing of a file with a fault");
    assert_eq!(import(&app, &faulty, true).await.unwrap(), [2, 0, 1]);
    assert_eq!(import(&app, FILE, false).await.unwrap(), [0, 2, 0]);
    assert_eq!(import(&app, &format!("{FILE}{FILE}"), false).await.unwrap()[2], 2, "serial numbers twice");
    assert_eq!(serials(&app).await, ["4711", "4712"]);
    assert!(matches!(import(&app, "", false).await, Err(ChangeError::Input(_))));
    let stock = &app.issuer.factors.stock;
    stock.remove_stock("4711", &context()).await.unwrap();
    assert!(matches!(stock.remove_stock("4711", &context()).await, Err(ChangeError::Absent(_))));
    assert_eq!(app.details("stock.changed").await, ["imported up to 2 tokens", "removed 4711"]);
}

#[tokio::test]
async fn a_token_of_the_stock_becomes_one_persons_factor() {
    let app = InProcess::new().await;
    import(&app, FILE, false).await.unwrap();
    app.user("ann").await;
    app.user("bob").await;
    let stock = &app.issuer.factors.stock;
    let factor = stock.assign_stock("4711", "ann", None, &context()).await.unwrap();
    assert_eq!((factor.serial.as_deref(), &*factor.label), (Some("4711"), "4711"));
    assert!(matches!(stock.assign_stock("4711", "bob", None, &context()).await, Err(ChangeError::Conflict(_))));
    let request = shown("ann", PASSWORD, &token(1).at(0));
    app.issuer.sessions.begin_session(&request, None, &context()).await.unwrap();
    assert_eq!(serials(&app).await, ["4712"]);
}

/// RFC 6030 §5: a key is used between the dates of its policy alone.
#[tokio::test]
async fn hazard_112_a_token_is_used_between_its_dates_alone() {
    let app = InProcess::new().await;
    let day = Duration::from_secs(24 * 60 * 60);
    let options = ImportOptions { format: Some(Format::OathCsv), ..ImportOptions::default() };
    let read = |validity: Validity| {
        let read = tokens(FILE.as_bytes(), &options).unwrap().map(Result::unwrap);
        read.map(|token| ReadToken { validity, ..token }).take(1).collect::<Vec<_>>()
    };
    let import = async |validity| app.issuer.factors.stock_import.import_tokens(read(validity), &context()).await;
    let expired = import(Validity { from: None, until: Some(app.now()) }).await;
    assert!(matches!(&expired, Err(ChangeError::Input(text)) if text.contains("expired")), "{expired:?}");
    let dates = Validity { from: Some(app.now().plus(day)), until: Some(app.now().plus(3 * day)) };
    import(dates).await.unwrap();
    let stock = &app.issuer.factors.stock;
    assert_eq!(stock.stock_after(None, 1).await.unwrap()[0].validity, dates);
    app.user("ann").await;
    let early = stock.assign_stock("4711", "ann", None, &context()).await;
    assert!(matches!(&early, Err(ChangeError::Conflict(text)) if text.contains("may be used from")), "{early:?}");
    app.pass(2 * day).await;
    let factor = stock.assign_stock("4711", "ann", None, &context()).await.unwrap();
    assert_eq!(factor.valid_until, dates.until);
    let sign_in = async |counter: i64| {
        let request = shown("ann", PASSWORD, &token(1).at(counter));
        app.issuer.sessions.begin_session(&request, None, &context()).await.is_ok()
    };
    assert!(sign_in(0).await);
    app.pass(2 * day).await;
    assert!(!sign_in(1).await, "it expired");
}

/// Who holds a token takes it by its serial number and a code, which is spent by that.
#[tokio::test]
async fn a_person_takes_the_token_that_they_hold() {
    let app = InProcess::new().await;
    import(&app, FILE, false).await.unwrap();
    let ann = app.person("ann").await;
    let (stock, code) = (&app.issuer.factors.stock, secret(&token(1).at(4)));
    for (serial, code) in [("4712", &code), ("9999", &code), ("4711", &secret(&token(1).at(40)))] {
        let refused = stock.self_assign(&ann.user, serial, code, None, &RequestContext::default()).await;
        assert!(matches!(refused, Err(ChangeError::Input(_))), "{serial}");
    }
    assert_eq!(app.reasons("factor.changed").await[1..], ["wrong_code"; 3]);
    stock.self_assign(&ann.user, "4711", &code, Some("mine"), &RequestContext::default()).await.unwrap();
    let sign_in = async |counter: i64| {
        let request = shown("ann", PASSWORD, &token(1).at(counter));
        app.issuer.sessions.begin_session(&request, None, &context()).await.is_ok()
    };
    assert!(!sign_in(4).await && sign_in(5).await);
    let live = app.fresh(&ann).await;
    let take = async |serial: &str, seed| {
        let code = secret(&token(seed).at(0));
        app.issuer.factors.own_tokens.take_own_token(&live, serial, &code, "", &RequestContext::default()).await
    };
    assert!(matches!(take("4711", 1).await, Err(SelfServiceError::Input(_))));
    assert_eq!(take("4712", 2).await.unwrap().label, "4712");
}
