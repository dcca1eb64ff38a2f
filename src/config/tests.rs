//! The whole configuration: the example, the documentation, overrides and refusals.

use std::collections::BTreeSet;

use signet_hsm::PinSource;

use super::*;

const MINIMAL: &str = r#"
[server]
public_url = "http://127.0.0.1:8080"
[[hsm]]
name = "primary"
module = "/usr/lib/softhsm/libsofthsm2.so"
token_label = "signet"
pin_file = "pin"
"#;

const DOCS: &str = include_str!("../../docs/reference/configuration.md");

fn load_with(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::parse(text, Path::new("/etc/signet"), variables)
}

fn load(text: &str) -> Result<Config, ConfigError> {
    load_with(text, &[])
}

fn refusal(text: &str) -> String {
    load(text).unwrap_err().to_string()
}

/// The minimal configuration with a line more in its `[[hsm]]`, or in a section after it.
fn and(more: &str) -> String {
    format!("{MINIMAL}{more}\n")
}

/// Every key by its path, as the documentation names it.
fn all_keys() -> BTreeSet<String> {
    let sections = [
        ("server", server::KEYS),
        ("server.tls", server::TLS_KEYS),
        ("admin.tls", server::TLS_KEYS),
        ("server.limits", server::LIMITS_KEYS),
        ("store", store::KEYS),
        ("hsm", hsm::KEYS),
        ("yubico_validation", yubico_validation::KEYS),
        ("admin", admin::KEYS),
        ("audit", audit::KEYS),
        ("log", log::KEYS),
    ];
    let paths = sections.iter().flat_map(|(path, keys)| keys.iter().map(move |key| format!("{path}.{key}")));
    let tables = ["server.tls", "admin.tls", "admin.operators", "server.limits", "hsm.pin"];
    let by_name = ["admin.operators.ACCOUNT"];
    paths.filter(|path| !tables.contains(&path.as_str())).chain(by_name.map(str::to_owned)).collect()
}

/// The name of the variable that overrides a key.
fn variable(key: &str) -> String {
    let (section, rest) = key.split_once('.').unwrap();
    let section = if section == "hsm" { "HSM__0".to_owned() } else { section.to_uppercase() };
    format!("SIGNET_{section}__{}", rest.to_uppercase().replace('.', "__"))
}

fn toml_blocks() -> Vec<&'static str> {
    DOCS.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn every_key_stands_in_the_documentation_and_no_other_does() {
    let rows = DOCS.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: BTreeSet<String> = rows.clone().map(|row| row.split('`').next().unwrap().to_owned()).collect();
    assert_eq!(documented, all_keys());
    for row in rows {
        let key = row.split('`').next().unwrap();
        assert!(row.contains(&format!("`{}`", variable(key))), "{key}: the row names {}", variable(key));
        assert_eq!(row.matches(" | ").count(), 4, "{key}: key, type, default, meaning, variable");
    }
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let defaults = load(toml_blocks()[0]).unwrap();
    assert_eq!(defaults, load(MINIMAL).unwrap());
}

#[test]
fn the_documented_example_and_the_starter_load() {
    let example = load(toml_blocks()[1]).unwrap();
    assert_eq!(example.server.public_url.as_str(), "https://id.example.org");
    assert_eq!(example.hsm.len(), 2);
    assert_eq!(load(EXAMPLE).unwrap(), load(MINIMAL).unwrap());
    let uncommented: String = EXAMPLE.lines().map(|line| format!("{}\n", uncomment(line))).collect();
    let all = load(&uncommented.replace("http:", "https:")).unwrap();
    assert!(all.server.tls.is_some() && !all.hsm[0].environment.is_empty());
}

/// A commented-out key or section of the starter, in force.
fn uncomment(line: &str) -> &str {
    let rest = line.strip_prefix("# ").unwrap_or(line);
    if rest.starts_with("[") || rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) { rest } else { line }
}

#[test]
fn relative_paths_start_at_the_files_folder() {
    let config = load(MINIMAL).unwrap();
    assert_eq!(config.store, StoreConfig::Sqlite("/etc/signet/signet.db".into()));
    assert_eq!(config.hsm[0].pin, PinSource::File("/etc/signet/pin".into()));
    assert_eq!(config.audit.anchor, Path::new("/etc/signet/audit.anchor"));
    assert_eq!(config.hsm[0].module, Path::new("/usr/lib/softhsm/libsofthsm2.so"));
    let absolute = load(&and("[store]\nurl = \"sqlite:///var/lib/signet.db\"")).unwrap();
    assert_eq!(absolute.store, StoreConfig::Sqlite("/var/lib/signet.db".into()));
}

