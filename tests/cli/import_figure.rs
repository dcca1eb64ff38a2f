//! An import of very many tokens: how long it takes, that it shows how far it is, and that `kill -9` costs nothing but time.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::Connection as _;

use super::import::{SEED_BASE32, Seal, container, write};
use crate::support::application::Application;
use crate::support::hsm::PROGRAM;
use crate::support::oathtool::counter_code;
use crate::support::store::raw;

const KEYS: usize = 100_000;
const KEY: [u8; 16] = [1; 16];

/// A deployment and the file that it imports, whose keys are encrypted and have a MAC each.
struct Import {
    app: Arc<Application>,
    file: String,
    keys: usize,
}

/// What an import said, on a terminal of its own.
struct Told {
    text: String,
    took: Duration,
}

impl Import {
    fn new(keys: usize) -> Self {
        let app = Application::new("");
        let file = write(&app, "tokens.xml", &container(&Seal::Aes(&KEY), keys));
        write(&app, "key", &"01".repeat(KEY.len()));
        Self { app, file, keys }
    }

    fn arguments(&self) -> [&str; 4] {
        ["factor", "import", &self.file, "--key-stdin"]
    }

    /// Runs it to its end.
    fn run(&self) -> Told {
        let (config, folder) = (self.app.configuration(), self.app.folder());
        let line = format!("{PROGRAM} --config {} {} <key", config.display(), self.arguments().join(" "));
        let began = Instant::now();
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).current_dir(folder);
        let output = script.stdin(Stdio::null()).output().unwrap();
        let told = Told { text: String::from_utf8(output.stdout).unwrap(), took: began.elapsed() };
        assert!(output.status.success(), "{}", told.text);
        told
    }

    /// Kills it with SIGKILL once a third is kept; gives how many are.
    async fn run_and_kill(&self) -> usize {
        let key = fs::File::open(self.app.folder().join("key")).unwrap();
        let mut child = self.app.command(&self.arguments()).stdin(key).stdout(Stdio::null()).spawn().unwrap();
        while self.kept().await < self.keys / 3 {
            assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        self.kept().await
    }

    async fn kept(&self) -> usize {
        usize::try_from(self.app.rows("stock").await).unwrap()
    }

    /// Each token is there once, and whole: with one secret, by which it signs in.
    async fn is_whole(&self, some: &[usize]) {
        let mut database = raw(&self.app.database()).await;
        let counts: (i64, i64, i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM stock), (SELECT count(DISTINCT serial) FROM stock),
                (SELECT count(*) FROM seals WHERE kind = 'stock.secret'),
                (SELECT count(*) FROM stock JOIN seals ON seals.kind = 'stock.secret' AND row_id = stock.id)",
        )
        .fetch_one(&mut database)
        .await
        .unwrap();
        database.close().await.unwrap();
        let keys = i64::try_from(self.keys).unwrap();
        assert_eq!(counts, (keys, keys, keys, keys));
        for place in some {
            let name = format!("user{place}");
            self.app.add_user(&name, "reader");
            let code = counter_code(SEED_BASE32, 8, 0);
            let serial = format!("T{place:06}");
            let assign = ["factor", "assign", "--serial", &serial, "--user", &name, "--code-stdin"];
            assert_eq!(self.app.json_with(&assign, &code)["serial"], serial);
        }
    }
}

impl Told {
    /// How many places of the bar were shown, the last of which is the whole.
    fn bars(&self, keys: usize) -> usize {
        let places = self.text.split("\r\u{1b}[K").filter_map(|line| line.split(" of ").next()?.split(' ').next_back());
        let places: BTreeSet<usize> = places.filter_map(|place| place.parse().ok()).collect();
        assert_eq!(places.last(), Some(&keys), "{}", self.text);
        places.len()
    }

    fn says(&self, imported: usize, skipped: usize) {
        let expected = format!("imported {imported}, skipped {skipped} that are there already, refused 0");
        assert!(self.text.contains(&expected), "{}", self.text);
    }
}

#[tokio::test]
#[ignore = "a measurement: see docs/evidence/performance.md"]
async fn an_import_of_a_hundred_thousand_keys_shows_how_far_it_is_and_survives_kill_9() {
    let keys = std::env::var("SIGNET_KEYS").map_or(KEYS, |text| text.parse().expect("SIGNET_KEYS is no number"));
    let whole = Import::new(keys);
    let told = whole.run();
    told.says(keys, 0);
    println!("{keys} keys in {:?}, {} places of the bar", told.took, told.bars(keys));
    assert!(told.bars(keys) > 5, "{}", told.text);
    whole.is_whole(&[0, keys / 2, keys - 1]).await;
    let again = whole.run();
    println!("run again, with nothing left to import: {:?}", again.took);
    again.says(0, keys);
    let killed = Import::new(keys);
    let kept = killed.run_and_kill().await;
    let rest = killed.run();
    rest.says(keys - kept, kept);
    println!("killed when {kept} were kept; the rest in {:?}", rest.took);
    killed.is_whole(&[0, kept - 1, kept, keys - 1]).await;
}
