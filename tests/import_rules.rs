//! Imports point inward only. The tables below are the rule of `src/lib.rs`, room by room; a path that breaks it is a
//! fault with its file and line. Looked at is each path in the code, in a `use` or not: `crate::`, `super::`, `self::`,
//! a child module's, another crate's, and the `"crate::..."` texts that attributes take.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::paths::{Named, module_of_file, named_in};
use super::source;

/// What each room may name besides itself. The order is from the inside to the outside.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("random", &[]),
    ("secret", &[]),
    ("jose", &["clock", "random", "secret"]),
    ("keys", &["jose", "clock", "random", "secret"]),
    // Neighbours may name each other; a cycle among them is a fault of its own.
    ("mfa", &["oauth", "token", "keys", "jose", "clock", "random", "secret"]),
    ("token", &["oauth", "mfa", "keys", "jose", "clock", "random", "secret"]),
    ("oauth", &["token", "mfa", "keys", "jose", "clock", "random", "secret"]),
    ("verify", &["token", "jose", "clock", "random", "secret"]),
    ("audit", &["keys", "jose", "clock", "random", "secret"]),
    ("store", &["audit", "oauth", "token", "mfa", "keys", "jose", "clock", "random", "secret"]),
    // The adapters: they implement inner contracts.
    ("store::sqlite", &["store", "audit", "oauth", "token", "mfa", "keys", "jose", "clock", "random", "secret"]),
    ("store::postgres", &["store", "audit", "oauth", "token", "mfa", "keys", "jose", "clock", "random", "secret"]),
    ("hsm", &["keys", "jose", "clock", "random", "secret"]),
    ("service", SERVICE),
    ("http", FACE),
    ("ui", FACE),
    ("config", &["verify", "oauth", "token", "mfa", "keys", "jose", "clock", "random", "secret"]),
    ("cli", EVERYTHING),
    ("main", &["cli"]),
    ("lib", EVERYTHING),
];

const SERVICE: &[&str] =
    &["store", "audit", "verify", "oauth", "token", "mfa", "keys", "jose", "clock", "random", "secret"];

const FACE: &[&str] = &[
    "http", "ui", "service", "store", "audit", "verify", "oauth", "token", "mfa", "keys", "jose", "clock", "random",
    "secret",
];

const EVERYTHING: &[&str] = &[
    "cli",
    "config",
    "http",
    "ui",
    "service",
    "hsm",
    "store::postgres",
    "store::sqlite",
    "store",
    "audit",
    "verify",
    "oauth",
    "token",
    "mfa",
    "keys",
    "jose",
    "clock",
    "random",
    "secret",
];

/// The rooms that decide and never touch the outside.
const PURE: &[&str] = &["clock", "random", "secret", "jose", "keys", "mfa", "token", "oauth"];

/// Crates that have one place. A name covers its family: `axum` is also `axum_server`.
const ONLY_IN: &[(&str, &[&str])] =
    &[("anyhow", &["cli"]), ("cryptoki", &["hsm"]), ("sqlx", &["store::sqlite", "store::postgres"])];

/// What never appears in a pure room.
const NEVER_PURE: &[&[&str]] = &[&["axum"], &["sqlx"], &["cryptoki"], &["tokio"], &["std", "env"]];

/// The room that a file of `src/` belongs to.
fn room_of_file(path: &str) -> String {
    room_of(&module_of_file(path))
        .unwrap_or_else(|| path.trim_end_matches(".rs").rsplit('/').next().unwrap_or(path).to_owned())
}

/// The room that a path from the crate's root leads to; none for the root itself.
fn room_of(segments: &[String]) -> Option<String> {
    match segments {
        [] => None,
        [store, adapter, ..] if store == "store" && (adapter == "sqlite" || adapter == "postgres") => {
            Some(format!("store::{adapter}"))
        }
        [room, ..] => Some(room.clone()),
    }
}

fn may_name(room: &str) -> Option<&'static [&'static str]> {
    MAY_NAME.iter().find(|(name, _)| *name == room).map(|(_, may)| *may)
}

/// Every fault of one file, as `path:line: what`.
fn faults(path: &str, text: &str) -> Vec<String> {
    let tokens = source::tokens(text);
    let room = room_of_file(path);
    let Some(allowed) = may_name(&room) else {
        return vec![format!("{path}: the room `{room}` has no row in the import rule")];
    };
    let named = named_in(path, &tokens);
    let mut found: Vec<String> = named
        .iter()
        .filter_map(|named| {
            let fault = if named.from_root { room_fault(&room, allowed, named) } else { crate_fault(&room, named) }?;
            Some(format!("{path}:{}: {fault}", named.line))
        })
        .collect();
    let unsafe_tokens = tokens.iter().filter(|token| token.is_word("unsafe") && room != "hsm");
    found.extend(unsafe_tokens.map(|token| format!("{path}:{}: `unsafe` outside hsm", token.line)));
    found
}