#[test]
fn the_environment_asks_for_more_eyes_and_never_for_fewer() {
    let with = |file: &str, said: &str| load_with(file, &[("SIGNET_ADMIN__FOUR_EYES", said)]).unwrap().admin.four_eyes;
    let two = and("[admin]\nfour_eyes = true");
    assert!(load(&two).unwrap().admin.four_eyes && with(&two, "true") && with(&two, "false"));
    assert!(with(MINIMAL, "true") && !with(MINIMAL, "false") && !load(MINIMAL).unwrap().admin.four_eyes);
}

#[test]
fn what_lies_in_the_store_is_refused_with_the_command_that_takes_it_over() {
    for section in SettingsDocument::SECTIONS {
        let told = refusal(&and(&format!("[{section}]\n")));
        assert!(told.contains(&format!("`{section}`")) && told.contains("signet apply --from-configuration"), "{told}");
    }
    let by_variable = load_with(MINIMAL, &[("SIGNET_MFA__TRIES", "3")]).unwrap_err().to_string();
    assert!(by_variable.contains("`mfa` is kept in the deployment's store"), "{by_variable}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("signet.toml");
    std::fs::write(&file, and("[mfa]\nfour_eyes = true\n[roles]\nclerk = []")).unwrap();
    assert_eq!(Config::load_without_settings(&file).unwrap().hsm.len(), 1);
}

#[test]
fn hazard_119_plain_http_off_loopback_needs_to_be_said() {
    let server =
        |lines: &str| MINIMAL.replace("http://127.0.0.1:8080\"", &format!("https://id.example.org\"\n{lines}"));
    for listen in ["0.0.0.0:8080", "10.0.0.5:8080", "[::]:8080"] {
        let told = refusal(&server(&format!("listen = \"{listen}\"")));
        assert!(told.contains("`server.listen`") && told.contains("`server.behind_proxy = true`"), "{told}");
        assert!(refusal(&server(&format!("listen = \"{listen}\"\nbehind_proxy = false"))).contains("behind_proxy"));
        let said = load(&server(&format!("listen = \"{listen}\"\nbehind_proxy = true"))).unwrap();
        assert!(said.server.behind_proxy && said.server.tls.is_none());
    }
    assert!(!load(&server("")).unwrap().server.behind_proxy);
    // Whoever reaches it under a name in clear shows their password to everybody, whatever stands in between.
    let plain = and("").replace("8080\"", "8080\"\nlisten = \"0.0.0.0:8080\"\nbehind_proxy = true");
    assert!(refusal(&plain).contains("public_url is plain http"));
}

#[test]
fn trusted_proxies_are_networks_and_not_everybody() {
    let server = |lines: &str| MINIMAL.replace("8080\"", &format!("8080\"\n{lines}"));
    let config = load(&server("trusted_proxies = [\"10.0.0.0/8\", \"2001:db8::5\"]\nproxy_protocol = true")).unwrap();
    assert_eq!((config.server.proxies.trusted.len(), config.server.proxy_protocol), (2, true));
    for (lines, expected) in [
        ("trusted_proxies = [\"0.0.0.0/0\"]", "`server.trusted_proxies`: 0.0.0.0/0 is everybody"),
        ("trusted_proxies = [\"10.0.0.5/8\"]", "did you mean 10.0.0.0/8"),
        ("trusted_proxies = [\"s3cret\"]", "`server.trusted_proxies`: a list of networks"),
        ("trusted_proxies = \"10.0.0.0/8\"", "`server.trusted_proxies` is a text"),
        ("address_header = \"x-real-ip\"", "`server.address_header`: one of either, forwarded, x-forwarded-for"),
        ("proxy_protocol = true", "`server.proxy_protocol`: `server.trusted_proxies` has to name who speaks it"),
    ] {
        let told = refusal(&server(lines));
        assert!(told.contains(expected) && !told.contains("s3cret"), "{lines}: {told}");
    }
    let admin = refusal(&and("[admin]\nproxy_protocol = false"));
    assert!(admin.contains("`admin.proxy_protocol`: it is about the connections to `admin.listen`"), "{admin}");
}

#[test]
fn loads_a_file_from_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("signet.toml");
    std::fs::write(&file, MINIMAL).unwrap();
    let config = Config::load(&file, std::iter::empty()).unwrap();
    assert_eq!(config.store, StoreConfig::Sqlite(folder.path().join("signet.db")));
    let missing = Config::load(&folder.path().join("other.toml"), std::iter::empty()).unwrap_err().to_string();
    assert!(missing.contains("other.toml") && missing.contains("--config"), "{missing}");
}

