//! `signet audit list` and `follow`, `signet four-eyes`, `signet user import`.

use std::fs;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::support::application::{Application, PASSWORD};
use crate::support::commands::text;
use crate::support::process::wait_for;

#[test]
fn records_are_listed_by_what_they_are_about() {
    let application = Application::new("");
    application.add_user("ann", "reader");
    application.add_user("bob", "reader");
    application.json(&["user", "disable", "ann"]);
    let server = application.serve();
    let all = application.json(&["audit", "list"]);
    let all = all.as_array().unwrap();
    let times: Vec<String> = all.iter().map(|record| text(record, "at")).collect();
    assert!(times.is_sorted() && times.len() > 5, "{times:?}");
    let about = |arguments: &[&str]| {
        let listed = application.json(&[&["audit", "list"], arguments].concat());
        listed.as_array().unwrap().iter().map(|record| text(record, "event")).collect::<Vec<_>>()
    };
    assert_eq!(about(&["--user", "ann"]), ["user.changed", "user.changed"]);
    assert_eq!(about(&["--event", "user.changed"]).len(), 3);
    assert_eq!(about(&["--event", "user.changed", "--last", "1"]).len(), 1);
    assert!(about(&["--until", &times[0]]).is_empty());
    application.run(&["audit", "list", "--event", "nonsense"]).fails(1, &["none that Signet records"]);
    let table = application.run(&["audit", "list", "--user", "ann"]).ok().stdout;
    assert!(table.contains("by") && table.contains("user.changed") && table.contains("(uid "), "{table}");
    let none = application.run(&["audit", "list", "--user", "nobody"]).ok().stdout;
    assert!(none.contains("There are no such records"), "{none}");
    server.stop();
}

/// Follows into a file.
fn follow(application: &Application, more: &[&str]) -> Child {
    let out = fs::OpenOptions::new().create(true).append(true).open(application.file("records")).unwrap();
    let mut command = application.command(&[&["audit", "follow", "--state", "place"], more].concat());
    command.stdin(Stdio::null()).stdout(out).stderr(Stdio::null()).spawn().unwrap()
}

fn followed(application: &Application) -> Vec<Value> {
    let text = fs::read_to_string(application.file("records")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn until_kept(application: &Application, name: &str) {
    let id = text(&application.json(&["user", "show", name]), "id");
    wait_for(&format!("the record of {name}"), || {
        let last = followed(application).iter().map(|record| record["seq"].as_i64().unwrap()).max();
        let has_it = followed(application).iter().any(|record| record["user"] == id.as_str());
        let kept = fs::read_to_string(application.file("place")).unwrap_or_default();
        (has_it && last.is_some_and(|last| kept.contains(&format!(":{last}")))).then_some(())
    });
}

#[test]
fn records_are_followed_and_none_is_lost_or_told_twice() {
    let application = Application::new("");
    application.run(&["audit", "follow"]).fails(1, &["no server runs here"]);
    let server = application.serve();
    let mut following = follow(&application, &["--from-start"]);
    application.add_user("ann", "reader");
    until_kept(&application, "ann");
    following.kill().unwrap();
    following.wait().unwrap();
    application.add_user("bob", "reader");
    // It goes on where it was, also over a server that is gone for a while.
    let mut following = follow(&application, &[]);
    until_kept(&application, "bob");
    server.stop();
    let server = application.serve();
    application.add_user("eve", "reader");
    until_kept(&application, "eve");
    following.kill().unwrap();
    following.wait().unwrap();
    let places: Vec<i64> = followed(&application).iter().map(|record| record["seq"].as_i64().unwrap()).collect();
    assert_eq!(places, (1..=i64::try_from(places.len()).unwrap()).collect::<Vec<_>>());
    server.stop();
}

#[test]
fn the_four_eyes_rule_is_shown_and_not_lowered_by_an_account() {
    let application = Application::new("");
    let server = application.serve();
    assert_eq!(application.json(&["four-eyes", "show"])["holds"], false);
    assert!(application.run(&["four-eyes", "show"]).ok().stdout.contains("does not hold"));
    let refused = application.run(&["four-eyes", "lower"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    server.stop();
}

#[test]
fn users_come_from_a_file_with_a_word_on_each_line() {
    let application = Application::new("");
    let server = application.serve();
    application.add_user("bob", "reader");
    let write = |text: &str| fs::write(application.file("users.csv"), text).unwrap();
    let import = |more: &[&str]| application.run(&[&["--json", "user", "import", "users.csv"], more].concat());
    write(&format!(
        "\u{feff}name,roles,password\r\nann,reader writer,{PASSWORD}\r\nbob,,{PASSWORD}\r\n\"zoe,the-2nd\",,{PASSWORD}\r\n\
         eve,,short\r\n,,{PASSWORD}\r\nann,,{PASSWORD}\r\n"
    ));
    let refused = import(&[]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for words in ["Nobody was added", "line 6: it has no name", "line 7, ann"] {
        assert!(refused.stderr.contains(words), "{refused:?}");
    }
    assert_eq!(application.json(&["user", "list"]).as_array().map(Vec::len), Some(1));
    let done = import(&["--skip-faulty", "--report", "report.csv"]);
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((&report["added"], &report["skipped"], &report["refused"]), (&2.into(), &1.into(), &3.into()));
    assert!(!done.stdout.contains(PASSWORD) && !done.stderr.contains(PASSWORD));
    let told = fs::read_to_string(application.file("report.csv")).unwrap();
    assert!(told.contains("4,\"zoe,the-2nd\",added,") && told.contains("5,eve,refused,"), "{told}");
    assert_eq!(application.json(&["user", "show", "ann"])["roles"], serde_json::json!(["reader", "writer"]));
    // Again: who is there stays.
    write(&format!("name,password\nann,{PASSWORD}\n"));
    let again: Value = serde_json::from_str(&import(&[]).stdout).unwrap();
    assert_eq!((&again["added"], &again["skipped"]), (&0.into(), &1.into()));
    for (text, word) in [("ann,secret\n", "columns `name` and `password`"), ("name,password\n", "no user in the file")]
    {
        write(text);
        let refused = import(&[]);
        assert!(refused.code == Some(1) && refused.stderr.contains(word), "{refused:?}");
    }
    server.stop();
}