fn room_fault(room: &str, allowed: &[&str], named: &Named) -> Option<String> {
    let path = named.segments.join("::");
    let target = room_of(&named.segments).filter(|target| target != "*");
    match target {
        _ if room == "lib" => None,
        None => Some("the whole crate is imported: name the room".to_owned()),
        Some(target) if target == room || allowed.contains(&target.as_str()) => None,
        Some(target) if may_name(&target).is_none() => {
            Some(format!("`crate::{path}` is an item of the crate's root: name the room that it comes from"))
        }
        Some(target) => Some(format!("`{room}` may not name `{target}` (`crate::{path}`)")),
    }
}

fn crate_fault(room: &str, named: &Named) -> Option<String> {
    let first = named.segments.first()?;
    let of_family =
        |family: &str| first == family || first.strip_prefix(family).is_some_and(|rest| rest.starts_with('_'));
    let path = named.segments.join("::");
    let misplaced = ONLY_IN.iter().find(|(family, rooms)| of_family(family) && !rooms.contains(&room));
    if let Some((family, rooms)) = misplaced {
        return Some(format!("`{path}`: {family} belongs in {} only", rooms.join(" and ")));
    }
    let is_outside = |banned: &&&[&str]| match banned {
        [family] => of_family(family),
        more => more.iter().zip(&named.segments).filter(|(banned, segment)| *banned == segment).count() == more.len(),
    };
    let banned = NEVER_PURE.iter().find(is_outside).filter(|_| PURE.contains(&room))?;
    Some(format!("`{path}`: {} never appears in `{room}`", banned.join("::")))
}

/// Which room names which, over all files.
fn graph(files: &[(String, String)]) -> BTreeMap<String, BTreeSet<String>> {
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in files {
        let room = room_of_file(path);
        let targets = named_in(path, &source::tokens(text)).into_iter().filter(|named| named.from_root);
        let targets = targets.filter_map(|named| room_of(&named.segments)).filter(|target| *target != room);
        edges.entry(room.clone()).or_default().extend(targets);
    }
    edges.remove("lib");
    edges
}

/// A cycle among rooms, as the rooms on it.
fn cycle(edges: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn visit(room: &str, edges: &BTreeMap<String, BTreeSet<String>>, trail: &mut Vec<String>) -> Option<Vec<String>> {
        if let Some(start) = trail.iter().position(|earlier| earlier == room) {
            return Some(trail[start..].to_vec());
        }
        trail.push(room.to_owned());
        let found = edges.get(room).into_iter().flatten().find_map(|next| visit(next, edges, trail));
        trail.pop();
        found
    }
    edges.keys().find_map(|room| visit(room, edges, &mut Vec::new()))
}