#[test]
fn the_environment_overrides_by_the_keys_type() {
    let config = load_with(
        MINIMAL,
        &[
            ("SIGNET_SERVER__LISTEN", "127.0.0.2:9000"),
            ("SIGNET_SERVER__LIMITS__MAX_CONNECTIONS", "7"),
            ("SIGNET_HSM__0__LONGEST_TOKEN", "2h"),
            ("SIGNET_HSM__0__TOKEN_LABEL", "7"),
            ("SIGNET_HSM__0__ENVIRONMENT__SOFTHSM2_CONF", "/c"),
            ("SIGNET_HSM__1__NAME", "second"),
            ("SIGNET_HSM__1__MODULE", "/m.so"),
            ("SIGNET_HSM__1__TOKEN_LABEL", "t"),
            ("SIGNET_HSM__1__PIN_PROMPT", "true"),
            ("SIGNET_ADMIN__OPERATORS__ANN", "[\"admin:users\"]"),
            ("SIGNET_CONFIG", "elsewhere"),
            ("OTHER__THING", "x"),
        ],
    )
    .unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.2:9000");
    assert_eq!(config.server.limits.max_connections, 7);
    assert_eq!(config.hsm[0].policy.longest_token.as_secs(), 7200);
    assert_eq!(config.hsm[0].token_label, "7", "a text is taken as it is");
    assert_eq!(config.hsm[0].environment["SOFTHSM2_CONF"], "/c");
    assert_eq!((config.hsm[1].name.as_str(), &config.hsm[1].pin), ("second", &PinSource::Prompt));
    assert!(!config.admin.operators["ann"].is_empty());
}

#[test]
fn the_order_of_the_environment_does_not_matter() {
    let mut variables = Vec::new();
    for index in (1..=11).rev() {
        for (key, value) in [("NAME", format!("h{index}")), ("MODULE", "/m".into()), ("TOKEN_LABEL", "t".into())] {
            variables.push((format!("SIGNET_HSM__{index}__{key}"), value));
        }
        variables.push((format!("SIGNET_HSM__{index}__PIN_FILE"), "pin".into()));
    }
    let config = Config::parse(MINIMAL, Path::new("/"), variables.into_iter()).unwrap();
    assert_eq!(
        config.hsm.iter().map(|hsm| hsm.name.as_str()).skip(1).collect::<Vec<_>>().join(","),
        "h1,h2,h3,h4,h5,h6,h7,h8,h9,h10,h11"
    );
}

#[test]
fn an_override_that_names_no_key_is_refused_like_an_unknown_key() {
    let refuse = |name: &str, value: &str| load_with(MINIMAL, &[(name, value)]).unwrap_err().to_string();
    let unknown = refuse("SIGNET_SERVER__LISTN", "x");
    assert_eq!(unknown, "unknown key `server.listn` (from SIGNET_SERVER__LISTN); did you mean `server.listen`?");
    assert!(refuse("SIGNET_X__Y", "x").contains("unknown key `x` (from SIGNET_X__Y)"));
    assert!(refuse("SIGNET_HSM__2__NAME", "x").contains("gap"));
    assert!(refuse("SIGNET_HSM__X__NAME", "x").contains("index"));
    assert!(refuse("SIGNET_SERVER____LISTEN", "x").contains("empty"));
    assert!(refuse("SIGNET_SERVER__PUBLIC_URL__X", "x").contains("plain value"));
    let injected = refuse("SIGNET_HSM__0__SESSIONS", "4\nworkers = 9");
    assert!(
        injected.contains("`hsm[0].sessions` (from SIGNET_HSM__0__SESSIONS) is a text, where an integer"),
        "{injected}"
    );
}

#[test]
fn unknown_keys_name_the_nearest_known_one() {
    assert_eq!(refusal(&and("sesions = 3")), "unknown key `hsm[0].sesions`; did you mean `hsm[0].sessions`?");
    assert_eq!(refusal(&and("[adimn]\n")), "unknown key `adimn`; did you mean `admin`?");
    let far = refusal(&and("[log]\ncolour_scheme = 1"));
    assert_eq!(far, "unknown key `log.colour_scheme`; known here: level, format");
}

#[test]
fn wrong_types_and_values_name_the_key_and_never_the_value() {
    let cases = [
        ("sessions = \"s3cret\"", "`hsm[0].sessions` is a text, where an integer from 1 to 256 is expected"),
        ("sessions = 257", "`hsm[0].sessions`: an integer from 1 to 256 is expected"),
        ("sessions = -1", "`hsm[0].sessions`: an integer"),
        ("longest_token = \"9s\"", "`hsm[0].longest_token`: a duration from \"10s\" to \"1d\""),
        ("deadline = 2", "`hsm[0].deadline` is an integer, where a duration from \"100ms\" to \"1m\""),
        ("deadline = \"s3cret\"", "`hsm[0].deadline`: a duration"),
        ("[store]\nurl = \"postgres://u:s3cret@h/d\"", "`store.url`: a password has no place in it"),
        ("[store]\nurl = \"postgres://u@h/d?password=s3cret\"", "`store.url`: a password has no place in it"),
        ("[store]\nurl = \"postgres://u@h/d\"", "`store.state_folder` is missing"),
        ("[store]\npassword_file = \"s3cret\"", "`store.password_file`: it goes with a PostgreSQL `store.url`"),
        ("[store]\nurl = \"s3cret\"", "`store.url`: the URL of a SQLite file"),
        ("[store]\nurl = \"sqlite://a?mode=s3cret\"", "`store.url`"),
        ("[log]\nlevel = \"loud\"", "`log.level`: one of error, warn, info, debug, trace"),
        ("[server.limits]\nmax_body_bytes = 0", "`server.limits.max_body_bytes`: an integer from 8192 to 1048576"),
    ];
    for (more, expected) in cases {
        let message = refusal(&and(more));
        assert!(message.contains(expected), "{more}: {message}");
        assert!(!message.contains("s3cret"), "{more}: {message}");
    }
}

#[test]
fn syntax_errors_name_the_place_and_show_no_line() {
    let message = refusal("[server]\npublic_url = \"x\"\npin = \"s3cret\n");
    assert!(message.contains("line 3, column"), "{message}");
    assert!(!message.contains("s3cret"), "{message}");
}

#[test]
fn the_pin_has_one_place_and_is_never_written_here() {
    let with = |pin: &str| MINIMAL.replace("pin_file = \"pin\"", pin);
    let source = |pin: &str| load(&with(pin)).map(|config| config.hsm[0].pin.clone());
    assert_eq!(source("pin_credential = \"hsm-pin\""), Ok(PinSource::Credential("hsm-pin".into())));
    assert_eq!(source("pin_prompt = true"), Ok(PinSource::Prompt));
    assert_eq!(source("pin_source = \"file:/etc/my%20pin\""), Ok(PinSource::File("/etc/my pin".into())));
    for (pin, expected) in [
        ("pin = \"s3cret\"", "mode 0600"),
        ("pin = 1234", "mode 0600"),
        ("", "`hsm[0].pin_file` is missing"),
        ("pin_prompt = false", "exactly one of"),
        ("pin_file = \"a\"\npin_credential = \"b\"", "more than one place"),
        ("pin_source = \"|/bin/getpin\"", "not run"),
        ("pin_source = \"file:pin\"", "absolute path"),
        ("pin_source = \"https://h/s3cret\"", "file URI"),
        ("pin_credential = \"../s3cret\"", "plain name"),
    ] {
        let message = source(pin).unwrap_err().to_string();
        assert!(message.contains(expected), "{pin}: {message}");
        assert!(!message.contains("s3cret") && !message.contains("1234"), "{message}");
    }
}