#[test]
fn imports_point_inward() {
    let files = source::rust_files("src");
    assert!(files.len() > 10, "the source was not found");
    let mut report = String::new();
    for fault in files.iter().flat_map(|file| faults(&file.path, &file.text)) {
        writeln!(report, "{fault}").unwrap();
    }
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn no_rooms_need_each_other() {
    let files: Vec<(String, String)> =
        source::rust_files("src").into_iter().map(|file| (file.path, file.text)).collect();
    assert_eq!(cycle(&graph(&files)), None);
}

/// A text, the file that it stands in, and a part of the fault that it must give.
const BROKEN: &[(&str, &str, &str)] = &[
    ("src/jose/a.rs", "use crate::keys::HsmKey;", "`jose` may not name `keys`"),
    ("src/jose/mod.rs", "use crate::{clock::Clock, token::{self, access}};", "`jose` may not name `token`"),
    ("src/keys/a.rs", "fn f() { crate::store::open() }", "`keys` may not name `store`"),
    ("src/keys/a.rs", "fn f(x: super::super::mfa::Totp) {}", "`keys` may not name `mfa`"),
    ("src/mfa/totp.rs", "use crate::store::TotpState;", "`mfa` may not name `store`"),
    ("src/oauth/grant/a.rs", "pub use crate::audit::Draft as Kept;", "`oauth` may not name `audit`"),
    ("src/token/a.rs", "mod tests { use super::super::super::service::issue; }", "`token` may not name `service`"),
    ("src/verify/a.rs", "use crate::keys;", "`verify` may not name `keys`"),
    ("src/audit.rs", "use crate::store::Store;", "`audit` may not name `store`"),
    ("src/store/mod.rs", "pub mod sqlite; pub use sqlite::SqliteStore;", "`store` may not name `store::sqlite`"),
    ("src/store/sqlite/a.rs", "use crate::store::postgres::Pool;", "may not name `store::postgres`"),
    ("src/service/a.rs", "use crate::store::sqlite::SqliteStore;", "`service` may not name `store::sqlite`"),
    ("src/service/a.rs", "use crate::hsm::Pool;", "`service` may not name `hsm`"),
    ("src/service/a.rs", "use crate::config::Config;", "`service` may not name `config`"),
    ("src/http/a.rs", "use crate::store::{User, sqlite};", "`http` may not name `store::sqlite`"),
    ("src/http/a.rs", "use crate::cli::run;", "`http` may not name `cli`"),
    ("src/hsm/a.rs", "use crate::store::Keys;", "`hsm` may not name `store`"),
    ("src/config/a.rs", "#[serde(with = \"crate::http::x\")] struct A;", "`config` may not name `http`"),
    ("src/main.rs", "fn main() { signet::http::serve() }", "`main` may not name `http`"),
    ("src/service/a.rs", "use crate::Verifier;", "an item of the crate's root"),
    ("src/service/a.rs", "use crate::*;", "the whole crate is imported"),
    ("src/other/a.rs", "", "has no row in the import rule"),
    ("src/mfa/a.rs", "async fn f() { tokio::task::yield_now().await }", "tokio never appears in `mfa`"),
    ("src/oauth/a.rs", "use axum_core::response::Response;", "axum never appears in `oauth`"),
    ("src/keys/a.rs", "use ::tokio::sync::Mutex;", "tokio never appears in `keys`"),
    ("src/jose/a.rs", "use std::{env, fmt};", "std::env never appears in `jose`"),
    ("src/token/a.rs", "fn f() { std::env::var(\"A\"); }", "std::env never appears in `token`"),
    ("src/service/a.rs", "fn f() -> anyhow::Result<()> {}", "anyhow belongs in cli only"),
    ("src/cli/a.rs", "use cryptoki::session::Session;", "cryptoki belongs in hsm only"),
    ("src/keys/a.rs", "extern crate cryptoki_sys;", "cryptoki belongs in hsm only"),
    ("src/store/model.rs", "impl sqlx::FromRow for A {}", "sqlx belongs in store::sqlite and store::postgres only"),
    ("src/cli/a.rs", "fn f() { unsafe { g() } }", "`unsafe` outside hsm"),
];

#[test]
fn each_broken_text_is_found() {
    for (path, text, expected) in BROKEN {
        let found = faults(path, text);
        assert!(found.iter().any(|fault| fault.contains(expected)), "{path}: {text}\n{found:?}");
    }
}

#[test]
fn what_the_rule_allows_is_no_fault() {
    let sound = [
        (
            "src/keys/a.rs",
            "use crate::jose::KeyId; use super::ring; mod tests { use super::*; use super::super::jose; }",
        ),
        ("src/store/mod.rs", "pub mod sqlite; pub mod model; pub use model::User; use crate::mfa::TotpState;"),
        ("src/store/sqlite/mod.rs", "mod users; use sqlx::Row; use super::contract::Users; use users::A;"),
        ("src/hsm/a.rs", "use cryptoki::context::Pkcs11; fn f() { unsafe { g() } }"),
        ("src/http/a.rs", "use http::StatusCode; use crate::service::issue; use axum::Router; use std::env;"),
        ("src/jose/a.rs", "// crate::hsm\nconst A: &str = \"unsafe crate::hsm\"; fn f() -> impl Fn() + use<'_> {}"),
        ("src/main.rs", "use std::process::ExitCode; fn main() -> ExitCode { signet::cli::run() }"),
        ("src/cli/serve.rs", "use crate::{config::Config, hsm, store::sqlite::SqliteStore}; use anyhow::Context as _;"),
    ];
    for (path, text) in sound {
        assert_eq!(faults(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}

#[test]
fn a_cycle_is_found() {
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let files = [file("src/mfa/a.rs", "use crate::token::A;"), file("src/token/a.rs", "use crate::mfa::B;")];
    assert_eq!(cycle(&graph(&files)), Some(vec!["mfa".to_owned(), "token".to_owned()]));
    assert_eq!(cycle(&graph(&files[..1])), None);
}