#[test]
fn the_public_url_is_https_or_on_loopback() {
    let url = |url: &str| {
        load(&MINIMAL.replace("http://127.0.0.1:8080", url)).map(|c| c.server.public_url.as_str().to_owned())
    };
    for (given, kept) in [
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("http://127.9.9.9", "http://127.9.9.9"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://localhost:1", "http://localhost:1"),
        ("https://id.example.org", "https://id.example.org"),
        ("https://example.org/id/", "https://example.org/id"),
    ] {
        assert_eq!(url(given).as_deref(), Ok(kept));
    }
    for given in [
        "http://id.example.org",
        "http://localhost.example.org",
        "http://10.0.0.1",
        "https://user:s3cret@id.example.org",
        "https://id.example.org?x=s3cret",
        "https://id.example.org#s3cret",
        "ftp://127.0.0.1",
        "id.example.org",
    ] {
        let message = url(given).unwrap_err().to_string();
        assert!(message.contains("`server.public_url`") && !message.contains("s3cret"), "{given}: {message}");
    }
    let tls = refusal(&and("[server.tls]\ncertificate = \"c\"\nkey = \"k\""));
    assert!(tls.contains("write https"), "{tls}");
}

#[test]
fn a_variable_that_was_meant_as_an_override_is_refused() {
    for name in ["SIGNET_SERVER_LISTEN", "SIGNET_HSM_0_PIN_FILE", "SIGNET_TOKENS_ALGORITHM"] {
        let refused = load_with(MINIMAL, &[(name, "x")]).unwrap_err().to_string();
        assert!(refused.contains(name) && refused.contains("SIGNET_SERVER__LISTEN"), "{refused}");
    }
    // What Kubernetes makes for a service called signet, and what has another meaning.
    for name in ["SIGNET_SERVICE_HOST", "SIGNET_PORT", "SIGNET_PORT_443_TCP_ADDR", "SIGNET_CONFIG", "SIGNET_SERVER"] {
        load_with(MINIMAL, &[(name, "x")]).unwrap();
    }
}

#[test]
fn hazard_118_what_a_platform_sets_is_nobodys_override() {
    for service in ["", "SERVER_", "HSM_", "STORE_", "ADMIN_API_", "LOG_", "TOKENS_", "SERVER__A_"] {
        for (name, value) in [
            ("SERVICE_HOST", "10.0.0.1"),
            ("SERVICE_PORT", "8080"),
            ("SERVICE_PORT_HTTP", "8080"),
            ("SERVICE_PORT_WEB_UI", "8080"),
            ("PORT", "tcp://10.0.0.1:8080"),
            ("PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("PORT_8080_TCP_PORT", "8080"),
            ("PORT_8080_TCP_PROTO", "tcp"),
            ("PORT_53_UDP", "udp://10.0.0.1:53"),
            ("PORT_9999_SCTP_ADDR", "10.0.0.1"),
        ] {
            load_with(MINIMAL, &[(&format!("SIGNET_{service}{name}"), value)]).unwrap();
        }
    }
    for (name, value) in
        [("SIGNET_SERVER_PORT", "8080"), ("SIGNET_SERVER_LISTEN", "tcp://10.0.0.1:8080"), ("SIGNET_STORE_HOST", "db")]
    {
        let refused = load_with(MINIMAL, &[(name, value)]).unwrap_err().to_string();
        assert!(refused.contains(name), "{refused}");
    }
}

#[test]
fn blanks_at_the_end_of_a_tokens_label_are_padding() {
    let padded = MINIMAL.replace("token_label = \"signet\"", "token_label = \"signet   \"");
    assert!(padded != MINIMAL);
    assert_eq!(load_with(&padded, &[]).unwrap().hsm[0].token_label, "signet");
    assert!(refusal(&MINIMAL.replace("token_label = \"signet\"", "token_label = \"   \"")).contains("token_label"));
}

#[test]
fn hsms_are_a_list_of_distinct_names() {
    let twice = format!("{MINIMAL}{}", MINIMAL.split_once("[[hsm]]").map(|(_, hsm)| format!("[[hsm]]{hsm}")).unwrap());
    assert!(refusal(&twice).contains("`hsm[1].name`: another [[hsm]] has this name"));
    assert!(
        refusal(&MINIMAL.replace("[[hsm]]", "[hsm]")).contains("`hsm` is a table, where a list of tables, [[hsm]]")
    );
    assert!(refusal("[server]\npublic_url = \"http://localhost\"").contains("at least one [[hsm]]"));
    assert!(refusal(&MINIMAL.replace("\"primary\"", "\"a/b\"")).contains("`hsm[0].name`"));
    let long = "x".repeat(33);
    assert!(refusal(&MINIMAL.replace("\"signet\"", &format!("\"{long}\""))).contains("1 to 32 bytes"));
}

proptest::proptest! {
    #[test]
    fn no_text_or_variable_panics(text in "\\PC*", name in "(HSM|SERVER|ROLES|[A-Z]*)(__(0|1|TLS|ENVIRONMENT|[A-Z_]*)){0,3}", value in "\\PC*") {
        let _ = load(&text);
        let _ = load_with(MINIMAL, &[(&format!("SIGNET_{name}"), &value)]);
    }
}
